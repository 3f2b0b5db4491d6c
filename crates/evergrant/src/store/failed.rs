//! A failure of the token endpoint in a record, so that nobody asks again too soon.
//!
//! What is kept is which of the two kinds it was that concern everybody, who met it when, and how long to wait since. The server's words are not: they may say something of the one that asked.

use evergrant_core::keeper::SharedFailure;
use evergrant_core::time::{Now, OffsetInterval, Span};
use evergrant_core::wire::{RetryAfter, TokenFailure, TokenFailureKind};
use serde::{Deserialize, Deserializer, Serialize};

use super::record::{Owner, Stamp};

/// A token request that the token endpoint would have failed for anybody.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failed {
    kind: Kind,
    status: Option<u16>,
    /// The how many-th in a row.
    streak: u32,
    /// The process that was answered so.
    owner: Owner,
    /// When it was.
    at: Stamp,
    /// After which time the token endpoint may be asked again.
    wait_ns: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    ServerError,
    RateLimited,
}

impl Failed {
    /// What of it can be read. A record is not lost for a failure that a later version tells of in another way.
    pub(super) fn if_readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        let value = Option::<serde_json::Value>::deserialize(deserializer)?;
        Ok(value.and_then(|value| serde_json::from_value(value).ok()))
    }

    /// This process has just met it; `at` is now. `None` if it says nothing to others.
    pub(crate) fn new(shared: &SharedFailure, at: Stamp) -> Option<Self> {
        let (kind, _) = KINDS.into_iter().find(|(_, kind)| *kind == shared.failure.kind)?;
        let wait_ns = shared.not_before - at.boot;
        let (status, streak) = (shared.failure.status, shared.streak);
        Some(Self { kind, status, streak, owner: Owner::this_process(), at, wait_ns })
    }

    /// The same on this boot's clock; `None` if no clock tells how long ago it was.
    pub(crate) fn shared(&self, now: Now, store: Option<OffsetInterval>) -> Option<SharedFailure> {
        let age = self.at.age(now, store)?;
        let (_, kind) = KINDS.into_iter().find(|(kind, _)| *kind == self.kind)?;
        let wait = self.wait_ns.clamp(Span::ZERO, RetryAfter::CAP);
        let failure = TokenFailure { status: self.status, ..TokenFailure::of(kind) };
        let failure = failure.with_description(&format!("so it answered {}", self.owner));
        Some(SharedFailure { failure, streak: self.streak.min(LONGEST_STREAK), not_before: now.boot - age + wait })
    }
}

/// How each kind is written.
const KINDS: [(Kind, TokenFailureKind); 2] =
    [(Kind::ServerError, TokenFailureKind::ServerError), (Kind::RateLimited, TokenFailureKind::RateLimited)];
/// The wait grows no more long before.
const LONGEST_STREAK: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use evergrant_core::time::Boot;

    fn met(kind: TokenFailureKind, at: Boot, wait: Span) -> SharedFailure {
        let failure = TokenFailure::of(kind).with_status(503).with_description("no entry for client-7");
        SharedFailure { failure, streak: 3, not_before: at + wait }
    }

    #[test]
    fn what_one_process_met_is_known_to_others_for_as_long_as_it_waits() {
        let now = clock::now();
        let wait = Span::from_secs(9);
        let failed = Failed::new(&met(TokenFailureKind::ServerError, now.boot, wait), Stamp::of(now, None)).unwrap();
        let later = Now { boot: now.boot + Span::from_secs(4), wall: now.wall + Span::from_secs(4) };
        let known = failed.shared(later, None).unwrap();
        assert_eq!((known.not_before, known.streak), (now.boot + wait, 3));
        assert_eq!((known.failure.kind, known.failure.status), (TokenFailureKind::ServerError, Some(503)));
        let words = known.failure.to_string();
        assert!(words.contains("process ") && !words.contains("client-7"), "{words}");
    }

    #[test]
    fn what_a_later_version_tells_in_another_way_is_left_out() {
        #[derive(Deserialize)]
        struct Holder {
            #[serde(default, deserialize_with = "Failed::if_readable")]
            failed: Option<Failed>,
        }
        let read = |text: &str| serde_json::from_str::<Holder>(text).unwrap().failed;
        assert_eq!(read(r#"{"failed":{"kind":"of_tomorrow","more":[1]}}"#), None);
        assert_eq!(read("{}"), None);
        let now = clock::now();
        let wait = Span::from_secs(1);
        let failed = Failed::new(&met(TokenFailureKind::ServerError, now.boot, wait), Stamp::of(now, None));
        let text = serde_json::json!({ "failed": failed }).to_string();
        assert_eq!(read(&text), failed);
    }

    #[test]
    fn what_may_be_one_process_s_own_trouble_is_not_kept() {
        let now = clock::now();
        for kind in [TokenFailureKind::Unreachable, TokenFailureKind::InvalidClient, TokenFailureKind::Lost] {
            assert_eq!(Failed::new(&met(kind, now.boot, Span::from_secs(1)), Stamp::of(now, None)), None);
            assert!(!kind.concerns_everybody());
        }
        assert!(KINDS.iter().all(|(_, kind)| kind.concerns_everybody()));
    }
}
