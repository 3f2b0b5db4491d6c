//! The `evergrant` program as a gateway, started as a user starts it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::faked_wall::FakedWall;
use crate::process::Process;

/// A running gateway.
pub(crate) struct Gateway {
    process: Process,
    url: String,
    admin: String,
}

impl Gateway {
    /// Starts a gateway with these settings, on ports of its own, and with nothing else of our environment.
    pub(crate) fn start(home: &Path, wall: Option<&FakedWall>, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evergrant"));
        command.args(["gateway", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.env_clear().env("HOME", home).env("EVERGRANT_LOG", "info");
        command.envs(settings.iter().map(|(name, value)| (format!("EVERGRANT_{name}"), value)));
        if let Some(wall) = wall {
            command.envs(wall.variables());
        }
        let process = Process::start("the gateway", &mut command);
        let address = |listener: &str| process.line(|line| listening(line, listener));
        let (url, admin) = (address("gateway"), address("admin"));
        Self { process, url: format!("http://{url}"), admin: format!("http://{admin}") }
    }

    /// Where callers go.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where the dashboard is.
    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    /// The admin listener's account of itself.
    pub(crate) async fn status(&self) -> Value {
        let answer = reqwest::get(format!("{}/status", self.admin)).await.unwrap();
        answer.json().await.unwrap()
    }

    /// Its memory that is in use now, in MiB.
    pub(crate) fn resident_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()).unwrap();
        kib.parse::<u64>().unwrap() / 1024
    }

    /// The system's number for its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Everything it logged.
    pub(crate) fn log(&self) -> String {
        self.process.said()
    }
}

/// The address in a line such as `INFO evergrant: listening listener="gateway" addr=127.0.0.1:40321`.
pub(crate) fn listening(line: &str, listener: &str) -> Option<String> {
    let is_it = line.contains("listening") && line.contains(&format!("listener=\"{listener}\""));
    let (_, address) = line.split_once("addr=").filter(|_| is_it)?;
    Some(address.split_whitespace().next()?.to_owned())
}

#[test]
fn a_listening_line_tells_the_address() {
    let line = "2026-01-01T00:00:00Z  INFO evergrant: listening listener=\"admin\" addr=127.0.0.1:7071";
    assert_eq!(listening(line, "admin").as_deref(), Some("127.0.0.1:7071"));
    assert_eq!(listening(line, "gateway"), None);
}
