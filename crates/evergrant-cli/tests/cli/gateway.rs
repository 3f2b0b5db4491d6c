//! `evergrant gateway`.

use std::io::{BufRead, BufReader};
use std::process::ChildStderr;

use evergrant_core::time::Span;
use evergrant_sim::config::RateLimit;
use evergrant_sim::{ProviderConfig, SimServer};
use rustix::process::Signal;

use crate::support::{Running, evergrant, get, provider};

pub(crate) const FREE_PORTS: [&str; 5] = ["gateway", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

/// The next address that the log names for this listener.
pub(crate) fn address(log: &mut BufReader<ChildStderr>, listener: &str) -> String {
    for line in log.lines() {
        let line = line.unwrap();
        if line.contains(&format!("listener=\"{listener}\"")) {
            return line.split("addr=").nth(1).unwrap().trim().to_owned();
        }
    }
    panic!("the {listener} listener is not in the log");
}

pub(crate) fn log_of(running: &mut Running) -> BufReader<ChildStderr> {
    BufReader::new(running.child().stderr.take().unwrap())
}

#[test]
fn a_gateway_says_where_it_listens_serves_and_ends_on_sigterm() {
    let provider = provider();
    let (mut running, _home) = evergrant(FREE_PORTS).client_of(&provider).start();
    let mut log = log_of(&mut running);
    let (gateway, admin) = (address(&mut log, "gateway"), address(&mut log, "admin"));
    let answer = get(&gateway, "/api/v2/users");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("/api/v2/users"), "{answer}");
    assert!(get(&admin, "/readyz").starts_with("HTTP/1.1 200"));
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code(), Some(0));
}

#[test]
fn a_gateway_leaves_no_core_dump() {
    let provider = provider();
    let (mut running, _home) = evergrant(FREE_PORTS).client_of(&provider).start();
    address(&mut log_of(&mut running), "gateway");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.child().id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_ascii_whitespace().nth(4), Some("0"), "{core}");
}

#[test]
fn json_tells_the_addresses_on_standard_output() {
    let provider = provider();
    let args = FREE_PORTS.into_iter().chain(["--json"]);
    let (mut running, _home) = evergrant(args).client_of(&provider).start();
    let mut line = String::new();
    BufReader::new(running.child().stdout.take().unwrap()).read_line(&mut line).unwrap();
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(get(json["gateway"].as_str().unwrap(), "/api/v2/users").starts_with("HTTP/1.1 200"));
    assert!(json["admin"].is_string());
}

#[test]
fn a_gateway_starts_without_its_token_endpoint_and_tells_callers_why() {
    let provider = provider();
    let run = evergrant(FREE_PORTS).client_of(&provider).env("EVERGRANT_CLIENT_SECRET", "wrong");
    let (mut running, _home) = run.start();
    let mut log = log_of(&mut running);
    let (gateway, admin) = (address(&mut log, "gateway"), address(&mut log, "admin"));
    let answer = get(&gateway, "/api/v2/users");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("invalid_client"), "{answer}");
    assert!(get(&admin, "/readyz").starts_with("HTTP/1.1 503"));
}

#[test]
fn requests_beyond_the_rate_limit_are_answered_at_once_if_asked_for() {
    let mut config = ProviderConfig::rfc();
    config.rate_limit = Some(RateLimit { count: 10, window: Span::from_secs(3_600), is_told: true });
    let provider = SimServer::start(config).unwrap();
    let args = FREE_PORTS.into_iter().chain(["--rate-limited", "answer", "--caller-weights", "nightly=3"]);
    let (mut running, _home) = evergrant(args).client_of(&provider).start();
    let mut log = log_of(&mut running);
    let (gateway, admin) = (address(&mut log, "gateway"), address(&mut log, "admin"));
    for _ in 0..9 {
        assert!(get(&gateway, "/api/v2/users").starts_with("HTTP/1.1 200"));
    }
    let refused = get(&gateway, "/api/v2/users");
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("retry-after: 3"), "{refused}");
    assert!(refused.contains("evergrant-verdict: rate_limited; certain; "), "{refused}");
    assert_eq!(provider.handle().ledger().api.rate_limited, 0, "one request is kept in reserve");
    let metrics = get(&admin, "/metrics");
    for sample in ["evergrant_gateway_rate_allowed{", "evergrant_gateway_rate_answered_429_total{"] {
        assert!(metrics.contains(sample), "{sample} is not in {metrics}");
    }
}

#[test]
fn a_port_in_use_is_named_with_a_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let provider = provider();
    let run = evergrant(["gateway", "--listen", &address]).client_of(&provider);
    let port = address.split(':').nth(1).unwrap().to_owned();
    insta::assert_snapshot!(run.end().failed(10).replace(&port, "PORT"), @r"
    error: cannot listen on 127.0.0.1:PORT
      in: 127.0.0.1:PORT
      cause: the port is in use by another process
    hint: end that process (`ss -ltnp 'sport = :PORT'` names it), or choose another port with --listen and --admin-listen; port 0 takes a free one
    ");
    assert_eq!(provider.handle().ledger().token.requests, 0);
}

#[test]
fn a_gateway_needs_an_upstream() {
    let provider = provider();
    let run = evergrant(["gateway"]).client_of(&provider).env("EVERGRANT_UPSTREAM", "");
    insta::assert_snapshot!(run.end().failed(3), @r"
    error: there is no upstream
      cause: nothing says which API the requests are for
    hint: set EVERGRANT_UPSTREAM or --upstream, or for Genesys Cloud EVERGRANT_REGION
    ");
}
