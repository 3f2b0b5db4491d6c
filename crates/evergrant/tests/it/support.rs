//! Sources and clients of a simulated provider.

use std::time::{Duration, Instant};

use evergrant::core::Secret;
use evergrant::core::profile::{Profile, Region};
use evergrant::core::time::Span;
use evergrant::grant::Grant;
use evergrant::store::Store;
use evergrant::{Builder, Client, Credential, TokenSource};
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN};
use evergrant_sim::{ProviderConfig, SimServer};

pub(crate) fn genesys(sim: &SimServer) -> Profile {
    let mut profile = Profile::genesys(Region::parse("eu-west-1").unwrap());
    profile.token_url = Some(sim.token_url());
    profile.api_url = Some(sim.url());
    profile
}

pub(crate) fn credential() -> Credential {
    Credential::client_credentials(CLIENT_ID, Secret::from(CLIENT_SECRET))
}

pub(crate) fn rotating(sim: &SimServer, store: Store) -> Builder {
    let credential = Credential { grant: Grant::RefreshToken, ..credential() };
    TokenSource::builder(genesys(sim), credential).refresh_token(Secret::from(REFRESH_TOKEN)).store(store)
}

pub(crate) fn builder(sim: &SimServer) -> Builder {
    TokenSource::builder(genesys(sim), credential())
}

pub(crate) fn start(config: ProviderConfig) -> (SimServer, TokenSource, Client) {
    let sim = SimServer::start(config).unwrap();
    let source = builder(&sim).build().unwrap();
    let client = Client::builder(source.clone()).build().unwrap();
    (sim, source, client)
}

pub(crate) fn living(secs: i64) -> ProviderConfig {
    ProviderConfig::genesys().with_lifetime(Span::from_secs(secs))
}

/// Sends one request after the other for this long; every one must be answered with 200.
pub(crate) async fn call_for(client: &Client, span: Duration) -> u64 {
    let until = Instant::now() + span;
    let mut calls = 0;
    while Instant::now() < until {
        let answer = client.get("/api/v2/things?secret=1").send().await.unwrap();
        assert_eq!(answer.status(), 200, "call {calls}: {:?}", answer.verdict());
        calls += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    calls
}

/// Waits until it holds, at most ten seconds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
