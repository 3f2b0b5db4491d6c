//! The API's rate limit: how many requests each token has in the current window.
//!
//! As Genesys Cloud does it: a limit for each token, in windows that follow one another; each answer to a good token
//! tells the count, the limit and the whole seconds left in three `inin-ratelimit-*` fields, rounded up; one request
//! too many gets a 429 with `Retry-After` and executes nothing.

use std::collections::BTreeMap;

use evergrant_core::time::{Boot, Span};
use evergrant_core::wire::RateSample;
use http::{HeaderName, Response};

use crate::config::RateLimit;
use crate::provider::Payload;
use crate::shape;
use crate::tokens::Generation;

/// The current windows of all tokens.
#[derive(Debug, Default)]
pub(crate) struct RateBook(BTreeMap<Generation, (Boot, u32)>);

/// One request, counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    limit: RateLimit,
    count: u32,
    left: Span,
}

impl RateBook {
    /// Counts a request.
    pub(crate) fn count(&mut self, generation: Generation, limit: RateLimit, now: Boot) -> Counted {
        let (begun, count) = self.0.entry(generation).or_insert((now, 0));
        let window = limit.window.max(Span::from_millis(1));
        let passed = (now - *begun).as_nanos() / window.as_nanos();
        if passed > 0 {
            *begun = *begun + window.scaled(passed, 1);
            *count = 0;
        }
        *count = count.saturating_add(1);
        Counted { limit, count: *count, left: (*begun + window) - now }
    }
}

impl Counted {
    /// Is it one too many?
    pub(crate) fn is_over(&self) -> bool {
        self.count > self.limit.count
    }

    /// The seconds left in the window, rounded up.
    pub(crate) fn left_secs(&self) -> u32 {
        u32::try_from((self.left + Span::from_nanos(999_999_999)).as_secs()).unwrap_or(u32::MAX)
    }

    /// Tells the count on an answer, if this provider does.
    pub(crate) fn tell(&self, response: &mut Response<Payload>) {
        if !self.limit.is_told {
            return;
        }
        for (name, value) in [
            (RateSample::COUNT, self.count),
            (RateSample::ALLOWED, self.limit.count),
            (RateSample::RESET, self.left_secs()),
        ] {
            shape::set(response, HeaderName::from_static(name), &value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_its_count_and_the_next_begins_anew() {
        let limit = RateLimit { count: 2, window: Span::from_secs(10), is_told: true };
        let mut book = RateBook::default();
        let at = |millis: i64| Boot::from_millis(5_000 + millis);
        let counted: Vec<_> =
            [0, 1, 9_999, 10_000, 35_000].map(|millis| book.count(1, limit, at(millis))).into_iter().collect();
        assert_eq!(counted.iter().map(Counted::is_over).collect::<Vec<_>>(), [false, false, true, false, false]);
        assert_eq!(counted.iter().map(Counted::left_secs).collect::<Vec<_>>(), [10, 10, 1, 10, 5]);
        assert!(!book.count(2, limit, at(9_999)).is_over(), "another token has a count of its own");
    }
}
