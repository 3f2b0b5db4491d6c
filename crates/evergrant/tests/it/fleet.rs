//! Sources that share a grant through Redis.

use std::time::{Duration, Instant};

use evergrant::core::time::Span;
use evergrant::{Client, Credential, TokenSource};
use evergrant_sim::faults::TokenFault;
use evergrant_sim::ledger::TokenOutcome;
use evergrant_sim::{Event, ProviderConfig, SimServer};

use crate::redis::open;
use crate::redis_server::RedisServer;
use crate::support::{builder, call_for, credential, genesys, living, rotating, until};

pub(crate) fn strict(secs: i64) -> ProviderConfig {
    let mut config = living(secs);
    config.rotation.reuse_detection = true;
    config.rotation.grace = Span::from_secs(30);
    config
}

async fn generation(source: &TokenSource) -> u64 {
    source.token().await.unwrap().generation().0
}

fn requests(sim: &SimServer) -> u64 {
    sim.handle().ledger().token.requests
}

#[tokio::test]
async fn a_published_token_is_adopted_by_everybody_at_once() {
    let (server, sim) = (RedisServer::start(&[]), SimServer::start(strict(3600)).unwrap());
    let sources = [0, 1, 2, 3].map(|_| rotating(&sim, open(&server.url())).build().unwrap());
    for source in &sources {
        assert_eq!(generation(source).await, 1);
    }
    assert_eq!(requests(&sim), 1);
    let client = Client::builder(sources[0].clone()).build().unwrap();
    call_for(&client, Duration::from_millis(50)).await;
    sim.handle().apply(Event::RevokeAll);
    call_for(&client, Duration::from_secs(1)).await;
    let published = Instant::now();
    for source in &sources {
        until("the token is adopted", || source.status().report.newest.0 == 2).await;
    }
    assert!(published.elapsed() < Duration::from_secs(1), "{:?}", published.elapsed());
    assert_eq!(requests(&sim), 2);
}

#[tokio::test]
async fn a_fleet_refreshes_once_per_lifetime() {
    let (server, sim) = (RedisServer::start(&[]), SimServer::start(strict(4)).unwrap());
    let clients = [0, 1, 2].map(|_| {
        let source = rotating(&sim, open(&server.url())).build().unwrap();
        Client::builder(source).build().unwrap()
    });
    let [one, two, three] = &clients;
    let span = Duration::from_secs(9);
    tokio::join!(call_for(one, span), call_for(two, span), call_for(three, span));
    let ledger = sim.handle().ledger();
    assert_eq!(ledger.token.max_in_flight, 1);
    assert!((4..=7).contains(&ledger.token.requests), "{} token requests", ledger.token.requests);
}

#[tokio::test]
async fn one_member_is_told_to_wait_and_all_of_them_do() {
    let (server, sim) = (RedisServer::start(&[]), SimServer::start(strict(3600)).unwrap());
    sim.handle().apply(Event::token(TokenFault::Status(429, Some(600))));
    let start = || rotating(&sim, open(&server.url())).build().unwrap();
    let sources = [0; 8].map(|_| start());
    let is_told = |source: &TokenSource| {
        let report = source.status().report;
        let is_limited = report.last_failure.is_some_and(|failure| failure.contains("429"));
        is_limited && report.retry_in_s.is_some_and(|wait| wait > 500.0)
    };
    until("all know of it", || sources.iter().all(is_told)).await;
    assert_eq!(requests(&sim), 1);
    let late = start();
    until("so does one that starts later", || is_told(&late)).await;
    assert_eq!(requests(&sim), 1);
}

#[tokio::test]
async fn members_with_the_old_secret_adopt_what_one_with_the_new_secret_gets() {
    let (server, sim) = (RedisServer::start(&[]), SimServer::start(living(3)).unwrap());
    let client = |next: Option<&str>| {
        let credential = Credential { next_client_secret: next.map(Into::into), ..credential() };
        let source = TokenSource::builder(genesys(&sim), credential).store(open(&server.url())).build().unwrap();
        Client::builder(source).build().unwrap()
    };
    let (old, other, new) = (client(None), client(None), client(Some("n3w-s3cret")));
    let span = Duration::from_secs(8);
    call_for(&old, Duration::from_millis(200)).await;
    sim.handle().apply(Event::SetClientSecret("n3w-s3cret".to_owned()));
    tokio::join!(call_for(&old, span), call_for(&other, span), call_for(&new, span));
    let ended = |outcome| sim.handle().ledger().token_requests_ended(outcome);
    let (refused, issued) = (ended(TokenOutcome::InvalidClient), ended(TokenOutcome::Issued));
    assert!(issued >= 3 && (1..=3 * issued).contains(&refused), "each tries once for a token: {refused}, {issued}");
}

#[tokio::test]
async fn what_redis_has_lost_is_written_back_and_costs_no_request() {
    let (mut server, sim) = (RedisServer::start(&[]), SimServer::start(strict(3600)).unwrap());
    let first = rotating(&sim, open(&server.url())).build().unwrap();
    assert_eq!(generation(&first).await, 1);
    server.restart();
    until("the record is back", || !server.records().is_empty()).await;
    let second = rotating(&sim, open(&server.url())).build().unwrap();
    assert_eq!(generation(&second).await, 1);
    assert_eq!(requests(&sim), 1);
}

#[tokio::test]
async fn without_redis_client_credentials_go_on_and_the_token_is_stored_later() {
    let (mut server, sim) = (RedisServer::start(&[]), SimServer::start(living(3600)).unwrap());
    server.kill();
    let source = builder(&sim).store(open(&server.url())).build().unwrap();
    let asked = Instant::now();
    assert_eq!(generation(&source).await, 1);
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    server.restart();
    until("the record is stored", || !server.records().is_empty()).await;
    let second = builder(&sim).store(open(&server.url())).build().unwrap();
    assert_eq!(second.token().await.unwrap().expose(), source.token().await.unwrap().expose());
    assert_eq!(requests(&sim), 1);
}

#[tokio::test]
async fn without_redis_a_rotating_grant_is_not_refreshed_and_its_token_serves_until_it_is_gone() {
    let (mut server, sim) = (RedisServer::start(&[]), SimServer::start(strict(6)).unwrap());
    let source = rotating(&sim, open(&server.url())).build().unwrap();
    let client = Client::builder(source.clone()).build().unwrap();
    call_for(&client, Duration::from_millis(50)).await;
    server.kill();
    // The refresh is due after two thirds of it.
    call_for(&client, Duration::from_millis(4_200)).await;
    assert_eq!((generation(&source).await, requests(&sim)), (1, 1));
    server.restart();
    until("the refresh is made up for", || requests(&sim) == 2).await;
    call_for(&client, Duration::from_millis(500)).await;
    assert_eq!(generation(&source).await, 2);
}

#[tokio::test]
async fn a_source_at_rest_asks_redis_nothing() {
    let (server, sim) = (RedisServer::start(&[]), SimServer::start(strict(3600)).unwrap());
    let source = rotating(&sim, open(&server.url())).build().unwrap();
    assert_eq!(generation(&source).await, 1);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = server.commands();
    tokio::time::sleep(Duration::from_secs(3)).await;
    // The look itself is a command, and the client that takes it greets the server.
    assert!(server.commands() - before <= 4, "{} commands", server.commands() - before);
    assert_eq!(generation(&source).await, 1);
}
