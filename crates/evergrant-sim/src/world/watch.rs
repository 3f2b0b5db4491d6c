//! What is held against the promises while a run goes on: what can be judged only at the moment at which it happens.
//!
//! The watch sees what the client does and what the provider knows, and neither changes anything nor is seen by the
//! client. A broken promise is noted with its moment; the run goes on.

use std::collections::{BTreeMap, BTreeSet};

use evergrant_core::offset::{OffsetState, Reading, Source};
use evergrant_core::policy::Policy;
use evergrant_core::time::{Boot, Span};
use evergrant_core::token::{Generation, Token};
use evergrant_core::verdict::{Confidence, Verdict};

use super::check::{Broken, Promise};
use super::reference::Reference;
use super::scene::{CallId, Scene};
use crate::api::body_hash;
use crate::config::DateHeader;
use crate::tokens::Refusal;

/// The watch over one run.
#[derive(Default)]
pub(super) struct Watch {
    pub(super) broken: Vec<Broken>,
    /// From the first failed token request to the next that succeeded, on the run's time line.
    pub(super) outages: Vec<(Boot, Boot)>,
    /// When the grant was lost by a lost answer, if it was.
    pub(super) grant_lost: Option<Boot>,
    reference: Reference,
    failing_since: Option<Boot>,
    requests: Vec<Boot>,
    in_flight: u32,
    pub(super) mints: Vec<Boot>,
    delivered: BTreeMap<String, Boot>,
    superseded: BTreeSet<String>,
    spent_unanswered: BTreeSet<String>,
    refused: BTreeSet<Generation>,
    mints_for_refusal: usize,
    sends: BTreeMap<CallId, usize>,
}

impl Watch {
    pub(super) fn note(&mut self, promise: Promise, words: String, scene: &Scene) {
        if self.broken.len() < MOST_NOTED {
            self.broken.push(Broken { promise, after: scene.now - scene.start, words });
        }
    }

    /// A token request leaves.
    pub(super) fn token_sent(&mut self, scene: &Scene) {
        self.in_flight += 1;
        if self.in_flight > 1 {
            self.note(Promise::OneFlight, format!("{} token requests are in flight", self.in_flight), scene);
        }
        self.requests.push(scene.now);
        let recent = self.requests.iter().rev().take_while(|at| scene.now - **at < Span::from_secs(60)).count();
        if recent > MOST_REQUESTS_A_MINUTE {
            self.note(Promise::Bounded, format!("{recent} token requests in one minute"), scene);
        }
    }

    /// It arrives, with this refresh token if the grant has one; what will come of it is known to the provider.
    pub(super) fn refresh_token_used(&mut self, refresh_token: &str, scene: &Scene) {
        if self.superseded.contains(refresh_token) {
            let words = "a refresh token is sent although its successor was received".to_owned();
            self.note(Promise::RotationKept, words, scene);
        }
    }

    /// The provider took it; whether the client ever hears of it is open.
    pub(super) fn refresh_token_spent(&mut self, refresh_token: &str) {
        self.spent_unanswered.insert(refresh_token.to_owned());
    }

    /// A token came.
    pub(super) fn token_got(&mut self, token: &str, lifetime: Option<Span>, sent: Boot, scene: &Scene) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(since) = self.failing_since.take() {
            self.outages.push((since, scene.now));
        }
        self.mints.push(scene.now);
        self.delivered.insert(body_hash(token.as_bytes()), scene.now);
        self.reference.minted(token, lifetime, sent, scene.clock().boot);
    }

    /// The refresh token that bought it is spent, and its successor is at hand and stored.
    pub(super) fn rotated(&mut self, old: &str, new: &str) {
        if old != new {
            self.superseded.insert(old.to_owned());
        }
        self.spent_unanswered.remove(old);
    }

    /// A token request brought none, and the client knows.
    pub(super) fn token_failed(&mut self, is_over: bool, scene: &Scene) {
        self.in_flight = self.in_flight.saturating_sub(u32::from(is_over));
        self.failing_since.get_or_insert(scene.now - Span::from_secs(15));
    }

    /// The process is gone, and with it whatever was under way.
    pub(super) fn crashed(&mut self, scene: &Scene) {
        if self.in_flight > 0 {
            self.failing_since.get_or_insert(scene.now - Span::from_secs(15));
        }
        self.in_flight = 0;
        self.reference.forget_grants();
    }

    /// The grant was refused; was that our doing?
    pub(super) fn grant_refused(&mut self, refresh_token: &str, scene: &Scene) {
        if self.spent_unanswered.contains(refresh_token) {
            self.grant_lost.get_or_insert(scene.now);
        }
    }

    /// A caller gets this token.
    pub(super) fn granted(&mut self, call: CallId, token: &Token, scene: &Scene) {
        let sends = self.sends.entry(call).or_default();
        *sends += 1;
        if *sends > MOST_SENDS {
            let words = format!("call {call} is sent for the {sends}. time");
            self.note(Promise::Bounded, words, scene);
        }
        if let Err(words) = self.reference.granted(token.access_token.expose(), scene.clock().boot) {
            self.note(Promise::NeverKnownDead, words, scene);
        }
    }

    /// A request with this token was answered.
    pub(super) fn answered(&mut self, generation: Generation, token: Option<&str>, refused: bool, scene: &Scene) {
        if refused {
            self.refused.insert(generation);
        }
        if let Some(token) = token {
            self.reference.answered(token, refused, scene.clock().boot);
        }
    }

    /// A caller gets no token. If that is because a refresh fails, nothing that it could have been given may work.
    pub(super) fn no_token(&mut self, call: CallId, started: Boot, scene: &Scene) {
        if self.failing_since.is_none() {
            return;
        }
        let now = scene.clock().boot;
        // A clock that steps forward ends tokens, and one that steps back again revives them; nobody can count on that.
        let has_jumped = scene.last_jump().is_some_and(|at| scene.now - at < EVIDENCE_LASTS);
        let works = |text: &str| !has_jumped && scene.provider.works_everywhere(text, scene.now);
        if let Some(age) = self.reference.usable(started, now, works) {
            let words = format!("call {call} gets no token although one of {age} works");
            self.note(Promise::FailureHarmless, words, scene);
        }
    }

    /// What is known of a server's clock.
    pub(super) fn read(&mut self, source: Source, reading: &Reading, scene: &Scene) {
        let Some(interval) = reading.interval.filter(|_| reading.state == OffsetState::Settled) else { return };
        let config = &scene.scenario.config;
        let is_assumed = config.clock.drift_ppm.abs() <= 200
            && config.date == DateHeader::Live
            && config.nodes.iter().all(|node| node.clock_offset.abs() <= Span::from_millis(25))
            && scene.last_jump().is_none_or(|at| scene.now - at > EVIDENCE_LASTS);
        let theta = scene.provider.issuer_clock(scene.now) - scene.clock().boot;
        if is_assumed && !interval.contains(theta) {
            let words = format!("{}: the true offset {theta:?} is not inside {interval:?}", source.name());
            self.note(Promise::OffsetTrue, words, scene);
        }
    }

    /// A refusal is passed on with this verdict.
    pub(super) fn judged(&mut self, verdict: &Verdict, token: Option<&str>, truth: Option<Refusal>, scene: &Scene) {
        let Some(truth) = truth.filter(|_| verdict.confidence == Confidence::Certain) else { return };
        // A token that was ended early and is past its end as well is both, and so is one whose time has not come.
        // What clocks prove holds under the assumptions of the clocks: until all evidence from before a step has expired,
        // a step that is too small to contradict it cannot be known.
        let has_jumped = scene.last_jump().is_some_and(|at| scene.now - at < EVIDENCE_LASTS);
        let is_over = has_jumped || token.is_some_and(|token| scene.provider.is_over(token, scene.now));
        let is_early = has_jumped || token.is_some_and(|token| scene.provider.is_early(token, scene.now));
        // A refusal by chance, on any route, passes by itself as that of a node that does not know the token does.
        let is_chance = matches!(truth, Refusal::Route | Refusal::IpNotAuthorized);
        let is_true = match verdict.cause.name() {
            "propagating" if is_chance => true,
            "expired" if is_over => true,
            "not_yet_valid" if is_early => true,
            cause => causes_of(truth).contains(&cause),
        };
        if !is_true {
            let words = format!("`{}` is called certain, and the token was refused as {truth:?}", verdict.cause.name());
            self.note(Promise::VerdictTrue, words, scene);
        }
    }

    /// A token request is made because a token was refused.
    pub(super) fn minted_for_refusal(&mut self, scene: &Scene) {
        self.mints_for_refusal += 1;
        if self.mints_for_refusal > self.refused.len() {
            let words = format!("{} refreshes for {} refused tokens", self.mints_for_refusal, self.refused.len());
            self.note(Promise::OneFlight, words, scene);
        }
    }

    /// The run is over.
    pub(super) fn finish(&mut self, scene: &Scene) {
        if let Some(since) = self.failing_since.take() {
            self.outages.push((since, scene.now));
        }
    }
}

/// The causes that are true of a refusal.
fn causes_of(truth: Refusal) -> &'static [&'static str] {
    match truth {
        Refusal::MissingToken => &["missing_token", "token_lost_in_transit"],
        Refusal::UnknownToken => &["malformed_token", "revoked"],
        Refusal::Propagating => &["propagating"],
        Refusal::NotYetValid => &["not_yet_valid", "propagating"],
        Refusal::Expired => &["expired", "superseded"],
        Refusal::Revoked => &["revoked", "superseded"],
        Refusal::RevokedByRefresh => &["revoked_by_refresh", "superseded"],
        Refusal::Evicted => &["evicted", "superseded", "revoked"],
        Refusal::Idle => &["idle_timeout", "superseded"],
        Refusal::Route => &["route_specific"],
        Refusal::IpNotAuthorized => &["ip_not_allowed", "route_specific"],
    }
}

/// Longer than any sample of a clock is used.
const EVIDENCE_LASTS: Span = Span::from_secs(700);
const MOST_NOTED: usize = 20;
/// The first failures of several flights in a row, each asked twice: more is a loop.
const MOST_REQUESTS_A_MINUTE: usize = 60;
/// Four generations, each sent once and then five times within its first second; every two seconds of the longest
/// patience, which is 30; and the early retries.
const MOST_SENDS: usize = Policy::GENERATIONS_PER_REQUEST * (1 + 5) + 30 / 2 + Policy::EARLY_RETRIES as usize;
