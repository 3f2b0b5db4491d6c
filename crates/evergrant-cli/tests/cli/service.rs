//! `evergrant gateway` under systemd, whose part the tests play: they hold the sockets and read the notifications.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::served::{Files, Served, command};
use crate::support::{Folder, evergrant, get, provider};

/// The service manager's end of the line.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(folder: &Folder) -> Self {
        // A path in the target folder may be too long for a socket.
        let name = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
        let path = std::env::temp_dir().join(format!("{name}.notify"));
        // One of an earlier run that was killed.
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { socket, path }
    }

    /// The next notification, feeding of the watchdog aside.
    fn next(&self) -> String {
        loop {
            let message = self.receive();
            if message != "WATCHDOG=1\n" {
                return message;
            }
        }
    }

    /// The next notification with this line.
    fn next_with(&self, line: &str) -> String {
        loop {
            let message = self.receive();
            if message.lines().any(|found| found == line) {
                return message;
            }
        }
    }

    fn receive(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A command with these sockets as descriptors 3 and 4, as systemd passes them.
pub(crate) fn activated(command: &Command, names: &str, first: OwnedFd, second: Option<OwnedFd>) -> Command {
    let mut shell = Command::new("/bin/sh");
    let move_second = if second.is_some() { "exec 4<&1;" } else { "" };
    let script = format!("exec 3<&0; {move_second} exec 0</dev/null 1>/dev/null; export LISTEN_PID=$$; exec \"$@\"");
    shell.arg("-c").arg(script).arg("sh").arg(command.get_program()).args(command.get_args());
    shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("LISTEN_FDS", if second.is_some() { "2" } else { "1" }).env("LISTEN_FDNAMES", names);
    shell.stdin(first).stdout(second.map_or_else(Stdio::null, Stdio::from));
    shell
}

#[test]
fn the_service_manager_hears_of_start_reload_and_end() {
    let (one, files) = (provider(), Files::new());
    let manager = Manager::new(&files.folder);
    let text = files.head() + &Files::profile("a", &one, &one.url());
    let config = files.write(&text);
    let mut command = command(&files.folder, &config);
    command.args(["--profile", "a"]).env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "400000");
    let served = Served::start(command);
    assert!(manager.next().starts_with("READY=1\nSTATUS="), "ready as soon as it listens");
    manager.next_with("WATCHDOG=1");
    manager.next_with("WATCHDOG=1");

    served.signal(Signal::HUP);
    let reloading = manager.next_with("RELOADING=1");
    let at = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
    assert!(at.parse::<u64>().unwrap() > 0, "{reloading}");
    assert_eq!(manager.next_with("READY=1"), "READY=1\nSTATUS=serving\n");

    files.write(&format!("{text}nonsense = 1\n"));
    manager.next_with("RELOADING=1");
    let refused = manager.next_with("READY=1");
    assert!(
        refused.contains("STATUS=the new settings were refused: ") && refused.contains(":8:1 (profile.a.nonsense)")
    );

    served.signal(Signal::TERM);
    manager.next_with("STOPPING=1");
    assert_eq!(served.end().code(), Some(0));
}

#[test]
fn a_gateway_without_a_token_is_ready_for_callers_and_says_what_is_missing() {
    let (one, files) = (provider(), Files::new());
    let manager = Manager::new(&files.folder);
    files.folder.file("secret", "not-the-secret-of-the-client");
    let config = files.write(&(files.head() + &Files::profile("a", &one, &one.url())));
    let mut command = command(&files.folder, &config);
    command.args(["--profile", "a"]).env("NOTIFY_SOCKET", &manager.path);
    let served = Served::start(command);
    assert_eq!(manager.next(), "READY=1\nSTATUS=taking callers, without a token yet\n");
    assert!(served.admin("/readyz").starts_with("HTTP/1.1 503"));
    files.folder.file("secret", evergrant_sim::config::CLIENT_SECRET);
    manager.next_with("STATUS=serving");
    assert!(served.admin("/readyz").starts_with("HTTP/1.1 200"));
}

#[test]
fn sockets_are_taken_by_their_names_and_are_stronger_than_settings() {
    let (one, files) = (provider(), Files::new());
    let (callers, admin) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (addr, admin_addr) = (callers.local_addr().unwrap(), admin.local_addr().unwrap());
    let config = files.write(&(files.head() + &Files::profile("a", &one, &one.url())));
    let mut command = command(&files.folder, &config);
    command.args(["--profile", "a", "--listen", "127.0.0.1:1"]);
    let shell = activated(&command, "admin:gateway", admin.into(), Some(callers.into()));
    let served = Served::start(shell);
    assert_eq!((served.address("a"), served.address("admin")), (addr.to_string(), admin_addr.to_string()));
    assert_eq!(served.get("a"), "HTTP/1.1 200 OK");
    assert_eq!(served.status()["listeners"][0]["listen"][0], addr.to_string());
    served.reload();
    assert_eq!(served.get("a"), "HTTP/1.1 200 OK");
}

#[test]
fn a_unix_socket_stays_when_the_gateway_ends() {
    let (one, files) = (provider(), Files::new());
    let path = std::env::temp_dir().join(format!("evergrant-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let socket = UnixListener::bind(&path).unwrap();
    let config = files.write(&(files.head() + &Files::profile("a", &one, &one.url())));
    let mut command = command(&files.folder, &config);
    command.args(["--profile", "a"]);
    let served = Served::start(activated(&command, "evergrant.socket", socket.into(), None));
    assert_eq!(served.address("a"), format!("unix:{}", path.display()));
    served.end();
    assert!(path.exists());
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_socket_that_nobody_wants_is_a_mistake() {
    let (one, files) = (provider(), Files::new());
    let config = files.write(&(files.head() + &Files::profile("a", &one, &one.url())));
    let mut command = command(&files.folder, &config);
    command.args(["--profile", "a"]);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = activated(&command, "gatway", socket.into(), None).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(10));
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @r#"
    error: the socket `gatway` belongs to no listener
      cause: this gateway has gateway, admin, a
    hint: did you mean FileDescriptorName=gateway?
    "#);
}

/// systemd's own tool listens, and starts the gateway when the first caller comes.
#[test]
fn systemd_socket_activate_starts_a_gateway_for_its_first_caller() {
    let (one, files) = (provider(), Files::new());
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = files.write(&(files.head() + &Files::profile("a", &one, &one.url())));
    let gateway = command(&files.folder, &config);
    let mut activate = Command::new("systemd-socket-activate");
    activate.arg("--listen").arg(&free).arg("--fdname=gateway").arg(gateway.get_program()).args(gateway.get_args());
    activate.args(["--profile", "a"]).env("HOME", files.folder.path());
    // The first caller waits for the gateway to start.
    let caller = std::thread::spawn({
        let free = free.clone();
        move || {
            while std::net::TcpStream::connect(&free).is_err() {
                std::thread::sleep(Duration::from_millis(10));
            }
            get(&free, "/api/v2/users")
        }
    });
    let served = Served::start(activate);
    assert!(caller.join().unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(served.address("a"), free);
}

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/systemd")
}

/// The units as they would be installed, with a binary that is there.
fn installed(folder: &Folder) -> [String; 2] {
    ["evergrant.service", "evergrant.socket"].map(|name| {
        let text = std::fs::read_to_string(units().join(name)).unwrap();
        folder.file(name, &text.replace("/usr/bin/evergrant", env!("CARGO_BIN_EXE_evergrant")))
    })
}

#[test]
fn systemd_accepts_the_units_and_finds_little_exposed() {
    let folder = Folder::new();
    let analyze = |args: &[&str]| {
        let output = Command::new("systemd-analyze").args(args).args(installed(&folder)).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    assert_eq!(analyze(&["verify", "--man=no"]), "");
    let folder = folder.path().join("evergrant.service");
    let rated =
        Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=15"]).arg(folder).output();
    let rated = rated.unwrap();
    assert!(rated.status.success(), "{}", String::from_utf8_lossy(&rated.stdout));
}

#[test]
fn the_unit_starts_a_gateway_as_its_comments_say() {
    let text = std::fs::read_to_string(units().join("evergrant.service")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/evergrant ")).unwrap();
    let variables = text.lines().filter_map(|line| line.strip_prefix("Environment=")).flat_map(str::split_whitespace);
    let (one, files) = (provider(), Files::new());
    files.folder.file("client-secret", evergrant_sim::config::CLIENT_SECRET);
    files.folder.file("caller-secret", "a-secret-of-the-callers");
    let folder = files.folder.path().to_str().unwrap();
    let config = files.write(&Files::profile("default", &one, &one.url()));
    let mut run = evergrant(line.replace("/etc/evergrant/config.toml", &config).split_whitespace());
    for (name, value) in variables.filter_map(|pair| pair.split_once('=')) {
        run = run.env(name, value.replace("%d", folder));
    }
    let (mut running, _home) = run.env("EVERGRANT_ADMIN_LISTEN", "127.0.0.1:0").start();
    let mut log = crate::gateway::log_of(&mut running);
    let addr = crate::gateway::address(&mut log, "gateway");
    let refused = get(&addr, "/api/v2/users");
    assert!(refused.contains("must show the caller secret"), "{refused}");
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code(), Some(0));
}
