//! The verdict on an answer that came by any other way than our adapters.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evergrant::Diagnosis;
use pyo3::prelude::*;

use crate::errors::guarded;
use crate::exchange::{header_map, status_code};
use crate::source::Source;
use crate::verdict::Verdict;

/// Why an answer is a refusal; `None` if it refuses nothing that has to do with credentials. With the source that gave
/// the token the verdict is the source's. An empty token is one that was not sent.
#[pyfunction]
#[pyo3(signature = (status, fields, body, method, url, token=None, source=None, moments=None))]
#[expect(clippy::too_many_arguments, reason = "each is one fact, and Python names them")]
pub(crate) fn diagnose(
    py: Python<'_>,
    status: u16,
    fields: Vec<(String, String)>,
    body: &[u8],
    method: &str,
    url: &str,
    token: Option<&str>,
    source: Option<&Source>,
    moments: Option<(f64, f64)>,
) -> PyResult<Option<Verdict>> {
    let headers = header_map(fields);
    let mut diagnosis = Diagnosis::of(status_code(status)?, &headers).body(body).request(method, url);
    diagnosis = match token {
        None => diagnosis,
        Some("") => diagnosis.without_token(),
        Some(token) => diagnosis.token(token),
    };
    if let Some((sent, received)) = moments.and_then(|(sent, received)| Some((instant(sent)?, instant(received)?))) {
        diagnosis = diagnosis.moments(sent, received);
    }
    guarded(py, || {
        let verdict = match source {
            Some(source) => diagnosis.verdict_from(source.core().live(py)?.source()),
            None => diagnosis.verdict(),
        };
        Ok(verdict.map(Verdict::from))
    })
}

/// A moment of `time.time()`.
fn instant(secs: f64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(secs).ok()?)
}
