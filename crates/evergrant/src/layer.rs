//! A tower layer that gives requests a token that works.
//!
//! [`TokenLayer`] wraps any client-side service of [`http`] requests, such as a hyper or reqwest stack or a gRPC
//! channel, and treats each request as [`Client`](crate::Client) does: the source's token goes in, a refused request is
//! sent again where that is safe and useful, and what is passed on carries its [`Verdict`] as an extension.
//!
//! A request whose body clones into a body that can be read from its beginning (a `Full`, an `Empty`) is sent again with
//! that clone; a type that is [`Clone`] and shares a stream does not fit. The token goes to the named origins only. A
//! request without an authority in its target is let through: its service is connected to one server already.
//!
//! A service may be called only when it said that it is ready, and readiness belongs to the value that said it. So the
//! ready one is taken into the future and a clone takes its place; a replay waits until it is ready again.
//!
//! ```no_run
//! # fn stack<S>(source: evergrant::TokenSource, http: S) -> Result<(), Box<dyn std::error::Error>> {
//! use evergrant::{Origins, TokenLayer};
//! use tower_layer::Layer;
//!
//! let layer = TokenLayer::new(source, Origins::parse(["https://api.mypurecloud.ie"], false)?);
//! let service = layer.layer(http);
//! # Ok(()) }
//! ```

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use evergrant_core::keeper::AcquireError;
use evergrant_core::verdict::Verdict;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::exchange::RequestTraits;
use crate::origin::{CallerAuth, ForeignOrigin, Origins};
use crate::peeked::Peeked;
use crate::replay::{IDEMPOTENCY_KEY, Passed, Sends, Unanswered, send_as_it_is, send_with_tokens};
use crate::source::TokenSource;

/// Wraps services so that their requests carry a token that works.
#[derive(Clone, Debug)]
pub struct TokenLayer {
    source: TokenSource,
    origins: Origins,
}

impl TokenLayer {
    /// A layer that sends this source's token to these origins.
    #[must_use]
    pub fn new(source: TokenSource, origins: Origins) -> Self {
        Self { source, origins }
    }
}

impl<S> Layer<S> for TokenLayer {
    type Service = TokenService<S>;

    fn layer(&self, inner: S) -> TokenService<S> {
        TokenService { source: self.source.clone(), origins: self.origins.clone(), inner }
    }
}

/// A service whose requests carry a token that works.
#[derive(Clone, Debug)]
pub struct TokenService<S> {
    source: TokenSource,
    origins: Origins,
    inner: S,
}

/// Why a request got no answer. A refusal is an answer.
#[derive(Debug, thiserror::Error)]
pub enum LayerError<E> {
    /// The request was to go where the token may not go. It was not sent.
    #[error(transparent)]
    ForeignOrigin(#[from] ForeignOrigin),
    /// The caller set more than one Authorization field. The request was not sent.
    #[error("the request carries more than one Authorization field")]
    TwoAuthorizations,
    /// There is no token, so the request was not sent, or was refused because its token had ended.
    #[error("{error}")]
    NoToken {
        /// Why there is none.
        error: AcquireError,
        /// What that means and what to do.
        verdict: Box<Verdict>,
    },
    /// The service failed.
    #[error("{0}")]
    Service(E),
}

impl<S, B, R> Service<Request<B>> for TokenService<S>
where
    S: Service<Request<B>, Response = Response<R>, Future: Send> + Clone + Send + 'static,
    S::Error: Send,
    B: Clone + Send + 'static,
    R: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    type Response = Response<Peeked<R>>;
    type Error = LayerError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(LayerError::Service)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let next = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, next);
        let (source, origins) = (self.source.clone(), self.origins.clone());
        Box::pin(async move { answer(&source, &origins, ready, request).await })
    }
}

async fn answer<S, B, R>(
    source: &TokenSource,
    origins: &Origins,
    ready: S,
    request: Request<B>,
) -> Result<Response<Peeked<R>>, LayerError<S::Error>>
where
    S: Service<Request<B>, Response = Response<R>, Future: Send> + Send,
    S::Error: Send,
    B: Clone + Send,
    R: Body<Data = Bytes, Error: Send> + Send + Unpin,
{
    origins.check(request.uri())?;
    let has_own = match CallerAuth::of(request.headers()) {
        CallerAuth::Absent => false,
        CallerAuth::Own => true,
        CallerAuth::Doubled => return Err(LayerError::TwoAuthorizations),
    };
    let exchange = source.exchange(RequestTraits {
        method: request.method().clone(),
        has_idempotency_key: request.headers().contains_key(IDEMPOTENCY_KEY),
        is_body_kept: true,
        deadline: None,
    });
    let own = request.headers().get(AUTHORIZATION).filter(|_| has_own).cloned();
    let sending = Sending { service: ready, request, is_ready: true };
    let passed = if has_own {
        send_as_it_is(exchange, sending, own).await.map_err(LayerError::Service)?
    } else {
        send_with_tokens(exchange, sending).await.map_err(|unanswered| match unanswered {
            Unanswered::Failed(error) => LayerError::Service(error),
            Unanswered::NoToken(error, verdict) => LayerError::NoToken { error, verdict },
        })?
    };
    let Passed { mut response, verdict } = passed;
    if let Some(verdict) = verdict {
        response.extensions_mut().insert(verdict);
    }
    Ok(response)
}

/// One request and the service that sends it.
struct Sending<S, B> {
    service: S,
    request: Request<B>,
    /// Has the service said that it is ready for the next call?
    is_ready: bool,
}

impl<S, B, R> Sends for Sending<S, B>
where
    S: Service<Request<B>, Response = Response<R>, Future: Send> + Send,
    S::Error: Send,
    B: Clone + Send,
    R: Body<Data = Bytes, Error: Send> + Send + Unpin,
{
    type Body = R;
    type Error = S::Error;

    fn send(
        &mut self,
        authorization: Option<&HeaderValue>,
    ) -> impl Future<Output = Result<Response<R>, S::Error>> + Send {
        let mut request = self.request.clone();
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        async move {
            if !std::mem::take(&mut self.is_ready) {
                poll_fn(|cx| self.service.poll_ready(cx)).await?;
            }
            self.service.call(request).await
        }
    }

    fn can_send_again(&self) -> bool {
        true
    }

    fn place(&self) -> (&str, &str) {
        let host = self.request.uri().host();
        let named = || self.request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        (host.unwrap_or_else(named), self.request.uri().path())
    }
}
