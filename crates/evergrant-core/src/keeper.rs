//! The state machine that keeps one credential's token working.
//!
//! A keeper is told what happened (`handle_*`, always with the moment it happened) and answers what to do: a token to
//! send, a moment to wait for, a verdict to pass on. What has to be done elsewhere, a token request or a probe, comes
//! out of [`Keeper::poll_action`]; when to come back without being asked, out of [`Keeper::poll_timeout`]. It does no
//! input or output, knows no thread and reads no clock, so a whole day of faults runs in a test in milliseconds.
//!
//! ```text
//!  acquire      who gets which token, and who waits
//!  flight       token requests: when, why, and what follows from their outcome
//!  refresh      one token request from lease to commit, step by step
//!  lease        the wait for a store's lease, and whether it still holds
//!  fleet        what other processes have minted, begun or repaired
//!  refusal      a 401: replay, wait, refresh, or pass on with a verdict
//!  proof        successes, probes, and giving a token up
//!  slots        the tokens at hand        limits  budget, circuit, routes        learn  settle, revocation, latency
//! ```
//!
//! **Make-before-break.** A new token does not replace the old one at once: nodes of a provider may learn of it late,
//! and the old one still works. It waits as candidate while the active token serves, and after its promotion the old
//! one stays at hand as previous. A 401 of the new token is then answered by the old one and nobody notices.
//!
//! **A 401 is evidence, not an order.** Each request knows the generation that it carried. If a newer one exists, that
//! is the answer and nothing is minted. If the token is too young to be known everywhere it is tried again. Only if no
//! later request proves the token does the keeper give the generation up, once, and mint once for everybody.
//!
//! **Failure is never terminal.** A failed refresh leaves the serving token in place; every error, also a permanent
//! one, is asked again.
//!
//! Limits: one credential; the driver performs persistence inside the token request (see the library's flight). Source:
//! RFC 6749, RFC 6750, RFC 9110; the promises P1 to P4 and P9 in the guide.

mod acquire;
mod fleet;
mod flight;
mod learn;
mod lease;
mod limits;
mod proof;
mod refresh;
mod refusal;
mod report;
mod slots;
pub mod takeover;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::event::{Event, EventLog, Retired};
use crate::offset::{Assumptions, ClockEvent, Estimator, Sample, SkewHistory, SkewPoint, Source};
use crate::policy::Policy;
use crate::profile::{Probe, Profile};
use crate::time::{Boot, Now, Span};
use crate::token::{Generation, Token};
use crate::verdict::Cause;

use learn::{Latency, RevokesOld, Settle};
use limits::{Budget, Circuit, RouteMemory};
use slots::{Held, Slots};

pub use acquire::{Acquire, AcquireError, AcquireErrorKind, Need};
pub use fleet::SharedFailure;
pub use flight::{FlightId, FlightNext, Minted, Reason};
pub use lease::{Claim, Heart, Pause};
pub use proof::{ProbeOutcome, is_proof};
pub use refresh::{Committed, Doubt, Ending, Next, Refresh, Stored, StoredToken};
pub use refusal::Step;
pub use report::{BudgetReport, Counters, Report, State, TokenReport};

/// Something that the embedder has to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Run one token request and report it with [`Keeper::handle_minted`], [`Keeper::handle_adopted`] or
    /// [`Keeper::handle_flight_failed`].
    RequestToken {
        /// Which flight this is.
        flight: FlightId,
        /// Why it is made.
        reason: Reason,
    },
    /// Send this probe with this token and report it with [`Keeper::handle_probe`].
    Probe {
        /// The token to try.
        token: Arc<Token>,
        /// What to send.
        probe: Probe,
    },
    /// Something that waiters wait for may have changed: read [`Keeper::view`] and wake them.
    Wake,
}

/// What may be read without asking the keeper again: the token for requests that may be repeated.
#[derive(Clone, Debug)]
pub struct View {
    /// The token to send, if there is one.
    pub token: Option<Arc<Token>>,
    /// Until when it may be sent without asking again.
    pub fresh_until: Boot,
    /// Must every success be reported? If not, one now and then is enough.
    pub is_watchful: bool,
}

/// Keeps the token of one credential working.
#[derive(Debug)]
pub struct Keeper {
    policy: Policy,
    profile: Profile,
    seed: u64,
    /// The same in all replicas.
    credential: u64,
    slots: Slots,
    newest: Generation,
    flight: Option<flight::Flight>,
    flights: u64,
    failures: flight::Failures,
    has_minted: bool,
    is_renewable: bool,
    budget: Budget,
    circuit: Circuit,
    routes: RouteMemory,
    settle: Settle,
    revokes_old: RevokesOld,
    latency: Latency,
    lifetime: Option<Span>,
    promote_at: Option<Boot>,
    probing: Option<proof::Probing>,
    /// The last probe that has ended.
    probed: Option<proof::Probing>,
    proving_path: Option<String>,
    last_use: Option<Boot>,
    idle_check: Option<Generation>,
    shows_refusals: Option<bool>,
    budget_known_until: Option<Boot>,
    last_rejected: Option<Held>,
    last_spread: Option<Generation>,
    unrepeatable_in_flight: u32,
    estimator: Estimator,
    skews: SkewHistory,
    last_server_jump: Option<(Span, Boot)>,
    server_steps: u64,
    local_steps: u64,
    counters: Counters,
    verdicts: BTreeMap<Cause, u64>,
    verdict_count: u64,
    recent_verdicts: VecDeque<report::KeptVerdict>,
    events: EventLog,
    actions: VecDeque<Action>,
}

impl Keeper {
    /// A keeper that holds no token yet. The seed tells replicas apart.
    #[must_use]
    pub fn new(profile: Profile, policy: Policy, seed: u64) -> Self {
        let settle = Settle::new(policy.settle);
        let drift_ppm = policy.drift_ppm;
        let shows_refusals = profile.error_codes.iter().any(|(_, meaning)| meaning.is_token_refusal()).then_some(true);
        Self {
            policy,
            profile,
            seed,
            credential: seed,
            slots: Slots::default(),
            newest: Generation::default(),
            flight: None,
            flights: 0,
            failures: flight::Failures::default(),
            has_minted: false,
            is_renewable: true,
            budget: Budget::default(),
            circuit: Circuit::default(),
            routes: RouteMemory::default(),
            settle,
            revokes_old: RevokesOld::default(),
            latency: Latency::default(),
            lifetime: None,
            promote_at: None,
            probing: None,
            probed: None,
            proving_path: None,
            last_use: None,
            idle_check: None,
            shows_refusals,
            budget_known_until: None,
            last_rejected: None,
            last_spread: None,
            unrepeatable_in_flight: 0,
            estimator: Estimator::new(Assumptions { drift_ppm, ..Assumptions::default() }),
            skews: SkewHistory::default(),
            last_server_jump: None,
            server_steps: 0,
            local_steps: 0,
            counters: Counters::default(),
            verdicts: BTreeMap::new(),
            verdict_count: 0,
            recent_verdicts: VecDeque::new(),
            events: EventLog::default(),
            actions: VecDeque::new(),
        }
    }

    /// The same keeper, of a credential that replicas share. The number tells credentials apart.
    #[must_use]
    pub fn shared(self, credential: u64) -> Self {
        Self { credential, ..self }
    }

    /// The next thing to do, until there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Keeper::handle_timeout`] if nothing else happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Boot> {
        let promotion = self.next_promotion();
        let next = [promotion, self.next_refresh(), self.next_judgement(), self.next_gone()];
        next.into_iter().flatten().min()
    }

    /// Does what is due: promotes, starts a refresh, probes, gives a token up.
    pub fn handle_timeout(&mut self, now: Now) {
        self.drop_gone(now.boot);
        if self.is_promotion_due(now.boot) {
            self.promote(now.boot);
        }
        self.judge_suspects(now);
        self.refresh_if_due(now.boot);
    }

    /// A date that a server sent, with the moments around it.
    pub fn handle_clock_sample(&mut self, source: Source, sample: Sample, now: Now) -> Vec<ClockEvent> {
        let events = self.estimator.handle_sample(source, sample, now);
        for event in &events {
            match event {
                ClockEvent::ServerStep { source, jump, .. } => {
                    self.server_steps += 1;
                    let (source_name, jump_s) = (source.name(), jump.as_secs_f64());
                    self.events.note(Event::ServerClockStep { source: source_name, jump_s }, now.boot);
                    self.handle_server_step(*source, *jump, sample.sent, now.boot);
                }
                ClockEvent::LocalStep { jump } => {
                    self.local_steps += 1;
                    self.events.note(Event::LocalClockStep { jump_s: jump.as_secs_f64() }, now.boot);
                }
                ClockEvent::FrozenDate { .. } | ClockEvent::FleetSpread { .. } => {}
            }
        }
        if let Some(skew) = self.estimator.best(now).and_then(|(_, reading)| reading.skew(now)) {
            let has_stepped = events
                .iter()
                .any(|event| matches!(event, ClockEvent::ServerStep { .. } | ClockEvent::LocalStep { .. }));
            self.skews.note(SkewPoint { at: now.boot, skew }, has_stepped);
        }
        events
    }

    /// The boot clock was slewed by this much: what is known of the provider's clocks becomes less exact by it.
    pub fn handle_slew(&mut self, by: Span) {
        self.estimator.handle_slew(by);
    }

    /// The machine was suspended: the boot clock went on, to the second, and timers did not.
    pub fn handle_suspend(&mut self, now: Now) {
        self.estimator.handle_suspend();
        self.handle_timeout(now);
    }

    /// What is known of the provider's clocks.
    #[must_use]
    pub fn clocks(&self) -> &Estimator {
        &self.estimator
    }

    /// How often this machine's calendar clock was seen to step. It changes no lifetime.
    #[must_use]
    pub fn local_steps(&self) -> u64 {
        self.local_steps
    }

    /// How often a clock of the provider was seen to step.
    #[must_use]
    pub fn server_steps(&self) -> u64 {
        self.server_steps
    }

    /// How this machine's clock stood to the provider's over the last minutes.
    #[must_use]
    pub fn skews(&self) -> &SkewHistory {
        &self.skews
    }

    /// What happened, up to now.
    #[must_use]
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// The policy this keeper follows.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The profile of its provider.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The newest generation that was ever held.
    #[must_use]
    pub fn newest_generation(&self) -> Generation {
        self.newest
    }

    /// The token request that is under way. Whoever ends now could lose its answer.
    #[must_use]
    pub fn flight_in_the_air(&self) -> Option<FlightId> {
        self.flight.as_ref().map(flight::Flight::id)
    }

    /// A provider clock that jumped forward by `jump` has ended tokens that much earlier; a backward jump changes nothing.
    ///
    /// A step and a pause of this virtual machine look the same and need the same answer. Several clocks of one
    /// provider step together; only the first to be seen counts. Tokens asked for since then are counted by the new time.
    fn handle_server_step(&mut self, source: Source, jump: Span, since: Boot, now: Boot) {
        let is_checked_by_api = matches!(source, Source::ApiDate | Source::MsEndpoint | Source::AuthDate);
        let is_known = self
            .last_server_jump
            .is_some_and(|(known, at)| now - at < STEP_MEMORY && (known - jump).abs() < STEPS_LOOK_ALIKE);
        if jump <= Span::ZERO || !is_checked_by_api || is_known {
            return;
        }
        self.last_server_jump = Some((jump, now));
        let generations: Vec<_> = self.slots.iter().map(Held::generation).collect();
        for generation in generations {
            if let Some(held) = self.slots.get_mut(generation)
                && held.token.issued.sent < since - STEP_UNSEEN_FOR
            {
                let mut token = Token::clone(&held.token);
                token.instants = token.instants.moved_earlier(jump);
                held.token = Arc::new(token);
            }
        }
        self.wake();
    }

    /// When the candidate takes over; a suspect one only when the active token ends.
    fn next_promotion(&self) -> Option<Boot> {
        let candidate = self.slots.candidate.as_ref()?;
        let end = self.slots.active.as_ref().map(|active| active.token.instants.hard);
        if candidate.is_suspect() { end } else { self.promote_at.into_iter().chain(end).min() }
    }

    fn is_promotion_due(&self, now: Boot) -> bool {
        let Some(candidate) = &self.slots.candidate else { return false };
        let is_active_ending = self.slots.active.as_ref().is_none_or(|active| now >= active.token.instants.hard);
        is_active_ending || (self.promote_at.is_some_and(|at| now >= at) && !candidate.is_suspect())
    }

    fn promote(&mut self, now: Boot) {
        let serving = self.serving_generation();
        if let Some(previous) = self.slots.previous.take() {
            self.judge_as_old(&previous);
            self.retired(previous.generation(), Retired::Replaced, now);
        }
        if self.slots.promote() {
            self.promote_at = None;
            self.last_use = Some(now);
            self.note_if_another_serves(serving, now);
            self.wake();
        }
    }

    /// Drops tokens that can no longer work.
    fn drop_gone(&mut self, now: Boot) {
        let gone: Vec<_> =
            self.slots.iter().filter(|held| !held.token.is_usable_at(now)).map(Held::generation).collect();
        if gone.is_empty() {
            return;
        }
        let serving = self.serving_generation();
        self.slots.drop_gone(now);
        gone.into_iter().for_each(|generation| self.retired(generation, Retired::Ended, now));
        self.note_if_another_serves(serving, now);
        self.wake();
    }

    fn serving_generation(&self) -> Option<Generation> {
        self.slots.active.as_ref().map(Held::generation)
    }

    fn note_if_another_serves(&mut self, before: Option<Generation>, now: Boot) {
        if let Some(generation) = self.serving_generation().filter(|serving| Some(*serving) != before) {
            self.events.note(Event::TokenPromoted { generation }, now);
        }
    }

    fn retired(&mut self, generation: Generation, why: Retired, now: Boot) {
        self.events.note(Event::TokenRetired { generation, why }, now);
    }

    /// A token that worked on after its successor was minted shows that this provider does not end old tokens.
    fn judge_as_old(&mut self, old: &Held) {
        let minted = self.slots.active.as_ref().map(|held| held.token.issued.received);
        let worked_on = old.last_success > minted;
        if !old.is_judged_as_old && !old.is_suspect() && worked_on && minted.is_some() {
            self.revokes_old.handle_observation(false);
        }
    }

    fn next_gone(&self) -> Option<Boot> {
        self.slots.iter().map(|held| held.token.instants.gone).min().filter(|gone| *gone != Boot::FAR)
    }

    fn wake(&mut self) {
        if !matches!(self.actions.back(), Some(Action::Wake)) {
            self.actions.push_back(Action::Wake);
        }
    }

    /// How much earlier than needed a refresh begins, in thousandths of what is allowed.
    ///
    /// Most of it belongs to the credential: the earliest of many replicas has nearly always the most luck there is, and
    /// fleets that start together would refresh together for ever. The rest tells replicas apart.
    fn jitter(&self, generation: Generation) -> u16 {
        let own = self.luck(flight::JITTER, generation);
        let common = luck(self.credential, flight::JITTER, generation);
        (3 * common + own) / 4
    }

    /// A number in 0..=1000 that depends only on the replica, the generation and the purpose: it can be explained later.
    fn luck(&self, purpose: u64, generation: Generation) -> u16 {
        luck(self.seed, purpose, generation)
    }
}

fn luck(seed: u64, purpose: u64, generation: Generation) -> u16 {
    let mut x = seed ^ generation.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ purpose.rotate_left(32);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u16::try_from((x ^ (x >> 31)) % 1001).unwrap_or(0)
}

/// Two clocks of one provider that step by about the same within this time made one step.
const STEP_MEMORY: Span = Span::from_secs(600);
const STEPS_LOOK_ALIKE: Span = Span::from_secs(3);
/// A step is declared by the third sample that shows it; tokens asked for since the first are counted by the new time.
const STEP_UNSEEN_FOR: Span = Span::from_secs(1);
