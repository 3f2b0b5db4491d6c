//! A set of samples that agree, reduced to what still matters.
//!
//! With one drift rate for all, a bound that is better now stays better: two bounds move outward in step. So of all
//! lower bounds only those matter that no younger one beats, and the best of them is the oldest. That is a sliding
//! window maximum: samples come and go in constant time and reading takes the first one that has not expired.
//!
//! The lists have a fixed limit. When one is full, the entry whose loss leaves the smallest gap in time is dropped,
//! never the best and never the youngest: the interval stays as narrow as it was, and only grows a little earlier
//! when the best expires.

use std::collections::VecDeque;

use crate::time::{Boot, Offset, OffsetInterval, Server, Span};

/// What is known about an offset at one instant: at least `lo` and, if anything says so, at most `hi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) lo: Offset,
    pub(super) hi: Option<Offset>,
}

impl Bounds {
    /// Can both be true?
    pub(super) fn agrees_with(self, other: Self) -> bool {
        self.hi.is_none_or(|hi| other.lo <= hi) && other.hi.is_none_or(|hi| self.lo <= hi)
    }

    pub(super) fn hull(self, other: Self) -> Self {
        Self { lo: self.lo.min(other.lo), hi: self.hi.zip(other.hi).map(|(left, right)| left.max(right)) }
    }

    pub(super) fn widened(self, by: Span) -> Self {
        Self { lo: self.lo - by, hi: self.hi.map(|hi| hi + by) }
    }

    pub(super) fn interval(self) -> Option<OffsetInterval> {
        OffsetInterval::new(self.lo, self.hi?)
    }
}

/// An instant on the boot clock and the disturbances of that clock up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) at: Boot,
    /// The sum of all known slews and suspends, which moved the boot clock by an unknown part of it.
    pub(super) disturbance: Span,
}

/// What one sample proves, when, and by which date.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) bounds: Bounds,
    pub(super) moment: Moment,
    pub(super) server: Server,
}

/// How evidence ages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aging {
    pub(super) drift_ppm: i64,
    pub(super) ttl: Span,
}

impl Aging {
    /// By how much a bound moves outward between two moments, in either order.
    pub(super) fn widening(self, from: Moment, to: Moment) -> Span {
        (to.at - from.at).drift(self.drift_ppm) + (to.disturbance - from.disturbance).abs()
    }

    fn is_over(self, from: Moment, now: Moment) -> bool {
        now.at - from.at > self.ttl
    }
}

/// Samples that agree with each other.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    aging: Aging,
    lows: Extremes,
    highs: Extremes,
    /// The bounds at the last sample. They outlive the evidence, to tell a step from a long silence.
    last: Option<(Bounds, Moment)>,
    samples: usize,
}

impl Evidence {
    pub(super) fn new(aging: Aging) -> Self {
        let extremes = |side| Extremes { side, kept: VecDeque::new() };
        Self { aging, lows: extremes(Side::Low), highs: extremes(Side::High), last: None, samples: 0 }
    }

    /// Adds what a sample proves. Samples come in the order of their moments.
    pub(super) fn add(&mut self, claim: Claim) {
        let Claim { bounds, moment, .. } = claim;
        self.lows.expire(self.aging, moment);
        self.highs.expire(self.aging, moment);
        self.lows.push(Witness { bound: bounds.lo, moment }, self.aging);
        if let Some(hi) = bounds.hi {
            self.highs.push(Witness { bound: hi, moment }, self.aging);
        }
        self.samples = self.samples.saturating_add(1);
        self.last = self.bounds(moment).map(|bounds| (bounds, moment));
    }

    /// The intersection of all samples that have not expired.
    pub(super) fn bounds(&self, now: Moment) -> Option<Bounds> {
        Some(Bounds { lo: self.lows.best(self.aging, now)?, hi: self.highs.best(self.aging, now) })
    }

    /// The bounds, or if all samples have expired the last ones, aged.
    pub(super) fn last_known(&self, now: Moment) -> Option<Bounds> {
        self.bounds(now).or_else(|| {
            let (bounds, moment) = self.last?;
            Some(bounds.widened(self.aging.widening(moment, now)))
        })
    }

    /// The moment of the youngest sample.
    pub(super) fn newest(&self) -> Option<Moment> {
        self.lows.kept.back().map(|witness| witness.moment)
    }

    pub(super) fn aging(&self) -> Aging {
        self.aging
    }

    /// How many samples have been added.
    pub(super) fn samples(&self) -> usize {
        self.samples
    }
}

#[derive(Clone, Copy, Debug)]
struct Witness {
    bound: Offset,
    moment: Moment,
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Low,
    High,
}

/// The bounds of one side that no younger one beats, from the oldest and best to the youngest.
#[derive(Clone, Debug)]
struct Extremes {
    side: Side,
    kept: VecDeque<Witness>,
}

impl Extremes {
    fn push(&mut self, new: Witness, aging: Aging) {
        while self.kept.back().is_some_and(|old| !self.is_better(self.aged(*old, aging, new.moment), new.bound)) {
            self.kept.pop_back();
        }
        self.kept.push_back(new);
        if self.kept.len() > WITNESS_LIMIT {
            self.thin_out();
        }
    }

    fn best(&self, aging: Aging, now: Moment) -> Option<Offset> {
        let witness = self.kept.iter().find(|witness| !aging.is_over(witness.moment, now))?;
        Some(self.aged(*witness, aging, now))
    }

    fn expire(&mut self, aging: Aging, now: Moment) {
        while self.kept.front().is_some_and(|witness| aging.is_over(witness.moment, now)) {
            self.kept.pop_front();
        }
    }

    fn thin_out(&mut self) {
        let gap = |at: usize| self.kept[at + 1].moment.at - self.kept[at - 1].moment.at;
        if let Some(least) = (1..self.kept.len() - 1).min_by_key(|&at| gap(at)) {
            self.kept.remove(least);
        }
    }

    fn aged(&self, witness: Witness, aging: Aging, now: Moment) -> Offset {
        let widening = aging.widening(witness.moment, now);
        match self.side {
            Side::Low => witness.bound - widening,
            Side::High => witness.bound + widening,
        }
    }

    fn is_better(&self, bound: Offset, than: Offset) -> bool {
        match self.side {
            Side::Low => bound > than,
            Side::High => bound < than,
        }
    }
}

/// The most bounds kept per side. Random samples keep about as many as the logarithm of their number.
const WITNESS_LIMIT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const AGING: Aging = Aging { drift_ppm: 0, ttl: Span::from_secs(600) };

    fn moment(secs: i64) -> Moment {
        Moment { at: Boot::from_secs(secs), disturbance: Span::ZERO }
    }

    fn add(evidence: &mut Evidence, secs: i64, lo: i64, hi: Option<i64>) {
        let bounds = Bounds { lo: Offset::from_nanos(lo), hi: hi.map(Offset::from_nanos) };
        evidence.add(Claim { bounds, moment: moment(secs), server: Server::from_secs(secs) });
    }

    fn read(evidence: &Evidence, secs: i64) -> Option<(i64, Option<i64>)> {
        evidence.bounds(moment(secs)).map(|bounds| (bounds.lo.as_nanos(), bounds.hi.map(Offset::as_nanos)))
    }

    #[test]
    fn samples_are_intersected_and_expire_one_by_one() {
        let mut evidence = Evidence::new(AGING);
        assert_eq!(read(&evidence, 0), None);
        add(&mut evidence, 0, 0, Some(100));
        add(&mut evidence, 300, -50, Some(60));
        add(&mut evidence, 400, -90, None);
        assert_eq!(read(&evidence, 400), Some((0, Some(60))));
        assert_eq!(read(&evidence, 600), Some((0, Some(60))), "the last instant of the first sample");
        assert_eq!(read(&evidence, 601), Some((-50, Some(60))));
        assert_eq!(read(&evidence, 901), Some((-90, None)));
        assert_eq!(read(&evidence, 1001), None);
        assert_eq!(evidence.last_known(moment(1001)).unwrap().lo, Offset::from_nanos(0));
    }

    #[test]
    fn a_full_list_keeps_the_best_and_the_youngest() {
        let mut evidence = Evidence::new(AGING);
        for secs in 0..500 {
            add(&mut evidence, secs, -secs, Some(1_000 + secs));
        }
        assert_eq!(evidence.lows.kept.len(), WITNESS_LIMIT);
        assert_eq!(read(&evidence, 500), Some((0, Some(1_000))));
        assert_eq!(read(&evidence, 1_099), Some((-499, Some(1_499))));
        let (lo, _) = read(&evidence, 601).unwrap();
        assert!((-100..0).contains(&lo), "{lo}");
    }

    #[test]
    fn a_disturbed_boot_clock_widens_what_came_before_it() {
        let mut evidence = Evidence::new(AGING);
        add(&mut evidence, 0, 0, Some(100));
        let later = Moment { disturbance: Span::from_nanos(7), ..moment(1) };
        assert_eq!(
            evidence.bounds(later),
            Some(Bounds { lo: Offset::from_nanos(-7), hi: Some(Offset::from_nanos(107)) })
        );
    }

    #[test]
    fn unbounded_evidence_agrees_with_everything_above_it() {
        let at = |lo, hi: Option<i64>| Bounds { lo: Offset::from_nanos(lo), hi: hi.map(Offset::from_nanos) };
        assert!(at(5, None).agrees_with(at(0, Some(5))));
        assert!(!at(6, None).agrees_with(at(0, Some(5))));
        assert!(at(5, None).agrees_with(at(9, None)));
        assert_eq!(at(5, None).hull(at(0, Some(5))), at(0, None));
        assert_eq!(at(5, None).interval(), None);
    }
}
