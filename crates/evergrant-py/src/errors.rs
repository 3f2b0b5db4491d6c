//! Exceptions: which class, what it says, and the verdict that it carries.
//!
//! The classes are Python's, in `evergrant/_errors.py`, so that they can inherit from two sides and be read there.

use std::panic::{AssertUnwindSafe, catch_unwind};

use evergrant::{ForeignOrigin, TokenSource};
use evergrant_core::keeper::{AcquireError, AcquireErrorKind};
use evergrant_core::verdict::Verdict as CoreVerdict;
use pyo3::intern;
use pyo3::prelude::*;

use crate::logging;
use crate::verdict::Verdict;

/// A class of exceptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Config,
    ForeignOrigin,
    Closed,
    ClientRejected,
    Unreachable,
    TokenEndpoint,
    NoTokenInTime,
    MintBudget,
    LoginRequired,
    Internal,
}

impl Class {
    const fn name(self) -> &'static str {
        match self {
            Self::Config => "ConfigError",
            Self::ForeignOrigin => "ForeignOriginError",
            Self::Closed => "ClosedError",
            Self::ClientRejected => "ClientRejectedError",
            Self::Unreachable => "UnreachableError",
            Self::TokenEndpoint => "TokenEndpointError",
            Self::NoTokenInTime => "NoTokenInTimeError",
            Self::MintBudget => "MintBudgetError",
            Self::LoginRequired => "LoginRequiredError",
            Self::Internal => "InternalError",
        }
    }
}

/// An exception of this class.
pub(crate) fn error(py: Python<'_>, class: Class, message: impl Into<String>) -> PyErr {
    make(py, class, message.into(), None, None).unwrap_or_else(|failure| failure)
}

/// A setting that cannot be used, with what would be right.
pub(crate) fn config(py: Python<'_>, setting: &str, cause: impl std::fmt::Display) -> PyErr {
    error(py, Class::Config, format!("cannot use {setting}: {cause}"))
}

/// There is no token.
pub(crate) fn no_token(py: Python<'_>, error: &AcquireError, verdict: CoreVerdict) -> PyErr {
    let class = match error.kind {
        AcquireErrorKind::Rejected => Class::ClientRejected,
        AcquireErrorKind::Unreachable => Class::Unreachable,
        AcquireErrorKind::Unavailable => Class::TokenEndpoint,
        AcquireErrorKind::TimedOut => Class::NoTokenInTime,
        AcquireErrorKind::BudgetExhausted => Class::MintBudget,
        AcquireErrorKind::LoginRequired => Class::LoginRequired,
    };
    let retry_after = error.retry_after.map(|wait| wait.as_secs_f64());
    make(py, class, error.to_string(), Some(verdict), retry_after).unwrap_or_else(|failure| failure)
}

/// The same for a source that is asked for a bare token.
pub(crate) fn no_bare_token(py: Python<'_>, error: &AcquireError, source: &TokenSource) -> PyErr {
    no_token(py, error, source.verdict_on_no_token(error))
}

/// A request would have carried the token to a place that it is not for.
pub(crate) fn foreign(py: Python<'_>, foreign: &ForeignOrigin) -> PyErr {
    error(py, Class::ForeignOrigin, foreign.to_string())
}

/// A source that was closed.
pub(crate) fn closed(py: Python<'_>) -> PyErr {
    error(py, Class::Closed, "the token source is closed")
}

/// Does something that Python asked for; a panic becomes an exception that an `except Exception` catches.
pub(crate) fn guarded<T>(py: Python<'_>, work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_panic| {
        logging::hand_over(py)?;
        Err(error(py, Class::Internal, "a rule of evergrant's own was broken; please report it, with the log"))
    })
}

/// Panics, where the tests ask for it.
#[cfg(debug_assertions)]
#[pyfunction]
pub(crate) fn panic_for_tests(py: Python<'_>) -> PyResult<()> {
    guarded(py, || panic!("a rule was broken on purpose"))
}

fn make(
    py: Python<'_>,
    class: Class,
    message: String,
    verdict: Option<CoreVerdict>,
    retry_after: Option<f64>,
) -> PyResult<PyErr> {
    let class = py.import(intern!(py, "evergrant._errors"))?.getattr(class.name())?;
    let exception = class.call1((message,))?;
    exception.setattr(intern!(py, "verdict"), verdict.map(Verdict::from))?;
    exception.setattr(intern!(py, "retry_after"), retry_after)?;
    Ok(PyErr::from_value(exception))
}
