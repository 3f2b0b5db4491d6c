use std::collections::BTreeSet;

use evergrant_core::policy::Policy;

use super::*;

#[test]
fn names_are_unique_and_found() {
    let all = Scenario::all();
    let names: BTreeSet<&str> = all.iter().map(|scenario| scenario.name).collect();
    assert_eq!(names.len(), all.len());
    assert_eq!(Scenario::named("eviction").map(|scenario| scenario.name), Some("eviction"));
    assert!(Scenario::named("no such thing").is_none());
}

#[test]
fn every_event_and_outage_falls_into_the_run() {
    for scenario in Scenario::all() {
        assert!(scenario.events.iter().all(|at| at.after < scenario.duration), "{}", scenario.name);
        assert!(scenario.forced.outages.iter().all(|outage| outage.to < scenario.duration), "{}", scenario.name);
        assert!(scenario.events.is_sorted_by_key(|at| at.after), "{}", scenario.name);
    }
}

#[test]
fn the_mint_allowance_is_two_and_a_half_per_lifetime() {
    let mut scenario = Scenario::named("no_fault").unwrap();
    scenario.forced.token_requests = 0;
    for (ran_ms, allowed) in [(100, 3), (4_000, 3), (8_000, 5), (12_000, 8), (12_001, 8), (16_000, 10)] {
        assert_eq!(scenario.mint_allowance(Span::from_millis(ran_ms)), allowed, "{ran_ms}");
    }
    scenario.forced.token_requests = 4;
    assert_eq!(scenario.mint_allowance(Span::from_secs(8)), 9);
}

#[test]
fn calls_may_fail_only_in_an_outage() {
    let scenario = Scenario::named("endpoint_down_across_expiry").unwrap();
    let outage = scenario.forced.outages[0];
    let ms = Span::from_millis(1);
    assert!(!scenario.may_fail(Span::ZERO, outage.from - ms));
    assert!(scenario.may_fail(Span::ZERO, outage.from));
    assert!(scenario.may_fail(outage.to, outage.to + ms));
    assert!(!scenario.may_fail(outage.to + ms, outage.to + ms));
    assert!(!Scenario::named("no_fault").unwrap().may_fail(Span::ZERO, Span::MAX));
}

/// Walks through every course that the back-off allows, in steps of luck, from a first failure to the first try after
/// the fault. The bound is what the latest one needs: a client that is later breaks a promise, and none may be earlier.
#[test]
fn the_outage_ends_with_the_longest_back_off_that_is_promised() {
    let scenario = Scenario::named("endpoint_down_across_expiry").unwrap();
    let [fault, cleared] = [0, 1].map(|event: usize| scenario.events[event].after);
    let life = scenario.config.tokens.lifetime;
    let mut latest = Span::ZERO;
    // The refresh of a token that came just before the fault begins when a third of its life is left, or sooner by the
    // jitter; that of one that came long before begins just after the fault does.
    for first_ms in (fault.as_millis()..(fault + life.scaled(2, 3)).as_millis()).step_by(100) {
        let first = Span::from_millis(first_ms);
        let left_at_first = life.scaled(1, 3);
        latest = latest.max(latest_try(first, 0, first + left_at_first, cleared));
    }
    let bound = scenario.forced.outages[0].to;
    assert_eq!(bound, cleared + table::LONGEST_BACK_OFF);
    assert!(latest <= bound && bound - latest < Span::from_millis(100), "{latest} is the latest of {bound}");
}

/// When the last try comes that a client may make after a failure at `at`, the `n`-th, with a token that is gone at `gone`.
fn latest_try(at: Span, n: u32, gone: Span, cleared: Span) -> Span {
    if at >= cleared {
        return at;
    }
    let left = (gone > at).then(|| gone - at);
    let tries = [0, 100, 1_000].map(|luck| at + Policy::default().backoff(n, left, luck));
    tries.into_iter().map(|next| latest_try(next, n + 1, gone, cleared)).max().unwrap_or(at)
}
