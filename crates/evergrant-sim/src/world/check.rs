//! What must never happen in a run, whatever its scenario and seed.

use super::Outcome;
use crate::scenario::Scenario;

/// Every broken promise of a run, in words; empty if all were kept.
#[must_use]
pub fn broken(scenario: &Scenario, outcome: &Outcome) -> Vec<String> {
    let mut broken = Vec::new();
    let mut demand = |holds: bool, words: String| {
        if !holds {
            broken.push(words);
        }
    };
    let visible: Vec<_> = outcome.calls.iter().filter(|call| call.status == Some(401)).collect();
    demand(visible.is_empty(), format!("{} visible 401s, the first {:?}", visible.len(), visible.first()));
    let failed: Vec<_> = outcome
        .calls
        .iter()
        .filter(|call| !matches!(call.status, Some(200..=299 | 401)) && !scenario.may_fail(call.started, call.ended))
        .collect();
    demand(failed.is_empty(), format!("{} calls failed without need, the first {:?}", failed.len(), failed.first()));
    demand(outcome.unfinished == 0, format!("{} calls never ended", outcome.unfinished));
    let in_flight = outcome.ledger.token.max_in_flight;
    demand(in_flight <= 1, format!("{in_flight} token requests in flight at once"));
    let (requests, allowed) = (outcome.ledger.token.requests, scenario.mint_allowance(outcome.ran));
    demand(requests <= allowed, format!("{requests} token requests where {allowed} are enough"));
    let duplicated = outcome.ledger.duplicated_effects();
    demand(duplicated == 0, format!("{duplicated} side effects executed twice"));
    let slowest = outcome
        .calls
        .iter()
        .filter(|call| !scenario.may_fail(call.started, call.ended))
        .map(|call| call.ended - call.started)
        .max()
        .unwrap_or_default();
    demand(slowest <= scenario.forced.wait, format!("a call took {slowest} where {} is enough", scenario.forced.wait));
    broken
}
