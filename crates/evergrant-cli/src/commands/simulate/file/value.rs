//! Values of a world's file, each with its bounds.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use evergrant_core::time::Span;
use evergrant_sim::config::Delay;

use super::{Reader, Value};
use crate::failure::Failure;
use evergrant::settings::duration;

impl Reader<'_> {
    /// A duration with an optional minus.
    pub(super) fn span(&self, key: &str, value: &Value<'_>, within: RangeInclusive<Span>) -> Result<Span, Failure> {
        let text = self.text_of(key, value, "a duration in quotes, as \"90s\"")?;
        let span = self.parse_span(key, text, value.span())?;
        if within.contains(&span) {
            return Ok(span);
        }
        let (least, most) = (within.start(), within.end());
        Err(self.bad(key, &format!("`{text}` is not between {least} and {most}"), value.span()))
    }

    /// A duration, or the two ends of a range as `0s..2s`.
    pub(super) fn delay(&self, key: &str, value: &Value<'_>) -> Result<Delay, Failure> {
        let text = self.text_of(key, value, "a duration or a range in quotes, as \"2s\" or \"0s..2s\"")?;
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let min = self.parse_span(key, min, value.span())?;
        let max = self.parse_span(key, max, value.span())?;
        if Span::ZERO <= min && min <= max && max <= LONGEST_DELAY {
            return Ok(Delay::uniform(min, max));
        }
        let why = format!("`{text}` is no range from 0s to {LONGEST_DELAY} whose first end is the smaller one");
        Err(self.bad(key, &why, value.span()))
    }

    /// A whole number within bounds.
    pub(super) fn whole<T>(&self, key: &str, value: &Value<'_>, within: RangeInclusive<T>) -> Result<T, Failure>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let number = value.get_ref().as_integer();
        let number = number.and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
        let number = number.and_then(|number| T::try_from(number).ok()).filter(|number| within.contains(number));
        let why = || format!("it is no whole number from {} to {}", within.start(), within.end());
        number.ok_or_else(|| self.bad(key, &why(), value.span()))
    }

    /// `true` or `false`.
    pub(super) fn truth(&self, key: &str, value: &Value<'_>) -> Result<bool, Failure> {
        value.get_ref().as_bool().ok_or_else(|| self.bad(key, "it is neither true nor false", value.span()))
    }

    /// One of some names.
    pub(super) fn one_of<'n>(&self, key: &str, value: &Value<'_>, names: &[&'n str]) -> Result<&'n str, Failure> {
        let text = self.name(key, value)?;
        let known = names.iter().find(|name| **name == text).copied();
        known.ok_or_else(|| self.unknown(key, text, value.span(), names))
    }

    /// A name, of whatever is known by it.
    pub(super) fn name<'v>(&self, key: &str, value: &'v Value<'_>) -> Result<&'v str, Failure> {
        self.text_of(key, value, "a name in quotes")
    }

    fn text_of<'v>(&self, key: &str, value: &'v Value<'_>, expected: &str) -> Result<&'v str, Failure> {
        let found = value.get_ref();
        let why = || format!("expected {expected}, found {}", found.type_str());
        found.as_str().ok_or_else(|| self.bad(key, &why(), value.span()))
    }

    fn parse_span(&self, key: &str, text: &str, place: Range<usize>) -> Result<Span, Failure> {
        let text = text.trim();
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let span = duration::parse(digits).map_err(|error| self.bad(key, &format!("`{text}`: {error}"), place))?;
        Ok(span.scaled(sign, 1))
    }

    pub(super) fn bad(&self, key: &str, why: &str, span: Range<usize>) -> Failure {
        self.failure(&format!("`{key}` has an impossible value"), why, span)
    }
}

const LONGEST_DELAY: Span = Span::from_secs(600);
