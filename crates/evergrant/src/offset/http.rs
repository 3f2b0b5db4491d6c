//! The time that an HTTP server tells: in the `Date` of every answer, or in the body of an endpoint made for it.
//!
//! A `Date` bounds the clock from above only if it was written for this very answer. Each request therefore has a query
//! that nobody has asked before and asks caches to stand aside; an `Age`, a cache's own word that it answered, or a
//! redirect take the upper bound away. A cache that does all this silently shows as a date that stands still.
//!
//! The connection is kept between requests, so that all but the first spend one round trip. What counts as received is
//! the head of an answer; with a millisecond body, its end, because a server may write the head first.
//!
//! Source: RFC 9110 section 6.6.1 (`Date`), RFC 9111 sections 5.1 and 5.2.1.4; RFC 9211 (`Cache-Status`).

use evergrant_core::Secret;
use evergrant_core::offset::{Sample, Source};
use evergrant_core::time::Span;
use evergrant_core::wire::parse_server_date;
use reqwest::header::{AUTHORIZATION, CACHE_CONTROL, HeaderMap, HeaderName, LOCATION};
use reqwest::{Client, Method, Response};

use super::place::{PlaceError, PlaceFailure, PlaceFailureKind, Remark, Told};
use crate::clock;
use crate::tls::Tls;
use crate::transport::{self, AnswerHead, ConnectionFailure, Target, TransportError, TransportOptions};

/// A URL that tells a time.
#[derive(Clone, Debug)]
pub(super) struct HttpPlace {
    source: Source,
    target: Target,
    client: Client,
    options: TransportOptions,
    method: Method,
    token: Option<Secret>,
    nonce: u64,
}

impl HttpPlace {
    pub(super) fn new(
        source: Source,
        name: &'static str,
        url: &str,
        token: Option<Secret>,
        tls: &Tls,
        options: TransportOptions,
    ) -> Result<Self, PlaceError> {
        let target = Target::parse(name, url, options.allow_insecure_http).map_err(TransportError::from)?;
        let client = transport::client(&target, tls, options, 1)?;
        let method = if token.is_some() { Method::GET } else { Method::HEAD };
        Ok(Self { source, target, client, options, method, token, nonce: random() })
    }

    pub(super) fn source(&self) -> Source {
        self.source
    }

    pub(super) fn address(&self) -> String {
        self.target.place()
    }

    /// Asks once; a server that cannot answer HEAD is asked again with GET, now and from now on.
    pub(super) async fn ask(&mut self) -> Result<Told, PlaceFailure> {
        let answered = self.ask_with_method().await;
        let knows_method = match &answered {
            Ok((status, _)) => !matches!(status, 405 | 501),
            Err(failure) => failure.kind != PlaceFailureKind::NoTime,
        };
        if knows_method || self.method == Method::GET {
            return answered.map(|(_, told)| told);
        }
        self.method = Method::GET;
        self.ask_with_method().await.map(|(_, told)| told)
    }

    async fn ask_with_method(&mut self) -> Result<(u16, Told), PlaceFailure> {
        self.nonce = self.nonce.wrapping_add(1);
        let mut url = self.target.url().clone();
        if self.token.is_none() {
            url.query_pairs_mut().append_pair("evergrant-clock", &format!("{:x}", self.nonce));
        }
        let mut request = self.client.request(self.method.clone(), url).timeout(self.options.timeout);
        request = request.header(CACHE_CONTROL, "no-cache");
        if let Some(value) = self.token.as_ref().and_then(transport::bearer) {
            request = request.header(AUTHORIZATION, value);
        }
        let sent = clock::boot();
        let answer = request.send().await;
        let received = clock::boot();
        let response = answer.map_err(|error| self.failure(&error))?;
        let head = AnswerHead::of(&response);
        let remark = self.remark(&head);
        let bounds_above = remark.is_none();
        let sample = |server, resolution, received| Sample { sent, received, server, resolution, bounds_above };
        let sample = if self.token.is_some() {
            let body = self.body(response).await?;
            let date = parse_server_date(&body).filter(|_| head.status == 200);
            let date = date.ok_or_else(|| self.no_millis(head.status))?;
            sample(date.server, date.resolution, clock::boot())
        } else {
            let date = head.date.ok_or_else(|| self.no_date(&head))?;
            // What is left of a short body is read, so that the connection can be used again; a long one costs less
            // to leave than to read.
            drop(transport::read_body(response, BODY_LIMIT).await);
            sample(date, Span::from_secs(1), received)
        };
        Ok((head.status, Told { sample, remark }))
    }

    async fn body(&self, response: Response) -> Result<Vec<u8>, PlaceFailure> {
        let (body, torn) = transport::read_body(response, BODY_LIMIT).await;
        torn.map_or(Ok(body), |error| Err(self.failure(&error)))
    }

    fn failure(&self, error: &reqwest::Error) -> PlaceFailure {
        ConnectionFailure::of(error, &self.target, self.options.timeout).into()
    }

    fn remark(&self, head: &AnswerHead) -> Option<Remark> {
        if head.headers.contains_key(reqwest::header::AGE) || is_cache_hit(&head.headers) {
            return Some(Remark::Cached);
        }
        if !(300..400).contains(&head.status) {
            return None;
        }
        let to = head.headers.get(LOCATION).and_then(|to| self.target.url().join(to.to_str().ok()?).ok());
        let to = to.filter(|to| to.origin() != self.target.url().origin())?;
        Some(Remark::Redirects(to.origin().ascii_serialization()))
    }

    fn no_date(&self, head: &AnswerHead) -> PlaceFailure {
        let what = match head.headers.get(reqwest::header::DATE) {
            Some(_) => "sends a Date that is no date",
            None => "sends no Date",
        };
        let text = format!("{} {what} with its answers (status {})", self.address(), head.status);
        PlaceFailure::new(PlaceFailureKind::NoTime, text)
    }

    fn no_millis(&self, status: u16) -> PlaceFailure {
        let text = match status {
            401 | 403 => {
                format!("{} refuses the token for {} (status {status})", self.address(), self.target.url().path())
            }
            200 => format!("{}{} answers without a date", self.address(), self.target.url().path()),
            _ => format!("{}{} answers with status {status}", self.address(), self.target.url().path()),
        };
        PlaceFailure::new(PlaceFailureKind::NoTime, text)
    }
}

/// Does a cache say that the answer is its own?
fn is_cache_hit(headers: &HeaderMap) -> bool {
    CACHE_FIELDS.iter().any(|name| {
        headers.get_all(name).iter().any(|value| {
            let words = value.to_str().unwrap_or_default().to_ascii_lowercase();
            words
                .split(|c: char| !c.is_ascii_alphanumeric())
                .any(|word| matches!(word, "hit" | "stale" | "revalidated"))
        })
    })
}

/// A number that no earlier request has carried. It hides nothing, so a failing generator may as well give zero.
fn random() -> u64 {
    getrandom::u64().unwrap_or(0)
}

/// Fields in which caches say what they did.
const CACHE_FIELDS: [HeaderName; 4] = [
    HeaderName::from_static("cache-status"),
    HeaderName::from_static("x-cache"),
    HeaderName::from_static("x-cache-status"),
    HeaderName::from_static("cf-cache-status"),
];

const BODY_LIMIT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn caches_say_that_they_answered() {
        let hit = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            is_cache_hit(&headers)
        };
        assert!(hit("x-cache", "Hit from cloudfront") && hit("cf-cache-status", "HIT"));
        assert!(hit("cache-status", "ExampleCache; hit; ttl=376") && hit("x-cache-status", "STALE"));
        assert!(!hit("x-cache", "Miss from cloudfront") && !hit("cf-cache-status", "DYNAMIC"));
        assert!(!hit("cache-status", "ExampleCache; fwd=uri-miss; stored") && !hit("x-other", "HIT"));
    }
}
