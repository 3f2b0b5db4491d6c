//! Why a request got no answer.
//!
//! Two things matter to the proxy: whose fault it is, for the caller's sake, and whether sending again can do harm. A
//! connection that had answered before and ends without any answer may have been closed by the server while the request
//! was on its way; nothing else is ever taken for that. An HTTP/2 server that refuses a stream says that it did nothing
//! with it (RFC 9113 section 8.7).

use std::{fmt, io};

use super::connect::ConnectError;

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

/// What went wrong between the gateway and the upstream, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Nobody listens there.
    Refused,
    /// No route, or the name has no address.
    Unreachable,
    /// No connection in time.
    TimedOut,
    /// The TLS handshake failed.
    Tls,
    /// The connection ended before the answer.
    Closed,
    /// The answer is not HTTP.
    Invalid,
    /// The caller broke its own request off.
    Caller,
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
        self.find::<h2::Error>().is_some_and(|error| error.reason() == Some(h2::Reason::REFUSED_STREAM))
    }

    pub(crate) fn kind(&self) -> FaultKind {
        if self.find::<rustls::Error>().is_some() {
            return FaultKind::Tls;
        }
        if let Some(error) = self.find::<hyper::Error>() {
            if error.is_user() {
                return FaultKind::Caller;
            }
            if error.is_parse() {
                return FaultKind::Invalid;
            }
        }
        if matches!(self.cause, Cause::Http(_)) {
            return FaultKind::Closed;
        }
        match self.find::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => FaultKind::Refused,
            Some(io::ErrorKind::TimedOut) => FaultKind::TimedOut,
            Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => FaultKind::Closed,
            _ => FaultKind::Unreachable,
        }
    }

    /// The innermost cause in its own words; it holds no part of the request.
    pub(crate) fn detail(&self) -> String {
        let mut cause = self.root();
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        cause.to_string()
    }

    fn root(&self) -> &(dyn std::error::Error + 'static) {
        match &self.cause {
            Cause::Connect(error) => &**error,
            Cause::Http(error) => error,
        }
    }

    /// The first cause of this type. An `io::Error` hides what it wraps from `source`, so it is opened by hand.
    fn find<T: std::error::Error + 'static>(&self) -> Option<&T> {
        let mut cause = Some(self.root());
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref::<T>() {
                return Some(found);
            }
            cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(wrapped) => Some(wrapped),
                None => error.source(),
            };
        }
        None
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed out",
            Self::Tls => "TLS failed",
            Self::Closed => "closed the connection before it answered",
            Self::Invalid => "answered with something that is not HTTP",
            Self::Caller => "request was broken off by its caller",
        })
    }
}
