//! google-auth for Python in its default mode: a token is renewed, while the caller waits, 3 minutes 45 seconds before its
//! end; after a 401 the session refreshes and tries again, twice at most.
//!
//! No lock, and no look at which token was refused. The clock is the calendar's.
//!
//! Source: google-auth-library-python 2ea24b03, `_helpers.py` (REFRESH_THRESHOLD), `transport/requests.py`.

use evergrant_core::time::Span;

use super::rules::{After401, Rules};

pub(super) const RULES: Rules = Rules {
    is_fresh: |held, now| held.lasts(Span::from_secs(225), now),
    after_401: |refused| if refused.refreshes < 2 { After401::Refresh } else { After401::Raise },
    ..Rules::NAIVE
};
