//! A gateway of a settings file: its log is read as it comes, and the test waits for what it says.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use evergrant_sim::SimServer;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Folder, Running, get};

const DEADLINE: Duration = Duration::from_secs(30);

/// A gateway that runs.
pub(crate) struct Served {
    running: Running,
    log: Arc<(Mutex<Vec<String>>, Condvar)>,
}

/// A command of the binary with no settings but this file, and a home of its own.
pub(crate) fn command(folder: &Folder, config: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evergrant"));
    command.env_clear().env("HOME", folder.path()).args(["gateway", "--config", config]);
    command
}

impl Served {
    /// Starts a gateway and waits until it listens.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut running = Running::of(command.stderr(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(running.child().stderr.take().unwrap()).lines();
        let log: Arc<(Mutex<Vec<String>>, Condvar)> = Arc::default();
        let heard = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.0.lock().unwrap().push(line);
                heard.1.notify_all();
            }
        });
        let served = Self { running, log };
        served.heard("listener=\"admin\"");
        served
    }

    /// Waits for a line of the log with this text, and returns it.
    pub(crate) fn heard(&self, text: &str) -> String {
        self.heard_times(text, 1)
    }

    /// Waits for so many lines of the log with this text, and returns the last one.
    pub(crate) fn heard_times(&self, text: &str, times: usize) -> String {
        let (log, news) = &*self.log;
        let started = Instant::now();
        let mut lines = log.lock().unwrap();
        loop {
            let found: Vec<&String> = lines.iter().filter(|line| line.contains(text)).collect();
            if found.len() >= times {
                return found[times - 1].clone();
            }
            let left = DEADLINE.checked_sub(started.elapsed());
            let left = left.unwrap_or_else(|| panic!("not in the log: {text}\n{}", lines.join("\n")));
            lines = news.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// How many lines of the log have this text by now.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.log.0.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// The address of the last listener of a profile, or of the admin listener.
    pub(crate) fn address(&self, listener: &str) -> String {
        let is_it = |line: &&String| {
            line.contains("listening listener=")
                && (line.contains(&format!("profile=\"{listener}\""))
                    || line.contains(&format!("listener=\"{listener}\"")))
        };
        let lines = self.log.0.lock().unwrap();
        let line = lines.iter().rfind(is_it).unwrap_or_else(|| panic!("no listener {listener}: {lines:?}"));
        line.split("addr=").nth(1).unwrap().trim().to_owned()
    }

    /// The status of an answer to a GET at a profile, and its body.
    pub(crate) fn get(&self, profile: &str) -> String {
        let answer = get(&self.address(profile), "/api/v2/users");
        answer.lines().next().unwrap_or_default().to_owned()
    }

    pub(crate) fn admin(&self, path: &str) -> String {
        get(&self.address("admin"), path)
    }

    pub(crate) fn status(&self) -> Value {
        let answer = self.admin("/status");
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
    }

    /// Waits until the status is as it should be.
    pub(crate) fn status_until(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let status = self.status();
            if is_it(&status) {
                return status;
            }
            assert!(started.elapsed() < DEADLINE, "{what}: {status:#}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Reads the settings again, and waits until that is over.
    pub(crate) fn reload(&self) {
        let over = |served: &Self| {
            served.count("the settings were read again") + served.count("the new settings were refused")
        };
        let before = over(self);
        self.signal(Signal::HUP);
        let started = Instant::now();
        while over(self) == before {
            assert!(started.elapsed() < DEADLINE, "the reload does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it and waits for the end.
    pub(crate) fn end(self) -> ExitStatus {
        self.running.signal(Signal::TERM);
        self.running.wait()
    }
}

/// An API that takes any token and says this; its URL.
pub(crate) fn api(says: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let (mut answers, mut lines) = (stream.try_clone().unwrap(), BufReader::new(stream).lines());
                while let Some(Ok(line)) = lines.next() {
                    if line.is_empty() {
                        let length = says.len();
                        write!(answers, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{says}").unwrap();
                    }
                }
            });
        }
    });
    url
}

/// A settings file and the files of its secrets.
pub(crate) struct Files {
    pub(crate) folder: Folder,
}

impl Files {
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        folder.file("secret", CLIENT_SECRET);
        Self { folder }
    }

    /// Writes the settings file: a head, then a table for each profile.
    pub(crate) fn write(&self, text: &str) -> String {
        self.folder.file("config.toml", text)
    }

    pub(crate) fn secret(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    /// The head of a settings file, with an admin listener on a free port.
    pub(crate) fn head(&self) -> String {
        format!("admin_listen = \"127.0.0.1:0\"\nclient_secret_file = {:?}\n", self.secret())
    }

    /// The table of a profile with the client of this provider, on a free port, in front of this upstream.
    pub(crate) fn profile(name: &str, provider: &SimServer, upstream: &str) -> String {
        format!(
            "[profile.{name}]\nclient_id = \"{CLIENT_ID}\"\ntoken_url = \"{}\"\nupstream = \"{upstream}\"\nlisten = \"127.0.0.1:0\"\n",
            provider.token_url()
        )
    }

    /// A gateway of these profiles.
    pub(crate) fn start(&self, text: &str, profiles: &str) -> Served {
        let config = self.write(text);
        let mut command = command(&self.folder, &config);
        command.args(["--profile", profiles]);
        Served::start(command)
    }
}
