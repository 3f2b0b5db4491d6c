//! The token source on its own.

use std::time::{Duration, Instant};

use evergrant::core::keeper::AcquireErrorKind;
use evergrant::core::policy::Policy;
use evergrant::core::profile::Profile;
use evergrant::core::time::Span;
use evergrant::{Answer, Client, Credential, RequestTraits, Ruling, TokenSource, clock};
use evergrant_sim::faults::TokenFault;
use evergrant_sim::{Event, ProviderConfig, SimServer};

use crate::support::{builder, call_for, credential, genesys, living, start, until};

#[tokio::test]
async fn a_wrong_secret_is_told_quickly_and_healed_by_a_new_one() {
    let sim = SimServer::start(ProviderConfig::genesys()).unwrap();
    let wrong = Credential { client_secret: Some("wrong-s3cr3t".into()), ..credential() };
    let source = TokenSource::builder(genesys(&sim), wrong).build().unwrap();
    let started = Instant::now();
    let error = source.token().await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(error.kind, AcquireErrorKind::Rejected);
    assert!(error.to_string().contains("invalid_client") && !error.to_string().contains("wrong-s3cr3t"), "{error}");
    source.replace_client_secret(evergrant_sim::config::CLIENT_SECRET.into());
    assert!(!source.token().await.unwrap().expose().is_empty());
}

#[tokio::test]
async fn a_token_endpoint_that_refuses_connections_is_named() {
    let sim = SimServer::start(ProviderConfig::genesys()).unwrap();
    let profile = genesys(&sim);
    let place = sim.addr().to_string();
    drop(sim);
    let source = TokenSource::builder(profile, credential()).build().unwrap();
    let error = source.token_lasting(Span::ZERO, Some(clock::boot() + Span::from_secs(1))).await.unwrap_err();
    assert_eq!(error.kind, AcquireErrorKind::Unreachable);
    assert!(error.to_string().contains(&format!("refused by {place}")), "{error}");
}

#[tokio::test]
async fn the_issuer_names_the_token_endpoint() {
    let sim = SimServer::start(ProviderConfig::rfc()).unwrap();
    let source = TokenSource::builder(Profile::oidc(sim.url()), credential()).build().unwrap();
    let token = source.token().await.unwrap();
    let client = Client::builder(source).origin(sim.url()).build().unwrap();
    assert!(!token.expose().is_empty());
    assert_eq!(client.get("/api/v2/things").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_outage_of_the_token_endpoint_shows_to_nobody_while_the_token_lives() {
    let (sim, _source, client) = start(living(6));
    call_for(&client, Duration::from_secs(1)).await;
    sim.handle().apply(Event::token(TokenFault::Status(503, None)));
    call_for(&client, Duration::from_millis(3_500)).await;
    assert!(sim.handle().ledger().token.requests > 1, "a refresh was due");
    sim.handle().apply(Event::ClearTokenFaults);
    call_for(&client, Duration::from_secs(4)).await;
}

#[tokio::test]
async fn a_cancelled_caller_cancels_nothing() {
    let sim = SimServer::start(ProviderConfig::genesys()).unwrap();
    sim.handle().apply(Event::token(TokenFault::Slow(Span::from_millis(400))));
    let source = builder(&sim).build().unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), source.token()).await.is_err());
    until("the token arrives", || source.is_ready()).await;
    assert_eq!(sim.handle().ledger().token.requests, 1);
}

#[tokio::test]
async fn a_caller_whose_turn_comes_late_has_what_is_left_of_its_patience() {
    let sim = SimServer::start(ProviderConfig::genesys()).unwrap();
    sim.handle().apply(Event::token(TokenFault::Hang(Span::from_secs(60))));
    let policy = Policy { patience: Span::from_secs(20), cold_patience: Span::from_secs(20), ..Policy::default() };
    let source = builder(&sim).policy(policy).build().unwrap();
    let started = Instant::now();
    for least in [None, Some(Span::from_secs(1))] {
        let error = source.token_asked_at(clock::boot() - Span::from_secs(20), least).await.unwrap_err();
        assert_eq!(error.kind, AcquireErrorKind::TimedOut, "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_ruling_that_has_to_be_waited_for_can_be_waited_for_later() {
    let sim = SimServer::start(ProviderConfig::rfc()).unwrap();
    let policy = Policy { settle: Some(Span::from_millis(200)), ..Policy::default() };
    let source = builder(&sim).policy(policy).build().unwrap();
    let traits =
        RequestTraits { method: http::Method::GET, has_idempotency_key: false, is_body_kept: true, deadline: None };
    let headers = http::HeaderMap::new();
    let answer = |status| Answer {
        status,
        headers: &headers,
        body_prefix: &[],
        received: clock::boot(),
        host: "127.0.0.1",
        path: "/api/v2/things",
        can_send_again: true,
    };
    let mut exchange = source.exchange(traits);
    exchange.begin().await.unwrap();
    let (passed, forbidden) = (http::StatusCode::OK, http::StatusCode::FORBIDDEN);
    assert!(matches!(exchange.judge_now(answer(passed)), Some(Ruling::Pass(None))));
    assert!(matches!(exchange.judge_now(answer(forbidden)), Some(Ruling::Pass(Some(_)))));
    // The token is so new that the node may not know it yet.
    assert!(exchange.judge_now(answer(http::StatusCode::UNAUTHORIZED)).is_none());
    assert!(matches!(exchange.ruling().await, Ruling::Replay(_)));
    assert!(exchange.verdict_on_last_refusal().is_some());
}

#[tokio::test]
async fn the_background_task_ends_with_the_last_clone() {
    let (sim, source, client) = start(living(2));
    source.token().await.unwrap();
    drop(client);
    drop(source.clone());
    drop(source);
    let runtime = tokio::runtime::Handle::current();
    until("all tasks end", || runtime.metrics().num_alive_tasks() == 0).await;
    drop(sim);
}

#[test]
fn a_flight_whose_runtime_has_ended_is_over() {
    let sim = SimServer::start(ProviderConfig::genesys()).unwrap();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ended = runtime();
    let source = {
        let _in = ended.enter();
        builder(&sim).build().unwrap()
    };
    drop(ended);
    runtime().block_on(async {
        let ask = || source.token_lasting(Span::ZERO, Some(clock::boot()));
        // Its token request is dropped before its first step, and who asks next is told so.
        ask().await.unwrap_err();
        let error = ask().await.unwrap_err();
        assert_eq!(error.kind, AcquireErrorKind::Unreachable, "{error}");
        let is_over = tokio::time::timeout(Duration::from_secs(10), source.clone().shutdown()).await;
        assert!(is_over.is_ok(), "the shutdown waits for a token request that will never end");
    });
}
