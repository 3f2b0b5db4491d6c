//! Sources that share what they know through a store.

use std::time::Duration;

use evergrant::core::keeper::AcquireErrorKind;
use evergrant::core::time::Span;
use evergrant::grant::Grant;
use evergrant::store::{CredentialKey, Store, StoreUrl};
use evergrant::{Client, Credential, TokenSource, clock};
use evergrant_sim::faults::{Chance, TokenFault, TokenRule};
use evergrant_sim::ledger::TokenOutcome;
use evergrant_sim::{Event, ProviderConfig, SimServer};

use crate::support::{builder, call_for, credential, genesys, living, rotating, until};

fn file(folder: &tempfile::TempDir) -> Store {
    Store::open(&StoreUrl::PlainFile(folder.path().join("tokens")), None).unwrap()
}

fn memory() -> Store {
    Store::open(&StoreUrl::Memory, None).unwrap()
}

fn strict(secs: i64) -> ProviderConfig {
    let mut config = living(secs);
    config.rotation.reuse_detection = true;
    config.rotation.grace = Span::from_secs(30);
    config
}

#[tokio::test]
async fn a_rotating_grant_survives_lifetimes_and_a_lost_answer_in_memory() {
    let sim = SimServer::start(strict(3)).unwrap();
    let source = rotating(&sim, memory()).build().unwrap();
    let client = Client::builder(source).build().unwrap();
    call_for(&client, Duration::from_secs(2)).await;
    sim.handle().apply(Event::TokenFault(TokenRule { fault: TokenFault::Lost, chance: Chance::next(1) }));
    call_for(&client, Duration::from_secs(5)).await;
    assert_eq!(sim.handle().ledger().token.max_in_flight, 1);
}

#[tokio::test]
async fn two_processes_share_a_rotating_grant_and_mint_once_per_lifetime() {
    let folder = tempfile::tempdir().unwrap();
    let sim = SimServer::start(strict(4)).unwrap();
    let clients = [file(&folder), file(&folder)].map(|store| {
        let source = rotating(&sim, store).build().unwrap();
        Client::builder(source).build().unwrap()
    });
    let [one, two] = &clients;
    tokio::join!(call_for(one, Duration::from_secs(9)), call_for(two, Duration::from_secs(9)));
    let ledger = sim.handle().ledger();
    assert_eq!(ledger.token.max_in_flight, 1);
    assert!(ledger.token.requests >= 4, "{} token requests", ledger.token.requests);
    // Three seconds are announced, and nobody refreshes in the first half of them: a nearer one was one too many.
    for pair in ledger.token.events.windows(2) {
        let gap = pair[1].at - pair[0].at;
        assert!(gap >= Span::from_millis(1_450), "two token requests within {gap}");
    }
}

#[tokio::test]
async fn a_mint_counts_once_although_the_store_tells_of_it_too_and_a_failure_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let sim = SimServer::start(living(2)).unwrap();
    let source = rotating(&sim, file(&folder)).build().unwrap();
    source.token().await.unwrap();
    sim.handle().apply(Event::TokenFault(TokenRule { fault: TokenFault::Status(503, None), chance: Chance::next(1) }));
    let issued = || sim.handle().ledger().token_requests_ended(TokenOutcome::Issued);
    until("it is refreshed several times", || issued() >= 4).await;
    let client = Client::builder(source.clone()).build().unwrap();
    call_for(&client, Duration::from_millis(300)).await;
    let budget = source.status().report.mint_budget;
    assert!((issued() - 1..=issued()).contains(&(budget.used as u64)), "{budget:?} of {} mints", issued());
}

#[tokio::test]
async fn what_another_process_minted_is_taken_over_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let sim = SimServer::start(living(3600)).unwrap();
    let first = builder(&sim).store(file(&folder)).build().unwrap();
    let token = first.token().await.unwrap().expose().to_owned();
    first.shutdown().await;
    let second = builder(&sim).store(file(&folder)).build().unwrap();
    assert_eq!(second.token().await.unwrap().expose(), token);
    assert_eq!(sim.handle().ledger().token.requests, 1);
}

#[tokio::test]
async fn a_token_that_one_process_replaced_is_adopted_by_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let sim = SimServer::start(living(3600)).unwrap();
    let clients = [file(&folder), file(&folder)]
        .map(|store| Client::builder(builder(&sim).store(store).build().unwrap()).build().unwrap());
    let [one, two] = &clients;
    call_for(one, Duration::from_millis(50)).await;
    call_for(two, Duration::from_millis(50)).await;
    assert_eq!(sim.handle().ledger().token.requests, 1);
    sim.handle().apply(Event::RevokeAll);
    tokio::join!(call_for(one, Duration::from_secs(1)), call_for(two, Duration::from_secs(1)));
    assert_eq!(sim.handle().ledger().token.requests, 2);
}

#[tokio::test]
async fn a_peer_that_holds_the_lease_delays_a_mint_and_does_not_prevent_it() {
    let sim = SimServer::start(living(3600)).unwrap();
    let store = memory();
    let key = CredentialKey::new(&sim.token_url(), &credential(), "");
    let lease = store.lease(&key, clock::boot() + Span::from_secs(1)).await.unwrap();
    let source = builder(&sim).store(store).build().unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(300), source.token()).await.is_err());
    assert_eq!(sim.handle().ledger().token.requests, 0);
    lease.release().await;
    until("the token arrives", || source.is_ready()).await;
    assert_eq!(sim.handle().ledger().token.requests, 1);
}

#[tokio::test]
async fn a_grant_without_a_refresh_token_requires_a_login_at_once() {
    let sim = SimServer::start(living(3600)).unwrap();
    let credential = Credential { grant: Grant::RefreshToken, ..credential() };
    let source = TokenSource::builder(genesys(&sim), credential).build().unwrap();
    let error = tokio::time::timeout(Duration::from_secs(5), source.token()).await.unwrap().unwrap_err();
    assert_eq!(error.kind, AcquireErrorKind::LoginRequired);
    assert_eq!(sim.handle().ledger().token.requests, 0);
}

#[tokio::test]
async fn a_store_that_fails_spends_no_refresh_token_and_stops_no_client_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = || {
        std::fs::write(folder.path().join("plain"), "not a folder").unwrap();
        Store::open(&StoreUrl::PlainFile(folder.path().join("plain/tokens")), None).unwrap()
    };
    let sim = SimServer::start(living(3600)).unwrap();
    let source = rotating(&sim, blocked()).build().unwrap();
    let deadline = Some(clock::boot() + Span::from_secs(1));
    assert!(source.token_lasting(Span::ZERO, deadline).await.is_err());
    assert_eq!(sim.handle().ledger().token.requests, 0);
    let source = builder(&sim).store(blocked()).build().unwrap();
    assert!(!source.token().await.unwrap().expose().is_empty());
}
