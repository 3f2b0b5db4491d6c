//! Eight gateways, one refresh token that changes at each use, one Redis, and everything that happens to such a fleet.
//!
//! Redis is killed and comes back with its data and without; the gateway that refreshes is killed while its request is
//! on the way; two gateways lose the network to Redis without being told. The provider ends the grant at the first
//! reuse. Callers see none of it, and each token is refreshed once.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig, REFRESH_TOKEN};
use evergrant_sim::faults::TokenFault;
use evergrant_sim::ledger::TokenOutcome;
use evergrant_sim::{Event, SimServer};
use tokio::task::JoinHandle;

use crate::gateway::Gateway;
use crate::parts::scratch;
use crate::redis_server::RedisServer;
use crate::relay::Relay;
use crate::until;

const LIFETIME: Span = Span::from_secs(9);
const CUT_OFF: usize = 2;

/// What callers of one gateway saw, until it is stopped.
struct Caller {
    ends: Arc<Mutex<BTreeMap<String, usize>>>,
    stop: Arc<AtomicBool>,
    running: JoinHandle<()>,
}

impl Caller {
    fn start(url: &str) -> Self {
        let (ends, stop) = (Arc::new(Mutex::new(BTreeMap::new())), Arc::new(AtomicBool::new(false)));
        let (seen, told, url) = (Arc::clone(&ends), Arc::clone(&stop), format!("{url}/api/v2/things"));
        let running = tokio::spawn(async move {
            let client = reqwest::Client::builder().timeout(Duration::from_secs(25)).no_proxy().build().unwrap();
            let mut pace = tokio::time::interval(Duration::from_millis(100));
            while !told.load(Ordering::SeqCst) {
                pace.tick().await;
                let end = match client.get(&url).send().await {
                    Ok(answer) if answer.status() == 200 => "200".to_owned(),
                    Ok(answer) => format!("{} {}", answer.status(), answer.text().await.unwrap_or_default()),
                    Err(error) => format!("{error:?}"),
                };
                *seen.lock().unwrap().entry(end).or_default() += 1;
            }
        });
        Self { ends, stop, running }
    }

    /// Ends after the call that is on its way; every one must have been answered with 200.
    async fn finish(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.running.await.unwrap();
        let ends = self.ends.lock().unwrap();
        assert_eq!(ends.keys().map(String::as_str).collect::<Vec<_>>(), ["200"], "{ends:?}");
        ends["200"]
    }
}

struct Member {
    gateway: Gateway,
    caller: Caller,
}

struct Fleet {
    sim: SimServer,
    home: std::path::PathBuf,
    members: Vec<Member>,
}

impl Fleet {
    fn join(&mut self, redis_port: u16) {
        let store = format!("redis://127.0.0.1:{redis_port}/0");
        let key = base64::engine::general_purpose::STANDARD.encode([5; 32]);
        let settings = [
            ("PROVIDER", "oauth2"),
            ("TOKEN_URL", &self.sim.token_url()),
            ("UPSTREAM", &self.sim.url()),
            ("CLIENT_ID", CLIENT_ID),
            ("CLIENT_SECRET", CLIENT_SECRET),
            ("GRANT", "refresh_token"),
            ("REFRESH_TOKEN", REFRESH_TOKEN),
            ("STORE", &store),
            ("STORE_KEY", &key),
            ("LEASE_TTL", "3s"),
        ];
        let gateway = Gateway::start(&self.home, None, &settings);
        let caller = Caller::start(gateway.url());
        self.members.push(Member { gateway, caller });
    }

    fn issued(&self) -> u64 {
        self.sim.handle().ledger().token_requests_ended(TokenOutcome::Issued)
    }

    /// Waits until the token was refreshed so many more times.
    async fn refreshes(&self, more: u64) {
        let wanted = self.issued() + more;
        until("the token was refreshed", async || self.issued() >= wanted).await;
    }

    /// Waits until every member has the newest token.
    async fn agreement(&self) {
        for member in &self.members {
            until("every gateway has the newest token", async || {
                let newest = &member.gateway.status().await["newest"];
                newest.as_u64().is_some_and(|newest| newest >= self.issued())
            })
            .await;
        }
    }

    /// Kills the member whose token request is on its way; the request reaches the provider, its answer nobody.
    async fn lose_the_refresher(&mut self, redis: &RedisServer) {
        let before = self.sim.handle().ledger().token.requests;
        self.sim.handle().apply(Event::token(TokenFault::Slow(Span::from_secs(2))));
        until("a refresh is on its way", async || self.sim.handle().ledger().token.requests > before).await;
        let lease = redis.cli(&["KEYS", "evergrant:*:lease"]);
        let holder = redis.cli(&["GET", &lease]);
        let at = self.members.iter().position(|member| holder.contains(&format!("process {} on", member.gateway.id())));
        let lost = self.members.remove(at.unwrap_or_else(|| panic!("the lease is held by {holder:?}")));
        // Its own callers are not meant: their gateway is gone.
        lost.caller.running.abort();
        drop(lost.gateway);
        self.sim.handle().apply(Event::ClearTokenFaults);
    }
}

/// 8 gateways, or as many as `cargo xtask soak` asks for.
#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_keeps_one_rotating_grant_through_everything() {
    let gateways = std::env::var("EVERGRANT_SOAK_GATEWAYS").map_or(8, |text| text.parse().unwrap());
    let rounds: u32 = std::env::var("EVERGRANT_SOAK_ROUNDS").map_or(1, |text| text.parse().unwrap());
    let mut config = ProviderConfig::rfc().with_lifetime(LIFETIME);
    config.rotation.rotate = true;
    config.rotation.reuse_detection = true;
    config.rotation.grace = Span::from_secs(20);
    let mut redis = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let relay = Relay::start(redis.port());
    let mut fleet = Fleet { sim: SimServer::start(config).unwrap(), home: scratch("fleet"), members: Vec::new() };
    for number in 0..gateways {
        fleet.join(if number < CUT_OFF { relay.port() } else { redis.port() });
    }
    fleet.agreement().await;
    assert_eq!(fleet.issued(), 1, "all of them started with one token request");

    for _ in 0..rounds {
        redis.kill();
        tokio::time::sleep(Duration::from_millis(500)).await;
        redis.restart();
        fleet.refreshes(1).await;

        fleet.lose_the_refresher(&redis).await;
        fleet.join(redis.port());
        fleet.refreshes(1).await;

        relay.cut();
        fleet.refreshes(1).await;
        relay.heal();
        fleet.agreement().await;

        redis.kill();
        forget(redis.folder());
        redis.restart();
        until("a member has written the record back", async || !redis.records().is_empty()).await;
        fleet.refreshes(1).await;
        fleet.agreement().await;
    }

    let ledger = fleet.sim.handle().ledger();
    for lost in [TokenOutcome::ReuseDetected, TokenOutcome::InvalidGrant] {
        assert_eq!(ledger.token_requests_ended(lost), 0, "{lost:?}");
    }
    let issued: Vec<_> = ledger
        .token
        .events
        .iter()
        .filter(|event| event.outcome == TokenOutcome::Issued)
        .map(|event| event.at)
        .collect();
    for pair in issued.windows(2) {
        let gap = pair[1] - pair[0];
        assert!(gap >= LIFETIME.scaled(1, 2), "two refreshes within {gap} in one lifetime");
    }
    let mut calls = 0;
    for member in fleet.members {
        calls += member.caller.finish().await;
    }
    println!("{calls} calls, {} refreshes, {} token requests", issued.len(), ledger.token.requests);
}

/// What a server without persistence finds when it starts.
fn forget(folder: &Path) {
    let emptied = Command::new("rm").arg("-rf").arg(folder.join("appendonlydir")).status().unwrap();
    assert!(emptied.success());
}
