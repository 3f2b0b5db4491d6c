//! What a keeper tells about itself: counters, the tokens at hand, the clocks. No secret is in it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Keeper;
use super::slots::Held;
use crate::Secret;
use crate::policy::Policy;
use crate::time::{Boot, Now, Span};
use crate::token::Generation;
use crate::verdict::{Cause, Verdict};

/// What a keeper has counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Token requests sent.
    pub token_requests: u64,
    /// Token requests that brought a token.
    pub mints: u64,
    /// Tokens taken over from another process.
    pub adoptions: u64,
    /// Token requests that brought none.
    pub token_failures: u64,
    /// Token requests answered with a token that was at hand already.
    pub same_token_answers: u64,
    /// 401s of this keeper's tokens.
    pub refusals: u64,
    /// Requests sent again after a 401.
    pub replays: u64,
    /// Of those, with the same token.
    pub same_token_retries: u64,
    /// 401s passed on to callers.
    pub passed_refusals: u64,
    /// Generations given up.
    pub rejected_generations: u64,
    /// JWTs whose `iat` contradicts the API host's clock; their claims are not used.
    pub contradicted_claims: u64,
    /// Probes sent.
    pub probes: u64,
}

/// In which state a credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No token yet.
    Empty,
    /// A token serves.
    Serving,
    /// A token serves and a refresh is under way.
    Refreshing,
    /// A token serves and cannot be renewed without a person.
    NonRenewable,
    /// A token serves although the last refresh failed.
    RefreshFailing,
    /// No token, and the token endpoint gives none.
    Failing,
    /// No token, and the token endpoint rejects the credential.
    Rejected,
}

/// One token at hand. Times are seconds from now, negative once past.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenReport {
    /// Its place in the order of tokens.
    pub generation: Generation,
    /// Seconds since it was asked for.
    pub age_s: f64,
    /// When a refresh starts.
    pub soft_in_s: f64,
    /// When callers begin to wait; absent while unknown.
    pub hard_in_s: Option<f64>,
    /// The earliest end of its life; absent while unknown.
    pub dead_in_s: Option<f64>,
    /// The latest end of its life; absent while unknown.
    pub gone_in_s: Option<f64>,
    /// Did it work, without a refusal since?
    pub is_proven: bool,
    /// Was it refused, without a success since?
    pub is_suspect: bool,
}

/// How much of the mint budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BudgetReport {
    /// Mints of the last window, other processes' with the same credential included.
    pub used: usize,
    /// So many are allowed.
    pub limit: usize,
    /// The window, in seconds.
    pub window_s: f64,
}

/// A picture of a keeper.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// In which state it is.
    pub state: State,
    /// The token before the active one, while it lives.
    pub previous: Option<TokenReport>,
    /// The token that serves.
    pub active: Option<TokenReport>,
    /// The token that settles.
    pub candidate: Option<TokenReport>,
    /// The newest generation ever held.
    pub newest: Generation,
    /// The lifetime that the provider gives, in seconds.
    pub lifetime_s: Option<f64>,
    /// How long a new token is given to become known everywhere.
    pub settle_s: f64,
    /// Does the provider end the old token at a refresh, as far as was learned?
    pub revokes_old: bool,
    /// How long token requests take, at the 99th percentile.
    pub refresh_p99_s: f64,
    /// What the token endpoint said last, if it failed.
    pub last_failure: Option<String>,
    /// When the token endpoint is asked again after a failure.
    pub retry_in_s: Option<f64>,
    /// Until when 401s ask for no token.
    pub circuit_opens_in_s: Option<f64>,
    /// How much of the mint budget is spent.
    pub mint_budget: BudgetReport,
    /// What was counted.
    pub counters: Counters,
    /// Verdicts by cause.
    pub verdicts: BTreeMap<Cause, u64>,
    /// The last verdicts with their evidence, newest last; a refusal that was passed on names its own by `id`.
    pub recent_verdicts: Vec<RecentVerdict>,
}

/// A verdict, and on what and when it was reached.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RecentVerdict {
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The status of the refusal.
    pub status: u16,
    /// Method and path template; empty if no request was sent.
    pub route: String,
    /// How long ago that was.
    pub age_s: f64,
}

/// A verdict while it is kept.
#[derive(Clone, Debug)]
pub(super) struct KeptVerdict {
    pub(super) verdict: Verdict,
    pub(super) status: u16,
    pub(super) route: String,
    pub(super) reached: Boot,
}

impl KeptVerdict {
    fn at(&self, now: Boot) -> RecentVerdict {
        let Self { verdict, status, route, reached } = self;
        let age_s = (now - *reached).as_secs_f64();
        RecentVerdict { verdict: verdict.clone(), status: *status, route: route.clone(), age_s }
    }
}

impl Keeper {
    /// A picture of this moment.
    #[must_use]
    pub fn report(&self, now: Now) -> Report {
        let at = now.boot;
        let token = |held: &Option<Held>| held.as_ref().map(|held| token_report(held, at));
        let until =
            |instant: Option<Boot>| instant.filter(|instant| *instant > at).map(|instant| (instant - at).as_secs_f64());
        Report {
            state: self.state(at),
            previous: token(&self.slots.previous),
            active: token(&self.slots.active),
            candidate: token(&self.slots.candidate),
            newest: self.newest,
            lifetime_s: self.lifetime.map(Span::as_secs_f64),
            settle_s: self.settle.span().as_secs_f64(),
            revokes_old: self.revokes_old.is_learned(),
            refresh_p99_s: self.latency.p99().as_secs_f64(),
            last_failure: self.failures.last().map(ToString::to_string),
            retry_in_s: until(self.failures.not_before()),
            circuit_opens_in_s: until(self.circuit.open_until()),
            mint_budget: BudgetReport {
                used: self.budget.used(at),
                limit: self.policy.mint_budget_for(self.lifetime),
                window_s: Policy::BUDGET_WINDOW.as_secs_f64(),
            },
            counters: self.counters,
            verdicts: self.verdicts.clone(),
            recent_verdicts: self.recent_verdicts.iter().map(|kept| kept.at(at)).collect(),
        }
    }

    /// Which of the tokens at hand, or of those just given up, this is.
    #[must_use]
    pub fn generation_of(&self, token: &Secret) -> Option<Generation> {
        let held = self.slots.iter().chain(&self.last_rejected);
        held.filter(|held| held.token.access_token == *token).map(Held::generation).next()
    }

    fn state(&self, now: Boot) -> State {
        let has_token = self.slots.active.as_ref().is_some_and(|held| held.token.is_usable_at(now));
        match (has_token, self.failures.last()) {
            (true, _) if !self.is_renewable => State::NonRenewable,
            (true, Some(_)) => State::RefreshFailing,
            (true, None) if self.flight.is_some() => State::Refreshing,
            (true, None) => State::Serving,
            (false, Some(_)) if self.failures.is_permanent() => State::Rejected,
            (false, Some(_)) => State::Failing,
            (false, None) => State::Empty,
        }
    }
}

fn token_report(held: &Held, now: Boot) -> TokenReport {
    let instants = held.token.instants;
    let known = |at: Boot| instants.is_end_known().then(|| (at - now).as_secs_f64());
    TokenReport {
        generation: held.generation(),
        age_s: held.token.age(now).as_secs_f64(),
        soft_in_s: (instants.soft - now).as_secs_f64(),
        hard_in_s: known(instants.hard),
        dead_in_s: known(instants.dead),
        gone_in_s: known(instants.gone),
        is_proven: held.is_proven(),
        is_suspect: held.is_suspect(),
    }
}
