//! A gateway that runs while a tool's part is played.

use std::path::Path;
use std::process::Command;

use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig};
use evergrant_sim::http::SimServer;

use crate::process::Process;

/// A provider in the manner of Genesys Cloud, and a gateway before it.
pub(crate) struct Served {
    pub(crate) provider: SimServer,
    /// The gateway's address.
    pub(crate) address: String,
    _process: Process,
}

impl Served {
    pub(crate) fn start(home: &Path) -> Self {
        let provider = SimServer::start(ProviderConfig::genesys()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_evergrant"));
        command.args(["gateway", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.env_clear().env("HOME", home).envs(settings(&provider));
        let process = Process::start("the gateway", &mut command);
        let address = process.line(|line| crate::listening(line, "gateway"));
        Self { provider, address, _process: process }
    }

    /// The gateway's port.
    pub(crate) fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap()
    }
}

/// The settings of a program of ours, by the names that Genesys Cloud's own tools read.
pub(crate) fn settings(provider: &SimServer) -> [(&'static str, String); 6] {
    [
        ("EVERGRANT_PROVIDER", "genesys".to_owned()),
        ("EVERGRANT_TOKEN_URL", provider.token_url()),
        ("EVERGRANT_UPSTREAM", provider.url()),
        ("GENESYSCLOUD_REGION", "eu-west-1".to_owned()),
        ("GENESYSCLOUD_OAUTHCLIENT_ID", CLIENT_ID.to_owned()),
        ("GENESYSCLOUD_OAUTHCLIENT_SECRET", CLIENT_SECRET.to_owned()),
    ]
}
