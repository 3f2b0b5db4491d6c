//! Nango: a connection's token is renewed when less than 15 minutes are left, one request at a time; after a failure
//! everybody who needs a token gets an error for 30 seconds, also while the old one would still work.
//!
//! The lock is in Redis and lasts ten seconds; with one replica, as here, it always holds.
//!
//! Source: Nango 2f4c0af6, `refresh.ts` (margin, in-flight map, cooldown), `Locking.ts`.

use evergrant_core::time::Span;

use super::rules::{Flights, OnFailure, Rules};

pub(super) const RULES: Rules = Rules {
    is_fresh: |held, now| held.lasts(Span::from_secs(15 * 60), now),
    flights: Flights::Shared,
    on_failure: OnFailure::FailFor(Span::from_secs(30)),
    ..Rules::NAIVE
};
