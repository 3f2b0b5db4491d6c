//! What a keeper learns about its provider: how long a token takes to spread, whether a refresh ends the old token,
//! and how long a refresh takes.
//!
//! Each learner starts from the cautious assumption and moves only on direct evidence, so that a wrong lesson costs a
//! little latency and never a 401. A provider that spread ten tokens in a second may take ten for the next; so the lesson
//! on settling hastens promotions, and what a 401 of a new token means is judged by [`Settle::longest`]. All memories are
//! bounded.

use std::collections::VecDeque;

use crate::policy::Policy;
use crate::time::Span;

/// How long a new token may be refused by some nodes.
///
/// The only evidence is the *same* token refused and accepted later. Silence teaches nothing: a provider that has been
/// quick so far may be slow tomorrow, and waiting costs nothing while the old token serves.
#[derive(Debug, Default)]
pub(super) struct Settle {
    pinned: Option<Span>,
    spreads: VecDeque<Span>,
}

impl Settle {
    pub(super) fn new(pinned: Option<Span>) -> Self {
        Self { pinned, spreads: VecDeque::new() }
    }

    /// A token was last refused this long after its mint, and accepted afterwards.
    pub(super) fn handle_spread(&mut self, spread: Span) {
        if self.spreads.len() == SPREADS_KEPT {
            self.spreads.pop_front();
        }
        self.spreads.push_back(spread);
    }

    /// The time in which a 401 of a new token may mean no more than that a node does not know it yet: nothing that was
    /// learned makes it shorter.
    pub(super) fn longest(&self) -> Span {
        self.pinned.unwrap_or(Policy::FIRST_SETTLE)
    }

    /// The time that a new token is given before it takes over: twice the slowest spread seen lately, once enough was seen.
    pub(super) fn span(&self) -> Span {
        if let Some(pinned) = self.pinned {
            return pinned;
        }
        let slowest = self.spreads.iter().copied().max().unwrap_or(Span::ZERO);
        if self.spreads.len() < SPREADS_THAT_TEACH {
            return Policy::FIRST_SETTLE;
        }
        slowest.scaled(2, 1).clamp(Span::from_secs(1), Policy::FIRST_SETTLE)
    }
}

const SPREADS_KEPT: usize = 10;
const SPREADS_THAT_TEACH: usize = 5;

/// Whether the provider ends the old token when it issues a new one.
#[derive(Debug, Default)]
pub(super) struct RevokesOld {
    seen: VecDeque<bool>,
    refreshes_since: u32,
}

impl RevokesOld {
    /// The predecessor of a new token was seen to be refused early (`true`) or to work on (`false`).
    pub(super) fn handle_observation(&mut self, revoked: bool) {
        if self.seen.len() == 3 {
            self.seen.pop_front();
        }
        self.seen.push_back(revoked);
        self.refreshes_since = 0;
    }

    /// One more refresh; a lesson that was not confirmed for ten of them is forgotten, because acting on it hides the evidence.
    pub(super) fn handle_refresh(&mut self) {
        self.refreshes_since += 1;
        if self.refreshes_since > LESSON_LASTS {
            self.seen.clear();
        }
    }

    pub(super) fn is_learned(&self) -> bool {
        self.seen.iter().filter(|revoked| **revoked).count() >= 2
    }
}

const LESSON_LASTS: u32 = 10;

/// How long token requests take.
#[derive(Debug, Default)]
pub(super) struct Latency {
    samples: VecDeque<Span>,
}

impl Latency {
    pub(super) fn handle_sample(&mut self, took: Span) {
        if self.samples.len() == LATENCIES_KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(took);
    }

    /// With so few samples the 99th percentile is the slowest.
    pub(super) fn p99(&self) -> Span {
        self.samples.iter().copied().max().unwrap_or(Span::ZERO)
    }
}

const LATENCIES_KEPT: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settle_shrinks_only_after_enough_spreads_and_grows_back() {
        let mut settle = Settle::new(None);
        for _ in 0..4 {
            settle.handle_spread(Span::from_millis(800));
            assert_eq!(settle.span(), Policy::FIRST_SETTLE);
        }
        settle.handle_spread(Span::from_millis(800));
        assert_eq!(settle.span(), Span::from_millis(1600));
        assert_eq!(settle.longest(), Policy::FIRST_SETTLE, "a 401 is judged as before");
        settle.handle_spread(Span::from_secs(4));
        assert_eq!(settle.span(), Span::from_secs(8));
        settle.handle_spread(Span::from_secs(9));
        assert_eq!(settle.span(), Policy::FIRST_SETTLE);
    }

    #[test]
    fn a_pinned_settle_time_is_never_changed() {
        let mut settle = Settle::new(Some(Span::from_secs(3)));
        (0..9).for_each(|_| settle.handle_spread(Span::from_millis(10)));
        assert_eq!((settle.span(), settle.longest()), (Span::from_secs(3), Span::from_secs(3)));
    }

    #[test]
    fn revocation_is_learned_from_two_of_three_and_forgotten_after_ten() {
        let mut revokes = RevokesOld::default();
        revokes.handle_observation(true);
        assert!(!revokes.is_learned());
        revokes.handle_observation(false);
        revokes.handle_observation(true);
        assert!(revokes.is_learned());
        (0..10).for_each(|_| revokes.handle_refresh());
        assert!(revokes.is_learned());
        revokes.handle_refresh();
        assert!(!revokes.is_learned());
    }
}
