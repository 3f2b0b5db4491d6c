//! Fleets drawn from seeds, and what must hold for each of them.
//!
//! `EVERGRANT_SIM_SEED=n` runs one seed and prints its fleet and its log.

#![expect(clippy::print_stdout, reason = "a fleet that is replayed is shown")]

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use evergrant_core::time::Span;
use evergrant_sim::fleet::{self, Slip, Trouble};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn every_drawn_fleet_keeps_its_promises() {
    let count = number("EVERGRANT_SIM_SEEDS").unwrap_or(300);
    require(number("EVERGRANT_SIM_SEED").map_or(1..count + 1, |seed| seed..seed + 1));
}

/// Every run of the tests sees some fleets that nobody has seen before.
#[test]
fn and_so_do_some_that_were_never_drawn_before() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    require(now * 1_000..now * 1_000 + 100);
}

fn require(seeds: Range<u64>) {
    let only = number("EVERGRANT_SIM_SEED");
    let mut complaints = Vec::new();
    for seed in seeds {
        let fleet = fleet::drawn(seed);
        let outcome = fleet::run(&fleet, seed, only.is_some());
        if only.is_some() {
            println!("{fleet:#?}\n{}\n{} issued, {} commands", outcome.log, outcome.issued, outcome.commands);
        }
        complaints.extend(outcome.broken.iter().map(|words| format!("EVERGRANT_SIM_SEED={seed}: {words}")));
    }
    assert!(complaints.is_empty(), "{} broken promises\n{}", complaints.len(), complaints.join("\n"));
}

/// A check that cannot fail proves nothing.
#[test]
fn a_fleet_that_slips_is_found_out_within_a_thousand() {
    for slip in Slip::ALL {
        let is_found = |seed: &u64| !fleet::run_with_slip(&fleet::drawn(*seed), *seed, slip).broken.is_empty();
        let found = (1..=1_000).find(is_found);
        println!("{slip:?} is found out in fleet {found:?}");
        assert!(found.is_some(), "{slip:?} is not found out");
    }
}

#[test]
fn two_runs_of_one_seed_are_the_same_to_the_last_line() {
    for seed in 1..=20 {
        let run = || fleet::run(&fleet::drawn(seed), seed, true).log;
        assert_eq!(run(), run());
    }
}

#[test]
fn an_untroubled_fleet_asks_for_one_token_in_each_lifetime() {
    let mut seen = 0;
    for seed in 1..=200 {
        let fleet = fleet::drawn(seed);
        if !fleet.troubles.is_empty() || !fleet.events.is_empty() || fleet.messages_lost_permille > 0 {
            continue;
        }
        seen += 1;
        let outcome = fleet::run(&fleet, seed, false);
        // A token is renewed when between a half and four fifths of its life are over.
        let lifetimes = fleet.duration.as_secs_f64() / fleet.config.tokens.lifetime.as_secs_f64();
        let (least, most) = (lifetimes.floor(), (lifetimes * 2.0).ceil());
        assert!(
            (least..=most).contains(&(outcome.issued as f64)),
            "{seed}: {} in {lifetimes} lifetimes",
            outcome.issued
        );
        assert_eq!(outcome.ledger.token.max_in_flight, 1, "{seed}");
    }
    assert!(seen > 10, "{seen}");
}

/// It is told to wait like everybody, but never alone first.
#[test]
fn a_member_behind_a_bad_proxy_keeps_nobody_from_a_token() {
    for seed in 1..=40 {
        let mut fleet = fleet::drawn(seed);
        fleet.events.clear();
        fleet.troubles = vec![(Span::ZERO, Trouble::BadProxy(0, fleet.duration))];
        fleet.quiet_from = Span::ZERO;
        let outcome = fleet::run(&fleet, seed, false);
        assert!(outcome.broken.is_empty(), "{seed}: {:?}", outcome.broken);
        let lifetimes = fleet.duration.as_secs_f64() / fleet.config.tokens.lifetime.as_secs_f64();
        assert!(outcome.issued as f64 >= lifetimes.floor(), "{seed}: {} in {lifetimes} lifetimes", outcome.issued);
        assert!(outcome.ledger.token.requests as f64 <= lifetimes * 3.0, "{seed}");
    }
}
