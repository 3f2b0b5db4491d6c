//! Envoy's credential injector with OAuth 2.0 client credentials: a timer renews the token at half of its life and tries a
//! failed request again after two seconds.
//!
//! The token at hand is injected whatever its age, also an expired one. A 401 is passed on.
//!
//! Source: Envoy's `credential_injector` documentation and `oauth2` token provider; envoyproxy/envoy issue 44674.

use evergrant_core::time::Span;

use super::rules::{Flights, OnFailure, Rules};

pub(super) const RULES: Rules = Rules {
    refresh_after: Some(|held| Some(held.expires_in?.scaled(1, 2))),
    flights: Flights::Shared,
    on_failure: OnFailure::TryAgainAfter(Span::from_secs(2)),
    ..Rules::NAIVE
};
