//! Small requests to the API that change nothing: to prove a token, or to read the server's clock.

use std::fmt;
use std::time::Duration;

use evergrant_core::Secret;
use evergrant_core::time::Boot;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Method};

use super::{AnswerHead, ConnectionFailure, Target, TransportError, TransportOptions, client, read_body};
use crate::clock;
use crate::tls::Tls;

/// An API host that probes can be sent to.
#[derive(Clone, Debug)]
pub struct ApiProbe {
    target: Target,
    client: Client,
    timeout: Duration,
}

impl ApiProbe {
    /// Prepares probes of the API at `url`. Sends nothing yet.
    ///
    /// # Errors
    /// When the URL may not be used or TLS cannot be set up.
    pub fn new(url: &str, tls: &Tls, options: TransportOptions) -> Result<Self, TransportError> {
        let target = Target::parse("API URL", url, options.allow_insecure_http)?;
        let client = client(&target, tls, options, 1)?;
        Ok(Self { target, client, timeout: options.timeout })
    }

    /// Where probes go.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Sends one request for `path` below the API's URL, with the token if one is given. `method` is HEAD or GET.
    pub async fn send(&self, method: Method, path: &str, token: Option<&Secret>) -> ProbeExchange {
        let mut builder = self.client.request(method, self.url(path)).timeout(self.timeout);
        if let Some(value) = token.and_then(bearer) {
            builder = builder.header(AUTHORIZATION, value);
        }
        let sent = clock::boot();
        let answer = builder.send().await;
        let received = clock::boot();
        let result = match answer {
            Ok(response) => {
                let head = AnswerHead::of(&response);
                // What a probe is for stands in the head; a torn body is as good as none.
                let (body, _) = read_body(response, BODY_LIMIT).await;
                Ok(ProbeAnswer { head, body })
            }
            Err(error) => Err(ConnectionFailure::of(&error, &self.target, self.timeout)),
        };
        ProbeExchange { sent, received, result }
    }

    /// `path`, query included, below the path of the API's URL. Never another host, whatever the path looks like.
    fn url(&self, path: &str) -> url::Url {
        let mut url = self.target.url().clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{}", path.trim_start_matches('/')));
        url.set_query(query);
        url
    }
}

/// One probe and what came of it.
#[derive(Clone, Debug)]
pub struct ProbeExchange {
    /// Just before the request was handed over for sending.
    pub sent: Boot,
    /// When the head of the answer was there, or the failure was known.
    pub received: Boot,
    /// The answer, whatever its status, or why there is none.
    pub result: Result<ProbeAnswer, ConnectionFailure>,
}

/// The answer to a probe.
#[derive(Clone)]
pub struct ProbeAnswer {
    /// Its status, clock and header fields.
    pub head: AnswerHead,
    /// The first bytes of its body.
    pub body: Vec<u8>,
}

impl fmt::Debug for ProbeAnswer {
    /// Without the body, which may be anybody's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeAnswer").field("head", &self.head).field("body_bytes", &self.body.len()).finish()
    }
}

/// The header field's value for a token, marked so that nobody prints it.
pub(crate) fn bearer(token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

const BODY_LIMIT: usize = 64 * 1024;
