//! Describing a request.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::Body;
use serde::Serialize;

use super::{Client, ClientError, Response};

/// A request that is being described. What is wrong with it shows when it is sent.
#[derive(Debug)]
#[must_use = "it does nothing until it is sent"]
pub struct RequestBuilder {
    client: Client,
    inner: Result<reqwest::RequestBuilder, ClientError>,
    only_reads: bool,
}

impl RequestBuilder {
    pub(super) fn new(client: Client, method: Method, url: &str) -> Self {
        let inner = match client.resolve(url) {
            Ok(url) => Ok(client.any_http().request(method, url)),
            Err(error) => Err(ClientError::InvalidRequest(format!("URL: {error}"))),
        };
        Self { client, inner, only_reads: false }
    }

    /// Adds a header field.
    pub fn header<N, V>(self, name: N, value: V) -> Self
    where
        HeaderName: TryFrom<N, Error: Into<http::Error>>,
        HeaderValue: TryFrom<V, Error: Into<http::Error>>,
    {
        self.map(|inner| inner.header(name, value))
    }

    /// Sets these header fields.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.map(|inner| inner.headers(headers))
    }

    /// Adds to the query.
    pub fn query<T: Serialize + ?Sized>(self, query: &T) -> Self {
        self.map(|inner| inner.query(query))
    }

    /// Sets the body. Bytes and text can be sent again, a stream cannot.
    pub fn body(self, body: impl Into<Body>) -> Self {
        self.map(|inner| inner.body(body))
    }

    /// Sets the body to JSON.
    pub fn json<T: Serialize + ?Sized>(self, json: &T) -> Self {
        self.map(|inner| inner.json(json))
    }

    /// Sets the body to a form.
    pub fn form<T: Serialize + ?Sized>(self, form: &T) -> Self {
        self.map(|inner| inner.form(form))
    }

    /// The longest that the request may take, however often it is sent.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.map(|inner| inner.timeout(timeout))
    }

    /// Says that the request only reads, whatever its method: its refusal is repaired as that of a GET is.
    pub fn only_reads(mut self, only_reads: bool) -> Self {
        self.only_reads = only_reads;
        self
    }

    /// Sends the request.
    ///
    /// # Errors
    /// As [`Client::execute`], and when the request cannot be built.
    pub async fn send(self) -> Result<Response, ClientError> {
        // The error's own text may hold the URL with its query.
        let request = self.inner?.build().map_err(|error| ClientError::InvalidRequest(cause(error)))?;
        self.client.send(request, self.only_reads).await
    }

    fn map(self, change: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder) -> Self {
        Self { inner: self.inner.map(change), ..self }
    }
}

/// What is wrong, without the URL and without any value.
fn cause(error: reqwest::Error) -> String {
    error.without_url().to_string()
}
