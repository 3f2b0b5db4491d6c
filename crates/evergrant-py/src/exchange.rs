//! One request of a Python HTTP client through all its sends.
//!
//! A [`Sender`] knows the origins that a token may go to and begins an [`Exchange`] for each request. The exchange gives
//! the `Authorization` to send; shown the answer it says what to do: pass it on, with a verdict if it is a refusal, or
//! send the request again with another `Authorization`. The library decides; this file converts what Python shows it.
//!
//! Most answers are no refusals, and are shown by their status alone: their header fields cost more than the rest, so they
//! are read when the library wants them.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use evergrant::core::time::{Boot, Span};
use evergrant::{Answer, Exchange as LibraryExchange, Origins, RequestTraits, Ruling, Sendable, clock};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use url::Url;

use crate::errors::{config, foreign, guarded, no_token};
use crate::live::{Cancellation, LiveRef};
use crate::logging;
use crate::settings::seconds;
use crate::source::Core;
use crate::verdict::Verdict;

/// Begins requests to the origins that a token may go to.
#[pyclass(frozen, module = "evergrant._evergrant")]
pub(crate) struct Sender {
    core: Arc<Core>,
    origins: Origins,
}

impl Sender {
    pub(crate) fn new(py: Python<'_>, core: Arc<Core>, origins: Option<Vec<String>>) -> PyResult<Self> {
        let origins = origins.unwrap_or_else(|| core.settings.upstream().map(str::to_owned).into_iter().collect());
        if origins.is_empty() {
            return Err(config(py, "origins", "nothing says where the token may go; give origins, or an upstream"));
        }
        let origins = Origins::parse(origins, core.settings.allows_insecure_http());
        let origins = origins.map_err(|error| config(py, "origins", error))?;
        Ok(Self { core, origins })
    }
}

#[pymethods]
impl Sender {
    /// Begins a request.
    #[pyo3(signature = (method, url, is_body_kept, has_idempotency_key, timeout=None))]
    fn exchange(
        &self,
        py: Python<'_>,
        method: &str,
        url: &str,
        is_body_kept: bool,
        has_idempotency_key: bool,
        timeout: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Exchange> {
        let url = parse(url)?;
        self.origins.allow(&url).map_err(|refused| foreign(py, &refused))?;
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| PyValueError::new_err(format!("`{method}` is no method")))?;
        let timeout = timeout.map(|timeout| seconds("timeout", &timeout)).transpose()?;
        let deadline: Option<Boot> = timeout.map(|timeout: Span| clock::boot() + timeout);
        guarded(py, || {
            let live = self.core.live(py)?;
            let traits = RequestTraits { method, has_idempotency_key, is_body_kept, deadline };
            let exchange = Some(live.source().exchange(traits));
            Ok(Exchange { live, exchange: Mutex::new(exchange), url })
        })
    }

    /// May the token be sent to this URL?
    fn allows(&self, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| self.origins.allow(&url).is_ok())
    }
}

/// One request, from the first token to the answer that is passed on.
#[pyclass(frozen, module = "evergrant._evergrant")]
pub(crate) struct Exchange {
    live: LiveRef,
    /// Taken out while it is worked with.
    exchange: Mutex<Option<LibraryExchange>>,
    url: Url,
}

#[pymethods]
impl Exchange {
    /// The `Authorization` of the first send; `None` instead of a wait.
    #[pyo3(signature = (wait, cancellation=None))]
    fn begin(&self, py: Python<'_>, wait: bool, cancellation: Option<&Cancellation>) -> PyResult<Option<String>> {
        let (begun, verdict) = self.work(py, |exchange| {
            let begun = match wait {
                false => self.live.poll(py, exchange.begin()),
                true => self.live.wait(py, cancellation, exchange.begin()).map(Some),
            };
            let verdict = match &begun {
                Ok(Some(Err(error))) => Some(exchange.verdict_on_no_token(error)),
                _ => None,
            };
            (begun, verdict)
        })?;
        logging::hand_over(py)?;
        match (begun?, verdict) {
            (Some(Ok(sendable)), _) => authorization(&sendable).map(Some),
            (Some(Err(error)), Some(verdict)) => Err(no_token(py, &error, verdict)),
            (_, _) => Ok(None),
        }
    }

    /// Takes note of an answer that is no refusal; `False` if it may be one and has to be judged.
    fn accept(&self, py: Python<'_>, status: u16, headers: &Bound<'_, PyAny>) -> PyResult<bool> {
        let status = status_code(status)?;
        if LibraryExchange::may_be_refusal(status) {
            return Ok(false);
        }
        if !self.live.is_open() {
            return Ok(true);
        }
        let accepted = self.work(py, |exchange| {
            let received = clock::boot();
            let headers = if exchange.wants_fields(received) { dates(headers)? } else { HeaderMap::new() };
            exchange.accept(&answer(&self.url, status, &headers, &[], received, false));
            Ok(true)
        })?;
        logging::hand_over(py)?;
        accepted
    }

    /// What to do with an answer that may be a refusal: send again with this `Authorization`, or, without one, pass it
    /// on with this verdict. Waits if waiting helps.
    #[pyo3(signature = (status, fields, body, can_send_again, url=None))]
    fn judge(
        &self,
        py: Python<'_>,
        status: u16,
        fields: Vec<(String, String)>,
        body: &[u8],
        can_send_again: bool,
        url: Option<&str>,
    ) -> PyResult<Judged> {
        if !self.live.is_open() {
            return Ok((None, None));
        }
        let seen = Seen::new(self, status, fields, body, can_send_again, url)?;
        let ruling = self.work(py, |exchange| self.live.wait(py, None, exchange.judge(seen.answer())))?;
        judged(py, ruling?)
    }

    /// The same, or `None` instead of a wait; then `ruling` waits.
    #[pyo3(signature = (status, fields, body, can_send_again, url=None))]
    fn judge_now(
        &self,
        py: Python<'_>,
        status: u16,
        fields: Vec<(String, String)>,
        body: &[u8],
        can_send_again: bool,
        url: Option<&str>,
    ) -> PyResult<Option<Judged>> {
        if !self.live.is_open() {
            return Ok(Some((None, None)));
        }
        let seen = Seen::new(self, status, fields, body, can_send_again, url)?;
        let ruling = self.work(py, |exchange| self.live.poll(py, async { exchange.judge_now(seen.answer()) }))?;
        ruling?.flatten().map(|ruling| judged(py, ruling)).transpose()
    }

    /// What to do with the answer that `judge_now` was shown.
    fn ruling(&self, py: Python<'_>, cancellation: &Cancellation) -> PyResult<Judged> {
        let ruling = self.work(py, |exchange| self.live.wait(py, Some(cancellation), exchange.ruling()))?;
        judged(py, ruling?)
    }

    /// The verdict on the last refusal, for whoever passes that one on because the next send got no answer.
    fn verdict_on_last_refusal(&self, py: Python<'_>) -> PyResult<Option<Verdict>> {
        if !self.live.is_open() {
            return Ok(None);
        }
        Ok(self.work(py, |exchange| exchange.verdict_on_last_refusal())?.map(Verdict::from))
    }
}

impl Exchange {
    /// Takes the exchange out, works with it, and puts it back. One that a panic or a fork has left is gone.
    fn work<T>(&self, py: Python<'_>, work: impl FnOnce(&mut LibraryExchange) -> T) -> PyResult<T> {
        let taken = self.exchange.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut exchange = taken.ok_or_else(|| PyRuntimeError::new_err("two threads work with one request"))?;
        let (done, exchange) = guarded(py, move || Ok((work(&mut exchange), exchange)))?;
        if self.live.is_ours() {
            *self.exchange.lock().unwrap_or_else(PoisonError::into_inner) = Some(exchange);
        } else {
            std::mem::forget(exchange);
        }
        Ok(done)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.live.is_ours() {
            std::mem::forget(self.exchange.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

/// Does the value of an `Authorization` field hold credentials? A library's way to send none is an empty one.
#[pyfunction]
pub(crate) fn holds_credentials(authorization: &str) -> bool {
    evergrant::holds_credentials(authorization.as_bytes())
}

/// The `Authorization` to send again with, or the verdict to pass an answer on with.
type Judged = (Option<String>, Option<Verdict>);

fn judged(py: Python<'_>, ruling: Ruling) -> PyResult<Judged> {
    logging::hand_over(py)?;
    match ruling {
        Ruling::Pass(verdict) => Ok((None, verdict.map(|verdict| Verdict::from(*verdict)))),
        Ruling::Replay(sendable) => Ok((Some(authorization(&sendable)?), None)),
        Ruling::NoToken(error, verdict) => Err(no_token(py, &error, *verdict)),
    }
}

/// What Python shows of an answer that may be a refusal.
struct Seen<'a> {
    status: StatusCode,
    headers: HeaderMap,
    body_prefix: &'a [u8],
    received: Boot,
    url: Cow<'a, Url>,
    can_send_again: bool,
}

impl<'a> Seen<'a> {
    fn new(
        exchange: &'a Exchange,
        status: u16,
        fields: Vec<(String, String)>,
        body: &'a [u8],
        can_send_again: bool,
        url: Option<&str>,
    ) -> PyResult<Self> {
        let received = clock::boot();
        let (status, headers) = (status_code(status)?, header_map(fields));
        let url = url.map_or(Ok(Cow::Borrowed(&exchange.url)), |url| parse(url).map(Cow::Owned))?;
        let body_prefix = body.get(..REFUSAL_PREFIX).unwrap_or(body);
        Ok(Self { status, headers, body_prefix, received, url, can_send_again })
    }

    fn answer(&self) -> Answer<'_> {
        answer(&self.url, self.status, &self.headers, self.body_prefix, self.received, self.can_send_again)
    }
}

fn answer<'a>(
    url: &'a Url,
    status: StatusCode,
    headers: &'a HeaderMap,
    body_prefix: &'a [u8],
    received: Boot,
    can_send_again: bool,
) -> Answer<'a> {
    let host = url.host_str().unwrap_or_default();
    Answer { status, headers, body_prefix, received, host, path: url.path(), can_send_again }
}

/// A URL of a request. What is wrong with it is said without repeating it: its query may hold anything.
fn parse(url: &str) -> PyResult<Url> {
    Url::parse(url).map_err(|error| PyValueError::new_err(format!("the URL of the request: {error}")))
}

fn authorization(sendable: &Sendable) -> PyResult<String> {
    let text = sendable.authorization().to_str();
    text.map(str::to_owned).map_err(|_| PyValueError::new_err("the token is not text that a header can carry"))
}

pub(crate) fn status_code(status: u16) -> PyResult<StatusCode> {
    StatusCode::from_u16(status).map_err(|_| PyValueError::new_err(format!("{status} is no HTTP status")))
}

/// Header fields as Python has them. What could not have come over HTTP is left out.
pub(crate) fn header_map(fields: Vec<(String, String)>) -> HeaderMap {
    let parsed = fields.into_iter().filter_map(|(name, value)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?))
    });
    let mut headers = HeaderMap::new();
    for (name, value) in parsed {
        headers.append(name, value);
    }
    headers
}

/// The fields from which a server's clock is read.
fn dates(headers: &Bound<'_, PyAny>) -> PyResult<HeaderMap> {
    let mut fields = Vec::new();
    for name in ["date", "age", "cache-control"] {
        let value = headers.call_method1(intern!(headers.py(), "get"), (name,))?;
        if let Ok(value) = value.extract::<String>() {
            fields.push((name.to_owned(), value));
        }
    }
    Ok(header_map(fields))
}

const REFUSAL_PREFIX: usize = 16 << 10;
