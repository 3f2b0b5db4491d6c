//! Fleets drawn from seeds, and what must hold for each of them.
//!
//! `EVERGRANT_SIM_SEED=n` runs one seed and prints its fleet and its log.

#![expect(clippy::print_stdout, reason = "a fleet that is replayed is shown")]

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use evergrant_core::time::Span;
use evergrant_sim::config::Delay;
use evergrant_sim::fleet::{self, Fleet, Jitter, Rules, Slip, Trouble};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn every_drawn_fleet_keeps_its_promises() {
    if let Some(seed) = number("EVERGRANT_SIM_SEED") {
        require(seed..seed + 1);
        return;
    }
    let count = number("EVERGRANT_SIM_SEEDS").unwrap_or(300);
    let excused = require(1..count + 1);
    assert!(excused <= count / 1_000, "{excused} of {count} grants were lost, each excused");
}

/// The losses of a grant that are excused: a process spends its first refresh token before a store that has just lost
/// everything, and token endpoint or store are out of order for as long as an answer that was lost would be repeated.
#[test]
fn a_grant_that_nobody_could_have_kept_is_excused() {
    for seed in [5_724, 1_795_976_331_024, 1_795_976_669_072] {
        assert_eq!(require(seed..seed + 1), 1);
    }
}

/// Every run of the tests sees some fleets that nobody has seen before.
#[test]
fn and_so_do_some_that_were_never_drawn_before() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let excused = require(now * 1_000..now * 1_000 + 100);
    assert!(excused <= 1, "{excused} of 100 grants were lost, each excused");
}

/// Holds the promises against these fleets, and says in how many a grant was lost with an excuse.
fn require(seeds: Range<u64>) -> u64 {
    let only = number("EVERGRANT_SIM_SEED");
    let (mut complaints, mut excused) = (Vec::new(), 0);
    for seed in seeds {
        let fleet = fleet::drawn(seed);
        let outcome = fleet::run(&fleet, seed, only.is_some());
        if only.is_some() {
            println!("{fleet:#?}\n{}\n{} issued, {} commands", outcome.log, outcome.issued, outcome.commands);
        }
        excused += u64::from(outcome.is_grant_lost && outcome.broken.is_empty());
        complaints.extend(outcome.broken.iter().map(|words| format!("EVERGRANT_SIM_SEED={seed}: {words}")));
    }
    assert!(complaints.is_empty(), "{} broken promises\n{}", complaints.len(), complaints.join("\n"));
    excused
}

/// A check that cannot fail proves nothing. Each slip has a test of its own, because some take hundreds of fleets.
fn is_found_out_within_a_thousand(slip: Slip) {
    let is_found = |seed: &u64| !fleet::run_with_slip(&fleet::drawn(*seed), *seed, slip).broken.is_empty();
    let found = (1..=1_000).find(is_found);
    println!("{slip:?} is found out in fleet {found:?}");
    assert!(found.is_some(), "{slip:?} is not found out");
}

#[test]
fn a_member_that_ignores_the_lease_is_found_out() {
    is_found_out_within_a_thousand(Slip::IgnoresTheLease);
}

#[test]
fn a_member_that_never_renews_its_lease_is_found_out() {
    is_found_out_within_a_thousand(Slip::NeverBeats);
}

#[test]
fn a_member_that_stores_nothing_is_found_out() {
    is_found_out_within_a_thousand(Slip::StoresNothing);
}

#[test]
fn a_member_that_hears_nothing_is_found_out() {
    is_found_out_within_a_thousand(Slip::IsDeaf);
}

#[test]
fn a_member_that_repairs_nothing_is_found_out() {
    is_found_out_within_a_thousand(Slip::RepairsNothing);
}

#[test]
fn a_member_that_keeps_failures_to_itself_is_found_out() {
    is_found_out_within_a_thousand(Slip::KeepsFailures);
}

#[test]
fn a_member_that_takes_foreign_times_for_its_own_is_found_out() {
    is_found_out_within_a_thousand(Slip::TakesForeignTimes);
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

fn with_rules(rules: Rules, seed: u64) -> Fleet {
    Fleet { rules, ..fleet::drawn(seed) }
}

/// What keeps members apart saves work; no promise may rest on it.
#[test]
fn a_fleet_with_another_rule_keeps_its_promises() {
    let drawn = [Jitter::OfReplica, Jitter::OfLook].map(|jitter| Rules { jitter, takes_turns: true });
    let at_once = Rules { takes_turns: false, ..Rules::default() };
    for rules in [drawn[0], drawn[1], at_once] {
        for seed in 1..=60 {
            let outcome = fleet::run(&with_rules(rules, seed), seed, false);
            assert!(outcome.broken.is_empty(), "{seed}, {rules:?}: {:?}", outcome.broken);
        }
    }
}

/// Fleets of ten with the same tokens, in which nothing happens and nobody calls but what is in `troubles`.
fn untroubled(rules: Rules, troubles: Vec<(Span, Trouble)>, seed: u64) -> Fleet {
    let mut fleet = Fleet { members: 10, events: Vec::new(), messages_lost_permille: 0, ..with_rules(rules, 1) };
    fleet.config = fleet.config.with_lifetime(Span::from_secs(3_600));
    fleet.config.latency.token = Delay::uniform(Span::from_millis(10), Span::from_millis(80));
    fleet.machines = fleet::clocks(seed, 10);
    Fleet { troubles, duration: Span::from_secs(3_600), quiet_from: Span::ZERO, ..fleet }
}

/// The earliest of many draws is nearly always the earliest there is.
#[test]
fn what_is_drawn_at_each_look_sends_fleets_that_start_together_to_refresh_together() {
    let spread = |jitter| {
        let rules = Rules { jitter, takes_turns: true };
        let second = |seed| fleet::run(&untroubled(rules, Vec::new(), seed), seed, false).issues[1];
        let seconds: Vec<_> = (1..=30).map(second).collect();
        *seconds.iter().max().unwrap() - *seconds.iter().min().unwrap()
    };
    let [of_credential, of_replica, of_look] = [Jitter::OfCredential, Jitter::OfReplica, Jitter::OfLook].map(spread);
    println!("{of_credential:?}, {of_replica:?}, {of_look:?}");
    assert!(of_credential > Span::from_secs(200), "{of_credential:?} of the 360 s that are allowed");
    assert!(of_replica < of_credential.scaled(3, 4), "{of_replica:?}");
    assert!(of_look < of_credential.scaled(1, 2), "{of_look:?}");
}

/// The one that asks is killed while all others wait for its lease.
#[test]
fn who_waits_for_the_lease_of_a_dead_member_goes_in_turn() {
    let refused = |takes_turns| {
        let rules = Rules { takes_turns, ..Rules::default() };
        let killed = vec![(Span::ZERO, Trouble::KilledWhileAsking(Span::from_secs(60)))];
        let refusals = |seed| {
            let outcome = fleet::run(&untroubled(rules, killed.clone(), seed), seed, false);
            assert!(outcome.broken.is_empty(), "{seed}: {:?}", outcome.broken);
            assert!(outcome.issues[1] < Span::from_secs(9), "{seed}: {:?}", outcome.issues);
            // Before it everybody has looked how long the lease lasts.
            outcome.refusals.iter().filter(|at| **at > outcome.issues[0] + Span::from_millis(5_500)).count()
        };
        (1..=20).map(refusals).sum::<usize>()
    };
    let (in_turn, at_once) = (refused(true), refused(false));
    println!("{in_turn} in turn, {at_once} at once");
    assert!(in_turn * 2 < at_once, "{in_turn} in turn, {at_once} at once");
}
