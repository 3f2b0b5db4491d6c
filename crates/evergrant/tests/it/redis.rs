//! The store in Redis, against a real server: its contract, and each way in which a server can fail.

use std::time::{Duration, Instant};

use base64::Engine as _;
use evergrant::clock;
use evergrant::core::Secret;
use evergrant::core::time::Span;
use evergrant::store::{CredentialKey, Record, RedisFault, SealKey, Store, StoreError, StoreOptions, StoreUrl};

use crate::redis_server::RedisServer;
use crate::support::credential;

pub(crate) fn options(ttl: Span) -> StoreOptions {
    let key = base64::engine::general_purpose::STANDARD.encode([7; 32]);
    let key = SealKey::from_base64(&Secret::new(key)).unwrap();
    StoreOptions { key: Some(key), lease_ttl: ttl, ..StoreOptions::default() }
}

pub(crate) fn open(url: &str) -> Store {
    Store::open_with(&StoreUrl::parse(url).unwrap(), options(Span::from_millis(900))).unwrap()
}

pub(crate) fn key() -> CredentialKey {
    CredentialKey::new("https://a/token", &credential(), "")
}

pub(crate) fn record(generation: u64, text: &str) -> Record {
    Record {
        generation,
        access_token: Some(Secret::new(format!("access-{text}"))),
        refresh_token: Some(Secret::new(format!("refresh-{text}"))),
        ..Record::default()
    }
}

pub(crate) fn soon() -> evergrant::core::time::Boot {
    clock::boot() + Span::from_secs(10)
}

pub(crate) async fn put(store: &Store, generation: u64) {
    store.lease(&key(), soon()).await.unwrap().commit(&record(generation, "x")).await.unwrap();
}

#[track_caller]
pub(crate) fn fault(error: &StoreError) -> &RedisFault {
    let StoreError::Redis { fault, .. } = error else { panic!("{error}") };
    fault
}

#[tokio::test]
async fn a_record_is_there_for_everybody_and_sealed() {
    let server = RedisServer::start(&[]);
    let (one, two) = (open(&server.url()), open(&server.url()));
    assert_eq!(one.load(&key()).await.unwrap(), None);
    put(&one, 1).await;
    assert_eq!(two.load(&key()).await.unwrap(), Some(record(1, "x")));
    let [stored] = &server.records()[..] else { panic!("{:?}", server.records()) };
    let stored = server.cli(&["HGETALL", stored]);
    assert!(!stored.contains("access-") && !stored.contains("refresh-"), "{stored}");
    assert!(two.time_offset().is_some());
}

#[tokio::test]
async fn one_at_a_time_and_nobody_loses_a_write() {
    let server = RedisServer::start(&[]);
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let store = open(&server.url());
            tokio::spawn(async move {
                for _ in 0..5 {
                    let mut lease = store.lease(&key(), soon()).await.unwrap();
                    let generation = lease.read().map_or(0, |record| record.generation) + 1;
                    lease.write(&record(generation - 1, "intent")).await.unwrap();
                    lease.commit(&record(generation, "x")).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(open(&server.url()).load(&key()).await.unwrap().unwrap().generation, 20);
}

#[tokio::test]
async fn a_lease_is_waited_for_until_the_deadline_and_its_holder_named() {
    let server = RedisServer::start(&[]);
    let (one, two) = (open(&server.url()), open(&server.url()));
    let lease = one.lease(&key(), soon()).await.unwrap();
    // Longer than the time to live: heartbeats keep it.
    let deadline = clock::boot() + Span::from_millis(1_500);
    let busy = two.lease(&key(), deadline).await.unwrap_err();
    assert!(busy.to_string().contains(&format!("process {}", std::process::id())), "{busy}");
    let waiting = tokio::spawn(async move { two.lease(&key(), soon()).await.map(|_| Instant::now()) });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let released = Instant::now();
    lease.release().await;
    assert!(waiting.await.unwrap().unwrap() - released < Duration::from_millis(200));
}

#[tokio::test]
async fn a_lease_ends_with_its_holder_after_the_time_to_live() {
    let server = RedisServer::start(&[]);
    let store = open(&server.url());
    let lease = store.lease(&key(), soon()).await.unwrap();
    // As if the process had been killed: nobody gives anything back.
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    std::mem::forget(lease);
    let leases = server.cli(&["KEYS", "evergrant:*:lease"]);
    server.cli(&["SET", &leases, "killed process 1 on elsewhere", "PX", "700"]);
    assert!(open(&server.url()).lease(&key(), soon()).await.is_ok());
}

#[tokio::test]
async fn those_who_wait_for_a_dead_holder_come_one_after_the_other() {
    let server = RedisServer::start(&[]);
    let ttl = Span::from_secs(3);
    let store = || Store::open_with(&StoreUrl::parse(&server.url()).unwrap(), options(ttl)).unwrap();
    put(&store(), 1).await;
    let leases = server.records().remove(0).replace(":record", ":lease");
    server.cli(&["SET", &leases, "killed process 1 on elsewhere", "PX", "2500"]);
    let before = server.runs_of("evalsha");
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let store = store();
            tokio::spawn(async move {
                let lease = store.lease(&key(), soon()).await.unwrap();
                let acquired = Instant::now();
                // The first one commits, the others adopt; here they only let the next one have it.
                lease.release().await;
                acquired
            })
        })
        .collect();
    let started = Instant::now();
    let mut acquired = Vec::new();
    for task in waiting {
        acquired.push(task.await.unwrap());
    }
    acquired.sort();
    let first = acquired[0] - started;
    assert!((Duration::from_millis(2_000)..Duration::from_millis(4_500)).contains(&first), "{first:?}");
    // 20 first tries, a look each second, and when it is over each tries in its turn and gives back: no herd of 20 x 20.
    let runs = server.runs_of("evalsha") - before;
    assert!(runs < 160, "{runs} scripts");
}

#[tokio::test]
async fn those_who_died_waiting_are_overtaken() {
    let server = RedisServer::start(&[]);
    put(&open(&server.url()), 1).await;
    let record = server.records().remove(0);
    server.cli(&["SET", &record.replace(":record", ":lease"), "killed process 1 on elsewhere", "PX", "600"]);
    // Whatever the order is, hardly anybody can be first among so many who will never come.
    let now: u64 = server.cli(&["TIME"]).lines().next().unwrap().parse().unwrap();
    let (waiting, now) = (record.replace(":record", ":waiting"), (now * 1_000).to_string());
    for dead in 0..60 {
        server.cli(&["ZADD", &waiting, &now, &format!("dead-{dead}")]);
    }
    let started = Instant::now();
    open(&server.url()).lease(&key(), soon()).await.unwrap().release().await;
    // The rest of the lease, and at most a third of its time to live.
    assert!(started.elapsed() < Duration::from_millis(600 + 300 + 600), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_holder_that_was_overtaken_writes_nothing_and_is_told() {
    let server = RedisServer::start(&[]);
    let (stopped, other) = (open(&server.url()), open(&server.url()));
    put(&stopped, 1).await;
    let mut lease = stopped.lease(&key(), soon()).await.unwrap();
    // What a stop beyond the time to live looks like from outside.
    server.cli(&["DEL", &server.cli(&["KEYS", "evergrant:*:lease"])]);
    let mut second = other.lease(&key(), soon()).await.unwrap();
    let error = lease.write(&record(2, "late")).await.unwrap_err();
    assert!(matches!(error, StoreError::LeaseTaken { .. }), "{error}");
    tokio::time::timeout(Duration::from_secs(2), lease.lost()).await.expect("the heartbeat finds out too");
    second.commit(&record(2, "x")).await.unwrap();
    let error = lease.commit(&record(3, "late")).await.unwrap_err();
    assert!(matches!(error, StoreError::LeaseTaken { .. }), "{error}");
    assert_eq!(other.load(&key()).await.unwrap(), Some(record(2, "x")));
}

#[tokio::test]
async fn a_lease_that_only_ran_out_is_taken_back_with_the_write() {
    let server = RedisServer::start(&[]);
    let store = open(&server.url());
    let mut lease = store.lease(&key(), soon()).await.unwrap();
    server.cli(&["FLUSHALL"]);
    lease.write(&record(0, "intent")).await.unwrap();
    server.cli(&["DEL", &server.cli(&["KEYS", "evergrant:*:lease"])]);
    lease.commit(&record(1, "x")).await.unwrap();
    lease.commit(&record(1, "x")).await.unwrap();
    assert_eq!(store.load(&key()).await.unwrap(), Some(record(1, "x")));
    assert_eq!(server.cli(&["KEYS", "evergrant:*:lease"]), "", "given back with the last write");
}

#[tokio::test]
async fn scripts_that_were_flushed_and_connections_that_were_cut_are_made_again() {
    let mut server = RedisServer::start(&[]);
    let store = open(&server.url());
    put(&store, 1).await;
    server.cli(&["SCRIPT", "FLUSH"]);
    put(&store, 2).await;
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    put(&store, 3).await;
    server.restart();
    assert_eq!(store.load(&key()).await.unwrap(), None, "this server keeps nothing on disk");
}

#[tokio::test]
async fn a_wrong_password_is_named_and_the_right_one_works() {
    let server = RedisServer::start(&["--requirepass", "hunter2 hunter2"]);
    let url = |login: &str| format!("redis://{login}127.0.0.1:{}", server.port());
    for login in ["", ":wrong@", "nobody:wrong@"] {
        let error = open(&url(login)).load(&key()).await.unwrap_err();
        assert_eq!(fault(&error), &RedisFault::WrongPassword, "{login}: {error}");
        assert!(!error.to_string().contains("wrong") && error.hint().contains("EVERGRANT_STORE"), "{error}");
    }
    assert!(open(&url(":hunter2%20hunter2@")).load(&key()).await.is_ok());
}

#[tokio::test]
async fn a_full_memory_loses_nothing() {
    let server = RedisServer::start(&[]);
    let store = open(&server.url());
    put(&store, 1).await;
    let mut lease = store.lease(&key(), soon()).await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = lease.commit(&record(2, "x")).await.unwrap_err();
    assert_eq!(fault(&error), &RedisFault::OutOfMemory, "{error}");
    assert!(error.hint().contains("maxmemory"));
    assert_eq!(open(&server.url()).load(&key()).await.unwrap(), Some(record(1, "x")));
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    lease.commit(&record(2, "x")).await.unwrap();
}

#[tokio::test]
async fn a_replica_an_unreachable_server_and_a_foreign_key_are_named() {
    let server = RedisServer::start(&[]);
    let store = open(&server.url());
    put(&store, 1).await;
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let error = store.lease(&key(), soon()).await.unwrap_err();
    assert_eq!(fault(&error), &RedisFault::ReadOnlyReplica, "{error}");
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    let stored = server.records().remove(0);
    server.cli(&["DEL", &stored]);
    server.cli(&["SET", &stored, "something"]);
    let error = store.load(&key()).await.unwrap_err();
    assert_eq!(fault(&error), &RedisFault::ForeignKey, "{error}");
    server.cli(&["DEL", &stored]);
    server.cli(&["HSET", &stored, "entry", "{}", "generation", "1"]);
    let error = store.load(&key()).await.unwrap_err();
    assert!(matches!(fault(&error), RedisFault::Damaged(_)), "{error}");
    let place = server.port();
    drop(server);
    let error = open(&format!("redis://127.0.0.1:{place}")).load(&key()).await.unwrap_err();
    assert!(matches!(fault(&error), RedisFault::Unreachable(_)), "{error}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{place}")), "{error}");
}

#[tokio::test]
async fn another_key_does_not_open_and_a_moved_record_is_noticed() {
    let server = RedisServer::start(&[]);
    put(&open(&server.url()), 1).await;
    let other = SealKey::from_base64(&Secret::new(base64::engine::general_purpose::STANDARD.encode([8; 32]))).unwrap();
    let options = StoreOptions { key: Some(other), ..StoreOptions::default() };
    let store = Store::open_with(&StoreUrl::parse(&server.url()).unwrap(), options).unwrap();
    assert_eq!(fault(&store.load(&key()).await.unwrap_err()), &RedisFault::WrongKey);
    let elsewhere = CredentialKey::new("https://b/token", &credential(), "");
    let from = server.records().remove(0);
    server.cli(&["COPY", &from, &from.replace(key().as_str(), elsewhere.as_str())]);
    let error = open(&server.url()).load(&elsewhere).await.unwrap_err();
    assert!(matches!(fault(&error), RedisFault::Damaged(_)), "{error}");
}

#[test]
fn a_store_elsewhere_needs_tls_and_every_one_a_key() {
    let open = |url: &str, options| Store::open_with(&StoreUrl::parse(url).unwrap(), options).unwrap_err();
    let with_key = options(Span::from_secs(6));
    assert!(matches!(open("redis://cache.example", with_key), StoreError::InsecureRedis { .. }));
    assert!(matches!(open("rediss://cache.example", StoreOptions::default()), StoreError::NoKey { .. }));
}

#[tokio::test]
async fn over_tls_the_certificate_has_to_be_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", &path("key"), "-out", &path("cert")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (cert, key, tls_port) = (path("cert"), path("key"), port.to_string());
    let tls = ["--tls-port", &tls_port, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &cert];
    let _server = RedisServer::start(&[&tls[..], &["--tls-auth-clients", "no"]].concat());
    let url = StoreUrl::parse(&format!("rediss://127.0.0.1:{port}")).unwrap();
    let untrusting = Store::open_with(&url, options(Span::from_secs(6))).unwrap();
    let error = untrusting.load(&self::key()).await.unwrap_err();
    assert!(matches!(fault(&error), RedisFault::Unreachable(why) if why.contains("certificate")), "{error}");
    let trusting = StoreOptions { ca_file: Some(cert.into()), ..options(Span::from_secs(6)) };
    put(&Store::open_with(&url, trusting).unwrap(), 1).await;
}
