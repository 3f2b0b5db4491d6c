//! Requests through the client.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use evergrant::core::time::Span;
use evergrant::core::verdict::Cause;
use evergrant::reqwest::Body;
use evergrant::transport::ConnectionFailureKind;
use evergrant::{Client, ClientError};
use evergrant_sim::config::{Delay, RateLimit};
use evergrant_sim::faults::{ApiFault, ApiRule, Chance};
use evergrant_sim::{Event, ProviderConfig};

use crate::support::{builder, call_for, living, start};

#[tokio::test]
async fn several_lifetimes_pass_without_a_refusal_that_shows() {
    let (sim, _source, client) = start(living(3));
    assert!(call_for(&client, Duration::from_secs(8)).await > 100);
    let ledger = sim.handle().ledger();
    assert!((3..=8).contains(&ledger.token.requests), "{} token requests", ledger.token.requests);
    assert_eq!(ledger.token.max_in_flight, 1);
}

#[tokio::test]
async fn early_revocation_is_healed_by_one_mint() {
    let (sim, _source, client) = start(living(3600));
    call_for(&client, Duration::from_millis(100)).await;
    sim.handle().apply(Event::RevokeAll);
    call_for(&client, Duration::from_millis(500)).await;
    assert_eq!(sim.handle().ledger().token.requests, 2);
}

#[tokio::test]
async fn late_propagation_is_waited_out_and_mints_nothing() {
    let config = living(3600).with_nodes(2).with_propagation(Delay::fixed(Span::from_millis(700)));
    let (sim, _source, client) = start(config);
    call_for(&client, Duration::from_secs(1)).await;
    assert_eq!(sim.handle().ledger().token.requests, 1);
}

#[tokio::test]
async fn a_body_in_memory_is_sent_again_whole_and_its_effect_happens_once() {
    let (sim, _source, client) = start(living(3600));
    call_for(&client, Duration::from_millis(50)).await;
    sim.handle().apply(Event::RevokeAll);
    let body = "x".repeat(100_000);
    let answer = client.post("/api/v2/things").header("sim-effect", "one").body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let value: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(value["body_len"], 100_000);
    assert_eq!(sim.handle().ledger().duplicated_effects(), 0);
}

#[tokio::test]
async fn a_stream_is_sent_once_and_its_refusal_shows_with_a_verdict() {
    let (sim, _source, client) = start(living(3600));
    call_for(&client, Duration::from_millis(50)).await;
    let stream = || Body::wrap(http_body_util::Full::new(bytes::Bytes::from_static(b"streamed")));
    let answer = client.post("/api/v2/things").body(stream()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    sim.handle().apply(Event::RevokeAll);
    let answer = client.post("/api/v2/things").body(stream()).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert!(answer.verdict().is_some());
    let value: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(value["code"], "bad.credentials");
}

#[tokio::test]
async fn a_refused_permission_keeps_its_whole_body_and_mints_nothing() {
    let (sim, _source, client) = start(living(3600));
    sim.handle().apply(Event::api(ApiFault::MissingPermission));
    let answer = client.get("/api/v2/things").send().await.unwrap();
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.verdict().unwrap().cause, Cause::MissingPermission);
    assert!(serde_json::from_str::<serde_json::Value>(&answer.text().await.unwrap()).is_ok());
    assert_eq!(sim.handle().ledger().token.requests, 1);
}

#[tokio::test]
async fn the_token_stays_at_its_origins() {
    let (_sim, _source, client) = start(living(3600));
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let url = format!("http://{}/p?code=hunter2", elsewhere.local_addr().unwrap());
    let error = client.get(&url).send().await.unwrap_err();
    assert!(matches!(error, ClientError::ForeignOrigin(_)), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    assert!(elsewhere.accept().is_err(), "nothing may have connected");
}

#[tokio::test]
async fn a_redirect_is_handed_out_and_not_followed() {
    let (sim, source, _client) = start(living(3600));
    let elsewhere = format!("{}/api/v2/stolen", sim.url());
    let answer = format!("HTTP/1.1 302 Found\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
    let origin = answering(vec![answer]);
    let client = Client::builder(source).origin(&origin).build().unwrap();
    let answer = client.get("/from").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()), (302, &*elsewhere));
    assert_eq!(sim.handle().ledger().api.calls, 0);
}

#[tokio::test]
async fn a_replay_without_an_answer_leaves_the_refusal_with_its_body() {
    let (_sim, source, _client) = start(living(3600));
    let body = format!(r#"{{"status":401,"code":"bad.credentials","message":"{}"}}"#, "m".repeat(40_000));
    let head = "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let origin = answering(vec![format!("{head}content-length: {}\r\n\r\n{body}", body.len())]);
    let client = Client::builder(source).origin(&origin).build().unwrap();
    let answer = client.get("/x").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert!(answer.verdict().is_some());
    assert_eq!(answer.text().await.unwrap(), body);
}

#[tokio::test]
async fn the_callers_own_authorization_passes_unchanged() {
    let (sim, _source, client) = start(living(3600));
    let answer = client.get("/api/v2/things").header("authorization", "Bearer mine").send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.verdict().unwrap().cause, Cause::CallerToken);
    assert_eq!(sim.handle().ledger().token.requests, 1);
    let empty = client.get("/api/v2/things").header("authorization", "Bearer ").send().await.unwrap();
    assert_eq!(empty.status(), 200);
    let two = client.get("/").header("authorization", "Bearer a").header("authorization", "Bearer b").send().await;
    assert!(matches!(two, Err(ClientError::TwoAuthorizations)));
}

#[tokio::test]
async fn what_fails_on_the_way_is_typed_and_names_no_query() {
    let (sim, source, client) = start(living(3600));
    source.token().await.unwrap();
    let rule = |fault| Event::ApiFault(ApiRule { fault, route: None, chance: Chance::next(1) });
    sim.handle().apply(rule(ApiFault::Status(503)));
    assert_eq!(client.get("/api/a?code=hunter2").send().await.unwrap().status(), 503);
    sim.handle().apply(rule(ApiFault::Lost));
    let Err(ClientError::NoAnswer(lost)) = client.post("/api/a?code=hunter2").send().await else { panic!("an answer") };
    assert_eq!(lost.kind, ConnectionFailureKind::Lost);
    sim.handle().apply(rule(ApiFault::Slow(Span::from_secs(5))));
    let slow = client.get("/api/a?code=hunter2").timeout(Duration::from_millis(200)).send().await;
    let Err(ClientError::NoAnswer(slow)) = slow else { panic!("an answer") };
    assert_eq!(slow.kind, ConnectionFailureKind::TimedOut);
    sim.handle().apply(rule(ApiFault::Torn));
    let torn = client.get("/api/a?bytes=1000").send().await.unwrap().bytes().await.unwrap_err();
    assert!(matches!(torn, ClientError::Broken(_)), "{torn}");
    assert!(!format!("{lost} {lost:?} {slow} {slow:?} {torn} {torn:?}").contains("hunter2"));
    drop(sim);
    let Err(ClientError::NoAnswer(gone)) = client.get("/").send().await else { panic!("an answer") };
    assert_eq!(gone.kind, ConnectionFailureKind::Unreachable);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_verdict_says_why() {
    let sim = evergrant_sim::SimServer::start(ProviderConfig::genesys()).unwrap();
    sim.handle().apply(Event::SetClientSecret("another".to_owned()));
    let client = Client::builder(builder(&sim).build().unwrap()).build().unwrap();
    let Err(ClientError::NoToken { error, verdict }) = client.get("/").send().await else { panic!("an answer") };
    assert!(error.to_string().contains("invalid_client"), "{error}");
    assert_eq!(verdict.cause, Cause::ClientRejected);
    assert_eq!(sim.handle().ledger().api.calls, 0);
}

/// An origin that gives these answers, one to each connection, and then closes every connection unanswered.
fn answering(answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut answers = answers.into_iter();
        // The thread ends with the first connection that finds no answer.
        while let Ok((mut socket, _)) = listener.accept() {
            let Some(answer) = answers.next() else { return };
            let _head = socket.read(&mut [0; 4096]);
            let _sent = socket.write_all(answer.as_bytes());
        }
    });
    origin
}

/// An API that takes two requests in two seconds with one token.
fn limited(sim_secs: i64) -> ProviderConfig {
    let mut config = living(3600);
    config.rate_limit = Some(RateLimit { count: 2, window: Span::from_secs(sim_secs), is_told: true });
    config
}

#[tokio::test]
async fn a_429_is_waited_out_and_its_request_executed_once() {
    let (sim, _source, client) = start(limited(2));
    for _ in 0..3 {
        let answer = client.post("/api/v2/things").header("sim-effect", "one").body("x").send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let ledger = sim.handle().ledger();
    assert_eq!((ledger.api.rate_limited, ledger.duplicated_effects()), (1, 2));
}

#[tokio::test]
async fn a_429_that_lasts_too_long_is_an_answer_at_once() {
    let (sim, _source, client) = start(limited(3600));
    for status in [200, 200, 429] {
        let answer = client.get("/api/v2/users").timeout(Duration::from_secs(20)).send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.verdict().map(|verdict| verdict.cause), (status == 429).then_some(Cause::RateLimited));
    }
    assert_eq!(sim.handle().ledger().api.rate_limited, 1);
}
