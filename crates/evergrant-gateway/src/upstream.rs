//! The connections to the API.
//!
//! A pooling client over TCP or TLS, HTTP/2 where the server offers it by ALPN, else HTTP/1.1. Upgrades need
//! HTTP/1.1, so they have a client of their own. Redirects are answers like any other: they go to the caller.
//!
//! A pooled connection may have died unseen. If no byte of the request was sent, the client takes another connection by
//! itself. If bytes were sent and the connection ends before any answer, the request may have been executed:
//! [`Fault::is_stale_connection`] is true only for a connection that had answered before, and the proxy sends again
//! only what is idempotent (RFC 9110 section 9.2.2), and on a new connection: a server that closes its idle connections
//! closes all of them at about the same time, and the next one from the pool would be as dead. An HTTP/2 server that refuses a stream says that it did nothing
//! with it (RFC 9113 section 8.7).

use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower_service::Service;

use crate::config::GatewayConfig;
use crate::egress::Egress;
use crate::tee::Outbound;
use evergrant::tls::{Tls, TlsError};

/// Sends requests to the API.
pub(crate) struct Sender {
    any: Client<Connector, Outbound>,
    /// Never uses a connection twice.
    unpooled: Client<Connector, Outbound>,
    upgrading: Client<Connector, Outbound>,
}

impl Sender {
    /// Clients for the configured upstream; the TLS set-up is read only if it is needed.
    pub(crate) fn new(config: &GatewayConfig, tls: &Tls) -> Result<Self, TlsError> {
        let any = Connector::new(config, tls, true)?;
        let upgrading = Connector::new(config, tls, false)?;
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_MAX_IDLE)
            .http1_max_headers(RESPONSE_FIELDS)
            .http2_adaptive_window(true)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT);
        let (pooled, upgrading) = (builder.build(any.clone()), builder.build(upgrading));
        Ok(Self { any: pooled, unpooled: builder.pool_max_idle_per_host(0).build(any), upgrading })
    }

    /// Sends one request and waits for the head of its answer.
    pub(crate) async fn send(&self, request: Request<Outbound>, upgrades: bool) -> Result<Response<Incoming>, Fault> {
        Self::answered(if upgrades { &self.upgrading } else { &self.any }, request).await
    }

    /// As [`Sender::send`], on a connection that nothing was sent on before.
    pub(crate) async fn send_anew(
        &self,
        request: Request<Outbound>,
        upgrades: bool,
    ) -> Result<Response<Incoming>, Fault> {
        Self::answered(if upgrades { &self.upgrading } else { &self.unpooled }, request).await
    }

    async fn answered(
        client: &Client<Connector, Outbound>,
        request: Request<Outbound>,
    ) -> Result<Response<Incoming>, Fault> {
        let mut response = client.request(request).await.map_err(Fault)?;
        if let Some(answered) = response.extensions_mut().remove::<Answered>() {
            answered.0.store(true, Ordering::Relaxed);
        }
        Ok(response)
    }
}

/// A request that got no answer.
#[derive(Debug)]
pub(crate) struct Fault(legacy::Error);

/// What went wrong between the gateway and the upstream, as far as it can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Nobody listens there.
    Refused,
    /// No route, or the name has no address.
    Unreachable,
    /// No connection in time.
    TimedOut,
    /// The TLS handshake failed.
    Tls,
    /// The connection ended before the answer.
    Closed,
    /// The answer is not HTTP.
    Invalid,
    /// The caller broke its own request off.
    Caller,
}

impl Fault {
    /// Did a connection that had worked before end without an answer?
    pub(crate) fn is_stale_connection(&self) -> bool {
        self.kind() == FaultKind::Closed && self.connection_had_answered()
    }

    /// Did the server say that it did nothing with this request?
    pub(crate) fn is_refused_stream(&self) -> bool {
        self.find::<h2::Error>().is_some_and(|error| error.reason() == Some(h2::Reason::REFUSED_STREAM))
    }

    pub(crate) fn kind(&self) -> FaultKind {
        if self.find::<rustls::Error>().is_some() {
            return FaultKind::Tls;
        }
        if let Some(error) = self.find::<hyper::Error>() {
            if error.is_user() {
                return FaultKind::Caller;
            }
            if error.is_parse() {
                return FaultKind::Invalid;
            }
        }
        if !self.0.is_connect() {
            return FaultKind::Closed;
        }
        match self.find::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => FaultKind::Refused,
            Some(io::ErrorKind::TimedOut) => FaultKind::TimedOut,
            Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => FaultKind::Closed,
            _ => FaultKind::Unreachable,
        }
    }

    /// The innermost cause in its own words; it holds no part of the request.
    pub(crate) fn detail(&self) -> String {
        let mut cause: &(dyn std::error::Error + 'static) = &self.0;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        cause.to_string()
    }

    fn connection_had_answered(&self) -> bool {
        let Some(connection) = self.0.connect_info() else { return false };
        let mut extensions = http::Extensions::new();
        connection.get_extras(&mut extensions);
        extensions.get::<Answered>().is_some_and(|answered| answered.0.load(Ordering::Relaxed))
    }

    /// The first cause of this type. An `io::Error` hides what it wraps from `source`, so it is opened by hand.
    fn find<T: std::error::Error + 'static>(&self) -> Option<&T> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = self.0.source();
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref::<T>() {
                return Some(found);
            }
            cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(wrapped) => Some(wrapped),
                None => error.source(),
            };
        }
        None
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed out",
            Self::Tls => "TLS failed",
            Self::Closed => "closed the connection before it answered",
            Self::Invalid => "answered with something that is not HTTP",
            Self::Caller => "request was broken off by its caller",
        })
    }
}

/// Opens connections within a bound and marks them, so that a dead one can be told from a new one.
#[derive(Clone)]
pub(crate) struct Connector {
    kind: ConnectorKind,
    timeout: Duration,
}

#[derive(Clone)]
enum ConnectorKind {
    Plain(HttpConnector),
    Tls(HttpsConnector<HttpConnector>),
    PlainTunnel(Tunnel<HttpConnector>),
    TlsTunnel(HttpsConnector<Tunnel<HttpConnector>>),
}

impl Connector {
    fn new(config: &GatewayConfig, tls: &Tls, http2: bool) -> Result<Self, TlsError> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEPALIVE));
        tcp.enforce_http(false);
        let kind = match (&config.egress, config.upstream.is_tls()) {
            (None, false) => ConnectorKind::Plain(tcp),
            (None, true) => ConnectorKind::Tls(with_tls(tcp, tls, http2)?),
            (Some(proxy), false) => ConnectorKind::PlainTunnel(tunnel(tcp, proxy)),
            (Some(proxy), true) => ConnectorKind::TlsTunnel(with_tls(tunnel(tcp, proxy), tls, http2)?),
        };
        Ok(Self { kind, timeout: config.timeouts.connect })
    }
}

fn with_tls<C>(connector: C, tls: &Tls, http2: bool) -> Result<HttpsConnector<C>, TlsError> {
    let config = rustls::ClientConfig::clone(&*tls.client_config()?);
    let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1();
    Ok(if http2 { builder.enable_http2().wrap_connector(connector) } else { builder.wrap_connector(connector) })
}

fn tunnel(tcp: HttpConnector, proxy: &Egress) -> Tunnel<HttpConnector> {
    let tunnel = Tunnel::new(proxy.uri(), tcp);
    match proxy.credentials() {
        Some(credentials) => tunnel.with_auth(credentials),
        None => tunnel,
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match &mut self.kind {
            ConnectorKind::Plain(tcp) => tcp.poll_ready(cx).map_err(Into::into),
            ConnectorKind::Tls(tls) => tls.poll_ready(cx),
            ConnectorKind::PlainTunnel(tunnel) => tunnel.poll_ready(cx).map_err(Into::into),
            ConnectorKind::TlsTunnel(tls) => tls.poll_ready(cx),
        }
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let timeout = self.timeout;
        let mut kind = self.kind.clone();
        Box::pin(async move {
            let connect = async {
                Ok::<_, Self::Error>(match &mut kind {
                    ConnectorKind::Plain(tcp) => MaybeHttpsStream::Http(tcp.call(target).await?),
                    ConnectorKind::Tls(tls) => tls.call(target).await?,
                    ConnectorKind::PlainTunnel(tunnel) => MaybeHttpsStream::Http(tunnel.call(target).await?),
                    ConnectorKind::TlsTunnel(tls) => tls.call(target).await?,
                })
            };
            let stream = tokio::time::timeout(timeout, connect)
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))??;
            Ok(Stream { stream, answered: Answered::default() })
        })
    }
}

/// Has this connection brought an answer yet?
#[derive(Clone, Default)]
struct Answered(Arc<AtomicBool>);

/// A connection to the upstream.
pub(crate) struct Stream {
    stream: MaybeHttpsStream<TokioIo<TcpStream>>,
    answered: Answered,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.answered.clone());
        if self.stream.connected().is_negotiated_h2() { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

/// Below the 60 s after which common load balancers close an idle connection, so that we close it first.
const POOL_IDLE: Duration = Duration::from_secs(50);
const POOL_MAX_IDLE: usize = 256;
const RESPONSE_FIELDS: usize = 256;
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
