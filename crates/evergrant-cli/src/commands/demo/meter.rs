//! What a lane's callers saw, counted the same way for every lane.

use std::time::Duration;

/// What became of one call, as its caller saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// An answer that is no 401, below 400.
    Good,
    /// A 401.
    Unauthorized,
    /// Any other error: a status, no answer, or no token to call with.
    Failed,
}

impl Outcome {
    /// What an answer with this status is.
    pub(super) fn of(status: u16) -> Self {
        match status {
            401 => Self::Unauthorized,
            100..=399 => Self::Good,
            _ => Self::Failed,
        }
    }
}

/// Counts the calls of one lane.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    calls: u64,
    visible_401: u64,
    other_failures: u64,
    took: Vec<Duration>,
    slots: [Slot; SLOTS],
    duration: Duration,
}

/// One piece of the demo's time.
#[derive(Clone, Copy, Default, Debug)]
struct Slot {
    calls: u32,
    bad: u32,
}

impl Meter {
    /// An empty meter for a demo of this length.
    pub(super) fn new(duration: Duration) -> Self {
        let slots = [Slot::default(); SLOTS];
        Self { calls: 0, visible_401: 0, other_failures: 0, took: Vec::new(), slots, duration }
    }

    /// Counts a call that began `began` after the start and took `took`, its repetitions included.
    pub(super) fn note(&mut self, outcome: Outcome, began: Duration, took: Duration) {
        self.calls += 1;
        self.visible_401 += u64::from(outcome == Outcome::Unauthorized);
        self.other_failures += u64::from(outcome == Outcome::Failed);
        self.took.push(took);
        let length = (self.duration.as_millis() / SLOTS as u128).max(1);
        let index = usize::try_from(began.as_millis() / length).unwrap_or(SLOTS);
        let slot = &mut self.slots[index.min(SLOTS - 1)];
        slot.calls += 1;
        slot.bad += u32::from(outcome != Outcome::Good);
    }

    /// Calls that came to an end.
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    /// Calls that ended in a 401.
    pub(super) fn visible_401(&self) -> u64 {
        self.visible_401
    }

    /// Calls that failed in another way.
    pub(super) fn other_failures(&self) -> u64 {
        self.other_failures
    }

    /// The time that 99 of 100 calls stayed within, in milliseconds; 0 without calls.
    pub(super) fn p99_ms(&self) -> f64 {
        let mut took = self.took.clone();
        took.sort_unstable();
        let rank = (took.len() * 99).div_ceil(100);
        rank.checked_sub(1).and_then(|index| took.get(index)).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }

    /// The course of the lane, one character a piece of time: how much failed, or a space where nothing was called.
    pub(super) fn course(&self) -> String {
        self.slots.iter().map(Slot::mark).collect()
    }
}

impl Slot {
    fn mark(&self) -> char {
        match (self.calls, self.bad) {
            (0, _) => ' ',
            (_, 0) => GOOD,
            (calls, bad) => {
                // Any failure is visible: the lowest bar stands for one.
                let step = (bad * 7).div_ceil(calls).clamp(1, 7) as usize;
                BARS[step - 1]
            }
        }
    }
}

/// How many pieces the course of a demo has.
pub(super) const SLOTS: usize = 60;
/// Nothing failed.
pub(super) const GOOD: char = '·';
/// From some to all calls failed.
pub(super) const BARS: [char; 7] = ['▂', '▃', '▄', '▅', '▆', '▇', '█'];

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn only_a_401_is_a_401_and_every_other_error_is_counted_too() {
        let mut meter = Meter::new(MS * 600);
        for status in [200, 204, 304, 401, 403, 429, 500, 503] {
            meter.note(Outcome::of(status), Duration::ZERO, MS);
        }
        assert_eq!((meter.calls(), meter.visible_401(), meter.other_failures()), (8, 1, 4));
    }

    #[test]
    fn p99_is_the_time_that_99_of_100_calls_stay_within() {
        let mut meter = Meter::new(MS * 600);
        assert_eq!(meter.p99_ms(), 0.0);
        meter.note(Outcome::Good, Duration::ZERO, MS * 7);
        assert_eq!(meter.p99_ms(), 7.0);
        let mut meter = Meter::new(MS * 600);
        (1..=100).rev().for_each(|ms| meter.note(Outcome::Good, Duration::ZERO, MS * ms));
        assert_eq!(meter.p99_ms(), 99.0);
    }

    #[test]
    fn the_course_shows_when_and_how_much_failed() {
        let mut meter = Meter::new(MS * 600);
        for (began, outcome) in [
            (0, Outcome::Good),
            (10, Outcome::Unauthorized),
            (20, Outcome::Good),
            (21, Outcome::Failed),
            (599, Outcome::Good),
            (9_999, Outcome::Good),
        ] {
            meter.note(outcome, MS * began, MS);
        }
        let course: Vec<char> = meter.course().chars().collect();
        assert_eq!(course.len(), SLOTS);
        assert_eq!((course[0], course[1], course[2], course[3], course[59]), (GOOD, '█', '▅', ' ', GOOD));
    }

    #[test]
    fn a_single_failure_among_many_calls_is_visible() {
        let mut meter = Meter::new(MS * 600);
        (0..1000).for_each(|_| meter.note(Outcome::Good, Duration::ZERO, MS));
        meter.note(Outcome::Unauthorized, Duration::ZERO, MS);
        assert!(meter.course().starts_with('▂'));
    }
}
