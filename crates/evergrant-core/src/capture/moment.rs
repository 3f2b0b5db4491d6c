//! Dates of captures: ISO 8601 in, and instants out; and back, for people.
//!
//! A HAR says `2026-11-28T22:43:29.377Z`, or the same with a zone. Whoever gives the time of a capture by hand may also
//! give it as the field `Date` does. Without a zone a date names no instant, so such a one is refused.
//!
//! Source: RFC 3339 section 5.6; the day count is that of the proleptic Gregorian calendar.

use crate::time::{Span, Wall};
use crate::wire::parse_http_date;

/// Reads a date with its zone, as RFC 3339 or as a `Date` field has it.
#[must_use]
pub fn parse_moment(text: &str) -> Option<Wall> {
    let text = text.trim();
    parse_rfc3339(text).or_else(|| parse_http_date(text).map(|date| Wall::from_nanos(date.as_nanos())))
}

/// An instant as `2026-11-28T22:43:29.377Z`; the fraction only if there is one.
#[must_use]
pub fn show_moment(nanos_since_epoch: i64) -> String {
    let (secs, nanos) = (nanos_since_epoch.div_euclid(1_000_000_000), nanos_since_epoch.rem_euclid(1_000_000_000));
    let (days, of_day) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    let (year, month, day) = date_of(days);
    let millis = nanos / 1_000_000;
    let fraction = if millis > 0 { format!(".{millis:03}") } else { String::new() };
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

fn parse_rfc3339(text: &str) -> Option<Wall> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    let has = |at: usize, marks: &[u8]| bytes.get(at).is_some_and(|byte| marks.contains(byte));
    let is_form = has(4, b"-") && has(7, b"-") && has(10, b"Tt ") && has(13, b":") && has(16, b":");
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let is_date = (1970..2262).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_form || !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = text.get(19..)?;
    let digits =
        rest.strip_prefix(['.', ',']).map_or(0, |rest| 1 + rest.bytes().take_while(u8::is_ascii_digit).count());
    let fraction: i64 = format!("{:0<9}", rest.get(1..digits.min(10)).unwrap_or_default()).parse().ok()?;
    let east = parse_zone(rest.get(digits..)?)?;
    let days = days_until(year, month, day);
    let secs = days * 86_400 + hour * 3600 + minute * 60 + second - east;
    Some(Wall::from_secs(secs) + Span::from_nanos(fraction))
}

/// How many seconds a zone is east of Greenwich.
fn parse_zone(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let digits: String = rest.chars().filter(|c| *c != ':').collect();
    let is_zone = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit()) && rest.len() <= 5;
    let (hours, minutes) = digits.split_at_checked(2).filter(|_| is_zone)?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Days from the epoch to a date; March is the first month of the year here, so that a leap day is its last.
fn days_until(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The date this many days after the epoch.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_with_a_zone_are_read() {
        let expected = Some(Wall::from_millis(1_795_905_809_377));
        for text in [
            "2026-11-28T22:43:29.377Z",
            "2026-11-29T00:43:29.377+02:00",
            "2026-11-28 17:43:29.377-0500",
            " 2026-11-28t22:43:29,377000z ",
        ] {
            assert_eq!(parse_moment(text), expected, "{text}");
        }
        assert_eq!(parse_moment("Sat, 28 Nov 2026 22:43:29 GMT"), Some(Wall::from_secs(1_795_905_809)));
        assert_eq!(parse_moment("1970-01-01T00:00:00Z"), Some(Wall::from_secs(0)));
    }

    #[test]
    fn anything_else_is_no_date() {
        for text in [
            "",
            "2026-11-28",
            "2026-11-28T22:43:29",
            "2026-13-28T22:43:29Z",
            "2026-11-28T24:43:29Z",
            "2026-11-28T22:43:29+2",
            "2026-11-28T22:43:29+99:00",
            "1969-11-28T22:43:29Z",
            "2026-11-28T22:43:29.Zx",
            "1790000000",
        ] {
            assert_eq!(parse_moment(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(millis in 0_i64..9_000_000_000_000) {
            let at = Wall::from_millis(millis);
            prop_assert_eq!(parse_moment(&show_moment(at.as_nanos())), Some(at));
        }

        #[test]
        fn arbitrary_text_never_panics(text: String, nanos: i64) {
            let _ = (parse_moment(&text), show_moment(nanos));
        }
    }
}
