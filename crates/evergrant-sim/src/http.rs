//! The provider on a real loopback socket.
//!
//! [`SimServer`] runs on a thread of its own, so that a busy test or a blocked runtime does not slow the opponent down,
//! and ends when dropped. It speaks HTTP/1.1 and HTTP/2 with prior knowledge. Token endpoint and API share one socket,
//! or have one each ([`SimServer::start_split`]) with one provider behind both.
//!
//! Three things need care on a real socket. `Date` is written by the provider; hyper's own is off, because its cache
//! freezes when the clock steps back. A reset really resets: the socket is closed with a zero linger time, so that the
//! client reads ECONNRESET (on HTTP/2 it is the stream). A torn answer is flushed before the connection ends.
//!
//! This is the only module of the crate that reads a clock or has a runtime.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use evergrant_core::secret::Secret;
use evergrant_core::time::{Boot, Now, Server, Span, Wall};
use http::header::{HOST, HeaderValue};
use http::{Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustix::time::{ClockId, clock_gettime};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::config::ProviderConfig;
use crate::faults::{At, Event};
use crate::ledger::Ledger;
use crate::provider::{Answer, Listener, Payload, Provider, Request};
use crate::scenario::Scenario;

mod body;

use body::SimBody;

/// A running provider. It stops when dropped.
pub struct SimServer {
    login: SocketAddr,
    api: SocketAddr,
    handle: SimHandle,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl SimServer {
    /// Starts a provider whose token endpoint and API share one socket on a free loopback port.
    ///
    /// # Errors
    /// If no socket can be bound or no thread started.
    pub fn start(config: ProviderConfig) -> io::Result<Self> {
        let socket = bind()?;
        Self::run(config, vec![(Listener::Both, socket)])
    }

    /// Starts a provider with one socket for the token endpoint and one for the API.
    ///
    /// # Errors
    /// If no socket can be bound or no thread started.
    pub fn start_split(config: ProviderConfig) -> io::Result<Self> {
        let (login, api) = (bind()?, bind()?);
        Self::run(config, vec![(Listener::Login, login), (Listener::Api, api)])
    }

    /// Starts a scenario's provider. Its events wait for [`SimHandle::play`].
    ///
    /// # Errors
    /// If no socket can be bound or no thread started.
    pub fn start_scenario(scenario: &Scenario) -> io::Result<Self> {
        Self::start(scenario.config.clone())
    }

    /// The API's address; the token endpoint's too, unless split.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.api
    }

    /// The API's base URL without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// The token endpoint's URL.
    #[must_use]
    pub fn token_url(&self) -> String {
        format!("http://{}{}", self.login, self.handle.lock().config.token_path)
    }

    /// A handle to look into the provider and to change it.
    #[must_use]
    pub fn handle(&self) -> SimHandle {
        self.handle.clone()
    }

    /// Closes all sockets and ends the thread.
    pub fn stop(self) {
        drop(self);
    }

    fn run(config: ProviderConfig, sockets: Vec<(Listener, std::net::TcpListener)>) -> io::Result<Self> {
        let handle = SimHandle { provider: Arc::new(Mutex::new(Provider::new(config, now()))) };
        let mut addresses = Vec::new();
        for (_, socket) in &sockets {
            addresses.push(socket.local_addr()?);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let served = handle.clone();
        let thread = std::thread::Builder::new().name("evergrant-sim".to_owned()).spawn(move || {
            runtime.block_on(async move {
                for (listener, socket) in sockets {
                    // A socket that cannot be registered refuses its clients, which their tests will report.
                    if let Ok(socket) = TcpListener::from_std(socket) {
                        tokio::spawn(accept(served.clone(), listener, socket));
                    }
                }
                // Nothing is ever sent: the channel closes when the server is dropped.
                let _closed = stopped.await;
            });
        })?;
        let api = addresses.last().copied().ok_or(io::ErrorKind::InvalidInput)?;
        let login = addresses.first().copied().unwrap_or(api);
        Ok(Self { login, api, handle, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for SimServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by it.
            let _ended = thread.join();
        }
    }
}

/// A cheap handle to a running provider.
#[derive(Clone)]
pub struct SimHandle {
    provider: Arc<Mutex<Provider>>,
}

impl SimHandle {
    /// Looks into the provider, or changes it, now.
    pub fn with<T>(&self, act: impl FnOnce(&mut Provider, Boot) -> T) -> T {
        let mut provider = self.lock();
        let now = now().boot;
        provider.advance(now);
        act(&mut provider, now)
    }

    /// A copy of the ledger.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.with(|provider, _| provider.ledger().clone())
    }

    /// Applies an event now.
    pub fn apply(&self, event: Event) {
        self.with(|provider, now| provider.apply(event, now));
    }

    /// Plays a schedule that starts now.
    pub fn play(&self, events: impl IntoIterator<Item = At>) {
        self.with(|provider, now| provider.schedule(events, now));
    }

    /// What the issuer's clock shows now, and the boot clock at the same moment.
    #[must_use]
    pub fn issuer_clock(&self) -> (Server, Boot) {
        self.with(|provider, now| (provider.issuer_clock(now), now))
    }

    /// Every secret the provider knows or gave out, for tests that search outputs for them.
    #[must_use]
    pub fn secrets(&self) -> Vec<Secret> {
        self.with(|provider, _| provider.secrets())
    }

    fn lock(&self) -> MutexGuard<'_, Provider> {
        // A test that panicked while looking must not hide its message behind a second panic.
        self.provider.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both local clocks. The provider's calendar starts from the wall clock and then follows the boot clock.
fn now() -> Now {
    let nanos = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
    };
    Now { boot: Boot::from_nanos(nanos(BOOT_CLOCK)), wall: Wall::from_nanos(nanos(ClockId::Realtime)) }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT_CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT_CLOCK: ClockId = ClockId::Monotonic;

fn bind() -> io::Result<std::net::TcpListener> {
    let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

async fn accept(handle: SimHandle, listener: Listener, socket: TcpListener) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve_connection(handle.clone(), listener, stream));
            }
            // Out of descriptors: wait for a client to close one.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve_connection(handle: SimHandle, listener: Listener, stream: TcpStream) {
    let (Ok(()), Ok(socket)) = (stream.set_nodelay(true), stream.as_fd().try_clone_to_owned()) else {
        return;
    };
    let reset = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| serve(handle.clone(), listener, Arc::clone(&reset), request));
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().auto_date_header(false);
    server.http2().auto_date_header(false);
    // The error is the client's going away or our own reset; both are meant.
    let _ended = server.serve_connection(TokioIo::new(stream), service).await;
    if reset.load(Ordering::Relaxed) {
        // Closing the last descriptor of a socket with zero linger sends RST. If that fails, the client sees an end.
        let _best_effort = rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
    }
}

/// The connection is to be reset.
#[derive(Debug)]
struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the simulated provider resets this connection")
    }
}

impl std::error::Error for Reset {}

async fn serve(
    handle: SimHandle,
    listener: Listener,
    reset: Arc<AtomicBool>,
    request: http::Request<Incoming>,
) -> Result<Response<SimBody>, Reset> {
    let (mut head, body) = request.into_parts();
    if let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        // HTTP/2 names the host in its own way (RFC 9113 section 8.3.1).
        head.headers.insert(HOST, host);
    }
    let mut request = Request {
        listener,
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or("").to_owned(),
        headers: head.headers,
        body: Bytes::new(),
    };
    if !body.is_end_stream()
        && let Some(reply) = handle.with(|provider, now| provider.refuse_early(&request, now))
        && let Answer::Response(response) = reply.answer
    {
        // The client is still sending; reading on keeps its answer from being lost to a reset.
        tokio::spawn(Limited::new(body, MAX_BODY).collect());
        return Ok(response.map(SimBody::whole));
    }
    let flight = TokenFlight::of(&handle, &request);
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => request.body = body.to_bytes(),
        Err(_) => return Ok(too_large()),
    }
    let reply = handle.with(|provider, now| provider.handle(&request, now));
    if reply.delay > Span::ZERO {
        tokio::time::sleep(reply.delay.to_duration()).await;
    }
    // A client that has its answer may ask again before this task is done with the socket.
    drop(flight);
    match reply.answer {
        Answer::Response(response) => Ok(response.map(SimBody::whole)),
        Answer::Torn { response, keep } => Ok(SimBody::torn(response, keep)),
        Answer::Reset { .. } => {
            reset.store(head.version != Version::HTTP_2, Ordering::Relaxed);
            Err(Reset)
        }
    }
}

/// Counts a token request as in flight while it lives.
struct TokenFlight(SimHandle);

impl TokenFlight {
    fn of(handle: &SimHandle, request: &Request) -> Option<Self> {
        let mut provider = handle.lock();
        let is_token = request.listener != Listener::Api && request.path == provider.config.token_path;
        is_token.then(|| {
            provider.ledger_mut().token.enter();
            Self(handle.clone())
        })
    }
}

impl Drop for TokenFlight {
    fn drop(&mut self) {
        self.0.lock().ledger_mut().token.leave();
    }
}

fn too_large() -> Response<SimBody> {
    let mut response = Response::new(SimBody::whole(Payload::Bytes(Bytes::new())));
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    response
}

/// The largest request body the provider reads.
const MAX_BODY: usize = 256 * 1024 * 1024;

#[cfg(test)]
mod tests;
