//! Why a request got no answer.
//!
//! Two things matter to the proxy: whose fault it is, for the caller's sake, and whether sending again can do harm. A
//! connection that had answered before and ends without any answer may have been closed by the server while the request
//! was on its way; nothing else is ever taken for that. An HTTP/2 server that refuses a stream says that it did nothing
//! with it (RFC 9113 section 8.7).

use super::connect::ConnectError;
use crate::fault::{FaultKind, Stage, find};

/// A request that got no answer.
#[derive(Debug)]
pub(crate) struct Fault {
    cause: Cause,
    /// Had the connection brought an answer before?
    had_answered: bool,
}

#[derive(Debug)]
enum Cause {
    /// There was no connection.
    Connect(ConnectError),
    /// The connection was there and failed.
    Http(hyper::Error),
}

impl Fault {
    pub(super) fn of_connecting(error: ConnectError) -> Self {
        Self { cause: Cause::Connect(error), had_answered: false }
    }

    pub(super) fn of_connection(error: hyper::Error, had_answered: bool) -> Self {
        Self { cause: Cause::Http(error), had_answered }
    }

    /// Did a connection that had worked before end without an answer?
    pub(crate) fn is_stale_connection(&self) -> bool {
        self.had_answered && self.kind() == FaultKind::Closed
    }

    /// Did the server say that it did nothing with this request?
    pub(crate) fn is_refused_stream(&self) -> bool {
        let Cause::Http(error) = &self.cause else { return false };
        find::<h2::Error>(error).is_some_and(|error| error.reason() == Some(h2::Reason::REFUSED_STREAM))
    }

    pub(crate) fn kind(&self) -> FaultKind {
        match &self.cause {
            Cause::Connect(error) => FaultKind::of(&**error, Stage::Connecting),
            Cause::Http(error) => FaultKind::of(error, Stage::Connected),
        }
    }
}
