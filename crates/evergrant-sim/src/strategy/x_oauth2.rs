//! golang.org/x/oauth2: `ReuseTokenSource` renews a token ten seconds before its end.
//!
//! The end is counted on the calendar clock (`Round(0)`). A mutex is held over the token request, so callers ask in turn:
//! a failure is the error of the first, and the next asks again. The transport does nothing about a 401.
//!
//! Source: golang/oauth2 89ff2e1a, `token.go` (`defaultExpiryDelta`), `oauth2.go`, `transport.go`.

use evergrant_core::time::Span;

use super::rules::{Flights, Rules};

pub(super) const RULES: Rules =
    Rules { is_fresh: |held, now| held.lasts(Span::from_secs(10), now), flights: Flights::InTurn, ..Rules::NAIVE };
