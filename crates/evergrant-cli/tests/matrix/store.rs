//! The gateway's own end and restart, and a store that cannot be used.
//!
//! A rotating refresh token works once, so what a gateway leaves behind decides whether the next one can go on. A killed
//! gateway may have spent its refresh token without reading the answer: within the provider's grace the same one gives
//! the pair again, and the store says that this is what happened. A gateway that is told to end finishes its token
//! request first, and needs no grace.

use std::path::Path;
use std::time::{Duration, Instant};

use evergrant_core::time::Span;
use evergrant_sim::config::{Delay, InGrace};
use evergrant_sim::ledger::TokenOutcome;
use evergrant_sim::scenario::{Outage, Scenario};
use evergrant_sim::{Ledger, SimHandle, SimServer};
use tokio::time::sleep_until;

use crate::gateway::{Folder, Gateway, Setup};
use crate::run;

/// When the gateway's end comes.
#[derive(Clone, Copy)]
enum Moment {
    /// A token request is under way.
    InFlight,
    /// The provider has just given a token away.
    JustIssued,
    /// Nothing happens.
    AtRest,
}

#[test]
fn killed_gateways_lose_no_grant() {
    let mut scenario = rotation("killed_gateways", Span::from_secs(10));
    // Each kill may lose one answer that the provider then gives again.
    scenario.forced.token_requests = 4;
    let ledger = restarts(scenario, [Moment::InFlight, Moment::JustIssued, Moment::AtRest, Moment::InFlight], true);
    assert!(ledger.token_requests_ended(TokenOutcome::IssuedAgain) > 0, "no answer was lost: {:#?}", ledger.token);
}

#[test]
fn restarted_gateways_lose_no_grant_without_grace() {
    let scenario = rotation("restarted_gateways", Span::ZERO);
    restarts(scenario, [Moment::InFlight, Moment::AtRest, Moment::JustIssued, Moment::InFlight], false);
}

/// Refresh tokens that work once, tokens of four seconds, and a token endpoint slow enough to be met at work.
fn rotation(name: &'static str, grace: Span) -> Scenario {
    let mut scenario = Scenario::named("rotation").unwrap();
    scenario.name = name;
    scenario.config.rotation.grace = grace;
    scenario.config.rotation.in_grace = InGrace::SamePair;
    scenario.config.latency.token = Delay::fixed(Span::from_millis(400));
    scenario.duration = Span::from_secs(22);
    scenario
}

/// Ends the gateway at these moments, four seconds apart at least, and starts another on its port and store.
fn restarts(scenario: Scenario, moments: [Moment; 4], is_killed: bool) -> Ledger {
    let (home, sim) = (Folder::new(), SimServer::start_scenario(&scenario).unwrap());
    let setup = Setup::of(&scenario, &sim, home.path());
    run::runtime().block_on(run::play(scenario, &sim, &setup, async |mut gateway, start| {
        let setup = Setup::of(&Scenario::named("rotation").unwrap(), &sim, home.path()).listen(gateway.address);
        let mut outages = Vec::new();
        for (number, moment) in (1_u32..).zip(moments) {
            sleep_until((start + 4 * number * Duration::from_secs(1)).into()).await;
            moment.wait(&sim.handle()).await;
            let from = Span::from_duration(start.elapsed());
            if is_killed {
                gateway.kill();
            } else {
                gateway.stop().await;
            }
            gateway = Gateway::start(&setup);
            run::ready(gateway.admin).await;
            outages.push(Outage { from, to: Span::from_duration(start.elapsed()) });
        }
        (gateway, outages)
    }));
    let ledger = sim.handle().ledger();
    for lost in [TokenOutcome::InvalidGrant, TokenOutcome::ReuseDetected] {
        assert_eq!(ledger.token_requests_ended(lost), 0, "{:#?}", ledger.token);
    }
    ledger
}

impl Moment {
    async fn wait(self, sim: &SimHandle) {
        let issued = sim.ledger().token.succeeded;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let token = sim.ledger().token;
            let is_now = match self {
                Self::InFlight => token.in_flight == 1,
                Self::JustIssued => token.succeeded > issued && token.in_flight == 0,
                Self::AtRest => token.in_flight == 0,
            };
            if is_now {
                return;
            }
            assert!(Instant::now() < deadline, "the moment never came: {token:#?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[test]
fn store_lost_while_running() {
    let mut scenario = Scenario::named("no_fault").unwrap();
    scenario.name = "store_lost_while_running";
    loses_its_store(scenario, 2, 9);
}

#[test]
fn store_lost_while_running_rotation() {
    let mut scenario = Scenario::named("rotation").unwrap();
    scenario.name = "store_lost_while_running_rotation";
    scenario.config.tokens.lifetime = Span::from_secs(12);
    scenario.duration = Span::from_secs(20);
    let ledger = loses_its_store(scenario, 5, 10);
    assert_eq!(ledger.token_requests_ended(TokenOutcome::ReuseDetected), 0);
}

/// Puts a file in place of the store's folder, and the folder back again: unusable for whoever asks, root too.
fn loses_its_store(scenario: Scenario, from_secs: u64, to_secs: u64) -> Ledger {
    let (home, sim) = (Folder::new(), SimServer::start_scenario(&scenario).unwrap());
    let setup = Setup::of(&scenario, &sim, home.path()).env("EVERGRANT_STORE", store_in(home.path()));
    let said = run::runtime().block_on(run::play(scenario, &sim, &setup, async |gateway, start| {
        let (folder, aside) = (home.path().join("store"), home.path().join("aside"));
        sleep_until((start + Duration::from_secs(from_secs)).into()).await;
        std::fs::rename(&folder, &aside).unwrap();
        std::fs::write(&folder, "not a folder").unwrap();
        sleep_until((start + Duration::from_secs(to_secs)).into()).await;
        std::fs::remove_file(&folder).unwrap();
        std::fs::rename(&aside, &folder).unwrap();
        (gateway, Vec::new())
    }));
    assert!(said.contains("the store cannot be used"), "nobody was told:\n{said}");
    sim.handle().ledger()
}

#[test]
fn store_unreadable_at_start_is_named() {
    let scenario = Scenario::named("rotation").unwrap();
    let (home, sim) = (Folder::new(), SimServer::start_scenario(&scenario).unwrap());
    std::fs::write(home.path().join("store"), "not a folder").unwrap();
    let (code, said) = Gateway::refused(&Setup::of(&scenario, &sim, home.path()));
    assert_eq!(code, Some(EXIT_STORE), "{said}");
    let place = home.path().join("store").display().to_string();
    assert!(said.contains("cannot use the token store") && said.contains(&place) && said.contains("hint:"), "{said}");
    assert_eq!(sim.handle().ledger().token.requests, 0, "a refresh token was spent that nobody could keep");
}

fn store_in(home: &Path) -> String {
    format!("file+plain:{}", home.join("store/tokens").display())
}

/// The documented exit code for a token store that cannot be used.
const EXIT_STORE: i32 = 8;
