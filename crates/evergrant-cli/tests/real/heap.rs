//! After many refreshes the memory of a gateway holds the tokens that are in use, and none of the others.
//!
//! 60 refreshes, or as many as `cargo xtask soak` asks for; each takes half a second, in which a token that is refused right
//! after it was issued gets another chance. The first refresh token was spent by another process: one that is given in the
//! environment stays there for as long as the process lives.
//!
//! Everything is read: heap, stacks, and whatever else is mapped. In use are the newest refresh token, the newest access
//! token, and those just before it, which requests under way may still carry.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig, REFRESH_TOKEN};
use evergrant_sim::{Event, SimServer};

use crate::gateway::Gateway;
use crate::memory::Needles;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

#[tokio::test]
async fn no_token_that_is_over_is_left_in_memory() {
    let mut config = ProviderConfig::default();
    config.rotation.grace = Span::from_secs(10);
    let (sim, home) = (SimServer::start(config).unwrap(), tempfile::tempdir().unwrap());
    let (token_url, upstream, store) = (sim.token_url(), sim.url(), format!("file:{}/tokens", home.path().display()));
    let settings = [
        ("TOKEN_URL", token_url.as_str()),
        ("UPSTREAM", &upstream),
        ("CLIENT_ID", CLIENT_ID),
        ("CLIENT_SECRET", CLIENT_SECRET),
        ("GRANT", "refresh_token"),
        ("STORE", &store),
        ("STORE_KEY", KEY),
        ("MINT_BUDGET", "1000000/10m"),
        ("SETTLE", "0s"),
    ];
    let mut first = Command::new(env!("CARGO_BIN_EXE_evergrant"));
    first.arg("token").env_clear().envs(settings.map(|(name, value)| (format!("EVERGRANT_{name}"), value)));
    assert!(first.env("EVERGRANT_REFRESH_TOKEN", REFRESH_TOKEN).output().unwrap().status.success());
    let gateway = Gateway::start(home.path(), None, &settings);
    let count = std::env::var("EVERGRANT_SOAK_REFRESHES").map_or(60, |count| count.parse().unwrap());
    refresh(&sim, &gateway, count).await;
    let over = tokens(&sim);
    assert!(over.len() > 2 * count, "only {} tokens were issued", over.len());
    // The token before the active one is kept for requests under way; two more refreshes and it is none of these.
    refresh(&sim, &gateway, count + 2).await;
    if std::fs::File::open(format!("/proc/{}/mem", gateway.id())).is_err() {
        // The gateway forbids it to everybody but root.
        assert!(!rustix::process::geteuid().is_root());
        eprintln!(
            "SKIPPED: no_token_that_is_over_is_left_in_memory looked at nothing, because only root can read the memory"
        );
        return;
    }

    let newest = Needles::new(tokens(&sim).difference(&over).cloned());
    let in_use = newest.in_process(gateway.id()).len();
    assert!(in_use >= 2, "of the newest tokens {in_use} are found, so the others would not be found either");
    let over = Needles::new(over);
    let found = over.in_process(gateway.id());
    assert!(found.is_empty(), "{} tokens that are over are in memory: {found:?}", found.len());
}

/// Every access and refresh token that was ever issued. The first refresh token is a constant of the simulator, which is
/// part of the program.
fn tokens(sim: &SimServer) -> BTreeSet<String> {
    let secrets = sim.handle().secrets();
    secrets
        .iter()
        .map(|secret| secret.expose().to_owned())
        .filter(|text| text != CLIENT_SECRET && text != REFRESH_TOKEN)
        .collect()
}

/// Has every access token revoked and a request made, until so many tokens were issued.
async fn refresh(sim: &SimServer, gateway: &Gateway, times: usize) {
    let client = reqwest::Client::new();
    let url = format!("{}/api/v2/users/12345", gateway.url());
    let deadline = Instant::now() + Duration::from_secs(60) + Duration::from_secs(3) * u32::try_from(times).unwrap();
    loop {
        let answer = client.get(&url).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}\n{}", gateway.log());
        let issued = sim.handle().ledger().token.succeeded;
        if issued > times as u64 {
            return;
        }
        assert!(Instant::now() < deadline, "only {issued} tokens were issued");
        sim.handle().apply(Event::RevokeAll);
    }
}
