//! An HTTP client whose requests carry a token that works.
//!
//! [`Client`] sends [`reqwest`] requests. It puts the source's token in, and takes a refused request through the
//! [`Exchange`](crate::Exchange): sent again where that is safe and useful, else handed out with the verdict that
//! explains it ([`Response::verdict`]).
//!
//! - The token goes to the configured origins only ([`Origins`]); a request elsewhere is refused unsent.
//! - Redirects are not followed: a 3xx is an answer like any other. So is a 5xx: asking again is the caller's business,
//!   since only the caller knows what its request costs.
//! - A 429 says that nothing was executed. If it says when to ask again and that is in time, the client waits and asks
//!   again ([`ClientBuilder::longest_rate_wait`]).
//! - A body in memory is sent again if need be. A stream is sent once; its request travels on a proven token instead.
//! - A request that carries its own `Authorization` passes unchanged.
//!
//! ```no_run
//! # async fn run(source: evergrant::TokenSource) -> Result<(), Box<dyn std::error::Error>> {
//! use evergrant::Client;
//!
//! let client = Client::builder(source).origin("https://api.mypurecloud.ie").build()?;
//! let answer = client.get("/api/v2/organizations/me").send().await?;
//! if let Some(verdict) = answer.verdict() {
//!     eprintln!("{}: {}", verdict.cause.name(), verdict.remedy);
//! }
//! println!("{}", answer.text().await?);
//! # Ok(()) }
//! ```

mod error;
mod request;
mod response;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evergrant_core::time::{Boot, Span};
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, StatusCode};
use reqwest::{Body, Request};
use url::Url;

use crate::clock;
use crate::exchange::RequestTraits;
use crate::origin::{CallerAuth, Origins};
use crate::pages::PagesBuilder;
use crate::replay::{IDEMPOTENCY_KEY, Sends, Unanswered, send_as_it_is, send_with_tokens};
use crate::retry_after::retry_after;
use crate::source::TokenSource;
use crate::tls::{ClientIdentity, Tls};
use crate::transport::{ConnectionFailure, Target, TransportError, TransportOptions, client_builder};

pub use error::{ClientBuildError, ClientError};
pub use request::RequestBuilder;
pub use response::Response;

/// Sends requests with a source's token. Clones share everything.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    source: TokenSource,
    origins: Origins,
    /// One for each origin, since proxies and TLS differ between loopback and the rest.
    clients: Vec<reqwest::Client>,
    timeout: Option<Duration>,
    silence: Duration,
    longest_rate_wait: Duration,
}

impl Client {
    /// Begins to describe a client that sends this source's token.
    #[must_use]
    pub fn builder(source: TokenSource) -> ClientBuilder {
        ClientBuilder {
            source,
            origins: Vec::new(),
            ca_file: None,
            identity: None,
            allow_insecure_http: false,
            timeout: None,
            silence: SILENCE,
            longest_rate_wait: LONGEST_RATE_WAIT,
        }
    }

    /// A GET request.
    pub fn get(&self, url: &str) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A POST request.
    pub fn post(&self, url: &str) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// A request. A `url` that begins with `/` is a path at the first origin.
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method, url)
    }

    /// A collection of many pages: a GET, or a POST that queries or makes a job.
    pub fn pages(&self, method: Method, url: &str) -> PagesBuilder {
        PagesBuilder::new(self.clone(), method, url)
    }

    /// Sends a request and gives the answer that is left when all that helps has been done.
    ///
    /// # Errors
    /// When the request may not go where it wants to, when there is no token, and when no answer comes.
    pub async fn execute(&self, request: Request) -> Result<Response, ClientError> {
        self.send(request, false).await
    }

    /// As [`execute`](Self::execute), of a request that `only_reads` or may do more, if its method does not say.
    async fn send(&self, request: Request, only_reads: bool) -> Result<Response, ClientError> {
        let shared = &*self.shared;
        let at = shared.origins.position(request.url())?;
        let (Some(client), Some(target)) = (shared.clients.get(at), shared.origins.targets().get(at)) else {
            unreachable!("every origin has its client")
        };
        let has_own = match CallerAuth::of(request.headers()) {
            CallerAuth::Absent => false,
            CallerAuth::Own => true,
            CallerAuth::Doubled => return Err(ClientError::TwoAuthorizations),
        };
        let timeout = request.timeout().copied().or(shared.timeout);
        let silence = timeout.unwrap_or(shared.silence);
        let started = clock::boot();
        let deadline = timeout.map(|timeout| started + Span::from_duration(timeout));
        let patience_ends = started + Span::from_duration(shared.longest_rate_wait);
        let wait_ends = deadline.map_or(patience_ends, |deadline| deadline.min(patience_ends));
        let failed = |error: reqwest::Error| ClientError::NoAnswer(ConnectionFailure::of(&error, target, silence));
        let url = request.url().clone();
        let mut request = request;
        loop {
            let own = request.headers().get(AUTHORIZATION).filter(|_| has_own).cloned();
            let sending = Sending::new(client, request, deadline, only_reads);
            let again = sending.again.as_ref().and_then(Request::try_clone).filter(|_| !has_own);
            let exchange = shared.source.exchange(sending.traits());
            let passed = if has_own {
                send_as_it_is(exchange, sending, own).await.map_err(failed)?
            } else {
                send_with_tokens(exchange, sending).await.map_err(|unanswered| match unanswered {
                    Unanswered::Failed(error) => failed(error),
                    Unanswered::NoToken(error, verdict) => ClientError::NoToken { error, verdict },
                })?
            };
            let wait = wait_of_429(&passed.response).filter(|wait| clock::boot() + *wait < wait_ends);
            let (Some(wait), Some(again)) = (wait, again) else {
                return Ok(Response::new(passed, url, target.clone(), silence));
            };
            drop(passed);
            tracing::debug!(%wait, "asked to wait by a 429");
            tokio::time::sleep(wait.to_duration()).await;
            request = again;
        }
    }

    pub(crate) fn resolve(&self, url: &str) -> Result<Url, url::ParseError> {
        match self.shared.origins.targets() {
            [first, ..] if url.starts_with('/') => first.url().join(url),
            _ => Url::parse(url),
        }
    }

    /// A client to build requests with; which one sends them is decided by their origin.
    fn any_http(&self) -> reqwest::Client {
        self.shared.clients.first().cloned().unwrap_or_default()
    }
}

/// One request on its way through its sends.
struct Sending<'a> {
    client: &'a reqwest::Client,
    first: Option<Request>,
    /// A copy without Authorization, if the body can be had again.
    again: Option<Request>,
    method: Method,
    url: Url,
    /// May it be executed twice, whatever its method?
    may_repeat: bool,
    /// When the caller's patience ends.
    deadline: Option<Boot>,
}

impl<'a> Sending<'a> {
    fn new(client: &'a reqwest::Client, request: Request, deadline: Option<Boot>, only_reads: bool) -> Self {
        Self {
            client,
            again: request.try_clone(),
            method: request.method().clone(),
            url: request.url().clone(),
            may_repeat: only_reads || request.headers().contains_key(IDEMPOTENCY_KEY),
            deadline,
            first: Some(request),
        }
    }

    fn traits(&self) -> RequestTraits {
        RequestTraits {
            method: self.method.clone(),
            has_idempotency_key: self.may_repeat,
            is_body_kept: self.again.is_some(),
            deadline: self.deadline,
        }
    }
}

impl Sends for Sending<'_> {
    type Body = Body;
    type Error = reqwest::Error;

    async fn send(&mut self, authorization: Option<&HeaderValue>) -> Result<http::Response<Body>, reqwest::Error> {
        let request = self.first.take().or_else(|| self.again.as_ref().and_then(Request::try_clone));
        let Some(mut request) = request else { unreachable!("only a request with a kept body is sent again") };
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(deadline) = self.deadline {
            *request.timeout_mut() = Some((deadline - clock::boot()).to_duration());
        }
        self.client.execute(request).await.map(Into::into)
    }

    fn can_send_again(&self) -> bool {
        self.again.is_some()
    }

    fn place(&self) -> (&str, &str) {
        (self.url.host_str().unwrap_or_default(), self.url.path())
    }
}

/// Describes a client before it is made.
#[derive(Debug)]
pub struct ClientBuilder {
    source: TokenSource,
    origins: Vec<String>,
    ca_file: Option<PathBuf>,
    identity: Option<ClientIdentity>,
    allow_insecure_http: bool,
    timeout: Option<Duration>,
    silence: Duration,
    longest_rate_wait: Duration,
}

impl ClientBuilder {
    /// One more place that the token may be sent to: the scheme, host and port of this URL. If none is named, it is
    /// the API of the source's profile.
    #[must_use]
    pub fn origin(mut self, url: impl Into<String>) -> Self {
        self.origins.push(url.into());
        self
    }

    /// More certificate authorities, as a PEM file.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// The client's certificate, for an API that asks for one, as where tokens are bound to it (RFC 8705).
    #[must_use]
    pub fn identity(mut self, identity: ClientIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// May the token travel over `http://` beyond loopback?
    #[must_use]
    pub fn allow_insecure_http(mut self, is_allowed: bool) -> Self {
        self.allow_insecure_http = is_allowed;
        self
    }

    /// The longest that one request may take, from waiting for a token to the last byte of the answer, however often it
    /// is sent. A request's own timeout wins. Without it only silence ends a request.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The longest that a server may be silent; 60 seconds if nothing is said.
    #[must_use]
    pub fn longest_silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// The longest that one request waits in all because a 429 asks for it; a minute if nothing is said. With zero a
    /// 429 is an answer like any other. A wait that would end later, or after the request's timeout, is not begun.
    #[must_use]
    pub fn longest_rate_wait(mut self, wait: Duration) -> Self {
        self.longest_rate_wait = wait;
        self
    }

    /// Makes the client. Connects to nothing yet.
    ///
    /// # Errors
    /// When an origin, the CA file or the proxy settings of the environment cannot be used, or no origin is known.
    pub fn build(self) -> Result<Client, ClientBuildError> {
        let named = if self.origins.is_empty() { self.source.api_url().into_iter().collect() } else { self.origins };
        if named.is_empty() {
            return Err(ClientBuildError::NoOrigin);
        }
        let origins = Origins::parse(named, self.allow_insecure_http).map_err(TransportError::from)?;
        let tls = Tls::new(self.ca_file).with_identity(self.identity);
        // A server that cannot be reached is told from one that does not answer.
        let connect = self.timeout.map_or(CONNECT_WITHIN, |timeout| CONNECT_WITHIN.min(timeout / 2));
        let options = TransportOptions { timeout: connect * 2, allow_insecure_http: self.allow_insecure_http };
        let client = |target: &Target| {
            let builder = client_builder(target, &tls, options, usize::MAX)?.read_timeout(self.silence);
            builder.build().map_err(|error| TransportError::client(&error))
        };
        let clients = origins.targets().iter().map(client).collect::<Result<_, _>>()?;
        let shared = Shared {
            source: self.source,
            origins,
            clients,
            timeout: self.timeout,
            silence: self.silence,
            longest_rate_wait: self.longest_rate_wait,
        };
        Ok(Client { shared: Arc::new(shared) })
    }
}

/// The wait that a 429 asks for. `Retry-After: 0` is no invitation to spin.
fn wait_of_429<B>(response: &http::Response<B>) -> Option<Span> {
    let is_429 = response.status() == StatusCode::TOO_MANY_REQUESTS;
    is_429.then(|| retry_after(response.headers()))?.map(|wait| wait.max(SHORTEST_RATE_WAIT))
}

const SHORTEST_RATE_WAIT: Span = Span::from_millis(100);
const LONGEST_RATE_WAIT: Duration = Duration::from_secs(60);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(60);
