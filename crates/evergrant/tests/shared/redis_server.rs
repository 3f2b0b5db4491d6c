//! A real Redis server of its own for one test.

#![allow(dead_code, reason = "not every test program that starts one uses all of it")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server on a loopback port that nobody else uses; it ends with this value.
pub(crate) struct RedisServer {
    folder: tempfile::TempDir,
    port: u16,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl RedisServer {
    /// A server that keeps nothing on disk, with further arguments of its own.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut server = Self { folder, port, arguments, process: None };
        server.restart();
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where it keeps what it keeps.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Ends the server as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again at the same place, with what it finds on disk.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(self.folder.path());
        command.args(&self.arguments).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().expect("redis-server is installed"));
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.try_cli(&["PING"]).is_some_and(|said| said.contains("PONG") || said.contains("NOAUTH")) {
            assert!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What `redis-cli` prints for this command.
    pub(crate) fn cli(&self, command: &[&str]) -> String {
        self.try_cli(command).expect("redis-cli is installed and reaches the server")
    }

    fn try_cli(&self, command: &[&str]) -> Option<String> {
        let port = self.port.to_string();
        let said = Command::new("redis-cli").args(["-p", &port]).args(command).output().ok()?;
        Some(String::from_utf8_lossy(&said.stdout).trim().to_owned())
    }

    /// The keys that hold records.
    pub(crate) fn records(&self) -> Vec<String> {
        self.cli(&["KEYS", "evergrant:*:record"]).lines().map(str::to_owned).filter(|key| !key.is_empty()).collect()
    }

    /// How many commands it has carried out.
    pub(crate) fn commands(&self) -> u64 {
        let stats = self.cli(&["INFO", "stats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix("total_commands_processed:")).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
