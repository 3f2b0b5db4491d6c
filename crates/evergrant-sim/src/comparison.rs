//! Several clients in the same worlds: what their callers saw, and what that depends on.
//!
//! A [`Tally`] adds up the runs of one client over some seeds. A [`Sweep`] is a row of worlds that differ in one thing,
//! such as how late nodes learn of a new token, so that a plot can show who minds. Every number follows from strategy,
//! scenario and seeds; nothing is measured on a real clock.

mod sweep;

use evergrant_core::time::Span;
use serde::Serialize;

use crate::scenario::Scenario;
use crate::strategy::Strategy;
use crate::world::{Outcome, run_with};

pub use sweep::{Point, Sweep, faults, steady};

/// What came of one client.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Tally {
    /// Which client.
    pub strategy: &'static str,
    /// Calls of its callers.
    pub calls: u64,
    /// Of these, those that got a 401.
    pub visible_401: u64,
    /// Those that got nothing, for want of a token or of an answer.
    pub unanswered: u64,
    /// Those that got another error.
    pub other_errors: u64,
    /// Tokens of which the first request got a 401 to its caller, in percent of the tokens used.
    pub failed_firsts_percent: f64,
    /// Requests to the token endpoint.
    pub token_requests: u64,
    /// The same for each lifetime of a token.
    pub token_requests_per_lifetime: f64,
    /// Side effects executed once more than asked for.
    pub duplicated_effects: u64,
    /// How long calls took, the 99th percentile.
    pub p99_ms: i64,
}

impl Tally {
    /// Runs a scenario with each seed.
    #[must_use]
    pub fn of(strategy: Strategy, scenario: &Scenario, seeds: &[u64]) -> Self {
        let outcomes: Vec<_> = seeds.iter().map(|seed| run_with(strategy, scenario, *seed)).collect();
        Self::sum(strategy, scenario, &outcomes)
    }

    /// Adds up runs of one scenario.
    #[must_use]
    pub fn sum(strategy: Strategy, scenario: &Scenario, outcomes: &[Outcome]) -> Self {
        let count = |what: fn(&Outcome) -> usize| outcomes.iter().map(|outcome| what(outcome) as u64).sum();
        let calls = || outcomes.iter().flat_map(|outcome| &outcome.calls);
        let token_requests = outcomes.iter().map(|outcome| outcome.ledger.token.requests).sum();
        let ran = scenario.duration.as_secs_f64() * outcomes.len() as f64;
        let lifetimes = (ran / scenario.config.tokens.lifetime.as_secs_f64()).max(1.0);
        let is_other_error = |status: u16| !(200..300).contains(&status) && status != 401;
        let firsts = || calls().filter(|call| call.is_first_of_token);
        let failed_firsts = firsts().filter(|call| call.status == Some(401)).count();
        Self {
            strategy: strategy.name(),
            calls: count(|outcome| outcome.calls.len() + outcome.unfinished),
            visible_401: count(Outcome::visible_401),
            unanswered: count(|outcome| outcome.unanswered() + outcome.unfinished),
            other_errors: calls().filter(|call| call.status.is_some_and(is_other_error)).count() as u64,
            failed_firsts_percent: hundredths(100.0 * failed_firsts as f64 / firsts().count().max(1) as f64),
            token_requests,
            token_requests_per_lifetime: hundredths(token_requests as f64 / lifetimes),
            duplicated_effects: outcomes.iter().map(|outcome| outcome.ledger.duplicated_effects()).sum(),
            p99_ms: percentile(calls().map(|call| call.ended - call.started).collect(), 99).as_millis(),
        }
    }

    /// Calls with a 401, in percent.
    #[must_use]
    pub fn visible_401_percent(&self) -> f64 {
        hundredths(100.0 * self.visible_401 as f64 / self.calls.max(1) as f64)
    }
}

/// Two digits are enough for a person, and stay the same on every machine.
fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn percentile(mut spans: Vec<Span>, percent: usize) -> Span {
    spans.sort_unstable();
    spans.get(spans.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}
