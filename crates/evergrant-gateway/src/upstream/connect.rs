//! Opening a connection to the API: name, TCP, a proxy's tunnel where one is configured, TLS.
//!
//! All of it happens within one bound. Which HTTP version the connection speaks is settled by ALPN; without TLS it is
//! HTTP/1.1.

use std::io;
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connection as _, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use evergrant::tls::{Tls, TlsError};

use crate::config::GatewayConfig;
use crate::egress::Egress;

/// An open connection.
pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Why there is no connection.
pub(super) type ConnectError = Box<dyn std::error::Error + Send + Sync>;

/// Opens connections to the upstream, and to nowhere else.
#[derive(Clone)]
pub(super) struct Connector {
    way: Way,
    target: Uri,
    timeout: Duration,
}

#[derive(Clone)]
enum Way {
    Plain(HttpConnector),
    Tls(HttpsConnector<HttpConnector>),
    PlainTunnel(Tunnel<HttpConnector>),
    TlsTunnel(HttpsConnector<Tunnel<HttpConnector>>),
}

impl Connector {
    /// The way to the configured upstream, with HTTP/2 if the server offers it and `http2` allows it.
    pub(super) fn new(config: &GatewayConfig, target: &Uri, tls: &Tls, http2: bool) -> Result<Self, TlsError> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(TCP_KEEPALIVE));
        tcp.enforce_http(false);
        let way = match (&config.egress, config.upstream.is_tls()) {
            (None, false) => Way::Plain(tcp),
            (None, true) => Way::Tls(with_tls(tcp, tls, http2)?),
            (Some(proxy), false) => Way::PlainTunnel(tunnel(tcp, proxy)),
            (Some(proxy), true) => Way::TlsTunnel(with_tls(tunnel(tcp, proxy), tls, http2)?),
        };
        Ok(Self { way, target: target.clone(), timeout: config.timeouts.connect })
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Stream, ConnectError> {
        let (target, mut way) = (self.target.clone(), self.way.clone());
        let connect = async {
            Ok::<_, ConnectError>(match &mut way {
                Way::Plain(tcp) => MaybeHttpsStream::Http(call(tcp, target).await?),
                Way::Tls(tls) => call(tls, target).await?,
                Way::PlainTunnel(tunnel) => MaybeHttpsStream::Http(call(tunnel, target).await?),
                Way::TlsTunnel(tls) => call(tls, target).await?,
            })
        };
        tokio::time::timeout(self.timeout, connect)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))?
    }
}

/// Does the server want to speak HTTP/2?
pub(super) fn speaks_http2(stream: &Stream) -> bool {
    stream.connected().is_negotiated_h2()
}

async fn call<S: Service<Uri>>(service: &mut S, target: Uri) -> Result<S::Response, ConnectError>
where
    S::Error: Into<ConnectError>,
{
    std::future::poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
    service.call(target).await.map_err(Into::into)
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

const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
