//! The boot clocks of the machines that a fleet runs on.
//!
//! A boot clock counts from its machine's start and at a rate of its own, so what one machine writes down says nothing on
//! another. What a record tells is read through the store's clock, which every member has held its own against. The run's
//! own time line is the provider's and the store's; members hear and ask in the time of their machine.
//!
//! Limits: rates are constant, and within what the keeper assumes (`Policy::drift_ppm`); suspend and pauses belong to the
//! worlds of one process.

use evergrant_core::time::{Boot, Span};

use crate::config::Delay;
use crate::seed::Seed;

/// A boot clock, by how it differs from the run's time line.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct BootClock {
    /// How far it is ahead at the moment 0.
    pub ahead: Span,
    /// How much faster it runs, in millionths.
    pub drift_ppm: i64,
}

impl BootClock {
    /// Of a machine that was started up to three years ago.
    pub(super) fn drawn(draw: &mut Seed) -> Self {
        let ahead = draw.delay(Delay::uniform(Span::ZERO, LONGEST_UP));
        let drift = draw.delay(Delay::uniform(Span::ZERO, Span::from_nanos(2 * MOST_DRIFT_PPM)));
        Self { ahead, drift_ppm: drift.as_nanos() - MOST_DRIFT_PPM }
    }

    /// What this clock shows at a moment of the time line.
    pub(super) fn local(self, at: Boot) -> Boot {
        let passed = at - Boot::from_nanos(0);
        at + self.ahead + passed.scaled(self.drift_ppm, 1_000_000)
    }

    /// The first moment of the time line at which this clock shows so much.
    pub(super) fn true_time(self, local: Boot) -> Boot {
        if local == Boot::FAR {
            return local;
        }
        let shown = local - self.ahead - Boot::from_nanos(0);
        let mut at = Boot::from_nanos(0) + shown.scaled(1_000_000, 1_000_000 + self.drift_ppm) - A_LITTLE;
        while self.local(at) < local {
            at = at + Span::from_nanos(1);
        }
        at
    }
}

const LONGEST_UP: Span = Span::from_secs(3 * 365 * 86_400);
/// A quartz and what NTP adds to it; the keeper assumes twice as much.
const MOST_DRIFT_PPM: i64 = 100;
/// More than what rounding can take.
const A_LITTLE: Span = Span::from_nanos(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_rings_at_the_first_moment_at_which_its_clock_shows_so_much() {
        let mut draw = Seed::new(1);
        for _ in 0..1_000 {
            let clock = BootClock::drawn(&mut draw);
            let at = Boot::from_nanos(i64::try_from(draw.below(90_000_000_000_000)).unwrap());
            let local = clock.local(at);
            let rings = clock.true_time(local);
            assert!(
                clock.local(rings) >= local && clock.local(rings - Span::from_nanos(1)) < local,
                "{clock:?} {at:?}"
            );
            assert!((rings - at).abs() <= Span::from_nanos(1), "{clock:?} {at:?}");
        }
    }

    #[test]
    fn never_is_never_on_every_clock() {
        assert_eq!(BootClock { ahead: Span::from_secs(-5), drift_ppm: 100 }.true_time(Boot::FAR), Boot::FAR);
    }
}
