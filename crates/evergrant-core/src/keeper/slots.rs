//! The tokens at hand and what is known of each: previous, active, candidate, and the generations given up.
//!
//! A token is *proven* by a success and *suspect* from a refusal until a success that was sent after the refusal
//! arrived: an answer that was already under way says nothing about now. A young suspect may merely be unknown to some
//! nodes; [`Held::is_disproved`] tells when that excuse is used up.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::policy::Policy;
use crate::time::{Boot, Span};
use crate::token::{Generation, Token};

/// Refusals of a token since it last worked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspicion {
    /// When the first refusal arrived.
    pub(super) since: Boot,
    /// How many there were.
    pub(super) refusals: u32,
    /// How many of them were of requests that had been sent after the suspicion arose.
    pub(super) confirmed: u32,
    /// When the last of those requests was sent.
    pub(super) last_sent: Boot,
    /// How many probes were due for it.
    pub(super) probes: u32,
    /// When the next probe is due.
    pub(super) next_probe: Boot,
    /// When it was first seen to be old enough to be known everywhere, although nobody had asked since it was.
    pub(super) of_age: Option<Boot>,
    /// When it is looked at next.
    pub(super) next_look: Boot,
}

/// A token at hand.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) token: Arc<Token>,
    /// When the latest successful request with it was sent.
    pub(super) last_success: Option<Boot>,
    pub(super) suspicion: Option<Suspicion>,
    /// When it was last refused, even if it worked since.
    pub(super) last_refusal: Option<Boot>,
    /// Was it minted because its predecessor was refused?
    pub(super) is_for_refusal: bool,
    /// Was it counted for or against a provider that ends old tokens?
    pub(super) is_judged_as_old: bool,
}

impl Held {
    pub(super) fn new(token: Token, is_for_refusal: bool) -> Self {
        Self {
            token: Arc::new(token),
            last_success: None,
            suspicion: None,
            last_refusal: None,
            is_for_refusal,
            is_judged_as_old: false,
        }
    }

    pub(super) fn generation(&self) -> Generation {
        self.token.generation
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.suspicion.is_some()
    }

    /// Did a request succeed with it, and none was refused since?
    pub(super) fn is_proven(&self) -> bool {
        self.last_success.is_some() && !self.is_suspect()
    }

    /// Was it minted so recently that some nodes may not know it?
    pub(super) fn is_young(&self, settle: Span, now: Boot) -> bool {
        now - self.token.issued.received < settle + Policy::SETTLE_GRACE
    }

    /// Did it work, and was then refused often enough, over long enough, without any success in between?
    ///
    /// Only requests sent after the first refusal count, as only their successes would: answers may take longer than
    /// all of this, and those that were under way at the first refusal are no news.
    pub(super) fn is_disproved(&self) -> bool {
        self.last_success.is_some()
            && self.suspicion.is_some_and(|suspicion| {
                suspicion.confirmed + 1 >= Policy::REFUSALS_OF_A_PROVEN_TOKEN
                    && suspicion.last_sent - suspicion.since >= Policy::REFUSALS_SPAN
            })
    }

    /// Notes a success of a request that was sent at `sent`; `true` if it ended a suspicion.
    pub(super) fn handle_success(&mut self, sent: Boot) -> bool {
        self.last_success = self.last_success.max(Some(sent));
        match self.suspicion {
            Some(suspicion) if sent >= suspicion.since => {
                self.suspicion = None;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Notes a refusal of a request that was sent at `sent` and answered at `received`.
    pub(super) fn handle_refusal(&mut self, sent: Boot, received: Boot) {
        self.last_refusal = self.last_refusal.max(Some(received));
        if self.last_success.is_some_and(|success| success > received) {
            return;
        }
        match &mut self.suspicion {
            None => {
                self.suspicion = Some(Suspicion {
                    since: received,
                    refusals: 1,
                    confirmed: 0,
                    last_sent: sent,
                    probes: 0,
                    next_probe: received + Policy::propagation_retry(0),
                    of_age: None,
                    next_look: received,
                });
            }
            Some(suspicion) => {
                suspicion.refusals += 1;
                suspicion.last_sent = suspicion.last_sent.max(sent);
                suspicion.next_look = suspicion.next_look.min(received);
                suspicion.confirmed += u32::from(sent >= suspicion.since);
            }
        }
    }
}

/// All tokens at hand.
#[derive(Debug, Default)]
pub(super) struct Slots {
    pub(super) previous: Option<Held>,
    pub(super) active: Option<Held>,
    pub(super) candidate: Option<Held>,
    rejected: BTreeSet<Generation>,
}

impl Slots {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Held> {
        [&self.previous, &self.active, &self.candidate].into_iter().flatten()
    }

    pub(super) fn get(&self, generation: Generation) -> Option<&Held> {
        self.iter().find(|held| held.generation() == generation)
    }

    pub(super) fn get_mut(&mut self, generation: Generation) -> Option<&mut Held> {
        [&mut self.previous, &mut self.active, &mut self.candidate]
            .into_iter()
            .flatten()
            .find(|held| held.generation() == generation)
    }

    /// The newest token at hand.
    pub(super) fn newest(&self) -> Option<&Held> {
        self.candidate.as_ref().or(self.active.as_ref()).or(self.previous.as_ref())
    }

    pub(super) fn is_rejected(&self, generation: Generation) -> bool {
        self.rejected.contains(&generation)
    }

    /// Gives a generation up for good.
    pub(super) fn reject(&mut self, generation: Generation) {
        self.rejected.insert(generation);
        while self.rejected.len() > REJECTED_KEPT {
            self.rejected.pop_first();
        }
        self.drop_where(|held| held.generation() == generation);
        self.fill_active();
    }

    /// Drops tokens that can no longer work.
    pub(super) fn drop_gone(&mut self, now: Boot) {
        self.drop_where(|held| !held.token.is_usable_at(now));
        self.fill_active();
    }

    /// Makes the candidate the active token and keeps the old one as previous.
    pub(super) fn promote(&mut self) -> bool {
        let Some(candidate) = self.candidate.take() else { return false };
        self.previous = self.active.replace(candidate);
        true
    }

    fn drop_where(&mut self, is_lost: impl Fn(&Held) -> bool) {
        for slot in [&mut self.previous, &mut self.active, &mut self.candidate] {
            if slot.as_ref().is_some_and(&is_lost) {
                *slot = None;
            }
        }
    }

    /// A candidate without an active token is the active token; so is a previous one that still works.
    fn fill_active(&mut self) {
        if self.active.is_none() {
            self.active = self.candidate.take().or_else(|| self.previous.take());
        }
    }
}

const REJECTED_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_rejected_generations_is_bounded_and_keeps_the_newest() {
        let mut slots = Slots::default();
        (1..=1_000).for_each(|generation| slots.reject(Generation(generation)));
        assert_eq!(slots.rejected.len(), REJECTED_KEPT);
        assert!(slots.is_rejected(Generation(1_000)) && !slots.is_rejected(Generation(1)));
    }
}
