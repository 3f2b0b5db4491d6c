//! Answers of the gateway itself, as problem details (RFC 9457).
//!
//! Each says whose fault it is through its status: 4xx the caller's, 502 and 504 the way to the upstream, 503 the way
//! to a token. None holds a path, a query or a header value of the request.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

/// An answer of the gateway itself.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    title: &'static str,
    detail: String,
    /// A verdict's header value, if the problem has one.
    pub(crate) verdict: Option<HeaderValue>,
    /// Seconds after which trying again makes sense.
    pub(crate) retry_after: Option<i64>,
    /// Must the connection end, because its bytes can no longer be trusted?
    pub(crate) closes: bool,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, title, detail: detail.into(), verdict: None, retry_after: None, closes: false }
    }

    /// The response, with the body made by `body`.
    pub(crate) fn into_response<B>(self, body: impl FnOnce(Bytes) -> B) -> Response<B> {
        let json = serde_json::json!({
            "type": "about:blank",
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "verdict": self.verdict.as_ref().and_then(|value| value.to_str().ok()),
        });
        let mut response = Response::new(body(Bytes::from(json.to_string())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(verdict) = self.verdict {
            headers.insert(crate::headers::VERDICT, verdict);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
