//! A refresh token that may be spent: the intent that says so, and the words for it.
//!
//! An intent in the record says that a request was about to be sent with the refresh token that is still there. Whoever
//! finds it under a lease knows that the request is over, and not how it ended. What is done about it is decided in the
//! core (`keeper::Refresh`).

use std::time::{Duration, SystemTime};

use evergrant_core::keeper::Doubt;

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

/// The same for the keeper.
pub(crate) fn doubt(intent: &Intent, flights: &Flights) -> Doubt {
    Doubt {
        age: intent.at.age(clock::now(), flights.store().time_offset()),
        words: format!("{} was about to spend this refresh token at {}", intent.owner, moment(intent)),
    }
}

/// When, by the wall clock of whoever wrote the intent.
fn moment(intent: &Intent) -> String {
    let nanos = u64::try_from(intent.at.wall.as_nanos()).unwrap_or(0);
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos))
}
