//! The snippet of forums and scripts: use the token until a 401, then fetch another and try once more.
//!
//! No clock, no lock: callers that are refused together refresh together. The answer to the retry is what the caller
//! gets.
//!
//! Source: the common answer to "how do I refresh a token", also what `evergrant demo` runs beside the gateway.

use super::rules::{After401, Rules};

pub(super) const RULES: Rules = Rules {
    after_401: |refused| if refused.refreshes == 0 { After401::Refresh } else { After401::Raise },
    ..Rules::NAIVE
};
