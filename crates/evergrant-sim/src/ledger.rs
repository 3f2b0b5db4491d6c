//! What happened, as the provider saw it.
//!
//! Tests compare this with what the client reports: a 401 that the provider sent and no caller saw was cured; a side
//! effect with two executions was duplicated; two token requests at a time broke single flight. The ledger holds
//! generations, never token text, and serialises to JSON.

use std::collections::BTreeMap;

use evergrant_core::time::{Boot, Span};
use serde::Serialize;

use crate::faults::TokenFault;
use crate::tokens::{Generation, Refusal};

/// The provider's account of everything it did.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Ledger {
    /// The token endpoint.
    pub token: TokenLedger,
    /// The API.
    pub api: ApiLedger,
    /// Side effects by the id that the test gave them.
    pub effects: BTreeMap<String, Effect>,
    /// Each token's use, by generation.
    pub generations: BTreeMap<Generation, GenerationLedger>,
}

impl Ledger {
    /// How many executions there were beyond the first of each side effect.
    #[must_use]
    pub fn duplicated_effects(&self) -> u64 {
        self.effects.values().map(|effect| effect.executions.saturating_sub(1)).sum()
    }

    /// How many 401s the API sent, for whatever reason.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.api.refused.values().sum()
    }

    /// How many 401s the API sent for this reason.
    #[must_use]
    pub fn refused_as(&self, why: Refusal) -> u64 {
        self.api.refused.get(&why).copied().unwrap_or(0)
    }

    /// How many token requests ended in this way.
    #[must_use]
    pub fn token_requests_ended(&self, outcome: TokenOutcome) -> u64 {
        self.token.outcomes.get(&outcome).copied().unwrap_or(0)
    }

    /// The ledger as JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    pub(crate) fn note_token_request(&mut self, event: TokenEvent, delivered: bool) {
        self.token.requests += 1;
        *self.token.outcomes.entry(event.outcome).or_default() += 1;
        self.token.succeeded += u64::from(delivered);
        if self.token.events.len() < KEPT_EVENTS {
            self.token.events.push(event);
        }
    }

    pub(crate) fn note_issue(&mut self, generation: Generation, issued: Boot, usable_until: Boot) {
        let entry = GenerationLedger { issued, announced_end: usable_until, ..GenerationLedger::default() };
        self.generations.insert(generation, entry);
        if self.generations.len() > KEPT_GENERATIONS {
            self.generations.pop_first();
        }
    }

    pub(crate) fn note_use(&mut self, generation: Option<Generation>, verdict: Result<(), Refusal>, now: Boot) {
        if let Err(why) = verdict {
            *self.api.refused.entry(why).or_default() += 1;
        }
        let Some(entry) = generation.and_then(|generation| self.generations.get_mut(&generation)) else {
            return;
        };
        if now > entry.announced_end {
            self.api.uses_after_announced_end += 1;
        }
        if entry.refused_for_good.is_some_and(|refused| now - refused > LEARNING_TIME) {
            self.api.uses_after_refusal += 1;
        }
        entry.note(verdict, now);
    }

    pub(crate) fn note_effect(&mut self, id: &str, body_len: u64, body_hash: String) {
        let effect = self.effects.entry(id.to_owned()).or_default();
        effect.executions += 1;
        effect.body_len = body_len;
        effect.body_hash = body_hash;
    }
}

/// What happened at the token endpoint.
#[derive(Clone, Default, Debug, Serialize)]
pub struct TokenLedger {
    /// Requests that arrived.
    pub requests: u64,
    /// Requests after which the client held a token.
    pub succeeded: u64,
    /// Tokens that another holder of the secret minted ([`OutsideMints`](crate::faults::Event::OutsideMints)).
    pub outside_mints: u64,
    /// Requests by how they ended.
    pub outcomes: BTreeMap<TokenOutcome, u64>,
    /// The first requests, in order.
    pub events: Vec<TokenEvent>,
    /// Requests in flight now, as measured by the socket server or the simulated world.
    pub in_flight: u64,
    /// The most that ever were.
    pub max_in_flight: u64,
}

impl TokenLedger {
    /// A request has begun.
    pub fn enter(&mut self) {
        self.in_flight += 1;
        self.max_in_flight = self.max_in_flight.max(self.in_flight);
    }

    /// A request has ended, by an answer or because the client went away.
    pub fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }
}

/// One token request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TokenEvent {
    /// When it arrived.
    pub at: Boot,
    /// What the provider decided.
    pub outcome: TokenOutcome,
    /// What spoiled the answer.
    pub fault: Option<TokenFault>,
    /// The token it gave.
    pub generation: Option<Generation>,
}

/// How a token request ended at the provider.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenOutcome {
    /// A new token.
    Issued,
    /// The same pair again, within the grace of a rotated refresh token.
    IssuedAgain,
    /// A fault struck before the request was looked at.
    NotReached,
    /// More tokens than the mint limit allows.
    RateLimited,
    /// `invalid_client`.
    InvalidClient,
    /// `invalid_grant`.
    InvalidGrant,
    /// `invalid_grant`, and the family of the refresh token was revoked.
    ReuseDetected,
    /// `invalid_scope`.
    InvalidScope,
    /// `invalid_request`.
    InvalidRequest,
    /// `unauthorized_client`.
    UnauthorizedClient,
    /// `unsupported_grant_type`.
    UnsupportedGrantType,
}

/// What happened at the API.
#[derive(Clone, Default, Debug, Serialize)]
pub struct ApiLedger {
    /// Requests that arrived, on routes that need a token and those that do not.
    pub calls: u64,
    /// Requests that were answered well.
    pub succeeded: u64,
    /// 401s by cause.
    pub refused: BTreeMap<Refusal, u64>,
    /// 429s of the rate limit.
    pub rate_limited: u64,
    /// Requests that a fault struck, whatever came of them.
    pub faulted: u64,
    /// Requests with a token after its announced life, by the boot clock.
    pub uses_after_announced_end: u64,
    /// Requests with a token more than a second after it was refused for good: by then its holder knows.
    pub uses_after_refusal: u64,
}

/// One side effect.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize)]
pub struct Effect {
    /// How often it was executed.
    pub executions: u64,
    /// The length of the last body.
    pub body_len: u64,
    /// The [`body_hash`](crate::api::body_hash) of the last body.
    pub body_hash: String,
}

/// The use of one token.
#[derive(Clone, Debug, Serialize)]
pub struct GenerationLedger {
    /// When it was issued.
    pub issued: Boot,
    /// When the life that its answer announced is over.
    pub announced_end: Boot,
    /// Requests that were accepted.
    pub accepted: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// When it was first accepted.
    pub first_accepted: Option<Boot>,
    /// When it was last accepted.
    pub last_accepted: Option<Boot>,
    /// When it was first refused for a cause that does not pass.
    pub refused_for_good: Option<Boot>,
}

impl GenerationLedger {
    fn note(&mut self, verdict: Result<(), Refusal>, now: Boot) {
        match verdict {
            Ok(()) => {
                self.accepted += 1;
                self.first_accepted.get_or_insert(now);
                self.last_accepted = Some(now);
                // A step back of the provider's clock can revive a token.
                self.refused_for_good = None;
            }
            Err(why) => {
                self.refused += 1;
                if why.is_final() {
                    self.refused_for_good.get_or_insert(now);
                }
            }
        }
    }
}

impl Default for GenerationLedger {
    fn default() -> Self {
        let zero = Boot::from_nanos(0);
        Self {
            issued: zero,
            announced_end: Boot::FAR,
            accepted: 0,
            refused: 0,
            first_accepted: None,
            last_accepted: None,
            refused_for_good: None,
        }
    }
}

/// How long a refusal may take to reach every caller that was about to use the token.
const LEARNING_TIME: Span = Span::from_secs(1);
const KEPT_EVENTS: usize = 100_000;
const KEPT_GENERATIONS: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_execution_is_a_duplicate() {
        let mut ledger = Ledger::default();
        for id in ["a", "b", "a", "a"] {
            ledger.note_effect(id, 0, String::new());
        }
        assert_eq!(ledger.duplicated_effects(), 2);
    }

    #[test]
    fn the_most_in_flight_is_kept() {
        let mut token = TokenLedger::default();
        token.enter();
        token.enter();
        token.leave();
        token.enter();
        assert_eq!((token.in_flight, token.max_in_flight), (2, 2));
    }

    #[test]
    fn using_a_token_long_after_its_refusal_is_counted() {
        let mut ledger = Ledger::default();
        let t0 = Boot::from_secs(10);
        ledger.note_issue(1, t0, t0 + Span::from_secs(60));
        ledger.note_use(Some(1), Err(Refusal::Revoked), t0);
        ledger.note_use(Some(1), Err(Refusal::Revoked), t0 + Span::from_millis(900));
        assert_eq!(ledger.api.uses_after_refusal, 0, "stragglers may arrive");
        ledger.note_use(Some(1), Err(Refusal::Revoked), t0 + Span::from_millis(1_100));
        assert_eq!(ledger.api.uses_after_refusal, 1);
    }

    #[test]
    fn the_ledger_is_json() {
        let mut ledger = Ledger::default();
        ledger.note_use(None, Err(Refusal::UnknownToken), Boot::from_secs(1));
        assert_eq!(ledger.to_json()["api"]["refused"]["unknown_token"], 1);
    }
}
