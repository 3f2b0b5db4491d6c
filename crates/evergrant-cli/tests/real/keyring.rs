//! The keyring of a desktop as a store.

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use evergrant_sim::SimServer;
use evergrant_sim::config::ProviderConfig;
use serde_json::Value;

use crate::desktop::{Desktop, holds};

#[test]
fn a_token_in_the_keyring_is_shared_moved_and_forgotten() {
    let (provider, desktop) = (SimServer::start(ProviderConfig::default()).unwrap(), Desktop::new());
    let token = desktop.good(&["token", "--store", "keyring"], Some(&provider));
    assert_eq!(desktop.good(&["token", "--store", "keyring"], Some(&provider)), token);
    assert_eq!(provider.handle().ledger().token.requests, 1);
    assert!(!holds(desktop.home.path(), token.trim()), "the keyring keeps nothing in clear text");
    assert_eq!(desktop.listed("keyring")[0]["generation"], 1);
    assert_eq!(desktop.listed("keyring:other"), Value::Array(Vec::new()), "another name is another store");

    // To a file whose key the keyring keeps, to another name, and back.
    let file = format!("file:{}/tokens", desktop.home.path().display());
    desktop.good(&["store", "move", "--store", "keyring", "--to", &file, "--to-key-in", "keyring"], None);
    let from_file = ["token", "--store", &file, "--store-key-in", "keyring"];
    assert_eq!(desktop.good(&from_file, Some(&provider)), token);
    assert_eq!(desktop.listed("keyring"), Value::Array(Vec::new()));
    let to_other = ["store", "move", "--store", &file, "--store-key-in", "keyring", "--to", "keyring:other"];
    desktop.good(&to_other, None);
    assert_eq!(desktop.good(&["token", "--store", "keyring:other"], Some(&provider)), token);
    assert_eq!(provider.handle().ledger().token.requests, 1);

    let listed = desktop.listed("keyring:other");
    desktop.good(&["store", "forget", "--store", "keyring:other", listed[0]["credential"].as_str().unwrap()], None);
    assert_eq!(desktop.listed("keyring:other"), Value::Array(Vec::new()));
}

#[test]
fn a_damaged_item_is_named_and_can_be_forgotten() {
    let (provider, desktop) = (SimServer::start(ProviderConfig::default()).unwrap(), Desktop::new());
    desktop.good(&["token", "--store", "keyring"], Some(&provider));
    let name = desktop.listed("keyring")[0]["credential"].as_str().unwrap().to_owned();
    let attributes = ["application", "evergrant", "kind", "credential", "store", "default", "credential", &name];
    let mut clear = desktop.on_bus("secret-tool");
    assert!(clear.arg("clear").args(attributes).status().unwrap().success());
    let mut torn = desktop.on_bus("secret-tool");
    torn.args(["store", "--label=torn"]).args(attributes).stdin(Stdio::piped());
    let mut torn = torn.spawn().unwrap();
    torn.stdin.take().unwrap().write_all(b"{\"evergrant_store\":1,\"seal").unwrap();
    assert!(torn.wait().unwrap().success());

    assert!(desktop.listed("keyring")[0]["damaged"].is_string(), "{}", desktop.listed("keyring"));
    desktop.good(&["store", "forget", "--store", "keyring", &name], None);
    assert_eq!(desktop.listed("keyring"), Value::Array(Vec::new()));
    desktop.good(&["token", "--store", "keyring"], Some(&provider));
    assert_eq!(desktop.listed("keyring")[0]["generation"], 1);
}

#[test]
fn programs_that_share_the_keyring_take_turns() {
    let (provider, desktop) = (SimServer::start(ProviderConfig::default()).unwrap(), Desktop::new());
    let tokens: Vec<String> = std::thread::scope(|scope| {
        let one = || desktop.good(&["token", "--store", "keyring"], Some(&provider));
        let running: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
        running.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(provider.handle().ledger().token.requests, 1);
}

#[test]
fn a_locked_keyring_is_named_and_loses_nothing() {
    let (provider, desktop) = (SimServer::start(ProviderConfig::default()).unwrap(), Desktop::new());
    desktop.good(&["token", "--store", "keyring"], Some(&provider));
    let file = format!("file:{}/tokens", desktop.home.path().display());
    desktop.good(&["token", "--store", &file, "--store-key-in", "keyring"], Some(&provider));
    let before = std::fs::read(desktop.home.path().join("tokens")).unwrap();
    desktop.lock();
    for args in [
        &["store", "list", "--store", "keyring"][..],
        &["store", "list", "--store", &file, "--store-key-in", "keyring"],
    ] {
        let said = desktop.refused(args);
        assert!(said.contains("the keyring cannot be used: it is locked, and was not unlocked"), "{said}");
    }
    assert_eq!(std::fs::read(desktop.home.path().join("tokens")).unwrap(), before);
}

#[test]
fn a_key_is_waited_for_no_longer_than_the_timeout() {
    let (provider, mut desktop) = (SimServer::start(ProviderConfig::default()).unwrap(), Desktop::without_keyring());
    let bus = desktop.home.path().join("silent");
    // It takes connections and never says a word.
    let _listener = UnixListener::bind(&bus).unwrap();
    desktop.address = format!("unix:path={}", bus.display());
    let file = format!("file:{}/tokens", desktop.home.path().display());
    let asked = Instant::now();
    let words = ["token", "--timeout", "1s", "--store", &file, "--store-key-in", "keyring"];
    let output = desktop.evergrant(&words, Some(&provider));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(8) && said.contains("gave no answer in time"), "{said}");
    assert!(asked.elapsed() < Duration::from_secs(6), "{:?}", asked.elapsed());
}

#[test]
fn no_service_and_no_bus_are_named() {
    let desktop = Desktop::without_keyring();
    let said = desktop.refused(&["store", "list", "--store", "keyring"]);
    assert!(said.contains("no Secret Service can be reached: org.freedesktop.DBus.Error.ServiceUnknown"), "{said}");
    let mut nowhere = desktop;
    nowhere.address = "unix:path=/nowhere/bus".to_owned();
    let said = nowhere.refused(&["store", "list", "--store", "keyring"]);
    assert!(said.contains("no Secret Service can be reached"), "{said}");
    let file = format!("file:{}/tokens", nowhere.home.path().display());
    let said = nowhere.refused(&["store", "list", "--store", &file, "--store-key-in", "keyring"]);
    assert!(said.contains("no Secret Service can be reached"), "{said}");
}
