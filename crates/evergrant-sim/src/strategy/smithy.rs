//! smithy-rs, the lazy identity cache of the AWS SDK for Rust: an identity is cleared ten seconds before its end, less a
//! jitter of up to half of that, and loaded while everybody waits.
//!
//! The load is a `OnceCell`: after a failure the next waiter starts its own. The cache hears nothing of a 401.
//!
//! Source: smithy-rs 56ee88c5, `identity/cache/lazy.rs` (DEFAULT_BUFFER_TIME, jitter fraction).

use evergrant_core::time::Span;

use super::rules::{Flights, Held, LocalTime, Rules};

pub(super) const RULES: Rules = Rules { is_fresh, flights: Flights::InTurn, ..Rules::NAIVE };

fn is_fresh(held: &Held, now: LocalTime) -> bool {
    let jitter = BUFFER.scaled(i64::from(held.luck), 2_000);
    held.lasts(BUFFER - jitter, now)
}

const BUFFER: Span = Span::from_secs(10);
