//! What the estimator tells: readings when asked, events when something happened.

use super::sample::{Assumptions, Source};
use crate::time::{Now, Offset, OffsetInterval, SkewInterval, Span};

/// Something that happened to a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockEvent {
    /// A server's clock stepped, or our machine was paused without noticing: from here the two look the same.
    ServerStep {
        /// Where it was seen.
        source: Source,
        /// How far it went; positive is forward. The truth is within `jump - error` and `jump + error`.
        jump: Span,
        /// How far `jump` may be off.
        error: Span,
        /// The epoch that began.
        epoch: u32,
    },
    /// This machine's calendar clock stepped. No offset and no lifetime changes.
    LocalStep {
        /// How far it went; positive is forward.
        jump: Span,
    },
    /// A server repeats one date although time passes.
    FrozenDate {
        /// Where it was seen.
        source: Source,
    },
    /// The nodes behind one name run on clocks that differ by more than assumed.
    FleetSpread {
        /// Where it was seen.
        source: Source,
    },
}

/// How far an offset can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetState {
    /// There is no evidence, or all of it has expired.
    Unknown,
    /// All evidence agrees.
    Settled,
    /// Evidence disagrees, or the date stands still. The interval is the hull of what is claimed.
    Disturbed,
}

/// What is known about one source's offset at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Where the true offset is; `None` if nothing is known or nothing bounds it from above.
    pub interval: Option<OffsetInterval>,
    /// The offset is at least this; known as soon as there is any evidence.
    pub at_least: Option<Offset>,
    /// How far it can be trusted.
    pub state: OffsetState,
    /// Counts the server's steps.
    pub epoch: u32,
    /// How many samples of this epoch were used.
    pub samples: usize,
    /// How old the youngest sample is.
    pub age: Option<Span>,
    /// Under what assumptions the interval holds.
    pub assumptions: Assumptions,
}

impl Reading {
    /// The skew as people mean it: this machine's calendar clock minus the server's.
    #[must_use]
    pub fn skew(&self, now: Now) -> Option<SkewInterval> {
        self.interval.map(|theta| now.skew(theta))
    }

    /// The interval, if it is undisturbed and narrower than `width`.
    #[must_use]
    pub fn settled_within(&self, width: Span) -> Option<OffsetInterval> {
        self.interval.filter(|interval| self.state == OffsetState::Settled && interval.width() < width)
    }
}
