//! The Genesys Cloud SDK for Python: a 401 leads to a refresh only if there is a refresh token, and then to the same call
//! again, by recursion without a bound.
//!
//! With client credentials the answer's `expires_in` is dropped and a 401 is the caller's, for ever after the token's end.
//! Callers that wait for somebody else's refresh go on also if that failed. The recursion is bounded here, as Python
//! bounds it.
//!
//! Source: the Genesys Cloud Python SDK v257.1.0, `api_client.py` (`handle_expired_access_token`, `__call_api`).

use super::rules::{After401, Flights, OnFailure, Refused, Rules};

pub(super) const RULES: Rules =
    Rules { after_401, flights: Flights::Shared, on_failure: OnFailure::OthersGoOn, ..Rules::NAIVE };

pub(super) fn after_401(refused: &Refused) -> After401 {
    let may_recurse = refused.refreshes < RECURSION_LIMIT;
    if refused.has_refresh_token && may_recurse { After401::Refresh } else { After401::Raise }
}

const RECURSION_LIMIT: u32 = 300;
