//! `evergrant explain --last`.

use evergrant_sim::faults::{ApiFault, Event};
use evergrant_sim::http::SimServer;

use crate::gateway::{FREE_PORTS, address, log_of};
use crate::support::{Folder, Running, evergrant, get, provider};

/// A gateway that has refused one request, and its admin address.
fn gateway_with_a_verdict(provider: &SimServer) -> (Running, Folder, String) {
    let (mut running, home) = evergrant(FREE_PORTS).client_of(provider).start();
    let mut log = log_of(&mut running);
    let (gateway, admin) = (address(&mut log, "gateway"), address(&mut log, "admin"));
    provider.handle().apply(Event::api(ApiFault::MissingPermission));
    assert!(get(&gateway, "/api/v2/users?secret=query").starts_with("HTTP/1.1 403"));
    (running, home, admin)
}

#[test]
fn the_last_verdicts_are_told_with_evidence_and_remedy() {
    let provider = provider();
    let (_running, _home, admin) = gateway_with_a_verdict(&provider);
    let text = evergrant(["explain", "--last", "--admin-listen", &admin]).end().good();
    assert!(text.starts_with("missing_permission (certain, fault: client config), "), "{text}");
    assert!(text.contains("GET /api/v2/users answered 403\n") && text.contains("  what to do: "), "{text}");
    assert!(!text.contains("query"), "{text}");
}

#[test]
fn json_has_the_verdicts_in_their_order() {
    let provider = provider();
    let (_running, _home, admin) = gateway_with_a_verdict(&provider);
    let text = evergrant(["explain", "--last", "1", "--json"]).env("EVERGRANT_ADMIN_LISTEN", &admin).end().good();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["verdicts"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["verdicts"][0]["cause"], "missing_permission");
    assert_eq!(json["verdicts"][0]["profile"], "default");
}

#[test]
fn a_gateway_without_refusals_says_so_and_prints_nothing() {
    let provider = provider();
    let (mut running, _home) = evergrant(FREE_PORTS).client_of(&provider).start();
    let admin = address(&mut log_of(&mut running), "admin");
    let ended = evergrant(["explain", "--last", "--admin-listen", &admin]).end();
    assert!(ended.stderr.contains("nothing was refused"), "{ended:?}");
    assert_eq!(ended.good(), "");
}

#[test]
fn where_no_gateway_answers_the_remedy_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = evergrant(["explain", "--last", "--admin-listen", &free.to_string()]);
    insta::assert_snapshot!(run.end().failed(5).replace(&free.port().to_string(), "PORT"), @r"
    error: no gateway answers
      in: 127.0.0.1:PORT
      cause: connection refused
    hint: start one with `evergrant gateway`; if it listens elsewhere, give its admin listener with --admin-listen
    ");
    let run = evergrant(["explain", "--last", "--admin-listen", "127.0.0.1:0"]);
    insta::assert_snapshot!(run.end().failed(3), @r"
    error: the gateway's admin listener is not known
      in: --admin-listen
      cause: port 0 is another port at each start
    hint: the gateway's log names it: give it with --admin-listen
    ");
    let other = provider();
    let run = evergrant(["explain", "--last", "--admin-listen", &other.addr().to_string()]);
    assert!(run.end().stderr.contains("hint: "));
}
