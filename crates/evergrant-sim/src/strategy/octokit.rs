//! GitHub's octokit/auth-app: a token is cached for 59 minutes; a 401 within five seconds of a new token is tried again
//! with the same token after one, two and three seconds.
//!
//! The one library that knows that a new token may be refused. There is no older token to fall back to, and a 401 after
//! five seconds is the caller's.
//!
//! Source: octokit/auth-app fdf68337, `hook.ts` (`sendRequestWithRetries`, FIVE_SECONDS_IN_MS), `cache.ts`.

use evergrant_core::time::Span;

use super::rules::{After401, Refused, Rules};

pub(super) const RULES: Rules =
    Rules { is_fresh: |held, now| now.wall - held.received.wall < CACHED_FOR, after_401, ..Rules::NAIVE };

fn after_401(refused: &Refused) -> After401 {
    if refused.token_age >= Span::from_secs(5) {
        return After401::Raise;
    }
    After401::SameTokenAfter(Span::from_secs(i64::from(refused.retries) + 1))
}

const CACHED_FOR: Span = Span::from_secs(59 * 60);
