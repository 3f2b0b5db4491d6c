//! The provider's calendar clock.
//!
//! A simulated clock maps this machine's boot clock to the provider's calendar: it starts at an offset from the true
//! calendar time, gains or loses by a drift, and steps when told to. The boot clock neither steps nor stops, so every
//! jump of a server date comes from here and can be asserted.
//!
//! Resource nodes read the same clock plus their own offset. Tokens are stamped by the issuer's clock and judged by a
//! node's, as in a real fleet: nodes that disagree refuse a token at different moments.

use std::time::{Duration, UNIX_EPOCH};

use evergrant_core::time::{Boot, Server, Span};

/// A clock with an offset, a drift and steps.
#[derive(Clone, Debug)]
pub struct SimClock {
    anchor_boot: Boot,
    anchor: Server,
    drift_ppm: i64,
}

impl SimClock {
    /// A clock that shows `shown` at `now` and gains `drift_ppm` microseconds each second (negative: loses).
    #[must_use]
    pub fn new(shown: Server, drift_ppm: i64, now: Boot) -> Self {
        Self { anchor_boot: now, anchor: shown, drift_ppm }
    }

    /// What the clock shows at `now`.
    #[must_use]
    pub fn read(&self, now: Boot) -> Server {
        let elapsed = now - self.anchor_boot;
        self.anchor + elapsed + elapsed.scaled(self.drift_ppm, 1_000_000)
    }

    /// Sets the clock forward, or back if `by` is negative.
    pub fn step(&mut self, by: Span, now: Boot) {
        *self = Self::new(self.read(now) + by, self.drift_ppm, now);
    }

    /// Changes the drift from `now` on, without a step.
    pub fn set_drift(&mut self, drift_ppm: i64, now: Boot) {
        *self = Self::new(self.read(now), drift_ppm, now);
    }
}

/// The value of a `Date` header (RFC 9110 section 5.6.7): whole seconds, rounded down.
#[must_use]
pub fn http_date(at: Server) -> String {
    let secs = u64::try_from(at.as_unix_secs()).unwrap_or(0);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs))
}

/// ISO 8601 in UTC with milliseconds, as the Genesys date endpoint writes it.
#[must_use]
pub fn iso_millis(at: Server) -> String {
    // "Sat, 21 Nov 2026 07:26:31 GMT" has every part at a fixed place.
    let date = http_date(at);
    let month = MONTHS.iter().zip(1..).find(|(name, _)| **name == &date[8..11]).map_or(1, |(_, number)| number);
    let millis = at.as_nanos().rem_euclid(1_000_000_000) / 1_000_000;
    format!("{}-{month:02}-{}T{}.{millis:03}Z", &date[12..16], &date[5..7], &date[17..25])
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T0: Boot = Boot::from_secs(1_000);

    fn clock(drift_ppm: i64) -> SimClock {
        SimClock::new(Server::from_secs(1_700_000_000), drift_ppm, T0)
    }

    #[test]
    fn drift_adds_up_both_ways() {
        for (ppm, gained_ms) in [(0, 0), (10_000, 1_000), (-10_000, -1_000), (200, 20)] {
            let shown = clock(ppm).read(T0 + Span::from_secs(100));
            assert_eq!(shown, Server::from_secs(1_700_000_100) + Span::from_millis(gained_ms), "{ppm} ppm");
        }
    }

    #[test]
    fn a_step_moves_the_clock_at_once_and_for_good() {
        for by in [Span::from_secs(7), Span::from_secs(-7)] {
            let mut clock = clock(100);
            let later = T0 + Span::from_secs(10);
            let (before, much_later) = (clock.read(later), clock.read(later + Span::from_secs(50)));
            clock.step(by, later);
            assert_eq!(clock.read(later) - before, by);
            assert_eq!(clock.read(later + Span::from_secs(50)) - much_later, by);
        }
    }

    #[test]
    fn a_change_of_drift_is_not_a_step() {
        let mut clock = clock(10_000);
        let later = T0 + Span::from_secs(10);
        let before = clock.read(later);
        clock.set_drift(-10_000, later);
        assert_eq!(clock.read(later), before);
    }

    #[test]
    fn dates_are_written_as_servers_write_them() {
        let at = Server::from_millis(1_792_567_591_042);
        assert_eq!(http_date(at), "Wed, 21 Oct 2026 07:26:31 GMT");
        assert_eq!(iso_millis(at), "2026-10-21T07:26:31.042Z");
        assert_eq!(http_date(Server::from_secs(-5)), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    proptest! {
        #[test]
        fn a_clock_never_runs_backward_between_steps(ppm in -10_000_i64..=10_000, a in 0_i64..1_000_000, b in 0_i64..1_000_000) {
            let (early, late) = (T0 + Span::from_millis(a.min(b)), T0 + Span::from_millis(a.max(b)));
            prop_assert!(clock(ppm).read(early) <= clock(ppm).read(late));
        }
    }
}
