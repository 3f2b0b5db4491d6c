//! Fifty replicas on one Redis, with one refresh token that changes at each use.
//!
//! Each replica is a source as a gateway has one, with a connection of its own; all of them live in this process, so that
//! one clock tells when each has a new token. The one that got it from the provider is the first to have it, and it has
//! stored and published it just before; all others have to hear of it. What they cost Redis at rest is counted by Redis
//! itself.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use evergrant::grant::Grant;
use evergrant::store::{SealKey, Store, StoreOptions, StoreUrl};
use evergrant::{Credential, TokenSource};
use evergrant_core::Secret;
use evergrant_core::profile::Profile;
use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN};
use evergrant_sim::ledger::TokenOutcome;
use evergrant_sim::{Event, ProviderConfig, SimServer};

use crate::process::Process;
use crate::table::{Goal, Row};
use crate::{Effort, Failure};

const REPLICAS: usize = 50;
const LIFETIMES: usize = 9;
const LIFETIME: Span = Span::from_secs(20);
/// Two looks of every replica.
const REST: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub(crate) fn rows(effort: Effort) -> Result<Vec<Row>, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure(effort.rounds(LIFETIMES)))
}

async fn measure(lifetimes: usize) -> Result<Vec<Row>, Failure> {
    let redis = Redis::start()?;
    let mut config = ProviderConfig::rfc().with_lifetime(LIFETIME);
    (config.rotation.rotate, config.rotation.reuse_detection) = (true, true);
    let sim = SimServer::start(config)?;
    let replicas = (0..REPLICAS).map(|_| Replica::start(&sim, redis.port)).collect::<Result<Vec<_>, _>>()?;
    let last = lifetimes as u64 + 1;
    for generation in 1..=last {
        everybody_has(&replicas, generation).await?;
    }
    let ledger = sim.handle().ledger();
    for lost in [TokenOutcome::ReuseDetected, TokenOutcome::InvalidGrant] {
        if ledger.token_requests_ended(lost) > 0 {
            return Err(format!("the grant was lost: {lost:?}").into());
        }
    }
    let requests = ledger.token.requests as f64 / newest(&replicas) as f64;
    let delays = adoption(&replicas, 2..=last);

    sim.handle().apply(Event::SetLifetime(Span::from_secs(86_400)));
    everybody_has(&replicas, newest(&replicas) + 1).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = redis.commands()?;
    tokio::time::sleep(REST).await;
    let minutes = REST.as_secs_f64() / 60.0;
    let at_rest = (redis.commands()? - before) / REPLICAS as f64 / minutes;

    let row = |what, unit, measured, goal| Row { what, unit, measured, beside: None, goal };
    Ok(vec![
        row("token requests for each lifetime of 50 replicas", "requests", requests, Goal::AtMost(1.0)),
        row("from publication to adoption, p50", "ms", quantile(&delays, 500), Goal::None),
        row("from publication to adoption, p99", "ms", quantile(&delays, 990), Goal::AtMost(200.0)),
        row("from publication to adoption, the slowest", "ms", quantile(&delays, 1000), Goal::None),
        row("commands to Redis for a replica at rest, a minute", "commands", at_rest, Goal::AtMost(5.0)),
    ])
}

/// A member of the fleet, and when it had which token.
struct Replica {
    source: TokenSource,
    had: Arc<Mutex<Vec<(u64, Instant)>>>,
}

impl Replica {
    fn start(sim: &SimServer, port: u16) -> Result<Self, Failure> {
        let mut profile = Profile::oauth2();
        profile.token_url = Some(sim.token_url());
        let mut credential = Credential::client_credentials(CLIENT_ID, Secret::from(CLIENT_SECRET));
        credential.grant = Grant::RefreshToken;
        let key = SealKey::from_base64(&Secret::from("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="))?;
        let url = StoreUrl::parse(&format!("redis://127.0.0.1:{port}"))?;
        let store = Store::open_with(&url, StoreOptions { key: Some(key), ..StoreOptions::default() })?;
        let builder = TokenSource::builder(profile, credential).refresh_token(Secret::from(REFRESH_TOKEN));
        let source = builder.store(store).build()?;
        let had = Arc::<Mutex<Vec<(u64, Instant)>>>::default();
        tokio::spawn(note(source.clone(), Arc::clone(&had)));
        Ok(Self { source, had })
    }

    fn had(&self) -> Vec<(u64, Instant)> {
        self.had.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Notes when a source has a newer token.
async fn note(source: TokenSource, had: Arc<Mutex<Vec<(u64, Instant)>>>) {
    let (mut events, mut seen) = (source.watch_events(), 0);
    loop {
        events.changed().await;
        let at = Instant::now();
        let newest = source.status().report.newest.0;
        if newest > seen {
            seen = newest;
            had.lock().unwrap_or_else(PoisonError::into_inner).push((newest, at));
        }
    }
}

async fn everybody_has(replicas: &[Replica], generation: u64) -> Result<(), Failure> {
    let deadline = Instant::now() + LONGEST_WAIT;
    while !replicas.iter().all(|replica| replica.source.status().report.newest.0 >= generation) {
        if Instant::now() > deadline {
            return Err(format!("not every replica has the token {generation} after a minute").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn newest(replicas: &[Replica]) -> u64 {
    replicas.iter().map(|replica| replica.source.status().report.newest.0).max().unwrap_or(0)
}

/// How much later than the first each other replica had these tokens, in milliseconds.
fn adoption(replicas: &[Replica], generations: std::ops::RangeInclusive<u64>) -> Vec<f64> {
    let all: Vec<_> = replicas.iter().map(Replica::had).collect();
    let mut delays = Vec::new();
    for generation in generations {
        // Whoever missed one has the next; its delay is counted to that one.
        let at = |had: &Vec<(u64, Instant)>| had.iter().find(|(newest, _)| *newest >= generation).map(|(_, at)| *at);
        let mut times: Vec<Instant> = all.iter().filter_map(at).collect();
        times.sort();
        let Some((first, others)) = times.split_first() else { continue };
        delays.extend(others.iter().map(|at| (*at - *first).as_secs_f64() * 1e3));
    }
    delays.sort_by(f64::total_cmp);
    delays
}

/// The number that this share of the sorted ones stays below.
fn quantile(sorted: &[f64], per_mille: usize) -> f64 {
    let index = (sorted.len() * per_mille / 1000).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// A server that keeps nothing on disk.
struct Redis {
    _process: Process,
    port: u16,
    home: PathBuf,
}

impl Redis {
    fn start() -> Result<Self, Failure> {
        let home = std::env::temp_dir().join(format!("evergrant-bench-{}-redis", std::process::id()));
        std::fs::create_dir_all(&home)?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(&home);
        let process = Process::start(command.stdout(Stdio::null()))?;
        let redis = Self { _process: process, port, home };
        let deadline = Instant::now() + LONGEST_WAIT;
        while redis.info("server").is_err() {
            if Instant::now() > deadline {
                return Err("redis-server does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(redis)
    }

    /// How many commands it has run for others than this count.
    fn commands(&self) -> Result<f64, Failure> {
        let stats = self.info("commandstats")?;
        let calls = |line: &str| line.split_once(":calls=")?.1.split(',').next()?.parse::<f64>().ok();
        Ok(stats.lines().filter(|line| !line.starts_with("cmdstat_info")).filter_map(calls).sum())
    }

    fn info(&self, section: &str) -> Result<String, Failure> {
        let said = Command::new("redis-cli").args(["-p", &self.port.to_string(), "INFO", section]).output()?;
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        if said.status.success() && text.starts_with('#') { Ok(text) } else { Err("no answer of redis-cli".into()) }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Only an empty folder is left if this fails.
        std::fs::remove_dir_all(&self.home).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_is_the_last_of_the_sorted() {
        let sorted: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!([500, 990, 1000].map(|per_mille| quantile(&sorted, per_mille)), [101.0, 199.0, 200.0]);
        assert!(quantile(&[], 990).is_nan());
    }
}
