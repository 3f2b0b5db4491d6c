//! Moving records between files and a real Redis, both ways.

use evergrant::clock;
use evergrant::core::Secret;
use evergrant::core::time::Span;
use evergrant::store::{CredentialKey, MoveError, Moved, Record, Store, StoreError, StoreUrl};

use crate::redis_server::RedisServer;
use crate::support::credential;

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
    from.move_to(to, &key(), clock::boot() + Span::from_secs(5)).await
}

#[tokio::test]
async fn a_record_moves_into_redis_and_back_and_is_listed_where_it_is() {
    let (server, folder) = (RedisServer::start(&[]), tempfile::tempdir().unwrap());
    let redis = crate::redis::open(&server.url());
    let file = Store::open(&StoreUrl::PlainFile(folder.path().join("tokens")), None).unwrap();
    server.cli(&["SET", "somebody", "else's"]);
    put(&file, 7).await;
    assert_eq!(moved(&file, &redis).await.unwrap(), Moved { generation: 7, replaced: None });
    assert_eq!(file.load(&key()).await.unwrap(), None);
    let contents = redis.contents().await.unwrap();
    assert_eq!(contents.credentials.len(), 1);
    assert_eq!(contents.credentials[0].record, Ok(record(7)));

    // A member of the fleet refreshes it, and it moves back.
    put(&crate::redis::open(&server.url()), 8).await;
    assert_eq!(moved(&redis, &file).await.unwrap(), Moved { generation: 8, replaced: None });
    assert_eq!(redis.load(&key()).await.unwrap(), None);
    assert!(redis.contents().await.unwrap().credentials.is_empty());
    assert_eq!(file.load(&key()).await.unwrap(), Some(record(8)));

    // Forgotten and begun anew, and older than what the file has.
    put(&redis, 3).await;
    assert!(matches!(moved(&redis, &file).await, Err(MoveError::Newer { there: 8, here: 3 })));
    assert_eq!(redis.load(&key()).await.unwrap(), Some(record(3)));
    let same = moved(&redis, &crate::redis::open(&server.url())).await;
    assert!(matches!(same, Err(MoveError::Destination(StoreError::Busy { .. }))), "{same:?}");
    assert_eq!(redis.load(&key()).await.unwrap(), Some(record(3)));
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
    assert_eq!(other.load(&key()).await.unwrap(), None);
}
