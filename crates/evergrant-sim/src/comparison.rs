//! Several clients in the same worlds: what their callers saw, and what that depends on.
//!
//! A [`Sum`] adds up the runs of one client, a [`Tally`] tells what came of them. A [`Sweep`] is a row of worlds that
//! differ in one thing, such as how late nodes learn of a new token, so that a plot can show who minds. Every number
//! follows from strategy, world and seeds; nothing is measured on a real clock.

mod sweep;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::scenario::Scenario;
use crate::space;
use crate::strategy::Strategy;
use crate::world::check::{Broken, promises};
use crate::world::{Outcome, run_watched, run_with};

pub use sweep::{Point, Sweep, faults, steady};

/// Where a client runs.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// The same world for every seed.
    World(&'a Scenario),
    /// A world drawn from each seed.
    Drawn,
}

impl Place<'_> {
    fn scenario(&self, seed: u64) -> Cow<'_, Scenario> {
        match self {
            Self::World(scenario) => Cow::Borrowed(scenario),
            Self::Drawn => Cow::Owned(space::drawn(seed)),
        }
    }
}

/// The runs of one client, added up.
#[derive(Clone, Default, Debug)]
pub struct Sum {
    calls: u64,
    visible_401: u64,
    unanswered: u64,
    other_errors: u64,
    firsts: u64,
    failed_firsts: u64,
    token_requests: u64,
    duplicated_effects: u64,
    /// Millionths of a lifetime: a sum of fractions would depend on its order.
    microlifetimes: u64,
    /// How many calls took so many milliseconds.
    waits: BTreeMap<i64, u64>,
    /// How many seconds of virtual time were run.
    pub simulated_secs: u64,
    /// What Evergrant broke of its promises in drawn worlds, by seed.
    pub broken: Vec<(u64, Broken)>,
}

impl Sum {
    /// Runs a client with this seed. In drawn worlds Evergrant is held against its promises.
    pub fn run(&mut self, strategy: Strategy, place: Place<'_>, seed: u64) {
        let scenario = place.scenario(seed);
        let is_watched = strategy == Strategy::Evergrant && matches!(place, Place::Drawn);
        let outcome = match is_watched {
            true => run_watched(&scenario, seed, None, false),
            false => run_with(strategy, &scenario, seed),
        };
        if is_watched {
            self.broken.extend(promises(&scenario, &outcome).into_iter().map(|broken| (seed, broken)));
        }
        self.add(&scenario, &outcome);
    }

    /// Adds what another has added up.
    pub fn merge(&mut self, other: Self) {
        self.calls += other.calls;
        self.visible_401 += other.visible_401;
        self.unanswered += other.unanswered;
        self.other_errors += other.other_errors;
        self.firsts += other.firsts;
        self.failed_firsts += other.failed_firsts;
        self.token_requests += other.token_requests;
        self.duplicated_effects += other.duplicated_effects;
        self.microlifetimes += other.microlifetimes;
        self.simulated_secs += other.simulated_secs;
        other.waits.into_iter().for_each(|(millis, count)| *self.waits.entry(millis).or_default() += count);
        self.broken.extend(other.broken);
    }

    fn add(&mut self, scenario: &Scenario, outcome: &Outcome) {
        let secs = |span: evergrant_core::time::Span| u64::try_from(span.as_secs()).unwrap_or(0);
        self.calls += (outcome.calls.len() + outcome.unfinished) as u64;
        self.visible_401 += outcome.visible_401() as u64;
        self.unanswered += (outcome.unanswered() + outcome.unfinished) as u64;
        self.token_requests += outcome.ledger.token.requests;
        self.duplicated_effects += outcome.ledger.duplicated_effects();
        self.microlifetimes += 1_000_000 * secs(scenario.duration) / secs(scenario.config.tokens.lifetime).max(1);
        self.simulated_secs += secs(scenario.duration);
        for call in &outcome.calls {
            let is_refused = call.status == Some(401);
            let is_other_error = call.status.is_some_and(|status| !(200..300).contains(&status)) && !is_refused;
            self.other_errors += u64::from(is_other_error);
            self.firsts += u64::from(call.is_first_of_token);
            self.failed_firsts += u64::from(call.is_first_of_token && is_refused);
            *self.waits.entry((call.ended - call.started).as_millis()).or_default() += 1;
        }
    }

    /// What came of it.
    #[must_use]
    pub fn tally(&self, strategy: Strategy) -> Tally {
        let lifetimes = (self.microlifetimes as f64 / 1e6).max(1.0);
        Tally {
            strategy: strategy.name(),
            calls: self.calls,
            visible_401: self.visible_401,
            unanswered: self.unanswered,
            other_errors: self.other_errors,
            failed_firsts_percent: hundredths(100.0 * self.failed_firsts as f64 / self.firsts.max(1) as f64),
            token_requests: self.token_requests,
            token_requests_per_lifetime: hundredths(self.token_requests as f64 / lifetimes),
            duplicated_effects: self.duplicated_effects,
            p99_ms: self.percentile(99),
        }
    }

    fn percentile(&self, percent: u64) -> i64 {
        let total: u64 = self.waits.values().sum();
        let wanted = total.saturating_sub(1) * percent / 100;
        let mut seen = 0;
        let reaches = |(_, count): &(&i64, &u64)| {
            seen += **count;
            seen > wanted
        };
        self.waits.iter().find(reaches).map_or(0, |(millis, _)| *millis)
    }
}

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
        let mut sum = Sum::default();
        seeds.iter().for_each(|seed| sum.run(strategy, Place::World(scenario), *seed));
        sum.tally(strategy)
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
