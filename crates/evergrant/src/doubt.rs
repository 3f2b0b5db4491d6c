//! A refresh token that may be spent.
//!
//! An intent in the record says that a request was about to be sent with the refresh token that is still there. Whoever
//! finds it under a lease knows that the request is over, and not how it ended. Within the provider's grace the same
//! refresh token gives the same answer once more; later it may end the grant, and then the keeper decides when that is
//! worth it. If the provider refuses it, the intent says who lost the rotation, and when.
//!
//! The intent of the first such request is kept through all later ones: the grace counts from the first use.

use std::time::{Duration, SystemTime};

use evergrant_core::time::Span;
use evergrant_core::wire::{TokenFailure, TokenFailureKind};

use crate::clock;
use crate::flight::Flights;
use crate::store::{Intent, Record, TokenHash};

/// The intent that the record's refresh token is in doubt by.
pub(crate) fn doubt_of(record: &Record) -> Option<&Intent> {
    let named = name_of(record)?;
    record.intent.as_ref().filter(|intent| intent.refresh_token_hash.as_ref() == Some(&named))
}

/// Names the record's refresh token, if it has one.
pub(crate) fn name_of(record: &Record) -> Option<TokenHash> {
    record.refresh_token.as_ref().map(TokenHash::of)
}

/// Is the provider still in its grace for the doubtful request, as far as anybody can tell?
pub(crate) fn is_within_grace(intent: &Intent, flights: &Flights) -> bool {
    intent.at.age(clock::now(), flights.store().time_offset()).is_some_and(|age| age <= GRACE)
}

/// The refusal of a refresh token in doubt, with the name of what happened to it.
pub(crate) fn named(failure: TokenFailure, doubt: Option<&Intent>) -> TokenFailure {
    let Some(intent) = doubt.filter(|_| failure.kind == TokenFailureKind::InvalidGrant) else { return failure };
    let text = format!(
        "{} was about to spend this refresh token at {} and its answer was never stored; the provider refuses it now",
        intent.owner,
        moment(intent)
    );
    TokenFailure { kind: TokenFailureKind::RotationLost, code: None, ..failure.with_description(&text) }
}

/// When, by the wall clock of whoever wrote the intent.
fn moment(intent: &Intent) -> String {
    let nanos = u64::try_from(intent.at.wall.as_nanos()).unwrap_or(0);
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos))
}

/// Providers that give a grace give at least this much, as far as is known; nobody tells how long theirs is.
const GRACE: Span = Span::from_secs(30);
