//! Where Redis is: behind Sentinels that put another server in its place, and in a cluster.

use std::net::TcpListener;
use std::time::Duration;

use evergrant::Client;
use evergrant::core::time::Span;
use evergrant::store::{CredentialKey, RedisFault};
use evergrant_sim::SimServer;
use evergrant_sim::ledger::TokenOutcome;

use crate::fleet::strict;
use crate::redis::{fault, key, open, put, record, soon};
use crate::redis_server::RedisServer;
use crate::support::{call_for, credential, rotating};

/// A primary, its replica and the Sentinel of both, in this order, and the URL that names them.
fn watched() -> (RedisServer, RedisServer, RedisServer, String) {
    let primary = RedisServer::start(&["--repl-diskless-sync-delay", "0"]);
    let replica = RedisServer::replica_of(&primary);
    let sentinel = RedisServer::sentinel_of(&primary);
    let url = format!("redis+sentinel://127.0.0.1:1,127.0.0.1:{}/main", sentinel.port());
    (primary, replica, sentinel, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_is_found_and_callers_see_nothing_of_it() {
    let (mut primary, replica, _sentinel, url) = watched();
    let sim = SimServer::start(strict(6)).unwrap();
    let clients = [0, 1, 2].map(|_| Client::builder(rotating(&sim, open(&url)).build().unwrap()).build().unwrap());
    let [one, two, three] = &clients;
    let calls = |span| async move { tokio::join!(call_for(one, span), call_for(two, span), call_for(three, span)) };
    calls(Duration::from_secs(2)).await;
    primary.kill();
    calls(Duration::from_secs(14)).await;
    assert!(replica.cli(&["ROLE"]).starts_with("master"), "{}", replica.cli(&["ROLE"]));
    let ledger = sim.handle().ledger();
    for lost in [TokenOutcome::ReuseDetected, TokenOutcome::InvalidGrant] {
        assert_eq!(ledger.token_requests_ended(lost), 0, "{lost:?}");
    }
    assert_eq!(replica.records().len(), 1);
    let issued = ledger.token_requests_ended(TokenOutcome::Issued);
    assert!((3..=6).contains(&issued), "{issued} refreshes in 16 s of a life of 6 s");
    // The primary comes back, empty, and believes that it still is one. Nobody asks it.
    primary.restart();
    calls(Duration::from_secs(2)).await;
    assert!(primary.records().is_empty());
}

#[tokio::test]
async fn sentinels_that_know_no_such_primary_or_are_not_there_are_named() {
    let (_primary, _replica, sentinel, url) = watched();
    put(&open(&url), 1).await;
    let other = url.replace("/main", "/other");
    let error = open(&other).load(&key()).await.unwrap_err();
    let place = format!("127.0.0.1:{}", sentinel.port());
    let RedisFault::NotReady(why) = fault(&error) else { panic!("{error}") };
    assert!(why.contains("knows no primary `other`") && why.contains(&place), "{error}");
    drop(sentinel);
    let error = open(&url).load(&key()).await.unwrap_err();
    let RedisFault::Unreachable(why) = fault(&error) else { panic!("{error}") };
    assert!(why.contains(&format!("the Sentinel {place}")), "{error}");
}

#[tokio::test]
async fn sentinels_that_do_not_answer_are_passed_over() {
    let primary = RedisServer::start(&[]);
    let sentinel = RedisServer::sentinel_with(&primary, &[]);
    // They take connections and never say a word.
    let silent = [0, 1, 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let silent = silent.each_ref().map(|listener| listener.local_addr().unwrap().to_string()).join(",");
    let url = format!("redis+sentinel://{silent},127.0.0.1:{}/main", sentinel.port());
    put(&open(&url), 1).await;
    assert_eq!(primary.records().len(), 1);
}

/// Makes a user with the rules that the hint names, and no others.
fn add_user_of_the_hint(server: &RedisServer) {
    let hint = RedisFault::NoPermission(String::new()).hint();
    let rules = hint.strip_prefix("allow the user: ").unwrap().split(' ');
    let command: Vec<_> = ["ACL", "SETUSER", "fleet", "on", ">hunter2"].into_iter().chain(rules).collect();
    assert_eq!(server.cli(&command), "OK");
}

#[tokio::test]
async fn the_permissions_that_the_hint_names_are_enough_wherever_redis_is() {
    let (primary, nodes) = (RedisServer::start(&[]), RedisServer::cluster::<3>());
    let sentinel = RedisServer::sentinel_with(&primary, &[]);
    nodes.iter().chain([&primary]).for_each(add_user_of_the_hint);
    for (scheme, server, database) in
        [("redis", &primary, "/3"), ("redis+sentinel", &sentinel, "/main"), ("redis+cluster", &nodes[0], "")]
    {
        let store = open(&format!("{scheme}://fleet:hunter2@127.0.0.1:{}{database}", server.port()));
        put(&store, 1).await;
        assert_eq!(store.load(&key()).await.unwrap(), Some(record(1, "x")), "{scheme}");
        assert_eq!(store.contents().await.unwrap().credentials.len(), 1, "{scheme}");
        let found = store.inspect(&key(), Span::from_secs(1)).await.unwrap();
        assert!(found.redis.unwrap().is_ok(), "{scheme}");
        store.lease(&key(), soon()).await.unwrap().forget().await.unwrap();
        let left = store.load(&key()).await.unwrap().unwrap();
        assert!(left.access_token.is_none() && left.refresh_token.is_none(), "{scheme}: {left:?}");
    }
}

#[tokio::test]
async fn a_sentinel_that_wants_a_password_gets_that_of_the_servers() {
    let primary = RedisServer::start(&["--requirepass", "hunter2"]);
    let sentinel = RedisServer::sentinel_with(&primary, &["requirepass hunter2", "sentinel auth-pass main hunter2"]);
    let url = |login: &str| format!("redis+sentinel://{login}127.0.0.1:{}/main/2", sentinel.port());
    put(&open(&url(":hunter2@")), 1).await;
    let kept = primary.cli(&["-a", "hunter2", "-n", "2", "KEYS", "evergrant:*:record"]);
    assert!(kept.contains("evergrant:"), "{kept}");
    for login in ["", ":wrong@"] {
        let error = open(&url(login)).load(&key()).await.unwrap_err();
        assert_eq!(fault(&error), &RedisFault::WrongPassword, "{login}: {error}");
    }
}

#[tokio::test]
async fn the_records_of_a_cluster_are_on_their_nodes_and_are_found_there() {
    let nodes: [RedisServer; 3] = RedisServer::cluster();
    let url = format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", nodes[0].port(), nodes[1].port());
    let store = open(&url);
    let keys: Vec<_> = (0..12).map(|n| CredentialKey::new("https://a/token", &credential(), &n.to_string())).collect();
    for key in &keys {
        let mut lease = store.lease(key, soon()).await.unwrap();
        lease.write(&record(0, "intent")).await.unwrap();
        lease.commit(&record(1, "x")).await.unwrap();
    }
    for key in &keys {
        assert_eq!(open(&url).load(key).await.unwrap(), Some(record(1, "x")));
    }
    assert!(nodes.iter().all(|node| !node.records().is_empty()), "twelve credentials are on all three nodes");
    assert_eq!(store.contents().await.unwrap().credentials.len(), 12);
    let error = open(&nodes[0].url()).load(&on_node(&nodes[1], &keys)).await.unwrap_err();
    assert_eq!(fault(&error), &RedisFault::IsCluster, "{error}");
    assert!(error.hint().contains("redis+cluster://"), "{}", error.hint());
}

/// One of these credentials, whose record is on that node.
fn on_node(node: &RedisServer, keys: &[CredentialKey]) -> CredentialKey {
    let records = node.records();
    keys.iter().find(|key| records.iter().any(|record| record.contains(key.as_str()))).unwrap().clone()
}

#[tokio::test]
async fn a_slot_that_moves_to_another_node_is_followed() {
    let nodes: [RedisServer; 3] = RedisServer::cluster();
    let store = open(&format!("redis+cluster://127.0.0.1:{}", nodes[0].port()));
    put(&store, 1).await;
    let from = nodes.iter().find(|node| !node.records().is_empty()).unwrap();
    let to = nodes.iter().find(|node| node.records().is_empty()).unwrap();
    let name = from.records().remove(0);
    let slot = from.cli(&["CLUSTER", "KEYSLOT", &name]);
    let (source, target) = (from.cli(&["CLUSTER", "MYID"]), to.cli(&["CLUSTER", "MYID"]));
    to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]);
    from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]);
    from.cli(&["MIGRATE", "127.0.0.1", &to.port().to_string(), &name, "0", "5000"]);
    let error = store.load(&key()).await.unwrap_err();
    assert!(matches!(fault(&error), RedisFault::NotReady(_)), "{error}");
    for node in [to, from] {
        node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]);
    }
    assert_eq!(store.load(&key()).await.unwrap(), Some(record(1, "x")));
    put(&store, 2).await;
    assert_eq!(to.records(), [name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_shares_a_grant_in_a_cluster_and_is_told_at_once() {
    let nodes: [RedisServer; 3] = RedisServer::cluster();
    let sim = SimServer::start(strict(4)).unwrap();
    // Each knows another node first.
    let sources = nodes.each_ref().map(|node| {
        let url = format!("redis+cluster://127.0.0.1:{}", node.port());
        rotating(&sim, open(&url)).build().unwrap()
    });
    let clients = sources.clone().map(|source| Client::builder(source).build().unwrap());
    let [one, two, three] = &clients;
    let span = Duration::from_secs(8);
    tokio::join!(call_for(one, span), call_for(two, span), call_for(three, span));
    let ledger = sim.handle().ledger();
    assert_eq!(ledger.token.max_in_flight, 1);
    assert!((3..=6).contains(&ledger.token.requests), "{} token requests", ledger.token.requests);
    assert_eq!(ledger.token_requests_ended(TokenOutcome::ReuseDetected), 0);
}
