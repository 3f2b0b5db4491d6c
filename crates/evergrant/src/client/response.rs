//! The answer that is handed out.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use evergrant_core::verdict::Verdict;
use http::{HeaderMap, StatusCode, Version};
use http_body_util::BodyExt as _;
use reqwest::Body;
use serde::de::DeserializeOwned;
use url::Url;

use super::ClientError;
use crate::peeked::Peeked;
use crate::replay::Passed;
use crate::transport::{ConnectionFailure, Target};

/// An answer. Its body can be read whole, also if the beginning was needed to judge a refusal.
pub struct Response {
    inner: http::Response<Peeked<Body>>,
    verdict: Option<Verdict>,
    url: Url,
    target: Target,
    silence: Duration,
}

impl Response {
    pub(super) fn new(passed: Passed<Body>, url: Url, target: Target, silence: Duration) -> Self {
        Self { inner: passed.response, verdict: passed.verdict, url, target, silence }
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// Its version of HTTP.
    #[must_use]
    pub fn version(&self) -> Version {
        self.inner.version()
    }

    /// Its header fields.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// The URL that it answers.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Why the request was refused, for a 401, 403, 407 or 429.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// The next part of the body; `None` at its end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.inner.body_mut().frame().await {
            // Trailers are no part of the body.
            if let Ok(data) = frame.map_err(|error| self.broken(&error))?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The whole body.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn bytes(mut self) -> Result<Bytes, ClientError> {
        let body = std::mem::replace(self.inner.body_mut(), Peeked::new(Body::default()));
        Ok(body.collect().await.map_err(|error| self.broken(&error))?.to_bytes())
    }

    /// The whole body as text; bytes that are no UTF-8 become replacement characters.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn text(self) -> Result<String, ClientError> {
        Ok(String::from_utf8_lossy(&self.bytes().await?).into_owned())
    }

    /// The whole body as JSON.
    ///
    /// # Errors
    /// When the connection breaks or the body is something else. The error holds nothing of the body.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.bytes().await?)
            .map_err(|error| ClientError::NotJson { line: error.line(), column: error.column() })
    }

    /// The parts of the answer and the verdict on it.
    #[must_use]
    pub fn into_parts(self) -> (http::Response<Peeked<Body>>, Option<Verdict>) {
        (self.inner, self.verdict)
    }

    fn broken(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Broken(ConnectionFailure::of(error, &self.target, self.silence))
    }
}

impl fmt::Debug for Response {
    /// Without query, header values and body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status())
            .field("verdict", &self.verdict)
            .finish_non_exhaustive()
    }
}
