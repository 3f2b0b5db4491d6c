//! Dates and lengths of time, for people.

use evergrant_core::time::{Server, Span, Wall};

/// An instant of a calendar clock in UTC, to the second.
pub(super) fn utc(wall: Wall) -> String {
    unix(wall.as_nanos())
}

/// An instant of a server's clock in UTC, to the second.
pub(super) fn utc_of(server: Server) -> String {
    unix(server.as_nanos())
}

fn unix(nanos: i64) -> String {
    match jiff::Timestamp::from_second(nanos.div_euclid(1_000_000_000)) {
        Ok(timestamp) => timestamp.to_string(),
        Err(_) => "a date beyond all calendars".to_owned(),
    }
}

/// A length of time in the largest unit that keeps two digits.
pub(super) fn long(span: Span) -> String {
    let secs = span.abs().as_secs();
    match secs {
        0..120 => span.abs().to_string(),
        120..7_200 => format!("{} minutes", (secs + 30) / 60),
        7_200..172_800 => format!("{} hours", (secs + 1_800) / 3_600),
        172_800..63_072_000 => format!("{} days", (secs + 43_200) / 86_400),
        _ => format!("{} years", (secs + 15_768_000) / 31_536_000),
    }
}

/// Milliseconds with one digit.
pub(super) fn millis(span: Span) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1000.0)
}

/// "1 probe", "2 probes".
pub(super) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_lengths_read_well() {
        assert_eq!(utc(Wall::from_secs(1_790_000_000)), "2026-09-21T14:13:20Z");
        assert_eq!(utc_of(Server::from_secs(i64::MAX / 2_000_000_000)), "2116-02-20T23:53:38Z");
        assert_eq!(long(Span::from_secs(-90)), "90.0 s");
        assert_eq!(long(Span::from_secs(3_000)), "50 minutes");
        assert_eq!(long(Span::from_secs(90_000)), "25 hours");
        assert_eq!(long(Span::from_secs(86_400 * 84)), "84 days");
        assert_eq!(long(Span::from_secs(86_400 * 3_650)), "10 years");
        assert_eq!((counted(1, "probe"), counted(0, "probe")), ("1 probe".to_owned(), "0 probes".to_owned()));
    }
}
