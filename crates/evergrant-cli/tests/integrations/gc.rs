//! The command line of Genesys Cloud: its part is played by a script that follows its source.

use std::os::unix::fs::symlink;
use std::process::Command;

use evergrant_sim::config::ProviderConfig;
use evergrant_sim::http::SimServer;

use crate::checks::content;
use crate::parts::{part, scratch};
use crate::served::{Served, settings};
use crate::{path, root};

const FOLDER: &str = "examples/gc-cli";

#[test]
fn users_are_listed_with_a_gateway_of_its_own() {
    let folder = scratch("gc-own");
    symlink(part("gc.py").canonicalize().unwrap(), folder.join("gc")).unwrap();
    let simulated = SimServer::start(ProviderConfig::genesys()).unwrap();
    let mut command = Command::new(root(FOLDER).join("users.sh"));
    command.env_clear().envs(settings(&simulated)).env("HOME", &folder);
    let said = content(command.env("PATH", format!("{}:{}", folder.display(), path())), "");
    assert!(said.contains(r#""path":"/api/v2/users""#), "{said}");
}

#[test]
fn a_profile_without_a_client_lists_users_through_a_gateway_that_runs() {
    let folder = scratch("gc-shared");
    let served = Served::start(&folder);
    let profile = std::fs::read_to_string(root(FOLDER).join("config.toml")).unwrap();
    std::fs::create_dir(folder.join(".gc")).unwrap();
    std::fs::write(
        folder.join(".gc/config.toml"),
        profile.replace("localhost:7070", &format!("localhost:{}", served.port())),
    )
    .unwrap();
    let mut command = Command::new(part("gc.py"));
    let said = content(command.args(["users", "list"]).env_clear().env("PATH", path()).env("HOME", &folder), "");
    assert!(said.contains(r#""path":"/api/v2/users""#), "{said}");
}
