//! The fields in which an API tells how much of a rate limit is used.
//!
//! Genesys Cloud sends `inin-ratelimit-count`, `inin-ratelimit-allowed` and `inin-ratelimit-reset`: requests counted in
//! the current window, requests allowed in one, and seconds until the window ends. The seconds are whole and no source
//! says how they are rounded, so whoever uses them has to allow for a second either way.

use super::date::parse_delay_secs;
use super::retry_after::RetryAfter;
use crate::time::Span;

/// What one answer says about a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateSample {
    /// Requests counted in the current window, this one included.
    pub count: u32,
    /// Requests allowed in a window; never zero.
    pub allowed: u32,
    /// How long the window still lasts, within a second.
    pub reset: Span,
}

impl RateSample {
    /// The field with the count.
    pub const COUNT: &'static str = "inin-ratelimit-count";
    /// The field with the limit.
    pub const ALLOWED: &'static str = "inin-ratelimit-allowed";
    /// The field with the time left.
    pub const RESET: &'static str = "inin-ratelimit-reset";
}

/// Reads the values of the three fields; nothing if one of them is no number, or if nothing at all is allowed.
#[must_use]
pub fn parse_rate_sample(count: &str, allowed: &str, reset: &str) -> Option<RateSample> {
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let allowed = number(allowed).filter(|allowed| *allowed > 0)?;
    Some(RateSample { count: number(count)?, allowed, reset: parse_delay_secs(reset)?.min(RetryAfter::CAP) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_numbers_are_a_sample() {
        let sample = parse_rate_sample("1", " 180", "61").unwrap();
        assert_eq!((sample.count, sample.allowed, sample.reset), (1, 180, Span::from_secs(61)));
    }

    #[test]
    fn anything_else_is_nothing() {
        for (count, allowed, reset) in
            [("", "1", "1"), ("1", "0", "1"), ("1", "1", ""), ("-1", "1", "1"), ("1", "x", "1"), ("1", "1", "1.5")]
        {
            assert_eq!(parse_rate_sample(count, allowed, reset), None, "{count} {allowed} {reset}");
        }
        assert_eq!(parse_rate_sample("1", "1", "99999999999999999999").unwrap().reset, RetryAfter::CAP);
    }
}
