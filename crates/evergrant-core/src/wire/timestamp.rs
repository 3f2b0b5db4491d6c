//! The body of an endpoint that tells the server's time.
//!
//! Genesys Cloud's `/api/v2/date` answers `{"currentDate": "2026-11-21T07:26:31.042Z"}`. The date is RFC 3339 in UTC;
//! how many digits the seconds have says in which step that clock counts. Anything else is `None`: a misread date would
//! corrupt the offset estimate.
//!
//! Source: RFC 3339 section 5.6; the Genesys Cloud SDKs (`ServerDate.currentDate`).

use serde::Deserialize;

use crate::time::{Server, Span};

/// A server's time and the step in which it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerDate {
    /// The time, which may be up to `resolution` later.
    pub server: Server,
    /// One second, or less if the date has a fraction.
    pub resolution: Span,
}

/// Reads a body with a `currentDate`.
#[must_use]
pub fn parse_server_date(body: &[u8]) -> Option<ServerDate> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(rename = "currentDate", borrow)]
        current_date: std::borrow::Cow<'a, str>,
    }
    if body.len() > LONGEST_BODY {
        return None;
    }
    let body: Body<'_> = serde_json::from_slice(body).ok()?;
    parse_timestamp(&body.current_date)
}

/// Reads an RFC 3339 date in UTC.
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<ServerDate> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i64>().ok())?;
    let bytes = text.as_bytes();
    if !text.is_ascii() || bytes.len() < SHORTEST || [bytes[4], bytes[7], bytes[13], bytes[16]] != *b"--::" {
        return None;
    }
    if !matches!(bytes[10], b'T' | b't') {
        return None;
    }
    let (year, month, day) = (digits(&text[..4])?, digits(&text[5..7])?, digits(&text[8..10])?);
    let (hour, minute, second) = (digits(&text[11..13])?, digits(&text[14..16])?, digits(&text[17..19])?);
    let rest = &text[19..];
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let fraction = &rest[..rest.len() - zone.len()];
    if !matches!(zone, "Z" | "z" | "+00:00" | "-00:00") || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, resolution) = match fraction.strip_prefix('.') {
        Some(fraction) if (1..=9).contains(&fraction.len()) => {
            let step = 10_i64.pow(9 - u32::try_from(fraction.len()).ok()?);
            (digits(fraction)? * step, step)
        }
        None if fraction.is_empty() => (0, 1_000_000_000),
        _ => return None,
    };
    let secs = days_since_1970(year, month, day)? * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(ServerDate {
        server: Server::from_secs(secs) + Span::from_nanos(fraction),
        resolution: Span::from_nanos(resolution),
    })
}

/// Days of the Gregorian calendar, counted from March so that the odd day stands at the end of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1970..=2260).contains(&year) || !(1..=last).contains(&day) {
        return None;
    }
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year / 4 - year / 100 + year / 400;
    Some(year * 365 + leap_days + (month * 153 + 2) / 5 + day - DAYS_TO_1970)
}

/// Days from the first of March of the year 0 to 1970, and one, because days count from one.
const DAYS_TO_1970: i64 = 719_469;
/// `2026-11-21T07:26:31Z`.
const SHORTEST: usize = 20;
const LONGEST_BODY: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse_http_date;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn the_digits_of_a_second_are_its_resolution() {
        let read = |text| parse_timestamp(text).map(|date| (date.server, date.resolution));
        let second = Server::from_secs(1_792_567_591);
        assert_eq!(read("2026-10-21T07:26:31Z"), Some((second, Span::from_secs(1))));
        assert_eq!(read("2026-10-21T07:26:31+00:00"), Some((second, Span::from_secs(1))));
        let millis = Some((second + Span::from_millis(42), Span::from_millis(1)));
        assert_eq!(read("2026-10-21T07:26:31.042Z"), millis);
        assert_eq!(read("2026-10-21T07:26:31.5Z"), Some((second + Span::from_millis(500), Span::from_millis(100))));
    }

    #[test]
    fn other_dates_are_refused() {
        for text in [
            "",
            "2026-10-21",
            "2026-10-21T07:26:31",
            "2026-10-21T07:26:31.Z",
            "2026-10-21T07:26:31.1234567890Z",
            "2026-10-21T07:26:31+02:00",
            "2026-10-21 07:26:31Z",
            "2026-02-29T07:26:31Z",
            "2026-13-01T07:26:31Z",
            "2026-10-00T07:26:31Z",
            "2026-10-21T24:00:00Z",
            "2026-12-31T23:59:60Z",
            "2026-+1-21T07:26:31Z",
            "9999-10-21T07:26:31Z",
            "2026-10-21T07:26:3１Z",
            "2026-10-21T07:26:31.0.42Z",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn the_body_has_the_field_of_the_endpoint() {
        let body = br#"{"currentDate": "2026-10-21T07:26:31.042Z", "more": 1}"#;
        assert_eq!(parse_server_date(body).unwrap().server, Server::from_millis(1_792_567_591_042));
        for body in ["", "{}", r#"{"currentDate": 5}"#, r#"{"currentDate": "soon"}"#, "<html>"] {
            assert_eq!(parse_server_date(body.as_bytes()), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_http_dates(secs in 0_u64..4_102_444_800) {
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs));
            let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
            let month = month.iter().position(|name| *name == &date[8..11]).unwrap() + 1;
            let text = format!("{}-{month:02}-{}T{}Z", &date[12..16], &date[5..7], &date[17..25]);
            prop_assert_eq!(parse_timestamp(&text).map(|date| date.server), parse_http_date(&date));
        }

        #[test]
        fn arbitrary_text_never_panics(text: String, almost in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?Z?") {
            let _ = (parse_timestamp(&text), parse_timestamp(&almost), parse_server_date(text.as_bytes()));
        }
    }
}
