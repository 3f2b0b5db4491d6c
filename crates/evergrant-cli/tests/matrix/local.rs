//! This machine's calendar clock steps while the gateway runs: a minute and a half forward, an hour back, and right.
//!
//! Lifetimes are counted on the boot clock, so nothing may change but words. The clock is faked for the gateway alone by
//! libfaketime, which leaves the boot clock real, as a real step does.

use std::time::{Duration, Instant};

use evergrant_sim::SimServer;
use evergrant_sim::scenario::Scenario;
use serde_json::Value;
use tokio::time::sleep_until;

use crate::client::Client;
use crate::faked_wall::FakedWall;
use crate::gateway::{Folder, Gateway, Setup};
use crate::run;

#[test]
fn local_steps() {
    steps("no_fault", "local_steps");
}

#[test]
fn local_steps_jwt() {
    steps("no_fault_jwt", "local_steps_jwt");
}

#[test]
fn local_steps_with_a_slow_provider() {
    steps("offset_minus_5min", "local_steps_with_a_slow_provider");
}

/// Plays this scenario under another name, with steps of the local clock on top.
fn steps(scenario: &str, name: &'static str) {
    let scenario = Scenario { name, ..Scenario::named(scenario).unwrap() };
    let (home, sim) = (Folder::new(), SimServer::start_scenario(&scenario).unwrap());
    let wall = FakedWall::new(home.path(), 0);
    let setup = wall
        .variables()
        .into_iter()
        .fold(Setup::of(&scenario, &sim, home.path()), |setup, (name, value)| setup.env(name, value.display()));
    run::runtime().block_on(run::play(scenario, &sim, &setup, async |gateway, start| {
        for (after_secs, ahead_secs) in [(2, 90), (5, -3_600), (9, 0)] {
            sleep_until((start + Duration::from_secs(after_secs)).into()).await;
            wall.step_to(ahead_secs);
            told_of_a_step(&gateway, ahead_secs).await;
        }
        (gateway, Vec::new())
    }));
}

/// Waits until the status page says that this machine is about so many seconds ahead of where it was.
async fn told_of_a_step(gateway: &Gateway, ahead_secs: i64) {
    let client = Client::http1();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = client.get(gateway.admin, "/status").await.unwrap();
        let status: Value = serde_json::from_slice(&answer.body).unwrap();
        let skew = &status["clock"]["local_minus_server_s"];
        if let (Some(lo), Some(hi), Some(1..)) =
            (skew["lo"].as_f64(), skew["hi"].as_f64(), status["clock"]["local_steps"].as_u64())
            && [0.0, 300.0]
                .iter()
                .any(|base| lo - 2.0 <= base + ahead_secs as f64 && base + ahead_secs as f64 <= hi + 2.0)
        {
            return;
        }
        assert!(Instant::now() < deadline, "no word of a step to {ahead_secs} s: {status:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
