//! Successes, probes, and giving a token up.
//!
//! A proof is 2xx, 304, 404, 409 or 422 on an API request: the server looked at the token and went on. 403, 429 and 5xx
//! prove nothing. One node proves one node. A proof that was sent before a refusal arrived says nothing about the time
//! after it.
//!
//! While a token is suspect the keeper probes it, so that the decision does not wait for traffic. A suspect that is not
//! young, and that nothing proved within [`Policy::PROOF_WAIT`], is given up: it is never served again and one token
//! request is made for it, however many requests it failed.

use std::sync::Arc;

use super::flight::Reason;
use super::slots::Held;
use super::{Action, Keeper};
use crate::event::{Event, Retired};
use crate::policy::Policy;
use crate::profile::{Probe, ProbeMethod};
use crate::time::{Boot, Now, Span};
use crate::token::{Generation, Instants, Token};

/// What a probe showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProbeOutcome {
    /// The token works.
    Accepted,
    /// The token was refused with a 401.
    Refused,
    /// Nothing: another status, or no answer.
    Nothing,
}

/// The probe in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probing {
    generation: Generation,
    since: Boot,
}

/// Does an answer with this status prove the token that the request carried?
#[must_use]
pub fn is_proof(status: u16) -> bool {
    matches!(status, 200..=299 | 304 | 404 | 409 | 422)
}

impl Keeper {
    /// A request of this generation, sent at `sent`, was answered with a status that proves the token.
    pub fn handle_success(&mut self, generation: Generation, sent: Boot, now: Now) {
        self.last_use = Some(now.boot);
        let Some(held) = self.slots.get_mut(generation) else { return };
        let was_proven = held.is_proven();
        let ended_suspicion = held.handle_success(sent);
        let spread = held.last_refusal.map(|refused| refused - held.token.issued.received);
        let is_proof_since_refusal = held.last_refusal.is_none_or(|refused| sent >= refused);
        if is_proof_since_refusal {
            self.close_circuit(now.boot);
        }
        if ended_suspicion {
            self.learn_spread(generation, spread);
        }
        self.promote_if_active_is_dead(generation, now.boot);
        if ended_suspicion || !was_proven {
            self.wake();
        }
    }

    /// A GET without a query succeeded on this path: it can serve as a probe if the provider has none.
    pub fn handle_proving_path(&mut self, path: &str) {
        if self.profile.probe.is_none() && self.proving_path.as_deref() != Some(path) {
            self.proving_path = Some(path.to_owned());
        }
    }

    /// Would a path that proves tokens be of use?
    #[must_use]
    pub fn wants_proving_path(&self) -> bool {
        self.profile.probe.is_none() && self.proving_path.is_none()
    }

    /// A probe that was sent at `sent` has ended.
    pub fn handle_probe(&mut self, generation: Generation, sent: Boot, outcome: ProbeOutcome, now: Now) {
        self.probing = None;
        self.probed = Some(Probing { generation, since: sent });
        self.idle_check = None;
        match outcome {
            ProbeOutcome::Accepted => self.handle_success(generation, sent, now),
            ProbeOutcome::Refused => {
                if let Some(held) = self.slots.get_mut(generation) {
                    held.handle_refusal(sent, now.boot);
                }
            }
            ProbeOutcome::Nothing => {}
        }
        self.wake();
        self.handle_timeout(now);
    }

    /// Was this token probed so lately that another probe would show nothing new?
    pub(super) fn is_probed_since(&self, token: &Token, from: Boot) -> bool {
        self.probed
            .is_some_and(|probed| probed.generation == token.generation && probed.since >= from - Policy::PROOF_WAIT)
    }

    /// Sends a probe if one is known and none is under way; `true` if one is under way for this token afterwards.
    pub(super) fn probe(&mut self, token: &Arc<Token>, now: Boot) -> bool {
        if let Some(probing) = self.probing
            && now - probing.since < PROBE_LASTS
        {
            return probing.generation == token.generation;
        }
        let by_traffic = self.proving_path.as_ref().map(|path| Probe { method: ProbeMethod::Get, path: path.clone() });
        let Some(probe) = self.profile.probe.clone().or(by_traffic) else { return false };
        self.probing = Some(Probing { generation: token.generation, since: now });
        self.counters.probes += 1;
        self.actions.push_back(Action::Probe { token: Arc::clone(token), probe });
        true
    }

    /// Probes suspects when it is time, and gives up those that used up every excuse.
    pub(super) fn judge_suspects(&mut self, now: Now) {
        let settle = self.settle.longest();
        let is_look_due = |held: &&Held| held.suspicion.is_some_and(|suspicion| now.boot >= suspicion.next_look);
        let suspects: Vec<Held> = self.slots.iter().filter(is_look_due).cloned().collect();
        for held in suspects {
            let Some(suspicion) = held.suspicion else { continue };
            let is_excused = self.is_excused(&held, settle, now.boot);
            let is_dead = now.boot >= held.token.instants.dead;
            let has_waited = now.boot - suspicion.since >= Policy::PROOF_WAIT;
            if let Some(closes) = self.circuit.open_until().filter(|closes| now.boot < *closes) {
                self.look_again(held.generation(), closes);
            } else if !is_dead && !is_excused && self.is_owed_a_look(held.generation(), settle, now.boot) {
                self.probe(&held.token, now.boot);
                self.look_again(held.generation(), now.boot + Policy::PROOF_WAIT);
            } else if is_dead || (!is_excused && (suspicion.confirmed > 0 || has_waited)) {
                self.give_up(held.generation(), now.boot);
            } else {
                self.probe_suspect(&held, is_excused, now.boot);
            }
        }
    }

    /// May a refusal of this token be no more than a node that does not know it yet?
    pub(super) fn is_excused(&self, held: &Held, settle: Span, now: Boot) -> bool {
        // A JWT whose time comes only after the server's clock was set back is not waited for: a new one begins at once.
        let is_soon_valid =
            self.not_valid_for(&held.token, now).is_some_and(|left| left <= settle + Policy::SETTLE_GRACE);
        let is_early = held.is_young(settle, now) || is_soon_valid;
        is_early && now < held.token.instants.dead && !held.is_disproved()
    }

    /// Were all requests that it refused sent while that was excused? Then nothing is known of it since it came of age:
    /// those who wait for it are about to try again, and a probe asks if nobody else does.
    fn is_owed_a_look(&mut self, generation: Generation, settle: Span, now: Boot) -> bool {
        let Some(held) = self.slots.get(generation) else { return false };
        let is_excused = held.suspicion.is_some_and(|suspicion| self.is_excused(held, settle, suspicion.last_sent));
        let Some(suspicion) = self.slots.get_mut(generation).and_then(|held| held.suspicion.as_mut()) else {
            return false;
        };
        is_excused && now - *suspicion.of_age.get_or_insert(now) < LAST_LOOK
    }

    /// The next moment at which a suspect has to be probed or judged.
    pub(super) fn next_judgement(&self) -> Option<Boot> {
        self.slots.iter().filter_map(|held| Some(held.suspicion?.next_look)).min()
    }

    /// Gives a generation up for good and asks for its successor, once.
    ///
    /// A token that was minted because its predecessor was refused, and that never worked either, shows that minting
    /// does not help: it stays, requests go on with it, and the circuit keeps further mints back for a while.
    pub(super) fn give_up(&mut self, generation: Generation, now: Boot) {
        let Some(held) = self.slots.get(generation).cloned() else { return };
        if self.circuit.is_open(now) {
            return self.look_again(generation, self.circuit.open_until().unwrap_or(now));
        }
        let is_dead = now >= held.token.instants.dead;
        // Of an older one it says nothing: a newer was minted since, and may have worked.
        let is_last_word = generation == self.newest && self.flight.is_none();
        let is_useless = held.is_for_refusal && held.last_success.is_none() && !is_dead && is_last_word;
        // A JWT that the server's clock, set back, holds for not yet valid shows nothing of the kind: a new one begins at once.
        let is_early = is_last_word && self.not_valid_for(&held.token, now).is_some() && self.circuit.takes_early();
        if is_useless && !is_early && !self.circuit.takes_test(now) {
            self.circuit.handle_useless_mint(now);
            let open_for = self.circuit.open_until().map_or(Span::ZERO, |until| until - now);
            self.events.note(Event::CircuitOpened { for_s: open_for.as_secs_f64() }, now);
            self.look_again(generation, self.circuit.open_until().unwrap_or(now));
            self.wake();
            return;
        }
        let serving = self.serving_generation();
        self.slots.reject(generation);
        self.retired(generation, Retired::Refused, now);
        self.note_if_another_serves(serving, now);
        self.counters.rejected_generations += 1;
        self.last_rejected = Some(held);
        if self.slots.newest().is_none_or(|newest| newest.generation() < generation) {
            self.start_flight(if is_dead { Reason::Expired } else { Reason::Refused }, now);
        }
        self.wake();
    }

    fn close_circuit(&mut self, now: Boot) {
        let was_open = self.circuit.open_until().is_some();
        self.circuit.handle_proof();
        if was_open {
            self.events.note(Event::CircuitClosed, now);
        }
    }

    fn probe_suspect(&mut self, held: &Held, is_excused: bool, now: Boot) {
        let Some(suspicion) = held.suspicion else { return };
        let is_due = now >= suspicion.next_probe;
        if is_due {
            self.probe(&held.token, now);
        }
        let judgement = if is_excused { now + LOOK_EVERY } else { suspicion.since + Policy::PROOF_WAIT };
        if let Some(suspicion) = self.slots.get_mut(held.generation()).and_then(|held| held.suspicion.as_mut()) {
            if is_due {
                suspicion.probes += 1;
                suspicion.next_probe = now + Policy::propagation_retry(suspicion.probes);
            }
            suspicion.next_look = suspicion.next_probe.min(judgement);
        }
    }

    fn look_again(&mut self, generation: Generation, at: Boot) {
        if let Some(suspicion) = self.slots.get_mut(generation).and_then(|held| held.suspicion.as_mut()) {
            suspicion.next_look = at;
        }
    }

    /// The same token refused and then accepted shows how long this provider needs to spread one.
    fn learn_spread(&mut self, generation: Generation, spread: Option<Span>) {
        let Some(spread) = spread.filter(|spread| *spread < Policy::FIRST_SETTLE) else { return };
        if self.last_spread != Some(generation) {
            self.last_spread = Some(generation);
            self.settle.handle_spread(spread);
        }
    }

    /// A newer token that works where the active one is refused takes over at once.
    fn promote_if_active_is_dead(&mut self, proven: Generation, now: Boot) {
        let Some(old) = self.slots.iter().find(|held| held.generation() < proven && held.is_suspect()) else { return };
        let Instants { soft, dead, .. } = old.token.instants;
        let (old, is_early) = (old.generation(), now + (dead - soft).scaled(1, 4).min(CLEARLY_EARLY) < dead);
        let is_candidate = self.slots.candidate.as_ref().is_some_and(|held| held.generation() == proven);
        if let Some(held) = self.slots.get_mut(old)
            && !held.is_judged_as_old
        {
            held.is_judged_as_old = true;
            if is_early {
                self.revokes_old.handle_observation(true);
            }
        }
        if is_candidate {
            self.promote(now);
        }
    }
}

/// How long a suspect that came of age is still waited for: a little longer than between two tries.
const LAST_LOOK: Span = Span::from_millis(2_500);
/// How often a young suspect without further probes is looked at.
const LOOK_EVERY: Span = Span::from_millis(500);
/// A refusal this long before the end of a life is not a matter of clocks that disagree a little.
const CLEARLY_EARLY: Span = Span::from_secs(1);
/// A probe without an answer for this long no longer keeps the next one back.
const PROBE_LASTS: Span = Span::from_secs(5);
