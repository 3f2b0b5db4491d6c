//! Moving records between files and a real Redis, both ways.

use std::time::Duration;

use evergrant::core::Secret;
use evergrant::core::keeper::AcquireErrorKind;
use evergrant::core::time::Span;
use evergrant::grant::Grant;
use evergrant::store::{CredentialKey, MoveError, Moved, OtherLogin, Record, RedisFault, Store, StoreError, StoreUrl};
use evergrant::{Client, Credential, TokenSource, clock};
use evergrant_sim::{Event, SimServer};

use crate::redis_server::RedisServer;
use crate::support::{call_for, credential, genesys, rotating};

fn key() -> CredentialKey {
    CredentialKey::new("https://a/token", &credential(), "")
}

fn record(generation: u64) -> Record {
    let refresh_token = Some(Secret::new(format!("refresh-{generation}")));
    Record { generation, refresh_token, ..Record::default() }
}

async fn put(store: &Store, generation: u64) {
    let deadline = clock::boot() + Span::from_secs(10);
    store.lease(&key(), deadline).await.unwrap().commit(&record(generation)).await.unwrap();
}

async fn moved(from: &Store, to: &Store) -> Result<Moved, MoveError> {
    from.move_to(to, &key(), OtherLogin::Stays, clock::boot() + Span::from_secs(5)).await
}

#[tokio::test]
async fn a_record_moves_into_redis_and_back_and_is_listed_where_it_is() {
    let (server, folder) = (RedisServer::start(&[]), tempfile::tempdir().unwrap());
    let redis = crate::redis::open(&server.url());
    let file = Store::open(&StoreUrl::PlainFile(folder.path().join("tokens")), None).unwrap();
    server.cli(&["SET", "somebody", "else's"]);
    put(&file, 7).await;
    assert_eq!(moved(&file, &redis).await.unwrap(), Moved { generation: 7, replaced: None });
    assert!(is_forgotten(&file).await);
    let contents = redis.contents().await.unwrap();
    assert_eq!(contents.credentials.len(), 1);
    assert_eq!(contents.credentials[0].record, Ok(record(7)));

    // A member of the fleet refreshes it, and it moves back.
    put(&crate::redis::open(&server.url()), 8).await;
    // What the file had left of it is generation 8 too.
    assert_eq!(moved(&redis, &file).await.unwrap(), Moved { generation: 9, replaced: None });
    assert!(is_forgotten(&redis).await);
    assert!(redis.contents().await.unwrap().credentials.is_empty());
    assert_eq!(file.load(&key()).await.unwrap().unwrap().refresh_token, record(8).refresh_token);

    // Forgotten and begun anew, and older than what the file has.
    put(&redis, 10).await;
    put(&file, 12).await;
    assert!(matches!(moved(&redis, &file).await, Err(MoveError::Newer { there: 12, here: 10 })));
    assert_eq!(redis.load(&key()).await.unwrap(), Some(record(10)));
    let same = moved(&redis, &crate::redis::open(&server.url())).await;
    assert!(matches!(same, Err(MoveError::Destination(StoreError::Busy { .. }))), "{same:?}");
    assert_eq!(redis.load(&key()).await.unwrap(), Some(record(10)));
}

async fn is_forgotten(store: &Store) -> bool {
    store.load(&key()).await.unwrap().is_some_and(|record| !record.has_tokens())
}

/// Moves or forgets the grant of a source that runs, and gives how many token requests the source makes when its access
/// token is refused afterwards.
async fn taken_away(sim: &SimServer, store: &Store, to: Option<&Store>) {
    let source = rotating(sim, store.clone()).build().unwrap();
    source.token().await.unwrap();
    let key = CredentialKey::new(&sim.token_url(), &rotating_credential(), "");
    let held = store.load(&key).await.unwrap().unwrap();
    let deadline = clock::boot() + Span::from_secs(10);
    match to {
        Some(other) => drop(store.move_to(other, &key, OtherLogin::Stays, deadline).await.unwrap()),
        None => store.forget(&key, deadline).await.unwrap(),
    }
    // The member needs another token: it must neither send the refresh token that it holds nor the one it began with.
    sim.handle().apply(Event::RevokeAll);
    let client = Client::builder(source.clone()).build().unwrap();
    let answer = client.get("/api/v2/things").send().await;
    assert!(answer.is_err_and(|error| error.to_string().contains("login_required")) || !source.is_ready());
    let error = tokio::time::timeout(Duration::from_secs(10), source.token()).await.unwrap().unwrap_err();
    assert_eq!(error.kind, AcquireErrorKind::LoginRequired);
    assert_eq!(sim.handle().ledger().token.requests, 1);
    let left = store.load(&key).await.unwrap().unwrap();
    assert!(!left.has_tokens() && left.generation > held.generation, "it was written back: {left:?}");
    if let Some(other) = to {
        // Where it is now it goes on.
        let next = TokenSource::builder(genesys(sim), rotating_credential()).store(other.clone()).build().unwrap();
        let next = Client::builder(next).build().unwrap();
        call_for(&next, Duration::from_millis(200)).await;
        assert_eq!(sim.handle().ledger().token.requests, 2);
    }
}

fn rotating_credential() -> Credential {
    Credential { grant: Grant::RefreshToken, ..credential() }
}

#[tokio::test]
async fn a_member_that_runs_does_not_bring_back_what_was_moved_or_forgotten_in_redis() {
    let server = RedisServer::start(&[]);
    for is_moved in [true, false] {
        let sim = SimServer::start(crate::fleet::strict(3600)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = Store::open(&StoreUrl::PlainFile(folder.path().join("tokens")), None).unwrap();
        taken_away(&sim, &crate::redis::open(&server.url()), is_moved.then_some(&file)).await;
    }
}

#[tokio::test]
async fn a_process_that_runs_does_not_bring_back_what_was_moved_or_forgotten_in_a_file() {
    for is_moved in [true, false] {
        let sim = SimServer::start(crate::fleet::strict(3600)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let [file, other] =
            ["tokens", "other"].map(|name| Store::open(&StoreUrl::PlainFile(folder.path().join(name)), None).unwrap());
        taken_away(&sim, &file, is_moved.then_some(&other)).await;
    }
}

#[tokio::test]
async fn a_damaged_record_in_redis_is_forgotten_and_one_of_another_key_is_not() {
    let server = RedisServer::start(&[]);
    let store = crate::redis::open(&server.url());
    let deadline = clock::boot() + Span::from_secs(10);
    put(&store, 5).await;
    let [name] = &server.records()[..] else { panic!("{:?}", server.records()) };
    let entry = server.cli(&["HGET", name, "entry"]);
    server.cli(&["HSET", name, "entry", &entry.trim().replace("\"key_id\":\"", "\"key_id\":\"x")]);
    assert!(matches!(crate::redis::fault(&store.forget(&key(), deadline).await.unwrap_err()), RedisFault::WrongKey));
    server.cli(&["HSET", name, "entry", "torn"]);
    assert!(matches!(crate::redis::fault(&store.load(&key()).await.unwrap_err()), RedisFault::Damaged(_)));
    store.forget(&key(), deadline).await.unwrap();
    assert_eq!(store.load(&key()).await.unwrap(), Some(Record { generation: 6, ..Record::default() }));
}

#[tokio::test]
async fn a_writer_that_was_stopped_does_not_bring_back_what_was_forgotten() {
    let server = RedisServer::start(&[]);
    let (stopped, other) = (crate::redis::open(&server.url()), crate::redis::open(&server.url()));
    let deadline = clock::boot() + Span::from_secs(10);
    put(&other, 1).await;
    let mut late = stopped.lease(&key(), deadline).await.unwrap();
    // Its lease ends as that of a process which sleeps.
    let lease = server.cli(&["KEYS", "*:lease"]);
    server.cli(&["DEL", lease.trim()]);
    other.lease(&key(), deadline).await.unwrap().forget().await.unwrap();
    assert!(matches!(late.write(&record(2)).await, Err(StoreError::LeaseTaken { .. })));
    assert!(is_forgotten(&other).await);
}
