//! The token source on its own.

use std::time::{Duration, Instant};

use evergrant::core::keeper::AcquireErrorKind;
use evergrant::core::profile::Profile;
use evergrant::core::time::Span;
use evergrant::{Client, Credential, TokenSource};
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
    let error =
        source.token_lasting(Span::ZERO, Some(evergrant::clock::boot() + Span::from_secs(1))).await.unwrap_err();
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
        let ask = || source.token_lasting(Span::ZERO, Some(evergrant::clock::boot()));
        // Its token request is dropped before its first step, and who asks next is told so.
        ask().await.unwrap_err();
        let error = ask().await.unwrap_err();
        assert_eq!(error.kind, AcquireErrorKind::Unreachable, "{error}");
        let is_over = tokio::time::timeout(Duration::from_secs(10), source.clone().shutdown()).await;
        assert!(is_over.is_ok(), "the shutdown waits for a token request that will never end");
    });
}
