//! A Redis that is ill: each time there is a message, and nothing is lost.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use evergrant::core::time::Span;
use evergrant::store::{CredentialKey, RedisFault, Store, StoreError, StoreUrl};
use evergrant::{Client, clock};
use evergrant_sim::SimServer;
use tokio::task::JoinSet;

use crate::fleet::strict;
use crate::moved_clock::MovedClock;
use crate::redis::{fault, key, open, options, put, record, soon};
use crate::redis_server::RedisServer;
use crate::support::{call_for, credential, rotating, until};

/// A server whose clock is wrong by so many seconds.
fn with_clock(seconds: i64) -> (RedisServer, MovedClock, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let clock = MovedClock::new(folder.path(), seconds);
    let server = RedisServer::start_under(&clock.wrapper().each_ref().map(String::as_str), &[]);
    (server, clock, folder)
}

#[tokio::test]
async fn a_record_that_redis_evicted_is_written_back_and_its_grant_goes_on() {
    let (server, sim) = (RedisServer::start(&[]), SimServer::start(strict(4)).unwrap());
    let source = rotating(&sim, open(&server.url())).build().unwrap();
    let client = Client::builder(source).build().unwrap();
    call_for(&client, Duration::from_millis(300)).await;
    assert_eq!(server.records().len(), 1);
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    server.cli(&["CONFIG", "SET", "maxmemory", "3mb"]);
    let filling = "for i = 1, 4000 do redis.call('SET', 'other:' .. i, string.rep('x', 1000)) end";
    until("Redis has thrown the record away", || {
        server.cli(&["EVAL", filling, "0"]);
        server.records().is_empty()
    })
    .await;
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    call_for(&client, Duration::from_secs(5)).await;
    assert_eq!(server.records().len(), 1);
    let ledger = sim.handle().ledger();
    assert_eq!(ledger.token_requests_ended(evergrant_sim::ledger::TokenOutcome::ReuseDetected), 0);
    assert_eq!(ledger.token_requests_ended(evergrant_sim::ledger::TokenOutcome::InvalidGrant), 0);
}

#[tokio::test]
async fn a_script_that_blocks_redis_is_named_and_once_it_is_killed_all_goes_on() {
    let server = RedisServer::start(&["--lua-time-limit", "50"]);
    let store = open(&server.url());
    put(&store, 1).await;
    let port = server.port().to_string();
    let mut endless = Command::new("redis-cli")
        .args(["-p", &port, "EVAL", "while true do end", "0"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    server.wait_for("Redis is busy", &["PING"], "BUSY");
    let error = store.load(&key()).await.unwrap_err();
    assert!(matches!(fault(&error), RedisFault::Script(_)), "{error}");
    assert!(error.hint().contains("SCRIPT KILL"), "{}", error.hint());
    server.cli(&["SCRIPT", "KILL"]);
    endless.wait().unwrap();
    assert_eq!(store.load(&key()).await.unwrap(), Some(record(1, "x")));
    put(&store, 2).await;
}

/// Takes connections and never says a word.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn many_who_wait_for_a_server_that_does_not_answer_wait_no_longer_than_one() {
    let (_listener, url) = silent();
    let store = open(&url);
    let keys = (0..30).map(|n| CredentialKey::new("https://a/token", &credential(), &n.to_string()));
    let asked = Instant::now();
    let mut waiting: JoinSet<_> = keys
        .map(|key| {
            let store = store.clone();
            async move { store.load(&key).await.unwrap_err() }
        })
        .collect();
    while let Some(error) = waiting.join_next().await {
        assert_eq!(fault(&error.unwrap()), &RedisFault::TimedOut);
    }
    // Each dial may take 0.3 s: one after the other it would be nine seconds.
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_lease_is_given_up_at_its_deadline_also_where_nobody_answers() {
    let (_listener, url) = silent();
    let store = Store::open_with(&StoreUrl::parse(&url).unwrap(), options(Span::from_secs(6))).unwrap();
    let asked = Instant::now();
    let error = store.lease(&key(), clock::boot() + Span::from_millis(50)).await.unwrap_err();
    assert_eq!(fault(&error), &RedisFault::TimedOut);
    // Connecting alone may take twice two seconds.
    assert!(asked.elapsed() < Duration::from_millis(1_500), "{:?}", asked.elapsed());
}

/// Waits until nobody has asked anything for a while: what is under way may notice trouble by itself.
async fn quiet(server: &RedisServer) {
    let asked = || ["evalsha", "eval", "hget"].map(|command| server.runs_of(command));
    let (mut seen, mut since) = (asked(), Instant::now());
    while since.elapsed() < Duration::from_millis(500) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = asked();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
}

#[tokio::test]
async fn whoever_listens_over_a_connection_that_was_given_up_looks_at_once() {
    let (server, sim) = (RedisServer::start(&[]), SimServer::start(strict(60)).unwrap());
    let store = open(&server.url());
    let source = rotating(&sim, store.clone()).build().unwrap();
    source.token().await.unwrap();
    quiet(&server).await;
    let looks = server.runs_of("hget");
    server.cli(&["CLIENT", "PAUSE", "600", "ALL"]);
    let error = store.load(&CredentialKey::new("https://a/token", &credential(), "other")).await.unwrap_err();
    assert_eq!(fault(&error), &RedisFault::TimedOut);
    // Otherwise it looks every half minute.
    until("the source looks", || server.runs_of("hget") > looks).await;
}

#[tokio::test]
async fn a_redis_that_is_loading_its_data_is_waited_for() {
    let mut server = RedisServer::start(&[]);
    let store = open(&server.url());
    put(&store, 1).await;
    server.cli(&["EVAL", "for i = 1, 200 do redis.call('SET', 'other:' .. i, string.rep('x', 100000)) end", "0"]);
    server.cli(&["SAVE"]);
    server.kill();
    server.more_arguments(&["--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024"]);
    server.begin();
    let mut seen = Vec::new();
    loop {
        match store.load(&key()).await {
            Ok(found) => {
                assert_eq!(found, Some(record(1, "x")), "it must not look empty while it loads");
                break;
            }
            Err(error) => {
                assert!(matches!(fault(&error), RedisFault::NotReady(_) | RedisFault::Unreachable(_)), "{error}");
                if matches!(fault(&error), RedisFault::NotReady(_)) {
                    assert!(error.hint().contains("wait"), "{}", error.hint());
                    seen.push(error.to_string());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    assert!(!seen.is_empty(), "it was never seen loading");
}

#[tokio::test]
async fn a_wrong_clock_of_redis_changes_no_age_and_no_lease() {
    let (server, _clock, _folder) = with_clock(3 * 3_600);
    let stated: i64 = server.cli(&["TIME"]).lines().next().unwrap().parse().unwrap();
    let here = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(stated - i64::try_from(here).unwrap() > 10_000, "its clock is three hours ahead: {stated}, {here}");
    let sim = SimServer::start(strict(3600)).unwrap();
    let one = rotating(&sim, open(&server.url())).build().unwrap();
    let remaining = one.token().await.unwrap().remaining().unwrap();
    let two = rotating(&sim, open(&server.url())).build().unwrap();
    let adopted = two.token().await.unwrap().remaining().unwrap();
    assert!((remaining - adopted).abs() < Span::from_secs(5), "{remaining} and {adopted}");
    assert_eq!(sim.handle().ledger().token.requests, 1);
    let store = open(&server.url());
    put(&store, 9).await;
    let lease = store.lease(&key(), soon()).await.unwrap();
    let error = open(&server.url()).lease(&key(), clock::boot() + Span::from_millis(1_500)).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    lease.release().await;
}

#[tokio::test]
async fn a_clock_of_redis_that_is_set_back_keeps_no_dead_holders_lease() {
    let (server, clock_of_redis, _folder) = with_clock(3_600);
    let store = open(&server.url());
    put(&store, 1).await;
    let lease = store.lease(&key(), soon()).await.unwrap();
    // As if the process had been killed: nobody gives anything back.
    let name = server.cli(&["KEYS", "evergrant:*:lease"]);
    let holder = server.cli(&["GET", &name]);
    drop(lease);
    until("it was given back", || server.cli(&["KEYS", "evergrant:*:lease"]).is_empty()).await;
    server.cli(&["SET", &name, &holder, "PX", "900"]);
    clock_of_redis.set(0);
    let left: i64 = server.cli(&["PTTL", &name]).parse().unwrap();
    assert!(left > 3_000_000, "the clock was set back by an hour: {left} ms");
    let mut taken = open(&server.url()).lease(&key(), soon()).await.unwrap();
    taken.commit(&record(2, "x")).await.unwrap();
}

#[tokio::test]
async fn a_clock_of_redis_that_jumps_ahead_ends_a_lease_early_and_its_holder_is_told() {
    let (server, clock_of_redis, _folder) = with_clock(0);
    let (first, second) = (open(&server.url()), open(&server.url()));
    put(&first, 1).await;
    let mut lease = first.lease(&key(), soon()).await.unwrap();
    clock_of_redis.set(3_600);
    let mut other = second.lease(&key(), soon()).await.unwrap();
    let error = lease.write(&record(2, "late")).await.unwrap_err();
    assert!(matches!(error, StoreError::LeaseTaken { .. }), "{error}");
    tokio::time::timeout(Duration::from_secs(2), lease.lost()).await.expect("its request is given up");
    other.commit(&record(2, "x")).await.unwrap();
    assert_eq!(first.load(&key()).await.unwrap(), Some(record(2, "x")));
}
