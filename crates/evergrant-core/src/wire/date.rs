//! Dates and ages in header fields.
//!
//! `Date` is the free, always present view of a server's clock, so a misread one would corrupt the offset estimate.
//! The three forms of RFC 9110 section 5.6.7 are read, all in GMT; anything else, a wrong weekday included, is `None`.
//! A leap second (`:60`) is refused as well: no server is known to send one, and it has no place in Unix time.
//! `Age` (RFC 9111 section 5.1) matters by its presence: such an answer came from a cache.

use std::time::UNIX_EPOCH;

use crate::time::{Server, Span};

/// Reads an HTTP-date, which has a resolution of one second.
#[must_use]
pub fn parse_http_date(text: &str) -> Option<Server> {
    let text = trim_blanks(text);
    if text.len() > LONGEST_DATE {
        return None;
    }
    let since_epoch = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    // Dates after the year 2262 do not fit and no clock shows them.
    i64::try_from(since_epoch.as_nanos()).ok().map(Server::from_nanos)
}

/// Reads an `Age` in whole seconds.
#[must_use]
pub fn parse_age(text: &str) -> Option<Span> {
    parse_delay_secs(text)
}

/// Reads `1*DIGIT` seconds; numbers that do not fit become the longest span (RFC 9111 section 1.2.2).
pub(super) fn parse_delay_secs(text: &str) -> Option<Span> {
    let digits = trim_blanks(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Span::from_secs(digits.parse().unwrap_or(i64::MAX)))
}

/// Removes the blanks that may surround a field value (RFC 9110 section 5.5).
pub(super) fn trim_blanks(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// `Wednesday, 06-Nov-94 08:49:37 GMT`.
const LONGEST_DATE: usize = 33;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_three_forms_are_read() {
        let expected = Some(Server::from_secs(784_111_777));
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            " Sun, 06 Nov 1994 08:49:37 GMT\t",
        ] {
            assert_eq!(parse_http_date(text), expected, "{text}");
        }
        assert_eq!(parse_http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Server::from_secs(0)));
        assert_eq!(parse_http_date("Thu, 29 Feb 2024 23:59:59 GMT"), Some(Server::from_secs(1_709_251_199)));
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "0",
            "1994-11-06T08:49:37Z",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 09:49:37 CET",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sat, 31 Dec 2016 23:59:60 GMT",
            "Thu, 30 Feb 2024 00:00:00 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
            "\nSun, 06 Nov 1994 08:49:37 GMT\n\n\n\n\n\n\n\n\n",
        ] {
            assert_eq!(parse_http_date(text), None, "{text:?}");
        }
    }

    #[test]
    fn ages_are_digits_only() {
        assert_eq!(parse_age(" 12 "), Some(Span::from_secs(12)));
        assert_eq!(parse_age("99999999999999999999"), Some(Span::MAX));
        for text in ["", "-1", "+1", "1.5", "1 2", "ten", "１"] {
            assert_eq!(parse_age(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            let _ = (parse_http_date(&text), parse_age(&text));
        }

        #[test]
        fn every_second_survives_the_trip(secs in 0_i64..4_102_444_800) {
            let time = UNIX_EPOCH + Span::from_secs(secs).to_duration();
            prop_assert_eq!(parse_http_date(&httpdate::fmt_http_date(time)), Some(Server::from_secs(secs)));
        }

        #[test]
        fn almost_dates_never_panic(text in "(Sun|Sunday|Mon|X)(,)? [0-9]{1,2}[ -](Nov|Feb|Xyz)[ -][0-9]{2,4} [0-9]{2}:[0-9]{2}:[0-9]{2} ?(GMT)?") {
            let _ = parse_http_date(&text);
        }
    }
}
