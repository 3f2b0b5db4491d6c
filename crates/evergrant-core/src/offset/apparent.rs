//! What a server's dates show when they are taken at their word.
//!
//! The estimator allows a date to be as late as `kappa` and nodes to differ by `S`. Inside these allowances it cannot
//! see that they are used, and a fleet whose nodes differ by more than `S` but less than `kappa` would give an interval
//! that looks settled and holds only some of the nodes. So the last answers are kept here without any allowance: a date
//! `D` between `s` and `r` says `[D - r, D + res - s]`. From exact dates of one clock these intervals have a point in
//! common. If two of them are further apart than `S`, the dates are late by turns, or come from clocks that differ, or
//! the clock moved: no answer tells which, and the reading is widened to hold all of them and called disturbed.
//!
//! The common part is also where the next question is aimed at: see [`ProbePlan`](super::ProbePlan).
//!
//! Limits: the last 32 answers of the last minute; a lag that never changes looks like an offset, here as anywhere.

use std::collections::VecDeque;

use super::sample::Sample;
use crate::time::{Boot, Offset, OffsetInterval, Span};

/// The last answers of one source, without allowances.
#[derive(Clone, Debug)]
pub(super) struct Apparent {
    drift_ppm: i64,
    seen: VecDeque<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    interval: OffsetInterval,
    at: Boot,
}

impl Apparent {
    pub(super) fn new(drift_ppm: i64) -> Self {
        Self { drift_ppm, seen: VecDeque::new() }
    }

    /// Adds an answer that was written for its request.
    pub(super) fn add(&mut self, sample: &Sample) {
        let (lo, hi) = (sample.server - sample.received, (sample.server + sample.resolution) - sample.sent);
        let Some(interval) = OffsetInterval::new(lo, hi) else { return };
        while self.seen.front().is_some_and(|seen| sample.received - seen.at > MEMORY) || self.seen.len() == KEPT {
            self.seen.pop_front();
        }
        self.seen.push_back(Seen { interval, at: sample.received });
    }

    /// Forgets all but the last few answers: the clock stepped, and those before say nothing about it any more.
    pub(super) fn keep_last(&mut self, count: usize) {
        self.seen.drain(..self.seen.len().saturating_sub(count));
    }

    /// Where the offset is if no date is late, and how far the answers contradict each other: zero if they agree.
    pub(super) fn common(&self, now: Boot) -> Option<(OffsetInterval, Span)> {
        let (lo, hi) = self.extremes(now, Offset::max, Offset::min)?;
        let gap = if lo > hi { lo - hi } else { Span::ZERO };
        Some((OffsetInterval { lo: lo.min(hi), hi: lo.max(hi) }, gap))
    }

    /// The smallest interval that holds what every answer allows.
    pub(super) fn hull(&self, now: Boot) -> Option<OffsetInterval> {
        let (lo, hi) = self.extremes(now, Offset::min, Offset::max)?;
        OffsetInterval::new(lo, hi)
    }

    fn extremes(
        &self,
        now: Boot,
        lower: fn(Offset, Offset) -> Offset,
        upper: fn(Offset, Offset) -> Offset,
    ) -> Option<(Offset, Offset)> {
        let aged = |seen: &Seen| seen.interval.widened((now - seen.at).drift(self.drift_ppm));
        let ends = self.seen.iter().map(aged).map(|interval| (interval.lo, interval.hi));
        ends.reduce(|left, right| (lower(left.0, right.0), upper(left.1, right.1)))
    }
}

/// How long an answer is remembered.
const MEMORY: Span = Span::from_secs(60);
/// How many answers are remembered.
const KEPT: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Server;

    fn apparent(dates: &[(i64, i64)]) -> Apparent {
        let mut apparent = Apparent::new(0);
        for (at_ms, date) in dates {
            let (sent, received) = (Boot::from_millis(*at_ms), Boot::from_millis(at_ms + 10));
            let server = Server::from_secs(*date);
            apparent.add(&Sample { sent, received, server, resolution: Span::from_secs(1), bounds_above: true });
        }
        apparent
    }

    #[test]
    fn exact_dates_have_a_point_in_common() {
        // A server 100.3 s ahead, asked just before its second turns and just after.
        let (common, gap) = apparent(&[(680, 100), (710, 101)]).common(Boot::from_secs(1)).unwrap();
        assert_eq!(gap, Span::ZERO);
        assert_eq!((common.lo, common.hi), (Offset::from_nanos(100_280_000_000), Offset::from_nanos(100_320_000_000)));
    }

    #[test]
    fn dates_of_two_clocks_contradict_each_other() {
        // One is 100.3 s ahead and the other 100.7 s.
        let apparent = apparent(&[(680, 100), (310, 101)]);
        let (_, gap) = apparent.common(Boot::from_secs(1)).unwrap();
        assert_eq!(gap, Span::from_millis(360));
        let hull = apparent.hull(Boot::from_secs(1)).unwrap();
        assert!(
            hull.contains(Offset::from_nanos(100_300_000_000)) && hull.contains(Offset::from_nanos(100_700_000_000))
        );
    }

    #[test]
    fn the_memory_is_bounded_and_can_be_cut() {
        let mut long = apparent(&(0..100).map(|n| (n * 100, n / 10)).collect::<Vec<_>>());
        assert_eq!(long.seen.len(), KEPT);
        long.keep_last(3);
        assert_eq!(long.seen.len(), 3);
        assert_eq!(apparent(&[(0, 0), (60_500, 60)]).seen.len(), 1, "a minute ago is forgotten");
        assert!(apparent(&[]).common(Boot::from_secs(1)).is_none());
    }
}
