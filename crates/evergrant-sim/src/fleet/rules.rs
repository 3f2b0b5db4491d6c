//! Rules of a fleet that can be replaced one at a time, to see what each of them brings.
//!
//! Two rules keep fifty processes that share a token from doing the same thing at the same moment. How much earlier than
//! needed a refresh begins is drawn once for each token, most of it from the credential; and those who wait for a lease go
//! one after the other once it ends. A fleet with another rule is the keeper that ships, with another seed, another policy
//! or another driver around it: nothing in the keeper knows of it.
//!
//! A refresh whose jitter is drawn anew at each look is asked for by the driver, as by a caller that wants a longer life
//! than the token has left: so much longer as was drawn. The keeper's own schedule lies behind everything that can be drawn.

use evergrant_core::policy::Policy;
use evergrant_core::time::Span;

/// The rules that a fleet follows; by default those that ship.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// How much earlier than needed a refresh begins.
    pub jitter: Jitter,
    /// Do those who wait for a lease go one after the other when it ends? Else all go at once.
    pub takes_turns: bool,
}

/// Who draws how much earlier than needed a refresh begins, and how often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Jitter {
    /// It is drawn once for each token, three quarters of it from the credential and one from the replica.
    OfCredential,
    /// Every replica draws once for each token.
    OfReplica,
    /// Every replica draws anew at each look at the store.
    OfLook,
}

impl Default for Rules {
    fn default() -> Self {
        Self { jitter: Jitter::OfCredential, takes_turns: true }
    }
}

impl Rules {
    /// The policy of a member whose tokens live so long.
    pub(super) fn policy(self, lifetime: Span) -> Policy {
        let shipped = Policy::default();
        match self.jitter {
            Jitter::OfCredential | Jitter::OfReplica => shipped,
            // With half of it as the most that is drawn this ends where what is drawn at a look begins.
            Jitter::OfLook => Policy { slack: Some(shipped.slack_for(lifetime).scaled(2, 3)), ..shipped },
        }
    }

    /// With how much life left a token of this lifetime is refreshed, as drawn at this look: `luck` in 0..=1000.
    pub(super) fn lead(lifetime: Span, luck: i64) -> Span {
        let shipped = Policy::default();
        let life = lifetime - lifetime.drift(shipped.drift_ppm);
        let slack = shipped.slack_for(life);
        slack + shipped.jitter_room(life, slack).scaled(luck, 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_at_a_look_comes_before_the_keepers_own_schedule() {
        for secs in [60, 300, 3_600, 86_400] {
            let life = Span::from_secs(secs);
            let own = Rules { jitter: Jitter::OfLook, takes_turns: true }.policy(life).slack_for(life);
            let earliest_own = own + Policy::default().jitter_room(life, own);
            assert!(earliest_own <= Rules::lead(life, 0) + Span::from_secs(1), "{secs}: {earliest_own}");
            assert!(Rules::lead(life, 1_000) > Rules::lead(life, 0));
        }
    }

    #[test]
    fn at_a_look_as_much_can_be_drawn_as_is_drawn_once() {
        // A fifth of an hour, and half of that at most; less what the clocks may drift apart.
        assert_eq!([0, 1_000].map(|luck| Rules::lead(Span::from_secs(3_600), luck).as_secs()), [719, 1_079]);
    }
}
