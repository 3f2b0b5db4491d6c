//! A verdict, as Python sees it.

use evergrant_core::verdict::Verdict as CoreVerdict;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// Why a request was refused, how sure that is, who can change it, and what to do.
#[pyclass(frozen, module = "evergrant")]
pub(crate) struct Verdict(CoreVerdict);

impl From<CoreVerdict> for Verdict {
    fn from(verdict: CoreVerdict) -> Self {
        Self(verdict)
    }
}

#[pymethods]
impl Verdict {
    /// A name for this verdict, to find it again in logs.
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }

    /// Why, by its stable name.
    #[getter]
    fn cause(&self) -> &'static str {
        self.0.cause.name()
    }

    /// `certain`, `likely` or `possible`.
    #[getter]
    fn confidence(&self) -> &'static str {
        self.0.confidence.name()
    }

    /// Who can change it.
    #[getter]
    fn fault(&self) -> &'static str {
        self.0.fault.name()
    }

    /// The facts that led here, with their numbers.
    #[getter]
    fn evidence<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.0.evidence)
    }

    /// What to do.
    #[getter]
    fn remedy(&self) -> &'static str {
        self.0.remedy
    }

    /// Was the request not sent again because it may have been executed?
    #[getter]
    fn is_replay_unsafe(&self) -> bool {
        self.0.is_replay_unsafe
    }

    /// The verdict in one line, as the gateway's `evergrant-verdict` field.
    #[getter]
    fn header(&self) -> String {
        self.0.header()
    }

    /// The verdict as plain values, under the names that every output of Evergrant uses.
    fn as_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("id", self.id())?;
        dict.set_item("cause", self.cause())?;
        dict.set_item("confidence", self.confidence())?;
        dict.set_item("fault", self.fault())?;
        dict.set_item("evidence", &self.0.evidence)?;
        dict.set_item("remedy", self.remedy())?;
        Ok(dict)
    }

    fn __str__(&self) -> String {
        format!("{} ({}): {}", self.cause(), self.confidence(), self.remedy())
    }

    fn __repr__(&self) -> String {
        format!("<evergrant.Verdict {}>", self.header())
    }
}
