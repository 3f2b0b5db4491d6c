//! HTTP to the token endpoint and, for probes, to the API.
//!
//! A token request is not like other requests: it may spend a refresh token that cannot be spent twice. So the
//! transport is built to know what happened to it:
//!
//! - Nothing is done twice behind our back: no redirects (they would carry the secret elsewhere), no retries, and a new
//!   connection for every token request, so that a connection which the peer has just closed cannot blur whether the
//!   request was sent.
//! - Connecting has its own, shorter limit. Whatever fails before the connection stands was never sent.
//! - Both ends of the exchange are stamped on the boot clock: just before the request is handed over and when the head
//!   of the answer is there. The lifetime of the token and the clock samples hang on these two.
//! - Failures are told apart by what can be done about them and name host and port, never the secret.
//!
//! Plain `http://` is refused beyond loopback unless it was allowed, once, at construction. Loopback is never reached
//! through a proxy; everything else uses `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` as other clients do.
//!
//! Source: RFC 6749 sections 3.2 and 10.9 (TLS is required), RFC 9110 section 15.4 (redirects).

mod discovery;
mod failure;
mod probe;
mod target;
mod token_endpoint;

use std::fmt;
use std::time::Duration;

use evergrant_core::time::{Server, Span};
use evergrant_core::wire::{parse_age, parse_http_date};
use reqwest::header::{AGE, DATE, HeaderMap, HeaderName};
use reqwest::{Client, ClientBuilder, Response};

pub use discovery::{DiscoverError, discover};
pub(crate) use failure::innermost;
pub use failure::{ConnectionFailure, ConnectionFailureKind};
pub(crate) use probe::bearer;
pub use probe::{ApiProbe, ProbeAnswer, ProbeExchange};
pub use target::{Target, TargetError};
pub(crate) use token_endpoint::Posted;
pub use token_endpoint::{TokenEndpoint, TokenExchange};

use crate::tls::{Tls, TlsError};

/// How requests are sent.
#[derive(Clone, Copy, Debug)]
pub struct TransportOptions {
    /// The longest that one try may take, from connecting to the last byte.
    pub timeout: Duration,
    /// May secrets travel over `http://` beyond loopback?
    pub allow_insecure_http: bool,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), allow_insecure_http: false }
    }
}

/// Why no client could be made for a URL.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The URL cannot be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HTTP client refused its settings, such as a proxy from the environment.
    #[error("HTTP set-up: {0}")]
    Client(String),
}

impl TransportError {
    pub(crate) fn client(error: &reqwest::Error) -> Self {
        Self::Client(innermost(error))
    }
}

/// What the head of an answer tells about it and about the sender's clock.
#[derive(Clone)]
pub struct AnswerHead {
    /// The HTTP status.
    pub status: u16,
    /// The server's `Date`, if it is one.
    pub date: Option<Server>,
    /// How long a cache had kept the answer; any value means that `date` is old.
    pub age: Option<Span>,
    /// All header fields.
    pub headers: HeaderMap,
}

impl AnswerHead {
    pub(crate) fn of(response: &Response) -> Self {
        let text = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
        Self {
            status: response.status().as_u16(),
            date: text(DATE).and_then(parse_http_date),
            age: text(AGE).and_then(parse_age),
            headers: response.headers().clone(),
        }
    }
}

impl fmt::Debug for AnswerHead {
    /// Without the values of the fields: a cookie is a secret too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerHead")
            .field("status", &self.status)
            .field("date", &self.date)
            .field("age", &self.age)
            .finish_non_exhaustive()
    }
}

/// A client for one target, with everything off that would act on its own, and at most `idle` connections kept.
pub(crate) fn client(
    target: &Target,
    tls: &Tls,
    options: TransportOptions,
    idle: usize,
) -> Result<Client, TransportError> {
    client_builder(target, tls, options, idle)?.build().map_err(|error| TransportError::client(&error))
}

/// As [`client`], for more settings.
pub(crate) fn client_builder(
    target: &Target,
    tls: &Tls,
    options: TransportOptions,
    idle: usize,
) -> Result<ClientBuilder, TransportError> {
    let mut builder = Client::builder()
        .user_agent(concat!("evergrant/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .pool_max_idle_per_host(idle)
        // Shorter than the whole, so that a server which cannot be reached is told from one that does not answer.
        .connect_timeout(options.timeout / 2);
    // A TLS set-up reads the host's certificates; plain loopback will never ask for one.
    let tls_config = if target.is_loopback() && !target.is_tls() {
        Tls::untrusting_config()?
    } else {
        (*tls.client_config()?).clone()
    };
    builder = builder.tls_backend_preconfigured(tls_config);
    if target.is_loopback() {
        builder = builder.no_proxy();
    }
    Ok(builder)
}

/// Reads a body up to `limit` bytes and one more, which tells that there was more.
///
/// On failure what was read so far is returned beside the error.
pub(crate) async fn read_body(mut response: Response, limit: usize) -> (Vec<u8>, Option<reqwest::Error>) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = (limit + 1).saturating_sub(body.len());
                body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                if body.len() > limit {
                    return (body, None);
                }
            }
            Ok(None) => return (body, None),
            Err(error) => return (body, Some(error)),
        }
    }
}

#[cfg(test)]
mod tests;
