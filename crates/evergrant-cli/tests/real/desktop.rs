//! A desktop of the test's own: a session bus, and gnome-keyring on it.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use evergrant_sim::SimServer;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET};
use serde_json::Value;

use crate::process::Process;

/// A session bus that starts nothing by itself, and the keyring on it.
pub(crate) struct Desktop {
    bus: Process,
    _keyring: Option<Process>,
    pub(crate) address: String,
    pub(crate) home: tempfile::TempDir,
}

impl Desktop {
    /// A bus with nobody on it.
    pub(crate) fn without_keyring() -> Self {
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
    pub(crate) fn new() -> Self {
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
    pub(crate) fn lock(&self) {
        let all = "array:objpath:/org/freedesktop/secrets/aliases/default,/org/freedesktop/secrets/collection/login";
        self.ask("org.freedesktop.secrets", "/org/freedesktop/secrets", "org.freedesktop.Secret.Service.Lock", all);
    }

    fn ask(&self, name: &str, path: &str, method: &str, argument: &str) -> String {
        let mut command = self.on_bus("dbus-send");
        let dest = format!("--dest={name}");
        let output = command.args(["--session", "--print-reply", &dest, path, method, argument]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn on_bus(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let (home, path) = (self.home.path(), std::env::var_os("PATH").unwrap());
        command.env_clear().env("HOME", home).env("PATH", path).env("XDG_RUNTIME_DIR", home);
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.address);
        command
    }

    pub(crate) fn evergrant(&self, args: &[&str], provider: Option<&SimServer>) -> Output {
        let mut command = self.on_bus(env!("CARGO_BIN_EXE_evergrant"));
        if let Some(provider) = provider {
            command.env("EVERGRANT_TOKEN_URL", provider.token_url()).env("EVERGRANT_UPSTREAM", provider.url());
            command.env("EVERGRANT_CLIENT_ID", CLIENT_ID).env("EVERGRANT_CLIENT_SECRET", CLIENT_SECRET);
        }
        command.args(args).output().unwrap()
    }

    pub(crate) fn good(&self, args: &[&str], provider: Option<&SimServer>) -> String {
        let output = self.evergrant(args, provider);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What is said about a store that cannot be used.
    pub(crate) fn refused(&self, args: &[&str]) -> String {
        let output = self.evergrant(args, None);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(8), "{said}");
        assert!(said.contains("hint:"), "{said}");
        said
    }

    pub(crate) fn listed(&self, store: &str) -> Value {
        let text = self.good(&["store", "list", "--json", "--store", store], None);
        serde_json::from_str::<Value>(&text).unwrap()["credentials"].clone()
    }
}

/// Is this text in any file below?
pub(crate) fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().flatten().any(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => holds(&entry.path(), text),
        kind if kind.is_file() => {
            let bytes = std::fs::read(entry.path()).unwrap();
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        }
        _ => false,
    })
}
