//! The provider block for Terraform: HashiCorp's parser reads it, the provider knows what is in it, and a stand-in for the
//! provider calls as the provider would.

use std::process::Command;

use evergrant_sim::config::ProviderConfig;
use evergrant_sim::http::SimServer;
use serde_json::Value;

use crate::checks::{content, node};
use crate::parts::{part, scratch, tool};
use crate::served::{Served, settings};
use crate::{path, root};

const FILE: &str = "examples/terraform/provider.tf";

/// What the stand-in did, with what is in the environment of somebody who uses the provider.
fn provider(command: &mut Command, simulated: &SimServer, more: Vec<(String, String)>) -> Value {
    command.env_clear().envs(settings(simulated)).env("PATH", path()).env("API", simulated.url()).envs(more);
    serde_json::from_str(&content(command, "")).unwrap()
}

/// Was every call of the pool answered?
fn all_are_good(said: &Value) -> bool {
    said["statuses"].as_array().is_some_and(|all| all.len() == 10 && all.iter().all(|status| status == 200))
}

fn variables() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root("examples/terraform/gateway.env")).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| !name.starts_with('#'));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn every_member_of_the_pool_calls_through_the_gateway_on_one_token() {
    let served = Served::start(&scratch("terraform-gateway"));
    let mut more = variables();
    for (_, value) in more.iter_mut().filter(|(name, _)| name == "GENESYSCLOUD_GATEWAY_PORT") {
        assert_eq!(value, "7070", "where a gateway listens if nobody says otherwise");
        served.port().clone_into(value);
    }
    let mut command = node("terraform_provider.mjs");
    let said = provider(command.arg(root(FILE).canonicalize().unwrap()), &served.provider, more);
    assert!(all_are_good(&said), "{said}");
    let tokens: Vec<_> = said["tokens"].as_array().unwrap().iter().map(|token| token.as_str().unwrap()).collect();
    assert!(tokens.len() == 10 && tokens.iter().all(|token| token.starts_with("eg1_")), "handles: {tokens:?}");
    assert_eq!(served.provider.handle().ledger().token.requests, 1);
}

#[test]
fn with_a_gateway_of_its_own_the_pool_shares_one_handle() {
    let simulated = SimServer::start(ProviderConfig::genesys()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_evergrant"));
    command.current_dir(tool("node")).args(["exec", "--gateway", "--", "node"]);
    command.arg(part("terraform_provider.mjs")).arg(root(FILE).canonicalize().unwrap());
    let said = provider(&mut command, &simulated, Vec::new());
    assert!(all_are_good(&said) && said["base"] != simulated.url(), "{said}");
    let tokens = said["tokens"].as_array().unwrap();
    assert!(tokens.len() == 1 && tokens[0].as_str().unwrap().starts_with("eg1_"), "{said}");
    assert_eq!(simulated.handle().ledger().token.requests, 1);
}

#[test]
fn without_a_gateway_the_pool_shares_the_token_of_exec() {
    let simulated = SimServer::start(ProviderConfig::genesys()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_evergrant"));
    command.current_dir(tool("node")).args(["exec", "--", "node"]);
    command.arg(part("terraform_provider.mjs")).arg(root(FILE).canonicalize().unwrap());
    let said = provider(&mut command, &simulated, Vec::new());
    assert_eq!((&said["base"], said["tokens"].as_array().unwrap().len()), (&simulated.url().into(), 1), "{said}");
    assert!(all_are_good(&said), "{said}");
    assert_eq!(simulated.handle().ledger().token.requests, 1);
}

#[test]
fn what_the_provider_does_not_know_is_found() {
    let file = scratch("terraform-unknown").join("provider.tf");
    let text = std::fs::read_to_string(root(FILE)).unwrap();
    std::fs::write(&file, text.replace("gateway {}", "gateway {\n    address = \"127.0.0.1:7070\"\n  }")).unwrap();
    let output = node("terraform_provider.mjs").arg(&file).env("GENESYSCLOUD_REGION", "eu-west-1").output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "gateway does not know address\n");
}
