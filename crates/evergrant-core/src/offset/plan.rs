//! When to ask one server for its date, and when enough is known.
//!
//! A measurement has two parts. First the interval is halved: each question is aimed so that the server's second turns
//! in the middle of what its answers so far allow ([`aim_at_edge`]). It ends when the answers cannot tell more than the
//! round trip allows. Then a few questions are aimed beside the result, some early and some late, a little further than
//! the nodes of one name may differ: a node with another clock gives itself away there, where a question into the middle
//! would only have been answered the one way or the other. A step during the measurement shows in the same way.
//!
//! Sources that tell their time to the millisecond need no aim: two answers are enough.
//!
//! The number of questions is bounded. One question at a time is under way, and a server that does not answer is asked
//! twice. While a clock is watched, one question per interval, and at most one a second, goes the same ways by turns.

use super::apparent::Apparent;
use super::edge::aim_at_edge;
use super::reading::{OffsetState, Reading};
use super::sample::{Assumptions, Sample};
use crate::time::{Boot, Offset, OffsetInterval, Server, Span};

/// How much effort a measurement may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeGoal {
    /// The most questions.
    pub probes: u32,
    /// How many of them look for other clocks beside the result, half of them on either side.
    pub checks: u32,
}

impl ProbeGoal {
    /// As narrow as the server's dates allow, and checked for nodes that differ: about five seconds.
    pub const THOROUGH: Self = Self { probes: 12, checks: 6 };
    /// Good enough to tell a wrong clock from a right one: about two seconds.
    pub const QUICK: Self = Self { probes: 4, checks: 0 };
}

/// The questions to one server.
#[derive(Clone, Debug)]
pub struct ProbePlan {
    goal: ProbeGoal,
    assumptions: Assumptions,
    asked: u32,
    answered: u32,
    failed: u32,
    /// Answers in a row that told nothing new.
    idle: u32,
    width: Span,
    shortest: Option<Span>,
    is_coarse: bool,
    last_date: Option<Server>,
    has_turned: bool,
    epoch: u32,
    apparent: Apparent,
    checks: Option<Checks>,
}

impl ProbePlan {
    /// A plan that has asked nothing yet.
    #[must_use]
    pub fn new(goal: ProbeGoal, assumptions: Assumptions) -> Self {
        Self {
            goal,
            assumptions,
            asked: 0,
            answered: 0,
            failed: 0,
            idle: 0,
            width: Span::MAX,
            shortest: None,
            is_coarse: false,
            last_date: None,
            has_turned: false,
            epoch: 0,
            apparent: Apparent::new(assumptions.drift_ppm),
            checks: None,
        }
    }

    /// When to send the next question; `None` when the measurement has ended. Each instant given counts as asked.
    pub fn next(&mut self, reading: &Reading, now: Boot) -> Option<Boot> {
        if self.asked >= self.goal.probes || self.failed >= PATIENCE {
            return None;
        }
        let at = if self.answered == 0 { Some(now + self.pause()) } else { self.next_after_answer(reading, now) }?;
        self.asked += 1;
        Some(at)
    }

    /// When to ask again while the clock is watched, with questions at least this far apart.
    pub fn next_in_watch(&mut self, reading: &Reading, interval: Span, now: Boot) -> Boot {
        let earliest = if self.asked == 0 { now } else { now + interval.max(WATCH_SPACING) };
        self.asked = self.asked.saturating_add(1);
        let is_plain = reading.state != OffsetState::Settled || !self.is_coarse || reading.interval.is_none();
        let (Some((common, _)), Some(delay), false) = (self.apparent.common(now), self.shortest, is_plain) else {
            return earliest;
        };
        let aside = self.aside(delay);
        let aim = match self.asked % 4 {
            0 => point(common.hi + aside),
            2 => point(common.lo - aside),
            _ => common,
        };
        aim_at_edge(aim, delay, earliest)
    }

    /// Takes an answer into account; `reading` is what is known with it.
    pub fn handle_answer(&mut self, sample: &Sample, reading: &Reading) {
        self.answered += 1;
        self.failed = 0;
        let delay = sample.received - sample.sent;
        self.shortest = Some(self.shortest.map_or(delay, |shortest| shortest.min(delay)));
        self.is_coarse = sample.resolution > FINE;
        self.has_turned |= self.last_date.is_some_and(|last| last != sample.server);
        self.last_date = Some(sample.server);
        if sample.bounds_above {
            self.apparent.add(sample);
        }
        if reading.epoch != self.epoch {
            self.epoch = reading.epoch;
            self.apparent.keep_last(STEP_WITNESSES);
            self.checks = None;
            self.width = Span::MAX;
        }
        let common = self.apparent.common(sample.received).map(|(common, _)| common.width());
        let width = if self.is_coarse { common } else { reading.interval.map(OffsetInterval::width) };
        let width = width.unwrap_or(Span::MAX);
        self.idle = if width < self.width.scaled(95, 100) { 0 } else { self.idle + 1 };
        self.width = self.width.min(width);
    }

    /// Notes that no usable answer came.
    pub fn handle_failure(&mut self) {
        self.failed += 1;
    }

    /// How many questions were asked.
    #[must_use]
    pub fn asked(&self) -> u32 {
        self.asked
    }

    /// The shortest round trip seen.
    #[must_use]
    pub fn shortest_delay(&self) -> Option<Span> {
        self.shortest
    }

    /// How far answers contradict each other, if it is further than the nodes of one name may differ.
    #[must_use]
    pub fn unevenness(&self, now: Boot) -> Option<Span> {
        let (_, gap) = self.apparent.common(now).filter(|_| self.is_coarse)?;
        (gap > self.assumptions.node_spread).then_some(gap)
    }

    /// The reading as it can be vouched for: uneven dates make it wider and disturbed.
    #[must_use]
    pub fn judge(&self, reading: Reading, now: Boot) -> Reading {
        let uneven = self.unevenness(now).and_then(|_| self.apparent.hull(now));
        let (Some(hull), Some(interval)) = (uneven, reading.interval) else { return reading };
        let hull = interval.hull(hull.widened(self.assumptions.node_spread));
        Reading { interval: Some(hull), at_least: Some(hull.lo), state: OffsetState::Disturbed, ..reading }
    }

    /// Where a server without late dates would be: the tightest statement that an unproven assumption buys.
    #[must_use]
    pub fn if_never_late(&self, now: Boot) -> Option<OffsetInterval> {
        if !self.is_coarse || self.unevenness(now).is_some() {
            return None;
        }
        self.apparent.common(now).map(|(common, _)| common)
    }

    fn pause(&self) -> Span {
        if self.failed == 0 { Span::ZERO } else { SPACING }
    }

    fn next_after_answer(&mut self, reading: &Reading, now: Boot) -> Option<Boot> {
        let Some(interval) = reading.interval else {
            // Bounds from below alone, or a date that stands still: more of the same does not help for long.
            return (self.answered < TRIES_WITHOUT_BOUND).then_some(now + SPACING);
        };
        if reading.state == OffsetState::Disturbed {
            return Some(now + SPACING);
        }
        let delay = self.shortest.unwrap_or(Span::ZERO);
        if !self.is_coarse {
            let is_enough = interval.width() <= delay + self.allowance() + FINE || self.idle >= 2;
            return (self.answered < 2 || !is_enough).then_some(now + SPACING);
        }
        let (common, _) = self.apparent.common(now)?;
        if self.has_turned && self.unevenness(now).is_some() {
            return None;
        }
        let earliest = now + LEAD;
        let is_narrow = common.width() <= delay + self.slop() || self.idle >= IDLE_ENOUGH;
        if !self.has_turned && self.answered > 3 {
            // The same date all the time is not yet a clock: it may stand still.
            return Some(now + SPACING);
        }
        if !is_narrow && self.checks.is_none() {
            return Some(aim_at_edge(common, delay, earliest));
        }
        let (aside, count) = (self.aside(delay), self.goal.checks);
        let checks = self.checks.get_or_insert_with(|| Checks::new(common, aside, delay, count));
        Some(aim_at_edge(point(checks.next()?), delay, earliest))
    }

    /// What the assumptions add to every interval.
    fn allowance(&self) -> Span {
        self.assumptions.date_lag + self.assumptions.node_spread.scaled(2, 1)
    }

    /// How much wider than unavoidable an interval may stay: a twentieth of what the assumptions add anyway.
    fn slop(&self) -> Span {
        self.allowance().scaled(1, 20).max(LEAST_SLOP)
    }

    /// How far beside the result other clocks are looked for.
    fn aside(&self, delay: Span) -> Span {
        (self.assumptions.node_spread + delay + Span::from_millis(20)).min(FURTHEST_ASIDE)
    }
}

/// Questions beside the result, from the earliest to the latest within one second.
#[derive(Clone, Debug)]
struct Checks {
    common: OffsetInterval,
    aside: Span,
    gap: Span,
    half: i64,
    done: i64,
}

impl Checks {
    fn new(common: OffsetInterval, aside: Span, delay: Span, count: u32) -> Self {
        let half = i64::from(count / 2);
        // Further apart than a round trip, so that all fit into one second, unless they do not.
        let room = (FURTHEST_ASIDE - aside).scaled(1, half.max(2) - 1);
        Self { common, aside, gap: (delay + Span::from_millis(20)).min(room), half, done: 0 }
    }

    /// The offset to aim at next.
    fn next(&mut self) -> Option<Offset> {
        let (step, half) = (self.done, self.half);
        self.done += 1;
        if step < half {
            return Some(self.common.hi + self.aside + self.gap.scaled(half - 1 - step, 1));
        }
        (step < 2 * half).then(|| self.common.lo - self.aside - self.gap.scaled(step - half, 1))
    }
}

fn point(offset: Offset) -> OffsetInterval {
    OffsetInterval { lo: offset, hi: offset }
}

/// Between two questions that are not aimed.
const SPACING: Span = Span::from_millis(300);
/// Between two questions while a clock is watched, at least.
const WATCH_SPACING: Span = Span::from_secs(1);
/// Time to get a question onto its way.
const LEAD: Span = Span::from_millis(2);
/// Times finer than this need no aim.
const FINE: Span = Span::from_millis(100);
const LEAST_SLOP: Span = Span::from_millis(10);
/// Aimed further aside, a question would meet the neighbouring second.
const FURTHEST_ASIDE: Span = Span::from_millis(400);
const IDLE_ENOUGH: u32 = 3;
/// A server that fails so often in a row is not asked again.
const PATIENCE: u32 = 2;
/// So many answers without an upper bound are enough to say that there is none.
const TRIES_WITHOUT_BOUND: u32 = 3;
/// As many newcomers as make a step: they belong to the new epoch.
const STEP_WITNESSES: usize = 3;

#[cfg(test)]
mod tests {
    use super::super::{Source, Track};
    use super::*;

    const START: Boot = Boot::from_secs(100);

    fn answer(at: Boot, resolution: Span) -> Sample {
        let server = Server::from_secs(1_000_000 + at.as_nanos().div_euclid(1_000_000_000));
        Sample { sent: at, received: at + Span::from_millis(10), server, resolution, bounds_above: true }
    }

    /// How often a plan asks a server that answers, or does not.
    fn asked(goal: ProbeGoal, mut answer: impl FnMut(Boot) -> Option<Sample>) -> u32 {
        let mut track = Track::new(Source::ApiDate, Assumptions::default());
        let mut plan = ProbePlan::new(goal, Assumptions::default());
        let mut now = START;
        while let Some(at) = plan.next(&track.reading(now), now) {
            assert!(at >= now && at - now <= Span::from_millis(1_010), "{at:?} after {now:?}");
            now = at + Span::from_millis(10);
            match answer(at) {
                Some(sample) => {
                    track.handle_sample(sample, now);
                    plan.handle_answer(&sample, &track.reading(now));
                }
                None => plan.handle_failure(),
            }
        }
        plan.asked()
    }

    #[test]
    fn the_number_of_questions_is_bounded() {
        assert_eq!(asked(ProbeGoal::THOROUGH, |at| Some(answer(at, Span::from_secs(1)))), 12);
        assert_eq!(asked(ProbeGoal::QUICK, |at| Some(answer(at, Span::from_secs(1)))), 4);
    }

    #[test]
    fn a_server_that_does_not_answer_is_asked_twice() {
        assert_eq!(asked(ProbeGoal::THOROUGH, |_| None), 2);
        let mut answers = 0;
        let first_alone = |at| {
            answers += 1;
            (answers == 1).then(|| answer(at, Span::from_secs(1)))
        };
        assert_eq!(asked(ProbeGoal::THOROUGH, first_alone), 3);
    }

    #[test]
    fn a_fine_time_needs_two_answers_and_a_cache_gets_three_questions() {
        let fine = |at: Boot| {
            let sample = answer(at, Span::from_millis(1));
            Some(Sample { server: at + Offset::from_nanos(5), ..sample })
        };
        assert_eq!(asked(ProbeGoal::THOROUGH, fine), 2);
        let cached = |at| Some(Sample { bounds_above: false, ..answer(at, Span::from_secs(1)) });
        assert_eq!(asked(ProbeGoal::THOROUGH, cached), 3);
    }

    #[test]
    fn a_date_that_stands_still_is_asked_until_that_is_sure() {
        let mut last = START;
        let frozen = |at| {
            last = at;
            Some(Sample { server: Server::from_secs(1_000_100), ..answer(at, Span::from_secs(1)) })
        };
        assert!(asked(ProbeGoal::THOROUGH, frozen) <= 12);
        assert!(last - START > Span::from_millis(2_100), "{last:?}");
    }

    #[test]
    fn a_watch_keeps_its_distance() {
        let track = Track::new(Source::ApiDate, Assumptions::default());
        let mut plan = ProbePlan::new(ProbeGoal::THOROUGH, Assumptions::default());
        assert_eq!(plan.next_in_watch(&track.reading(START), Span::from_millis(500), START), START);
        let next = plan.next_in_watch(&track.reading(START), Span::from_millis(500), START);
        assert_eq!(next, START + Span::from_secs(1));
        let next = plan.next_in_watch(&track.reading(START), Span::from_secs(5), START);
        assert_eq!(next, START + Span::from_secs(5));
    }
}
