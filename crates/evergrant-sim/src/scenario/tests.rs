use std::collections::BTreeSet;

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
