//! Takes one request through all its sends, as the library's exchange says.

use bytes::Bytes;
use evergrant::core::keeper::AcquireError;
use evergrant::core::time::{Boot, Span};
use evergrant::core::verdict::Verdict;
use evergrant::tls::Tls;
use evergrant::{Answer, RequestTraits, Ruling, TokenSource, clock};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use crate::exit;
use crate::failure::Failure;
use crate::launch;
use crate::settings::resolve::Settings;
use crate::settings::values;

/// What the exchange wants to see of a refusal's body.
const PREFIX_BYTES: usize = 16 << 10;
/// A `Retry-After: 0` is no invitation to spin.
const SHORTEST_WAIT: Span = Span::from_millis(100);

/// A request that can be sent again.
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// An answer, and what its refusal means.
pub(super) struct Incoming {
    response: reqwest::Response,
    prefix: Bytes,
    pub(super) verdict: Option<Box<Verdict>>,
}

/// Sends requests to the upstream.
pub(super) struct Sender {
    http: reqwest::Client,
}

impl Sender {
    /// A client with everything off that would act on its own.
    pub(super) fn new(settings: &Settings) -> Result<Self, Failure> {
        let tls = launch::http(settings).tls();
        let upstream = settings.upstream()?;
        let is_plain = upstream.scheme() == "http" && values::is_loopback(upstream);
        let config =
            if is_plain { Tls::untrusting_config() } else { tls.client_config().map(|config| (*config).clone()) };
        let config = config
            .map_err(|error| Failure::new(exit::CONFIG, "cannot set TLS up").because(&error).hint(error.hint()))?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("evergrant/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .tls_backend_preconfigured(config)
            .connect_timeout(settings.timing.timeout.scaled(1, 2).to_duration());
        if values::is_loopback(upstream) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| {
            Failure::new(exit::CONFIG, "cannot set the HTTP client up").because(error).hint("check HTTPS_PROXY")
        })?;
        Ok(Self { http })
    }

    /// Sends the request until an answer is left that waiting does not change.
    pub(super) async fn send(
        &self,
        source: &TokenSource,
        outgoing: &Outgoing,
        settings: &Settings,
    ) -> Result<Incoming, Failure> {
        let deadline = clock::boot() + settings.timing.timeout;
        loop {
            let incoming = self.send_until_passed(source, outgoing, settings, deadline).await?;
            let is_429 = incoming.status() == StatusCode::TOO_MANY_REQUESTS;
            let wait = if is_429 { evergrant::retry_after(incoming.headers()) } else { None };
            let wait = wait.map(|wait| wait.max(SHORTEST_WAIT));
            let Some(wait) = wait.filter(|wait| clock::boot() + *wait < deadline) else { return Ok(incoming) };
            drop(incoming);
            tracing::info!(%wait, "the API wants fewer requests, asking again later");
            tokio::time::sleep(wait.to_duration()).await;
        }
    }

    /// Sends the request until the exchange passes an answer on.
    async fn send_until_passed(
        &self,
        source: &TokenSource,
        outgoing: &Outgoing,
        settings: &Settings,
        deadline: Boot,
    ) -> Result<Incoming, Failure> {
        let mut exchange = source.exchange(RequestTraits {
            method: outgoing.method.clone(),
            has_idempotency_key: outgoing.headers.contains_key("idempotency-key"),
            is_body_kept: true,
            deadline: Some(deadline),
        });
        let no_token = |error: &AcquireError| launch::acquire_failure(error, settings);
        let mut token = exchange.begin().await.map_err(|error| no_token(&error))?;
        loop {
            let request = self
                .http
                .request(outgoing.method.clone(), outgoing.url.clone())
                .headers(outgoing.headers.clone())
                .header(AUTHORIZATION, token.authorization().clone())
                .body(outgoing.body.clone());
            let mut response = request.send().await.map_err(|error| unreachable(&error, &outgoing.url))?;
            let received = clock::boot();
            let prefix = prefix(&mut response).await;
            let answer = Answer {
                status: response.status(),
                headers: response.headers(),
                body_prefix: &prefix,
                received,
                host: outgoing.url.host_str().unwrap_or_default(),
                path: outgoing.url.path(),
                can_send_again: true,
            };
            match exchange.judge(answer).await {
                Ruling::Pass(verdict) => return Ok(Incoming { response, prefix, verdict }),
                Ruling::Replay(next) => token = next,
                Ruling::NoToken(error, _verdict) => return Err(no_token(&error)),
            }
        }
    }
}

impl Incoming {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next part of the body.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        if !self.prefix.is_empty() {
            return Ok(Some(std::mem::take(&mut self.prefix)));
        }
        let url = self.response.url().clone();
        self.response.chunk().await.map_err(|error| lost(&error, &url))
    }

    /// The whole body, if it is not longer than `limit`.
    pub(super) async fn collect(mut self, limit: usize) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > limit {
                return Err(Failure::new(exit::FAILED, "the answer is too large for --json")
                    .because(format!("it has more than {limit} bytes"))
                    .hint("leave --json out: the body is then printed as it comes"));
            }
        }
        Ok(body)
    }

    /// The beginning of the body, as far as it arrives.
    pub(super) async fn collect_some(mut self, limit: usize) -> Vec<u8> {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = self.chunk().await
            && body.len() < limit
        {
            body.extend_from_slice(&chunk);
        }
        body.truncate(limit);
        body
    }
}

/// The beginning of a refusal's body; other bodies are left to stream.
async fn prefix(response: &mut reqwest::Response) -> Bytes {
    let mut prefix = Vec::new();
    if matches!(response.status().as_u16(), 401 | 403 | 407 | 429) {
        while prefix.len() < PREFIX_BYTES
            && let Ok(Some(chunk)) = response.chunk().await
        {
            prefix.extend_from_slice(&chunk);
        }
    }
    prefix.into()
}

fn unreachable(error: &reqwest::Error, url: &Url) -> Failure {
    let place = place(url);
    let cause = innermost(error);
    let (what, cause) = if error.is_connect() && cause.contains("refused") {
        ("the API cannot be reached", format!("connection refused by {place}"))
    } else if error.is_connect() {
        ("the API cannot be reached", format!("{place} is unreachable: {cause}"))
    } else {
        (
            "the API did not answer",
            format!("the connection to {place} was lost: {cause}; the request may have been executed"),
        )
    };
    Failure::new(exit::UNREACHABLE, what)
        .at(values::shown(url))
        .because(cause)
        .hint("check the upstream or region, the network, and HTTPS_PROXY")
}

fn lost(error: &reqwest::Error, url: &Url) -> Failure {
    Failure::new(exit::UNREACHABLE, "the answer is not complete")
        .at(values::shown(url))
        .because(format!("the connection to {} was lost: {}", place(url), innermost(error)))
        .hint("what was printed is only a part; send the request again if it may be sent twice")
}

fn place(url: &Url) -> String {
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or_default())
}

/// The last and most exact error of a chain, in one line.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        last = error.to_string();
        source = error.source();
    }
    last.replace(['\n', '\r'], " ")
}
