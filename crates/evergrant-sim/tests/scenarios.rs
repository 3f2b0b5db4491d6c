//! Every scenario, several seeds, against the keeper that ships, in virtual time.
//!
//! `EVERGRANT_SIM_SCENARIO=name` and `EVERGRANT_SIM_SEED=n` replay one run; every failure prints both.

use evergrant_core::time::Span;
use evergrant_sim::config::{Delay, Shape};
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

/// What make-before-break and the order of questions after a 401 are for: nobody waits who need not.
#[test]
fn refreshes_cost_callers_next_to_nothing() {
    for (name, p99_ms) in
        [("no_fault", 10), ("propagation", 100), ("revoke_on_refresh", 60), ("nodes_disagree", 10), ("rotation", 10)]
    {
        let scenario = Scenario::named(name).unwrap();
        for seed in 1..=3 {
            let outcome = world::run(&scenario, seed);
            let p99 = outcome.wait_at(99);
            assert!(p99 <= Span::from_millis(p99_ms), "{name}, seed {seed}: p99 {p99}, {}", outcome.summary());
        }
    }
}

/// A 401 without a challenge and a known body does not show that nothing was done. Writes then travel on the old token
/// while the new one settles, and no caller of one sees a 401.
#[test]
fn writes_that_cannot_be_repeated_never_meet_a_token_that_settles() {
    let mut scenario = Scenario::named("propagation").unwrap();
    scenario.config.shape = Shape::RfcBare;
    scenario.config = scenario.config.with_propagation(Delay::uniform(Span::ZERO, Span::from_millis(900)));
    for seed in 1..=10 {
        let outcome = world::run(&scenario, seed);
        assert_eq!(check::broken(&scenario, &outcome), Vec::<String>::new(), "seed {seed}: {}", outcome.summary());
        assert_eq!(outcome.report.unwrap().counters.passed_refusals, 0, "seed {seed}");
    }
}

/// Make-before-break: nobody sends a new token while an older one serves and nodes may not know the new one yet, so the
/// provider has nothing to refuse after the first token.
#[test]
fn a_new_token_rests_until_the_nodes_know_it() {
    let mut scenario = Scenario::named("propagation").unwrap();
    scenario.config = scenario.config.with_propagation(Delay::fixed(Span::from_secs(2)));
    scenario.config.tokens.lifetime = Span::from_secs(60);
    scenario.duration = Span::from_secs(200);
    for seed in 1..=3 {
        let outcome = world::run(&scenario, seed);
        let replaced: Vec<_> = outcome.ledger.generations.iter().skip(1).collect();
        let used = replaced.iter().filter(|(_, seen)| seen.accepted > 0).count();
        assert!(used >= 3, "seed {seed}: {used} refreshes");
        for (generation, seen) in replaced {
            assert_eq!(seen.refused, 0, "seed {seed}, generation {generation:?}: {}", outcome.summary());
        }
    }
}
