//! A verdict, as Python sees it.
//!
//! It is made of plain values, so that an exception that carries one can be copied to another process.

use evergrant_core::verdict::Verdict as CoreVerdict;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// Why a request was refused, how sure that is, who can change it, and what to do.
#[pyclass(frozen, eq, hash, module = "evergrant")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Verdict {
    /// A name for this verdict, to find it again in logs.
    #[pyo3(get)]
    id: String,
    /// Why, by its stable name.
    #[pyo3(get)]
    cause: String,
    /// `certain`, `likely` or `possible`.
    #[pyo3(get)]
    confidence: String,
    /// Who can change it.
    #[pyo3(get)]
    fault: String,
    /// The facts that led here, with their numbers.
    evidence: Vec<String>,
    /// What to do.
    #[pyo3(get)]
    remedy: String,
    /// Was the request not sent again because it may have been executed?
    #[pyo3(get)]
    is_replay_unsafe: bool,
    /// The verdict in one line, as the gateway's `evergrant-verdict` field.
    #[pyo3(get)]
    header: String,
}

impl From<CoreVerdict> for Verdict {
    fn from(verdict: CoreVerdict) -> Self {
        Self {
            header: verdict.header(),
            id: verdict.id,
            cause: verdict.cause.name().to_owned(),
            confidence: verdict.confidence.name().to_owned(),
            fault: verdict.fault.name().to_owned(),
            evidence: verdict.evidence,
            remedy: verdict.remedy.to_owned(),
            is_replay_unsafe: verdict.is_replay_unsafe,
        }
    }
}

#[pymethods]
impl Verdict {
    /// One with these values, for copies and for the tests of programs.
    #[new]
    #[expect(clippy::too_many_arguments, reason = "each is one field, and Python names them")]
    fn new(
        id: String,
        cause: String,
        confidence: String,
        fault: String,
        evidence: Vec<String>,
        remedy: String,
        is_replay_unsafe: bool,
        header: String,
    ) -> Self {
        Self { id, cause, confidence, fault, evidence, remedy, is_replay_unsafe, header }
    }

    fn __getnewargs__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let Self { id, cause, confidence, fault, evidence, remedy, is_replay_unsafe, header } = self;
        (id, cause, confidence, fault, evidence, remedy, *is_replay_unsafe, header).into_pyobject(py)
    }

    /// The facts that led here, with their numbers.
    #[getter]
    fn evidence<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.evidence)
    }

    /// The verdict as plain values, under the names that every output of Evergrant uses.
    fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("id", &self.id)?;
        dict.set_item("cause", &self.cause)?;
        dict.set_item("confidence", &self.confidence)?;
        dict.set_item("fault", &self.fault)?;
        dict.set_item("evidence", &self.evidence)?;
        dict.set_item("remedy", &self.remedy)?;
        Ok(dict)
    }

    fn __str__(&self) -> String {
        format!("{} ({}): {}", self.cause, self.confidence, self.remedy)
    }

    fn __repr__(&self) -> String {
        format!("<evergrant.Verdict {}>", self.header)
    }
}
