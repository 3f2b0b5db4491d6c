//! Skew from `iat`: this machine's clock minus the token's `iat` when it came is taken for the skew, and the token's end
//! is its `exp` moved by that.
//!
//! The sign is right here, which it often is not. A constant skew cancels; a clock that steps does not, and the time
//! that the answer took counts as skew. An opaque token has no dates; then the answer's `expires_in` counts.
//!
//! Source: forum advice to "measure the skew from the token".

use evergrant_core::time::Span;

use super::rules::{Claims, Held, LocalTime, Rules};

pub(super) const RULES: Rules = Rules { is_fresh, ..Rules::NAIVE };

fn is_fresh(held: &Held, now: LocalTime) -> bool {
    let Some(claims) = held.claims else { return held.lasts(Span::ZERO, now) };
    let skew = held.received.wall - Claims::as_wall(claims.iat);
    now.wall < Claims::as_wall(claims.exp) + skew
}
