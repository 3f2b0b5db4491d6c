//! Every scenario, several seeds, against the keeper that ships, in virtual time.
//!
//! `EVERGRANT_SIM_SCENARIO=name` and `EVERGRANT_SIM_SEED=n` replay one run; every failure prints both.

use evergrant_sim::scenario::Scenario;
use evergrant_sim::world::{self, check};

#[test]
fn the_keeper_keeps_its_promises_in_every_scenario() {
    let only = std::env::var("EVERGRANT_SIM_SCENARIO").ok();
    let seed = std::env::var("EVERGRANT_SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = seed.map_or_else(|| (1..=3).collect(), |seed| vec![seed]);
    let mut complaints = Vec::new();
    for scenario in Scenario::all() {
        if only.as_ref().is_some_and(|only| only != scenario.name) {
            continue;
        }
        for seed in &seeds {
            let outcome = world::run(&scenario, *seed);
            assert!(!outcome.calls.is_empty(), "{} made no call", scenario.name);
            println!("{:32} {seed} {}", scenario.name, outcome.summary());
            for words in check::broken(&scenario, &outcome) {
                complaints.push(format!("EVERGRANT_SIM_SCENARIO={} EVERGRANT_SIM_SEED={seed}: {words}", scenario.name));
            }
            if only.is_some() {
                println!("{:#?}", outcome.report);
            }
        }
    }
    assert!(complaints.is_empty(), "{} broken promises\n{}", complaints.len(), complaints.join("\n"));
}
