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
    /// What starts it, if it is not started directly.
    wrapper: Vec<String>,
    process: Option<Child>,
}

impl RedisServer {
    /// A server that keeps nothing on disk, with further arguments of its own.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_under(&[], arguments)
    }

    /// The same, started by this command, such as `faketime`.
    pub(crate) fn start_under(wrapper: &[&str], arguments: &[&str]) -> Self {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let (wrapper, arguments) = (owned(wrapper), owned(arguments));
        let mut server =
            Self { folder: tempfile::tempdir().unwrap(), port: free_port(), arguments, wrapper, process: None };
        server.restart();
        server
    }

    /// A replica of another one.
    pub(crate) fn replica_of(primary: &Self) -> Self {
        let port = primary.port.to_string();
        let replica = Self::start(&["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"]);
        replica.wait_for("the replica is in step", &["INFO", "replication"], "master_link_status:up");
        replica
    }

    /// A Sentinel that watches this server under the name `main` and replaces it when it has not answered for a moment.
    pub(crate) fn sentinel_of(primary: &Self) -> Self {
        let sentinel = Self::sentinel_with(primary, &[]);
        sentinel.wait_for("the Sentinel knows the replica", &["SENTINEL", "MASTER", "main"], "num-slaves\n1");
        sentinel
    }

    /// The same with further lines in its configuration.
    pub(crate) fn sentinel_with(primary: &Self, lines: &[&str]) -> Self {
        let more = lines;
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let config = folder.path().join("sentinel.conf");
        let lines = [
            format!("port {port}"),
            "bind 127.0.0.1".to_owned(),
            format!("dir {}", folder.path().display()),
            format!("sentinel monitor main 127.0.0.1 {} 1", primary.port),
            "sentinel down-after-milliseconds main 500".to_owned(),
            "sentinel failover-timeout main 3000".to_owned(),
        ];
        std::fs::write(&config, [lines.join("\n"), more.join("\n")].join("\n")).unwrap();
        let words = ["redis-server", config.to_str().unwrap(), "--sentinel"];
        let mut server =
            Self { folder, port, arguments: Vec::new(), wrapper: words.map(str::to_owned).into(), process: None };
        server.restart();
        server
    }

    /// The nodes of a cluster, each with its part of the slots.
    pub(crate) fn cluster<const N: usize>() -> [Self; N] {
        let bus: [String; N] = std::array::from_fn(|_| free_port().to_string());
        let nodes: [Self; N] = std::array::from_fn(|at| {
            Self::start(&["--cluster-enabled", "yes", "--cluster-port", &bus[at], "--cluster-node-timeout", "2000"])
        });
        for (at, node) in nodes.iter().enumerate() {
            let (first, last) = (16_384 * at / N, 16_384 * (at + 1) / N - 1);
            node.cli(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            nodes[0].cli(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), &bus[at]]);
        }
        for node in &nodes {
            node.wait_for("the cluster is complete", &["CLUSTER", "INFO"], "cluster_state:ok");
        }
        nodes
    }

    /// Waits until this command is answered with a text that contains this.
    pub(crate) fn wait_for(&self, what: &str, command: &[&str], said: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.cli(command).contains(said) {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How often it has run a command of this name.
    pub(crate) fn runs_of(&self, command: &str) -> u64 {
        let stats = self.cli(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
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
        self.begin();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.try_cli(&["PING"]).is_some_and(|said| said.contains("PONG") || said.contains("NOAUTH")) {
            assert!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Further arguments for the next start.
    pub(crate) fn more_arguments(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
    }

    /// Starts it again without waiting until it answers.
    pub(crate) fn begin(&mut self) {
        self.kill();
        let mut words: Vec<String> = self.wrapper.clone();
        if !words.iter().any(|word| word == "--sentinel") {
            let (port, folder) = (self.port.to_string(), self.folder.path().display().to_string());
            let own = ["redis-server", "--save", "", "--port", &port, "--bind", "127.0.0.1", "--dir", &folder];
            words.extend(own.map(str::to_owned));
            words.extend(self.arguments.iter().cloned());
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().expect("redis-server is installed"));
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

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
