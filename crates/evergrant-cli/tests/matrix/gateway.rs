//! The `evergrant gateway` process, started as a user starts it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use evergrant_sim::SimServer;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, Shape};
use evergrant_sim::scenario::{Grant, Scenario};
use rustix::process::{Pid, Signal, kill_process};

/// How the gateway is started.
pub(crate) struct Setup {
    env: BTreeMap<String, String>,
    listen: String,
}

impl Setup {
    /// The settings for a scenario's provider, and nothing else of our environment.
    pub(crate) fn of(scenario: &Scenario, sim: &SimServer, home: &Path) -> Self {
        let provider = match scenario.config.shape {
            Shape::Genesys => "genesys",
            Shape::Rfc | Shape::RfcBare => "oauth2",
        };
        let setup = Self { env: BTreeMap::new(), listen: "127.0.0.1:0".to_owned() }
            .env("HOME", home.display())
            .env("EVERGRANT_LOG", "info")
            .env("EVERGRANT_PROVIDER", provider)
            .env("EVERGRANT_TOKEN_URL", sim.token_url())
            .env("EVERGRANT_UPSTREAM", sim.url())
            .env("EVERGRANT_CLIENT_ID", CLIENT_ID)
            .env("EVERGRANT_CLIENT_SECRET", CLIENT_SECRET);
        match scenario.grant {
            Grant::ClientCredentials if provider == "genesys" => setup.env("EVERGRANT_REGION", "eu-central-1"),
            Grant::ClientCredentials => setup,
            Grant::RefreshToken => setup
                .env("EVERGRANT_GRANT", "refresh_token")
                .env("EVERGRANT_REFRESH_TOKEN", REFRESH_TOKEN)
                .env("EVERGRANT_STORE", format!("file+plain:{}", home.join("store/tokens").display())),
        }
    }

    /// With this variable.
    pub(crate) fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.insert(name.to_owned(), value.to_string());
        self
    }

    /// Listening here instead of on a free port.
    pub(crate) fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address.to_string();
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evergrant"));
        command.args(["gateway", "--listen", &self.listen, "--admin-listen", "127.0.0.1:0"]);
        command.env_clear().envs(&self.env);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A running gateway; killed when dropped.
pub(crate) struct Gateway {
    child: Child,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
    /// When the process was started.
    pub(crate) started: Instant,
    /// Where callers go.
    pub(crate) address: SocketAddr,
    /// Where its status is.
    pub(crate) admin: SocketAddr,
}

impl Gateway {
    /// Starts it and waits until it listens.
    pub(crate) fn start(setup: &Setup) -> Self {
        let started = Instant::now();
        let mut child = setup.command().spawn().unwrap();
        let output = Arc::new(Output::default());
        let readers = vec![read(child.stdout.take().unwrap(), &output), read(child.stderr.take().unwrap(), &output)];
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        // Made first, so that a gateway that never listens is ended too.
        let mut gateway = Self { child, output, readers, started, address: nowhere, admin: nowhere };
        gateway.address = gateway.listening("gateway");
        gateway.admin = gateway.listening("admin");
        gateway
    }

    /// Runs a gateway that is expected to end by itself; its exit code and everything it said.
    pub(crate) fn refused(setup: &Setup) -> (Option<i32>, String) {
        let output = setup.command().output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }

    /// Ends it as a service manager does, and returns how it ended and everything it said.
    ///
    /// The runtime runs on meanwhile: callers have to see that their connections are being closed.
    pub(crate) async fn stop(mut self) -> (ExitStatus, String) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the gateway does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        (status, self.said())
    }

    /// Ends it without any chance to put things in order.
    pub(crate) fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        self.said()
    }

    /// Everything it has written so far, to both outputs.
    pub(crate) fn said(&self) -> String {
        self.output.lines.lock().unwrap().join("\n")
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The address in a line such as `INFO evergrant: listening listener="gateway" addr=127.0.0.1:40321`.
    fn listening(&self, listener: &str) -> SocketAddr {
        let named = format!("listener=\"{listener}\"");
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.output.lines.lock().unwrap();
        loop {
            let line = lines.iter().find(|line| line.contains("listening") && line.contains(&named));
            if let Some((_, address)) = line.and_then(|line| line.split_once("addr=")) {
                return address.split_whitespace().next().unwrap().parse().unwrap();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the gateway never listened; it said:\n{}", lines.join("\n"));
            lines = self.output.grew.wait_timeout(lines, left).unwrap().0;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already; both calls then have nothing to do.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- the gateway said:\n{}", self.said());
        }
    }
}

#[derive(Default)]
struct Output {
    lines: Mutex<Vec<String>>,
    grew: Condvar,
}

fn read(from: impl Read + Send + 'static, output: &Arc<Output>) -> JoinHandle<()> {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            output.lines.lock().unwrap().push(line);
            output.grew.notify_all();
        }
    })
}

/// A folder of the test's own, removed when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("matrix-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed lies in the target folder and harms nobody.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

const PATIENCE: Duration = Duration::from_secs(45);
