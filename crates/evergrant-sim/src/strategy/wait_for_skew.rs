//! Wait for the skew to pass: a new token whose `iat` is ahead of this machine's clock is used when that has come, and its
//! `exp` is compared with this machine's clock as it is.
//!
//! An opaque token has no dates; then the answer's `expires_in` counts. The wait is a minute at most.
//!
//! Source: forum advice to "sleep until the clocks agree".

use evergrant_core::time::Span;

use super::rules::{Claims, Held, LocalTime, Rules};

pub(super) const RULES: Rules = Rules { is_fresh, pause, ..Rules::NAIVE };

fn is_fresh(held: &Held, now: LocalTime) -> bool {
    match held.claims {
        Some(claims) => now.wall < Claims::as_wall(claims.exp),
        None => held.lasts(Span::ZERO, now),
    }
}

fn pause(held: &Held) -> Span {
    let ahead = held.claims.map_or(Span::ZERO, |claims| Claims::as_wall(claims.iat) - held.received.wall);
    ahead.clamp(Span::ZERO, Span::from_secs(60))
}
