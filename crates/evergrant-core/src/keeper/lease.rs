//! A lease on a shared store: the wait for it, and whether it still holds.
//!
//! A lease has a time to live, and its holder renews it every third of that. A holder that could not renew for two thirds of
//! it takes the lease for lost: its request has then ended before another one may begin. Whoever waits is told by the store
//! when the lease ends, and looks all the same, because messages get lost; all who see it end then go one after the other
//! (see [`takeover`](super::takeover)).
//!
//! Limits: nothing here knows a store, and nothing is sent. The times are those of the waiting process.

use crate::time::{Boot, Span};

/// The wait for a lease that is not free.
#[derive(Clone, Debug)]
pub struct Claim {
    since: Boot,
    deadline: Boot,
    pause: Span,
}

/// What to do until the next try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pause {
    /// Nothing: the deadline has passed.
    GiveUp {
        /// How long was waited.
        waited: Span,
    },
    /// Wait for a message, so long at most; then for one's turn; then try again.
    Wait {
        /// The longest wait for a message.
        look: Span,
        /// How long after the end of the lease it is one's turn.
        turn: Span,
        /// Is the turn waited for also when no message came, because the lease has ended by then?
        ends: bool,
    },
}

impl Claim {
    /// A first try now, and none that begins after the deadline.
    #[must_use]
    pub const fn new(deadline: Boot, now: Boot) -> Self {
        Self { since: now, deadline, pause: FIRST_PAUSE }
    }

    /// The lease is somebody's for so long, unless it is renewed, and then first that of those whose turn is earlier.
    pub fn handle_busy(&mut self, left: Span, turn: Span, now: Boot) -> Pause {
        self.pause(left, turn, now)
    }

    /// The store holds less than this process has seen, and nobody has repaired it yet.
    pub fn handle_behind(&mut self, now: Boot) -> Pause {
        self.pause = self.pause.scaled(2, 1).min(LONGEST_PAUSE);
        self.pause(self.pause, Span::ZERO, now)
    }

    /// How long from now until the deadline.
    #[must_use]
    pub fn rest(&self, now: Boot) -> Span {
        (self.deadline - now).max(Span::ZERO)
    }

    fn pause(&self, left: Span, turn: Span, now: Boot) -> Pause {
        if now >= self.deadline {
            return Pause::GiveUp { waited: now - self.since };
        }
        let rest = self.rest(now);
        Pause::Wait { look: left.min(LONGEST_UNSEEN).min(rest), turn, ends: left < LONGEST_UNSEEN }
    }
}

/// What keeps a lease alive, and knows when it is lost.
#[derive(Clone, Debug)]
pub struct Heart {
    every: Span,
    lasts: Span,
    confirmed: Boot,
    next: Boot,
}

impl Heart {
    /// A lease with this time to live that was acquired now.
    #[must_use]
    pub fn new(ttl: Span, now: Boot) -> Self {
        let every = ttl.scaled(1, 3);
        Self { every, lasts: ttl.scaled(2, 3), confirmed: now, next: now + every }
    }

    /// When the next beat is due, or the lease is lost.
    #[must_use]
    pub fn next_beat(&self) -> Boot {
        self.next.min(self.ends())
    }

    /// When the lease is lost unless it is renewed.
    #[must_use]
    pub fn ends(&self) -> Boot {
        self.confirmed + self.lasts
    }

    /// Can the lease no longer be relied on?
    #[must_use]
    pub fn is_lost(&self, now: Boot) -> bool {
        now >= self.ends()
    }

    /// A beat that was sent then was answered: the lease is ours.
    pub fn handle_confirmed(&mut self, sent: Boot) {
        (self.confirmed, self.next) = (sent, sent + self.every);
    }

    /// A beat had no answer.
    pub fn handle_missed(&mut self, now: Boot) {
        self.next = now + self.every.scaled(1, 8);
    }
}

const FIRST_PAUSE: Span = Span::from_millis(10);
const LONGEST_PAUSE: Span = Span::from_millis(250);
/// A lease that ended without a message is noticed this much later.
const LONGEST_UNSEEN: Span = Span::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Span = Span::from_secs(6);
    const T0: Boot = Boot::from_secs(100);

    fn at(millis: i64) -> Boot {
        T0 + Span::from_millis(millis)
    }

    fn wait(look_ms: i64, turn_ms: i64, ends: bool) -> Pause {
        Pause::Wait { look: Span::from_millis(look_ms), turn: Span::from_millis(turn_ms), ends }
    }

    #[test]
    fn a_lease_is_looked_at_every_second_and_taken_in_turn_when_it_ends() {
        let mut claim = Claim::new(at(5_000), T0);
        let turn = Span::from_millis(200);
        assert_eq!(claim.handle_busy(TTL, turn, at(0)), wait(1_000, 200, false));
        assert_eq!(claim.handle_busy(Span::from_millis(700), turn, at(1_000)), wait(700, 200, true));
        assert_eq!(claim.handle_busy(TTL, turn, at(4_900)), wait(100, 200, false));
        assert_eq!(claim.handle_busy(TTL, turn, at(5_000)), Pause::GiveUp { waited: Span::from_secs(5) });
    }

    #[test]
    fn a_store_that_is_behind_is_asked_ever_more_rarely() {
        let mut claim = Claim::new(at(60_000), T0);
        let looks: Vec<_> = (0..7).map(|_| claim.handle_behind(T0)).collect();
        assert_eq!(looks, [20, 40, 80, 160, 250, 250, 250].map(|millis| wait(millis, 0, true)));
    }

    #[test]
    fn a_holder_beats_every_third_and_gives_up_at_two_thirds() {
        let mut heart = Heart::new(TTL, T0);
        assert_eq!((heart.next_beat(), heart.ends()), (at(2_000), at(4_000)));
        heart.handle_missed(at(2_500));
        assert_eq!(heart.next_beat(), at(2_750), "soon again");
        heart.handle_missed(at(3_900));
        assert_eq!(heart.next_beat(), at(4_000), "and not after the end");
        assert!(heart.is_lost(at(4_000)) && !heart.is_lost(at(3_999)));
        heart.handle_confirmed(at(3_950));
        assert_eq!((heart.next_beat(), heart.is_lost(at(4_000))), (at(5_950), false));
    }
}
