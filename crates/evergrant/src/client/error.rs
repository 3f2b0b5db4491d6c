//! Why a client has no answer.

use evergrant_core::keeper::AcquireError;
use evergrant_core::verdict::Verdict;

use crate::origin::ForeignOrigin;
use crate::transport::{ConnectionFailure, TransportError};

/// Why a request got no answer. A refusal is an answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The request was to go where the token may not go. It was not sent.
    #[error(transparent)]
    ForeignOrigin(#[from] ForeignOrigin),
    /// The request cannot be built. It was not sent.
    #[error("the request cannot be sent: {0}")]
    InvalidRequest(String),
    /// The caller set more than one Authorization field. The request was not sent.
    #[error("the request carries more than one Authorization field")]
    TwoAuthorizations,
    /// There is no token, so the request was not sent, or was refused because its token had ended.
    #[error("{error}")]
    NoToken {
        /// Why there is none.
        error: AcquireError,
        /// What that means and what to do.
        verdict: Box<Verdict>,
    },
    /// No answer came; the failure tells whether the request may have been executed.
    #[error("{0}")]
    NoAnswer(ConnectionFailure),
    /// The answer broke off.
    #[error("{0}")]
    Broken(ConnectionFailure),
    /// The body of the answer is not the JSON that was expected.
    #[error("the answer is not the expected JSON: line {line}, column {column}")]
    NotJson {
        /// Where in the body.
        line: usize,
        /// Where in the line.
        column: usize,
    },
}

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientBuildError {
    /// Neither the builder nor the profile names a place to send tokens to.
    #[error("no origin: name the API's URL, since the profile knows none")]
    NoOrigin,
    /// An origin, the CA file or a proxy cannot be used.
    #[error(transparent)]
    Transport(#[from] TransportError),
}
