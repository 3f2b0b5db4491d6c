//! The Genesys Cloud SDK for Go with automatic token refresh: a timer fetches the next token 60 seconds before the end, at
//! once if the life is no longer than that, and a failed token request panics.
//!
//! With a refresh token a 401 leads to a refresh and the same call again, as in the SDK for Python.
//!
//! Source: the Genesys Cloud Go SDK 62dc270e, `configuration.go` (`AutomaticTokenRefresh`), `apiclient.go`.

use evergrant_core::time::Span;

use super::genesys_python;
use super::rules::{Flights, OnFailure, Rules};

pub(super) const RULES: Rules = Rules {
    after_401: genesys_python::after_401,
    refresh_after: Some(|held| Some((held.expires_in? - Span::from_secs(60)).max(Span::ZERO))),
    flights: Flights::Shared,
    on_failure: OnFailure::Crash,
    ..Rules::NAIVE
};
