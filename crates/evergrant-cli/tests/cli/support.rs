//! Runs the binary with a clean environment and a deadline.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig};
use evergrant_sim::http::SimServer;

const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// A folder of the test's own, removed when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cli-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A run that has not started.
pub(crate) struct Run {
    command: Command,
    home: Folder,
    input: Vec<u8>,
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The binary with these arguments and no settings.
pub(crate) fn evergrant<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evergrant"));
    command.args(args);
    clean(command)
}

/// Another program with no settings, which runs the binary.
pub(crate) fn program(words: &[&str]) -> Run {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    clean(command)
}

fn clean(mut command: Command) -> Run {
    let home = Folder::new();
    command.env_clear().env("HOME", home.path()).env("COLUMNS", "100");
    command.env("PATH", std::env::var_os("PATH").unwrap());
    Run { command, home, input: Vec::new() }
}

impl Run {
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// The settings of the provider's client, as environment.
    pub(crate) fn client_of(self, provider: &SimServer) -> Self {
        self.env("EVERGRANT_TOKEN_URL", provider.token_url())
            .env("EVERGRANT_UPSTREAM", provider.url())
            .env("EVERGRANT_CLIENT_ID", CLIENT_ID)
            .env("EVERGRANT_CLIENT_SECRET", CLIENT_SECRET)
    }

    /// A settings file where the binary looks for it.
    pub(crate) fn config(self, text: &str) -> Self {
        let folder = self.home.path().join(".config/evergrant");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.toml"), text).unwrap();
        self
    }

    /// Runs it in this folder.
    pub(crate) fn folder(mut self, folder: &Folder) -> Self {
        self.command.current_dir(folder.path());
        self
    }

    pub(crate) fn input(mut self, text: &str) -> Self {
        self.input = text.as_bytes().to_vec();
        self
    }

    /// Starts it and leaves it running.
    pub(crate) fn start(mut self) -> (Running, Folder) {
        let child = self.spawn();
        (Running(child), self.home)
    }

    /// Runs it to its end.
    pub(crate) fn end(mut self) -> Ended {
        let mut child = self.spawn();
        let mut input = child.stdin.take().unwrap();
        // A command that does not read its input closes it.
        let _ = input.write_all(&self.input);
        drop(input);
        let stdout = reader(child.stdout.take().unwrap());
        let stderr = reader(child.stderr.take().unwrap());
        let status = Running(child).wait();
        let home = self.home.path().to_str().unwrap().to_owned();
        let tidy = |text: String| text.replace(&home, "~");
        Ended { status, stdout: tidy(stdout.join().unwrap()), stderr: tidy(stderr.join().unwrap()) }
    }

    fn spawn(&mut self) -> Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

impl Ended {
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Everything that a user sees, for a snapshot.
    pub(crate) fn shown(&self) -> String {
        format!("exit code: {}\n--- stdout\n{}--- stderr\n{}", self.code(), self.stdout, self.stderr)
    }

    /// The standard output of a run that went well.
    pub(crate) fn good(self) -> String {
        assert_eq!(self.code(), 0, "{}", self.shown());
        self.stdout
    }

    /// What a failed run said; its standard output is empty.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code(), code, "{}", self.shown());
        assert_eq!(self.stdout, "");
        self.stderr
    }
}

/// A running binary; it is killed when dropped.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn of(child: Child) -> Self {
        Self(child)
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.0.id()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits until it holds while the binary runs, up to a deadline.
    pub(crate) fn when(&mut self, holds: impl Fn() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert_eq!(self.0.try_wait().unwrap(), None, "the command has ended already");
            assert!(started.elapsed() < DEADLINE, "waited in vain");
            std::thread::sleep(POLL);
        }
    }

    /// Waits for the end, up to a deadline.
    pub(crate) fn wait(mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < DEADLINE, "the command does not end");
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn reader(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    })
}

/// A provider that speaks plain OAuth 2.0.
pub(crate) fn provider() -> SimServer {
    SimServer::start(ProviderConfig::rfc()).unwrap()
}

/// An address on which nobody listens.
pub(crate) fn closed_port() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The whole answer to a GET.
pub(crate) fn get(address: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
