//! A fixed buffer: the token is renewed when `time.time()` is less than a minute before its end.
//!
//! The end is computed once, from the calendar clock when the answer came. A 401 is the caller's.
//!
//! Source: the second most common answer of forums; Spring Security (`clockSkew` 60 s) and Duende (60 s) count alike.

use evergrant_core::time::Span;

use super::rules::Rules;

pub(super) const RULES: Rules = Rules { is_fresh: |held, now| held.lasts(Span::from_secs(60), now), ..Rules::NAIVE };
