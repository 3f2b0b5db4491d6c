//! `evergrant exec`.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_SECRET, ProviderConfig};
use evergrant_sim::faults::Event;
use evergrant_sim::http::SimServer;
use evergrant_sim::ledger::TokenOutcome;
use rustix::process::Signal;

use crate::support::{Folder, evergrant, get, provider};

#[test]
fn the_child_gets_the_token_and_none_of_our_secrets() {
    let genesys = SimServer::start(ProviderConfig::genesys()).unwrap();
    let run = evergrant(["exec", "--", "env"])
        .client_of(&genesys)
        .env("EVERGRANT_PROVIDER", "genesys")
        .env("EVERGRANT_REFRESH_TOKEN", "r3fr3sh")
        .env("EVERGRANT_STORE_KEY_FILE", "/nowhere")
        .env("GENESYSCLOUD_OAUTHCLIENT_SECRET", "s3cr3t")
        .env("GENESYS_CLOUD_CLIENT_SECRET_FILE", "/nowhere")
        .env("GENESYS_CLIENT_SECRET", "s3cr3t")
        .env("GENESYSCLOUD_ACCESS_TOKEN", "old")
        .env("KEPT", "yes");
    // Other tools' secrets are weaker than ours, so these change nothing but the warnings.
    let text = run.env("EVERGRANT_STORE_KEY_FILE", "").end().good();
    let names: Vec<&str> = text.lines().filter_map(|line| line.split('=').next()).collect();
    assert!(names.contains(&"KEPT") && names.contains(&"EVERGRANT_CLIENT_ID"), "{names:?}");
    assert!(names.iter().all(|name| !name.contains("SECRET") && !name.contains("REFRESH") && !name.contains("KEY")));
    let token = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    assert_eq!(token("EVERGRANT_ACCESS_TOKEN="), token("GENESYSCLOUD_ACCESS_TOKEN="));
    assert!(!text.contains(CLIENT_SECRET) && !text.contains("s3cr3t") && !text.contains("r3fr3sh"));
}

#[test]
fn the_childs_exit_code_is_ours() {
    let provider = provider();
    let code = |script: &str| evergrant(["exec", "--", "sh", "-c", script]).client_of(&provider).end().code();
    assert_eq!(code("exit 0"), 0);
    assert_eq!(code("exit 7"), 7);
    assert_eq!(code("kill -TERM $$"), 143);
}

#[test]
fn a_missing_command_is_127_and_an_unusable_one_126() {
    let provider = provider();
    let run = |name: &str| evergrant(["exec", "--", name]).client_of(&provider).end();
    insta::assert_snapshot!(run("no-such-command").failed(127), @r"
    error: cannot run `no-such-command`
      cause: there is no such command, or its interpreter is missing
    hint: check the spelling and PATH
    ");
    insta::assert_snapshot!(run("/etc/hostname").failed(126), @r"
    error: cannot run `/etc/hostname`
      cause: Exec format error (os error 8)
    hint: check that it is a program and that you may execute it
    ");
}

#[test]
fn without_a_token_nothing_is_started() {
    let provider = provider();
    let run = evergrant(["exec", "--", "echo", "started"]).client_of(&provider).env("EVERGRANT_CLIENT_SECRET", "wrong");
    run.end().failed(4);
}

#[test]
fn signals_reach_the_child() {
    let provider = provider();
    let script = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let (mut running, _home) = evergrant(["exec", "--", "sh", "-c", script]).client_of(&provider).start();
    let mut lines = BufReader::new(running.child().stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    running.signal(Signal::TERM);
    assert_eq!(lines.next().unwrap().unwrap(), "caught");
    assert_eq!(running.wait().code(), Some(5));
}

#[test]
fn a_private_gateway_takes_a_secret_that_is_changed_in_its_file() {
    let lifetime = Span::from_secs(2);
    let provider = SimServer::start(ProviderConfig::rfc().with_lifetime(lifetime)).unwrap();
    let folder = Folder::new();
    let file = folder.file("secret", CLIENT_SECRET);
    let script = "echo $EVERGRANT_GATEWAY_URL; read line";
    let run = evergrant(["exec", "--gateway", "--", "sh", "-c", script]).client_of(&provider);
    let run = run.env("EVERGRANT_CLIENT_SECRET", "").env("EVERGRANT_CLIENT_SECRET_FILE", &file);
    let (mut running, _home) = run.start();
    let mut lines = BufReader::new(running.child().stdout.take().unwrap()).lines();
    let url = lines.next().unwrap().unwrap();
    let address = url.strip_prefix("http://").unwrap();
    folder.file("secret", "another-s3cret");
    provider.handle().apply(Event::SetClientSecret("another-s3cret".to_owned()));
    let issued = || provider.handle().ledger().token_requests_ended(TokenOutcome::Issued);
    let before = issued();
    let deadline = Instant::now() + Duration::from_secs(20);
    while issued() < before + 2 {
        assert!(Instant::now() < deadline, "the new secret is not used");
        let answer = get(address, "/api/v2/users");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(provider.handle().ledger().token_requests_ended(TokenOutcome::InvalidClient), 0);
    drop(running.child().stdin.take());
    running.wait();
}

#[test]
fn a_private_gateway_lives_as_long_as_the_child() {
    let provider = provider();
    let script = "echo $EVERGRANT_GATEWAY_URL; read line; exit 3";
    let (mut running, _home) = evergrant(["exec", "--gateway", "--", "sh", "-c", script]).client_of(&provider).start();
    let mut lines = BufReader::new(running.child().stdout.take().unwrap()).lines();
    let url = lines.next().unwrap().unwrap();
    let address = url.strip_prefix("http://").unwrap();
    let answer = get(address, "/api/v2/users");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("/api/v2/users"), "{answer}");
    drop(running.child().stdin.take());
    assert_eq!(running.wait().code(), Some(3));
    assert!(std::net::TcpStream::connect(address).is_err(), "the gateway still listens");
}
