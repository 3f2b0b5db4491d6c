//! Durations as people write them: `900ms`, `5s`, `10m`, `2h`, `1d`, and sums such as `1m30s`.
//!
//! A bare number is refused, because half of the tools that people know mean seconds by it and half milliseconds.
//! Numbers are whole: `1500ms`, not `1.5s`.

use evergrant_core::time::Span;

const UNITS: [(&str, i64); 5] = [
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Why text is no duration.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DurationError {
    /// Digits alone.
    #[error("it has no unit; write `{0}s` for seconds or `{0}ms` for milliseconds")]
    NoUnit(String),
    /// Not a number and a unit.
    #[error("it is not a number and a unit such as `5s`, `900ms` or `10m`")]
    Malformed,
    /// More than 292 years.
    #[error("it is longer than 292 years")]
    TooLong,
}

/// Reads a duration.
///
/// # Errors
/// When it is none, or longer than 292 years.
pub fn parse(text: &str) -> Result<Span, DurationError> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DurationError::NoUnit(text.to_owned()));
    }
    let mut rest = text;
    let mut nanos = 0_i64;
    while !rest.is_empty() || text.is_empty() {
        let (number, after) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_where(after, |c| !c.is_ascii_alphabetic());
        let scale = UNITS.iter().find(|(name, _)| *name == unit).ok_or(DurationError::Malformed)?.1;
        if number.is_empty() {
            return Err(DurationError::Malformed);
        }
        let number: i64 = number.parse().map_err(|_too_big| DurationError::TooLong)?;
        nanos = number.checked_mul(scale).and_then(|part| nanos.checked_add(part)).ok_or(DurationError::TooLong)?;
        rest = after;
    }
    Ok(Span::from_nanos(nanos))
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, millis) in [
            ("5s", 5_000),
            ("900ms", 900),
            ("0s", 0),
            ("10m", 600_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("1m30s", 90_000),
            (" 5s ", 5_000),
        ] {
            assert_eq!(parse(text), Ok(Span::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", "s", "5 s", "1.5s", "-5s", "5sec", "5m3", "ms5", "5µs"] {
            assert_eq!(parse(text), Err(DurationError::Malformed), "{text}");
        }
        assert_eq!(parse("30"), Err(DurationError::NoUnit("30".into())));
        assert_eq!(parse("99999999999999999999s"), Err(DurationError::TooLong));
        assert_eq!(parse("200000d"), Err(DurationError::TooLong));
    }
}
