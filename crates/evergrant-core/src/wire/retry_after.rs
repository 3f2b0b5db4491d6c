//! `Retry-After`: how long a server asks us to wait, as a delay or as a date.
//!
//! A date is on the server's clock. Compared with our calendar clock it would be wrong by our skew, and with a measured
//! offset by a step that is not known yet; the answer's own `Date` is of the same clock and the same moment, so it is
//! counted from that. An answer without one is read through the measured offset, at its late end; with no offset known it
//! says nothing. No wait is longer than an hour: a server that is wrong about a week must not stop us for one.
//!
//! Source: RFC 9110 section 10.2.3.

use super::date::{parse_delay_secs, parse_http_date};
use crate::time::{Boot, OffsetInterval, Server, Span};

/// When a server says to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// After this long.
    Delay(Span),
    /// At this instant on the server's clock.
    At(Server),
}

impl RetryAfter {
    /// The longest wait that is honoured.
    pub const CAP: Span = Span::from_secs(3600);

    /// The same as a delay, if it is a date and the answer has a `Date` of its own.
    #[must_use]
    pub fn counted_from(self, answered: Option<Server>) -> Self {
        match (self, answered) {
            (Self::At(date), Some(answered)) => Self::Delay(date - answered),
            (Self::At(_) | Self::Delay(_), _) => self,
        }
    }

    /// How long to wait from now, between zero and [`RetryAfter::CAP`]; `None` for a date while no offset is known.
    #[must_use]
    pub fn wait(self, now: Boot, theta: Option<OffsetInterval>) -> Option<Span> {
        let wait = match self {
            Self::Delay(delay) => delay,
            // A server that is less far ahead reaches the date later.
            Self::At(date) => (date - theta?.lo) - now,
        };
        Some(wait.clamp(Span::ZERO, Self::CAP))
    }
}

/// Reads a `Retry-After` field value.
#[must_use]
pub fn parse_retry_after(text: &str) -> Option<RetryAfter> {
    parse_delay_secs(text).map(RetryAfter::Delay).or_else(|| parse_http_date(text).map(RetryAfter::At))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn theta(lo_secs: i64, hi_secs: i64) -> Option<OffsetInterval> {
        let from_secs = |secs| Server::from_secs(secs) - Boot::from_secs(0);
        OffsetInterval::new(from_secs(lo_secs), from_secs(hi_secs))
    }

    #[test]
    fn both_forms_are_read() {
        assert_eq!(parse_retry_after("42"), Some(RetryAfter::Delay(Span::from_secs(42))));
        assert_eq!(
            parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(RetryAfter::At(Server::from_secs(784_111_777)))
        );
        for text in ["", "soon", "-1", "1.5", "42 seconds"] {
            assert_eq!(parse_retry_after(text), None, "{text}");
        }
    }

    #[test]
    fn a_delay_needs_no_clock_and_is_capped() {
        let now = Boot::from_secs(10);
        assert_eq!(RetryAfter::Delay(Span::from_secs(5)).wait(now, None), Some(Span::from_secs(5)));
        assert_eq!(RetryAfter::Delay(Span::from_secs(3600)).wait(now, None), Some(RetryAfter::CAP));
        assert_eq!(RetryAfter::Delay(Span::from_secs(3601)).wait(now, None), Some(RetryAfter::CAP));
        assert_eq!(parse_retry_after("99999999999999999999").unwrap().wait(now, None), Some(RetryAfter::CAP));
    }

    #[test]
    fn a_date_is_counted_from_the_answers_own() {
        let (date, answered) = (RetryAfter::At(Server::from_secs(130)), Some(Server::from_secs(100)));
        assert_eq!(date.counted_from(answered), RetryAfter::Delay(Span::from_secs(30)));
        assert_eq!(date.counted_from(None), date);
        let delay = RetryAfter::Delay(Span::from_secs(5));
        assert_eq!(delay.counted_from(answered), delay);
        let past = RetryAfter::At(Server::from_secs(70)).counted_from(answered);
        assert_eq!(past.wait(Boot::from_secs(0), None), Some(Span::ZERO));
    }

    #[test]
    fn a_date_is_read_through_the_offset_at_its_late_end() {
        let date = RetryAfter::At(Server::from_secs(1_000_130));
        assert_eq!(date.wait(Boot::from_secs(100), None), None);
        assert_eq!(date.wait(Boot::from_secs(100), theta(1_000_000, 1_000_002)), Some(Span::from_secs(30)));
        // A server 20 s further ahead reaches the date 20 s earlier.
        assert_eq!(date.wait(Boot::from_secs(100), theta(1_000_020, 1_000_022)), Some(Span::from_secs(10)));
        assert_eq!(date.wait(Boot::from_secs(200), theta(1_000_000, 1_000_002)), Some(Span::ZERO));
        assert_eq!(date.wait(Boot::from_secs(100), theta(0, 1)), Some(RetryAfter::CAP));
    }

    proptest! {
        #[test]
        fn every_wait_is_bounded(text in "[0-9]{1,25}", now: i64, lo: i64, width in 0..i64::MAX) {
            let lo = Server::from_nanos(lo) - Boot::from_nanos(0);
            let theta = OffsetInterval::new(lo, lo + Span::from_nanos(width));
            for retry_after in [parse_retry_after(&text).unwrap(), RetryAfter::At(Server::from_nanos(now))] {
                let wait = retry_after.wait(Boot::from_nanos(now), theta).unwrap();
                prop_assert!(Span::ZERO <= wait && wait <= RetryAfter::CAP);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = parse_retry_after(&text);
        }
    }
}
