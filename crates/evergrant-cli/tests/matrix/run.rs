//! One run of a scenario: start the provider and the gateway, play the load and the events, judge.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use evergrant_core::time::Span;
use evergrant_sim::SimServer;
use evergrant_sim::scenario::{Outage, Scenario};

use crate::check::Evidence;
use crate::client::Client;
use crate::gateway::{Folder, Gateway, Setup};
use crate::load::{self, Course};

/// Plays a scenario of the simulator and panics with every broken promise.
pub(crate) fn scenario(name: &str) {
    let scenario = Scenario::named(name).unwrap();
    let (home, sim) = (Folder::new(), SimServer::start_scenario(&scenario).unwrap());
    let setup = Setup::of(&scenario, &sim, home.path());
    runtime().block_on(play(scenario, &sim, &setup, async |gateway, _| (gateway, Vec::new())));
}

/// Plays a scenario against a gateway with these settings; returns everything that the gateway said.
///
/// From the start on, `beside` does to the gateway what no provider can do. It returns the gateway that runs at the
/// end, and the times in which there was none.
pub(crate) async fn play(
    mut scenario: Scenario,
    sim: &SimServer,
    setup: &Setup,
    beside: impl AsyncFnOnce(Gateway, Instant) -> (Gateway, Vec<Outage>),
) -> String {
    let gateway = Gateway::start(setup);
    let first_started = gateway.started;
    if !scenario.load.cold {
        ready(gateway.admin).await;
    }
    let start = Instant::now();
    sim.handle().play(scenario.events.clone());
    let answers_take = scenario.config.latency.api.max.to_duration();
    let to = Course { gateway: gateway.address, admin: gateway.admin, provider: sim.addr(), answers_take };
    let calls = load::play(&scenario.load, scenario.duration, start, to);
    let (seen, (gateway, outages)) = tokio::join!(calls, beside(gateway, start));
    scenario.forced.outages.extend(outages);
    let ran = Span::from_duration(first_started.elapsed());
    let ledger = sim.handle().ledger();
    let evidence = Evidence { scenario: &scenario, seen: &seen, ledger: &ledger, ran };
    println!("{}", evidence.summary());
    let broken = evidence.broken();
    let (status, said) = gateway.stop().await;
    let told =
        || format!("{}\n--- the gateway said:\n{said}\n--- token requests:\n{:#?}", evidence.summary(), ledger.token);
    assert!(broken.is_empty(), "{}: {broken:#?}\n{}", scenario.name, told());
    assert!(status.success() && !said.contains("panicked"), "{}: ended with {status}\n{}", scenario.name, told());
    said
}

/// Waits until the gateway holds a token.
pub(crate) async fn ready(admin: SocketAddr) {
    let client = Client::http1();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = client.get(admin, "/readyz").await;
        if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
            return;
        }
        assert!(Instant::now() < deadline, "the gateway never held a token: {answer:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A light runtime: the tests mostly wait, and many of them do so at once.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
