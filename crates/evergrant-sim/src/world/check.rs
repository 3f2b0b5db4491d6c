//! What must never happen in a run, whatever its scenario and seed.
//!
//! Two judges. [`broken`] holds a scenario of the house against what the scenario itself forces. [`promises()`] holds any
//! watched run against the promises of the guide: each is a checker of its own, below or in the watch, and says what the
//! promise says and no more. What excuses a call is taken from what the provider did, never from what the keeper says.

mod promises;

use evergrant_core::time::Span;

use super::Outcome;
use crate::scenario::Scenario;

pub use promises::promises;

/// A promise of the guide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Promise {
    /// P1: no 401 reaches a caller, and no call fails without need.
    NoVisible401,
    /// P2: a failed refresh fails nobody while a token works, and no failure is for ever.
    FailureHarmless,
    /// P3: one token request at a time, and one refresh for each refused token.
    OneFlight,
    /// P4: no side effect is executed twice.
    NoDoubleEffect,
    /// P5: a rotating refresh token is not lost by us.
    RotationKept,
    /// P6: every 401 has a verdict, and what is called certain is true.
    VerdictTrue,
    /// P7: the true offset is inside the interval.
    OffsetTrue,
    /// P8: no secret is told.
    NoSecret,
    /// P9: everything is bounded.
    Bounded,
    /// What the naive model says of the tokens that are handed out.
    NeverKnownDead,
}

impl Promise {
    /// Its number in the guide; the naive model has a letter.
    #[must_use]
    pub const fn number(self) -> &'static str {
        match self {
            Self::NoVisible401 => "P1",
            Self::FailureHarmless => "P2",
            Self::OneFlight => "P3",
            Self::NoDoubleEffect => "P4",
            Self::RotationKept => "P5",
            Self::VerdictTrue => "P6",
            Self::OffsetTrue => "P7",
            Self::NoSecret => "P8",
            Self::Bounded => "P9",
            Self::NeverKnownDead => "M",
        }
    }
}

/// A promise that was not kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// When, after the start.
    pub after: Span,
    /// How.
    pub words: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {:.3} s: {}", self.promise.number(), self.after.as_secs_f64(), self.words)
    }
}

/// What a run of one of the house's scenarios should not have done, in words; empty if there is nothing.
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
