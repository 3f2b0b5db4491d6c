//! Genesys Cloud's own Python client, unchanged, with its host setting on the gateway.
//!
//! The client has no token and never asks for one. The provider behind the gateway is the simulator in Genesys' shape
//! with tokens of a few seconds, late propagation, and a revocation in the middle. The client gives up at the first
//! 401, as it does in production; so one visible 401 fails the test.

use std::process::Command;

use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, Delay, ProviderConfig};
use evergrant_sim::faults::Event;
use evergrant_sim::http::SimServer;
use serde_json::Value;

use crate::gateway::Gateway;
use crate::parts::{part, scratch, tool};
use crate::process::Process;
use crate::until;

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_genesys_client_sees_no_401() {
    let folder = scratch("genesys-client");
    let propagation = Delay { min: Span::ZERO, max: Span::from_millis(300) };
    let config =
        ProviderConfig::genesys().with_lifetime(Span::from_secs(5)).with_nodes(2).with_propagation(propagation);
    let sim = SimServer::start(config).unwrap();
    let (token_url, upstream) = (sim.token_url(), sim.url());
    let settings = [
        ("PROVIDER", "genesys"),
        ("TOKEN_URL", token_url.as_str()),
        ("UPSTREAM", upstream.as_str()),
        ("CLIENT_ID", CLIENT_ID),
        ("CLIENT_SECRET", CLIENT_SECRET),
    ];
    let gateway = Gateway::start(&folder, None, &settings);

    let mut command = Command::new(tool("py/bin/python"));
    command.arg(part("genesys_client.py")).arg(gateway.url()).env("HOME", &folder);
    let client = Process::start("the Genesys client", &mut command);
    let issued = async |count: u64| {
        until("the provider has issued more tokens", async || sim.handle().ledger().token.succeeded >= count).await;
    };
    // The client takes a while to load its own code; before its first calls there is nothing to see.
    until("the client has made its first calls", async || sim.handle().ledger().effects.len() >= 2).await;
    issued(3).await;
    sim.handle().apply(Event::RevokeAll);
    issued(sim.handle().ledger().token.succeeded + 3).await;
    let (status, said) = client.end();

    assert!(status.success(), "{said}\n{}", gateway.log());
    let report: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(report["failures"], serde_json::json!([]), "{report}");
    let ledger = sim.handle().ledger();
    assert_eq!(ledger.duplicated_effects(), 0);
    let effects = u64::try_from(ledger.effects.len()).unwrap();
    assert_eq!(Some(effects), report["posts"].as_u64(), "each POST was executed, and once");
    assert!(ledger.refused() > 0, "the revocation must have met a call, or the test proves nothing");
    assert!(ledger.token.max_in_flight <= 1);
    println!("{report}; 401s that nobody saw: {}", ledger.refused());
}
