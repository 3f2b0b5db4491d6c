//! The keyring of a desktop: gnome-keyring on a session bus of the test's own.

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use evergrant_sim::SimServer;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig};
use serde_json::Value;

use crate::process::Process;

/// A session bus that starts nothing by itself, and the keyring on it.
struct Desktop {
    bus: Process,
    _keyring: Option<Process>,
    address: String,
    home: tempfile::TempDir,
}

impl Desktop {
    /// A bus with nobody on it.
    fn without_keyring() -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("bus.conf");
        let folder = home.path().display();
        let text = format!(
            "<busconfig><type>session</type><listen>unix:dir={folder}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
             <allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("dbus-daemon");
        command.args(["--nofork", "--print-address"]).arg(format!("--config-file={}", config.display()));
        let bus = Process::start("dbus-daemon (cargo xtask test --only setup installs it)", &mut command);
        let address = bus.line(|line| line.starts_with("unix:").then(|| line.to_owned()));
        Self { bus, _keyring: None, address, home }
    }

    /// A bus with an unlocked keyring.
    fn new() -> Self {
        let mut desktop = Self::without_keyring();
        let mut command = desktop.on_bus("gnome-keyring-daemon");
        command.args(["--components=secrets", "--unlock", "--foreground"]);
        let keyring = Process::start("gnome-keyring-daemon (cargo xtask test --only setup installs it)", &mut command);
        // The password ends with the input, so it has to close; the daemon lives on.
        desktop._keyring = Some(keyring.with_input("password of the keyring"));
        let owned = || {
            desktop.ask(
                "org.freedesktop.DBus",
                "/",
                "org.freedesktop.DBus.NameHasOwner",
                "string:org.freedesktop.secrets",
            )
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !owned().contains("boolean true") {
            assert!(Instant::now() < deadline, "the keyring never came: {}", desktop.bus.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        desktop
    }

    /// What a locked screen does on some desktops.
    fn lock(&self) {
        let all = "array:objpath:/org/freedesktop/secrets/aliases/default,/org/freedesktop/secrets/collection/login";
        self.ask("org.freedesktop.secrets", "/org/freedesktop/secrets", "org.freedesktop.Secret.Service.Lock", all);
    }

    fn ask(&self, name: &str, path: &str, method: &str, argument: &str) -> String {
        let mut command = self.on_bus("dbus-send");
        let dest = format!("--dest={name}");
        let output = command.args(["--session", "--print-reply", &dest, path, method, argument]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn on_bus(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let (home, path) = (self.home.path(), std::env::var_os("PATH").unwrap());
        command.env_clear().env("HOME", home).env("PATH", path).env("XDG_RUNTIME_DIR", home);
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.address);
        command
    }

    fn evergrant(&self, args: &[&str], provider: Option<&SimServer>) -> Output {
        let mut command = self.on_bus(env!("CARGO_BIN_EXE_evergrant"));
        if let Some(provider) = provider {
            command.env("EVERGRANT_TOKEN_URL", provider.token_url()).env("EVERGRANT_UPSTREAM", provider.url());
            command.env("EVERGRANT_CLIENT_ID", CLIENT_ID).env("EVERGRANT_CLIENT_SECRET", CLIENT_SECRET);
        }
        command.args(args).output().unwrap()
    }

    fn good(&self, args: &[&str], provider: Option<&SimServer>) -> String {
        let output = self.evergrant(args, provider);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What is said about a store that cannot be used.
    fn refused(&self, args: &[&str]) -> String {
        let output = self.evergrant(args, None);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(8), "{said}");
        assert!(said.contains("hint:"), "{said}");
        said
    }

    fn listed(&self, store: &str) -> Value {
        let text = self.good(&["store", "list", "--json", "--store", store], None);
        serde_json::from_str::<Value>(&text).unwrap()["credentials"].clone()
    }
}

fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().flatten().any(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => holds(&entry.path(), text),
        kind if kind.is_file() => {
            let bytes = std::fs::read(entry.path()).unwrap();
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        }
        _ => false,
    })
}

#[test]
fn a_token_in_the_keyring_is_shared_moved_and_forgotten() {
    let (provider, desktop) = (SimServer::start(ProviderConfig::default()).unwrap(), Desktop::new());
    let token = desktop.good(&["token", "--store", "keyring"], Some(&provider));
    assert_eq!(desktop.good(&["token", "--store", "keyring"], Some(&provider)), token);
    assert_eq!(provider.handle().ledger().token.requests, 1);
    assert!(!holds(desktop.home.path(), token.trim()), "the keyring keeps nothing in clear text");
    assert_eq!(desktop.listed("keyring")[0]["generation"], 1);
    assert_eq!(desktop.listed("keyring:other"), Value::Array(Vec::new()), "another name is another store");

    // To a file whose key the keyring keeps, to another name, and back.
    let file = format!("file:{}/tokens", desktop.home.path().display());
    desktop.good(&["store", "move", "--store", "keyring", "--to", &file, "--to-key-in", "keyring"], None);
    let from_file = ["token", "--store", &file, "--store-key-in", "keyring"];
    assert_eq!(desktop.good(&from_file, Some(&provider)), token);
    assert_eq!(desktop.listed("keyring"), Value::Array(Vec::new()));
    let to_other = ["store", "move", "--store", &file, "--store-key-in", "keyring", "--to", "keyring:other"];
    desktop.good(&to_other, None);
    assert_eq!(desktop.good(&["token", "--store", "keyring:other"], Some(&provider)), token);
    assert_eq!(provider.handle().ledger().token.requests, 1);

    let listed = desktop.listed("keyring:other");
    desktop.good(&["store", "forget", "--store", "keyring:other", listed[0]["credential"].as_str().unwrap()], None);
    assert_eq!(desktop.listed("keyring:other"), Value::Array(Vec::new()));
}

#[test]
fn a_damaged_item_is_named_and_can_be_forgotten() {
    let (provider, desktop) = (SimServer::start(ProviderConfig::default()).unwrap(), Desktop::new());
    desktop.good(&["token", "--store", "keyring"], Some(&provider));
    let name = desktop.listed("keyring")[0]["credential"].as_str().unwrap().to_owned();
    let attributes = ["application", "evergrant", "kind", "credential", "store", "default", "credential", &name];
    let mut clear = desktop.on_bus("secret-tool");
    assert!(clear.arg("clear").args(attributes).status().unwrap().success());
    let mut torn = desktop.on_bus("secret-tool");
    torn.args(["store", "--label=torn"]).args(attributes).stdin(std::process::Stdio::piped());
    let mut torn = torn.spawn().unwrap();
    torn.stdin.take().unwrap().write_all(b"{\"evergrant_store\":1,\"seal").unwrap();
    assert!(torn.wait().unwrap().success());

    assert!(desktop.listed("keyring")[0]["damaged"].is_string(), "{}", desktop.listed("keyring"));
    desktop.good(&["store", "forget", "--store", "keyring", &name], None);
    assert_eq!(desktop.listed("keyring"), Value::Array(Vec::new()));
    desktop.good(&["token", "--store", "keyring"], Some(&provider));
    assert_eq!(desktop.listed("keyring")[0]["generation"], 1);
}

#[test]
fn programs_that_share_the_keyring_take_turns() {
    let (provider, desktop) = (SimServer::start(ProviderConfig::default()).unwrap(), Desktop::new());
    let tokens: Vec<String> = std::thread::scope(|scope| {
        let one = || desktop.good(&["token", "--store", "keyring"], Some(&provider));
        let running: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
        running.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(provider.handle().ledger().token.requests, 1);
}

#[test]
fn a_locked_keyring_is_named_and_loses_nothing() {
    let (provider, desktop) = (SimServer::start(ProviderConfig::default()).unwrap(), Desktop::new());
    desktop.good(&["token", "--store", "keyring"], Some(&provider));
    let file = format!("file:{}/tokens", desktop.home.path().display());
    desktop.good(&["token", "--store", &file, "--store-key-in", "keyring"], Some(&provider));
    let before = std::fs::read(desktop.home.path().join("tokens")).unwrap();
    desktop.lock();
    for args in [
        &["store", "list", "--store", "keyring"][..],
        &["store", "list", "--store", &file, "--store-key-in", "keyring"],
    ] {
        let said = desktop.refused(args);
        assert!(said.contains("the keyring cannot be used: it is locked, and was not unlocked"), "{said}");
    }
    assert_eq!(std::fs::read(desktop.home.path().join("tokens")).unwrap(), before);
}

#[test]
fn a_key_is_waited_for_no_longer_than_the_timeout() {
    let (provider, mut desktop) = (SimServer::start(ProviderConfig::default()).unwrap(), Desktop::without_keyring());
    let bus = desktop.home.path().join("silent");
    // It takes connections and never says a word.
    let _listener = UnixListener::bind(&bus).unwrap();
    desktop.address = format!("unix:path={}", bus.display());
    let file = format!("file:{}/tokens", desktop.home.path().display());
    let asked = Instant::now();
    let words = ["token", "--timeout", "1s", "--store", &file, "--store-key-in", "keyring"];
    let output = desktop.evergrant(&words, Some(&provider));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(8) && said.contains("gave no answer in time"), "{said}");
    assert!(asked.elapsed() < Duration::from_secs(6), "{:?}", asked.elapsed());
}

#[test]
fn no_service_and_no_bus_are_named() {
    let desktop = Desktop::without_keyring();
    let said = desktop.refused(&["store", "list", "--store", "keyring"]);
    assert!(said.contains("no Secret Service can be reached: org.freedesktop.DBus.Error.ServiceUnknown"), "{said}");
    let nowhere = Desktop { address: "unix:path=/nowhere/bus".to_owned(), ..desktop };
    let said = nowhere.refused(&["store", "list", "--store", "keyring"]);
    assert!(said.contains("no Secret Service can be reached"), "{said}");
    let file = format!("file:{}/tokens", nowhere.home.path().display());
    let said = nowhere.refused(&["store", "list", "--store", &file, "--store-key-in", "keyring"]);
    assert!(said.contains("no Secret Service can be reached"), "{said}");
}
