//! How long an answer asks to wait.

use evergrant_core::time::Span;
use evergrant_core::wire::{RetryAfter, parse_http_date, parse_retry_after};
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The wait that an answer's `Retry-After` asks for, an hour at most.
///
/// A date is compared with the answer's own `Date`, since both are of one clock, and says nothing without it.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Span> {
    let text = |name: HeaderName| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let wait = match parse_retry_after(text(RETRY_AFTER)?)? {
        RetryAfter::Delay(delay) => delay,
        RetryAfter::At(date) => date - parse_http_date(text(DATE)?)?,
    };
    Some(wait.clamp(Span::ZERO, RetryAfter::CAP))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(fields: &[(HeaderName, &'static str)]) -> Option<Span> {
        retry_after(&fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect())
    }

    #[test]
    fn a_date_is_read_by_the_answers_own_clock() {
        let date = (DATE, "Sun, 06 Nov 1994 08:49:37 GMT");
        let after = (RETRY_AFTER, "Sun, 06 Nov 1994 08:50:07 GMT");
        assert_eq!(wait(&[date.clone(), after.clone()]), Some(Span::from_secs(30)));
        assert_eq!(wait(&[after]), None);
        assert_eq!(wait(&[date.clone(), (RETRY_AFTER, "Sun, 06 Nov 1994 08:49:07 GMT")]), Some(Span::ZERO));
        assert_eq!(wait(&[(RETRY_AFTER, "7")]), Some(Span::from_secs(7)));
        assert_eq!(wait(&[date]), None);
    }
}
