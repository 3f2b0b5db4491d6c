//! Listening, accepting, and ending well.
//!
//! Both listeners are bound before anything else happens, so that a port in use is an error at start and a caller that
//! comes early waits in the accept queue instead of being refused. After the shutdown signal nothing new is accepted;
//! requests in flight run to their end, connections at rest are closed, HTTP/2 callers get GOAWAY. What is left when
//! the drain time is over is cut, and the report says how much that was.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use evergrant::TokenSource;
use evergrant::tls::{Tls, TlsError};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::admin::Admin;
use crate::config::{GatewayConfig, Limits};
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::peer::Peer;
use crate::phase::{Control, Phase, Phases};
use crate::proxy;
use crate::site::{Current, Hub, Site};
use crate::tee::Budget;
use crate::upstream::Sender;
use crate::watched::{Activity, Protocol, Watched, sniff};

/// A gateway that listens and is ready to run.
pub struct Gateway {
    current: Current,
    listener: TcpListener,
    addr: SocketAddr,
    admin: Option<(TcpListener, SocketAddr)>,
}

impl Gateway {
    /// Binds the listeners and prepares the way to the upstream. Sends nothing yet.
    ///
    /// # Errors
    /// [`BindError`] names the address that cannot be listened on, or what is wrong with the TLS set-up.
    pub async fn bind(config: GatewayConfig, source: TokenSource, tls: &Tls) -> Result<Self, BindError> {
        let (listener, addr) = bind(config.listen).await?;
        let admin = match config.admin_listen {
            Some(wanted) => Some(bind(wanted).await?),
            None => None,
        };
        let hub = Hub { budget: Budget::new(config.limits.replay_total_bytes), control: Control::new() };
        let site = Site {
            gate: Gate::of_proxy(Some(addr), &config),
            source,
            sender: Sender::new(&config, tls)?,
            metrics: Arc::new(Metrics::default()),
            hub: Arc::new(hub),
            config,
        };
        Ok(Self { current: Current::new(site), listener, addr, admin })
    }

    /// The address that callers connect to, with the real port.
    #[must_use]
    pub fn gateway_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address of status and metrics, with the real port.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(_, addr)| *addr)
    }

    /// Serves until `shutdown` ends, then drains.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        let Self { current, listener, addr, admin } = self;
        let site = current.get();
        let mut helpers = JoinSet::new();
        if let Some((listener, admin_addr)) = admin {
            let gate = Gate::of_admin(Some(admin_addr), &site.config);
            let admin = Admin::new(current.clone(), gate, addr.to_string());
            helpers.spawn(serve_admin(listener, Arc::new(admin), site.config.limits.clone()));
        }
        tokio::select! {
            () = serve(listener, &current) => {}
            () = shutdown => {}
        }
        drain(&current).await
    }
}

/// How a gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Requests and tunnels that were in flight when the shutdown began.
    pub in_flight: u64,
    /// Requests and tunnels that were cut because the drain time was over.
    pub cut: u64,
    /// How long the drain took.
    pub took: Duration,
}

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error("cannot listen on {0}: the port is in use by another process")]
    InUse(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {cause}")]
    Listen {
        /// The address as configured.
        addr: SocketAddr,
        /// The system's reason.
        cause: io::Error,
    },
    /// The upstream needs TLS and that cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

async fn bind(wanted: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |cause: io::Error| match cause.kind() == io::ErrorKind::AddrInUse {
        true => BindError::InUse(wanted),
        false => BindError::Listen { addr: wanted, cause },
    };
    let listener = TcpListener::bind(wanted).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}

/// Accepts callers, each on a task of its own. Never ends.
async fn serve(listener: TcpListener, current: &Current) {
    let room = Arc::new(Semaphore::new(current.get().config.limits.connections));
    loop {
        // The semaphore is never closed, so the error cannot occur.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let (stream, _) = accept(&listener).await;
        let current = current.clone();
        let phases = current.get().hub.control.watch();
        tokio::spawn(async move {
            let metrics = Arc::clone(&current.get().metrics);
            metrics.connection_opened();
            let peer = Peer::of_tcp(&stream);
            serve_connection(stream, peer, &current, phases).await;
            metrics.connection_closed();
            drop(place);
        });
    }
}

/// The next connection. Running out of descriptors is waited out rather than spun on.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, addr)) => {
                // Without it small answers wait for the caller's acknowledgement; a socket that refuses is dying.
                _ = stream.set_nodelay(true);
                return (stream, addr);
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(mut stream: TcpStream, peer: Peer, current: &Current, mut phases: Phases) {
    // What bounds the connection stays as it was when it began; each request takes the site of its own time.
    let site = current.get();
    let peer = Arc::new(peer);
    let timeouts = &site.config.timeouts;
    let sniffed = tokio::select! {
        sniffed = sniff(&mut stream, timeouts) => sniffed,
        () = phases.draining() => None,
    };
    let Some((protocol, opening)) = sniffed else { return };
    let activity = Activity::new(Arc::clone(&site.metrics));
    let io = TokioIo::new(Watched::new(stream, protocol, opening, Arc::clone(&activity), timeouts));
    let service = service_fn(|request| {
        // In a box, so that a connection at rest does not hold the room of a request.
        let answer = Box::pin(proxy::answer(current.get(), Arc::clone(&peer), activity.begin(), request));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let limits = &site.config.limits;
    match protocol {
        Protocol::Http1 => {
            let connection = http1_builder(limits).serve_connection(io, service).with_upgrades();
            drive(Box::pin(connection), http1::UpgradeableConnection::graceful_shutdown, phases).await;
        }
        Protocol::Http2 => {
            let connection = http2_builder(limits).serve_connection(io, service);
            drive(Box::pin(connection), http2::Connection::graceful_shutdown, phases).await;
        }
    }
}

/// Runs a connection to its end, or to a graceful end once the gateway drains.
async fn drive<C>(mut connection: Pin<Box<C>>, finish: impl FnOnce(Pin<&mut C>), mut phases: Phases)
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    tokio::select! {
        // In this order, so that a request that has arrived is seen before the connection is told to finish.
        biased;
        result = connection.as_mut() => return log_end(result),
        () = phases.draining() => finish(connection.as_mut()),
    }
    tokio::select! {
        biased;
        result = connection => log_end(result),
        () = phases.closed() => {}
    }
}

fn log_end(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a caller's connection ended early");
    }
}

fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_headers(limits.head_fields)
        .max_header_size(limits.head_bytes)
        .max_buf_size(limits.head_bytes.max(MIN_BUFFER) + 1)
        .header_read_timeout(None)
        .auto_date_header(false);
    builder
}

fn http2_builder(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_STREAMS)
        .adaptive_window(true)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .auto_date_header(false);
    builder
}

/// Lets what is in flight finish, and cuts the rest when the time is over.
async fn drain(current: &Current) -> Drained {
    let started = Instant::now();
    let site = current.get();
    let in_flight = site.metrics.in_progress();
    site.hub.control.enter(Phase::Draining);
    let mut cut = 0;
    if timeout(site.config.timeouts.drain, site.hub.control.idle()).await.is_err() {
        cut = site.metrics.in_progress();
        site.hub.control.enter(Phase::Closed);
        // Cutting takes no longer than dropping; the bound is for a task that is stuck.
        _ = timeout(CUT_TIME, site.hub.control.idle()).await;
    }
    let count = |value: i64| u64::try_from(value).unwrap_or(0);
    Drained { in_flight: count(in_flight), cut: count(cut), took: started.elapsed() }
}

/// Answers status and metrics; the tasks of its connections end with it.
async fn serve_admin(listener: TcpListener, admin: Arc<Admin>, limits: Limits) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            (stream, _) = accept(&listener), if connections.len() < ADMIN_CONNECTIONS => {
                let admin = Arc::clone(&admin);
                let builder = admin_builder(&limits);
                connections.spawn(async move {
                    let peer = Peer::of_tcp(&stream);
                    let service = service_fn(|request| {
                        let response = admin.answer(&peer, &request);
                        async move { Ok::<_, Infallible>(response) }
                    });
                    // An error here is a caller that went away.
                    _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn admin_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1_builder(limits);
    builder.timer(TokioTimer::new()).header_read_timeout(ADMIN_PATIENCE);
    builder
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const CUT_TIME: Duration = Duration::from_secs(1);
const ADMIN_CONNECTIONS: usize = 64;
const ADMIN_PATIENCE: Duration = Duration::from_secs(15);
const MAX_STREAMS: u32 = 200;
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// hyper's smallest buffer.
const MIN_BUFFER: usize = 8192;
