//! An upstream that is a function, a gateway before it, and callers.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use evergrant::core::profile::Profile;
use evergrant::tls::Tls;
use evergrant::{Credential, TokenSource};
use evergrant_gateway::{Drained, Gateway, GatewayConfig, Upstream};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub(crate) type Body = BoxBody<Bytes, hyper::Error>;
pub(crate) type Caller = Client<HttpConnector, Body>;

/// How long anything may take before a test gives up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Fails the test instead of hanging.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what} did not happen in time"))
}

/// What the upstream got, attempt by attempt.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Seen>>>);

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Log {
    pub(crate) fn all(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Reads a request to its end, notes it, and says which attempt it is, from 1.
    pub(crate) async fn note<B>(&self, request: Request<B>) -> usize
    where
        B: hyper::body::Body<Error: std::fmt::Debug>,
    {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned();
        let head = format!("{} {}", parts.method, parts.uri);
        let mut log = self.0.lock().unwrap();
        log.push(Seen { head, headers: parts.headers, body: body.to_bytes(), trailers });
        log.len()
    }
}

/// A server on loopback whose every answer is made by a function.
pub(crate) struct TestUpstream {
    pub(crate) addr: SocketAddr,
    task: JoinHandle<()>,
}

impl TestUpstream {
    pub(crate) async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, answer.clone()));
            }
        });
        Self { addr, task }
    }

    /// A server with TLS on this address that offers these protocols. Its certificate is for 127.0.0.1 only.
    pub(crate) async fn start_tls<F, A>(host: &str, protocols: &[&str], answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let (addr, mut accepted, accepting) = tls_listener(host, protocols).await;
        let task = tokio::spawn(async move {
            let _accepting = accepting;
            let mut connections = JoinSet::new();
            while let Some(stream) = accepted.recv().await {
                connections.spawn(serve(stream, answer.clone()));
            }
        });
        Self { addr, task }
    }
}

/// Connections with TLS as they come in, as long as the set of tasks lives.
pub(crate) async fn tls_listener(
    host: &str,
    protocols: &[&str],
) -> (SocketAddr, mpsc::UnboundedReceiver<TlsStream<TcpStream>>, JoinSet<()>) {
    let listener = TcpListener::bind((host, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server_config(protocols)));
    let (accepted, streams) = mpsc::unbounded_channel();
    let mut accepting = JoinSet::new();
    accepting.spawn(async move {
        let mut handshakes = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
            handshakes.spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    // Nobody to take it: the test is over.
                    _ = accepted.send(stream);
                }
            });
        }
    });
    (addr, streams, accepting)
}

async fn serve<S, F, A>(stream: S, answer: F)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().max_headers(300);
    _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

/// A certificate for `localhost` and 127.0.0.1 from a test authority whose key is gone (see `tls/README.md`).
fn server_config(protocols: &[&str]) -> rustls::ServerConfig {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// Trusts the test authority beside the platform's.
pub(crate) fn test_tls() -> Arc<Tls> {
    Arc::new(Tls::new(Some(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tls/ca.pem").into())))
}

impl Drop for TestUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A running gateway.
pub(crate) struct TestGateway {
    pub(crate) addr: SocketAddr,
    pub(crate) admin: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Drained>,
}

impl TestGateway {
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        Self::with(upstream, |_| {}).await
    }

    pub(crate) async fn with(upstream: SocketAddr, adjust: impl FnOnce(&mut GatewayConfig)) -> Self {
        Self::with_source(upstream, source().await, adjust).await
    }

    pub(crate) async fn with_source(
        upstream: SocketAddr,
        source: TokenSource,
        adjust: impl FnOnce(&mut GatewayConfig),
    ) -> Self {
        let mut config = GatewayConfig::new(Upstream::parse(&format!("http://{upstream}")).unwrap());
        config.take_free_ports();
        adjust(&mut config);
        Self::bind(config, source, test_tls()).await
    }

    /// A gateway that trusts other authorities than the test's.
    pub(crate) async fn trusting(tls: Arc<Tls>, adjust: impl FnOnce(&mut GatewayConfig)) -> Self {
        let mut config = GatewayConfig::new(Upstream::parse("http://127.0.0.1:1").unwrap());
        config.take_free_ports();
        adjust(&mut config);
        Self::bind(config, source().await, tls).await
    }

    /// A gateway with this configuration and tokens from there.
    pub(crate) async fn bind(config: GatewayConfig, source: TokenSource, tls: Arc<Tls>) -> Self {
        Self::run(Gateway::bind(config, source, tls).await.unwrap())
    }

    /// A gateway that is bound already.
    pub(crate) fn run(gateway: Gateway) -> Self {
        let (addr, admin) = (gateway.gateway_addr(), gateway.admin_listeners()[0].tcp().unwrap());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { _ = stopped.await };
        Self { addr, admin, stop: Some(stop), task: tokio::spawn(gateway.run(shutdown)) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Reads a page of the admin listener until it is as wanted.
    pub(crate) async fn until(&self, what: &str, page: &str, is_wanted: impl Fn(&str) -> bool) {
        let url = format!("http://{}{page}", self.admin);
        let seen = async {
            loop {
                let text = get(url.clone()).await.1;
                if is_wanted(&String::from_utf8_lossy(&text)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon(what, seen).await;
    }

    /// Asks the gateway to end.
    pub(crate) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            _ = stop.send(());
        }
    }

    /// Waits for the end.
    pub(crate) async fn ended(mut self) -> Drained {
        self.stop();
        soon("the end of the gateway", &mut self.task).await.unwrap()
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A source whose provider gives the tokens `token-1-of-the-test`, `token-2-of-the-test` and so on.
pub(crate) async fn source() -> TokenSource {
    source_of(Profile::oauth2(), "client-s3cr3t").await
}

/// The same with what is known about a provider, and with another secret.
pub(crate) async fn source_of(mut profile: Profile, secret: &str) -> TokenSource {
    // Probes go nowhere.
    profile.api_url = None;
    probing_source_of(profile, secret).await
}

/// The same, whose probes go where the profile says.
pub(crate) async fn probing_source_of(mut profile: Profile, secret: &str) -> TokenSource {
    let minted = Arc::new(AtomicU32::new(0));
    let provider = TestUpstream::start(move |_| {
        let count = minted.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            answer(
                200,
                format!(r#"{{"access_token":"token-{count}-of-the-test","token_type":"Bearer","expires_in":3600}}"#),
            )
        }
    })
    .await;
    profile.token_url = Some(format!("http://{}/token", provider.addr));
    // The provider lives as long as the runtime of its test.
    std::mem::forget(provider);
    let credential = Credential::client_credentials("id", secret.into());
    TokenSource::builder(profile, credential).build().unwrap()
}

/// A source whose provider is there.
pub(crate) fn source_at(provider: SocketAddr) -> TokenSource {
    let mut profile = Profile::oauth2();
    profile.token_url = Some(format!("http://{provider}/token"));
    let credential = Credential::client_credentials("id", "client-s3cr3t".into());
    TokenSource::builder(profile, credential).build().unwrap()
}

/// A caller with HTTP/1.1.
pub(crate) fn caller() -> Caller {
    Client::builder(TokioExecutor::new()).build_http()
}

/// A caller with HTTP/2 by prior knowledge.
pub(crate) fn h2_caller() -> Caller {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder().status(status).body(full(body)).unwrap()
}

/// A 401 of the kind that RFC 6750 describes.
pub(crate) fn unauthorized(body: impl Into<Bytes>) -> Response<Body> {
    Response::builder()
        .status(StatusCode::UNAUTHORIZED)
        .header("www-authenticate", "Bearer error=\"invalid_token\"")
        .header("x-kept", "yes")
        .body(full(body))
        .unwrap()
}

/// A body that is sent frame by frame as the test says.
pub(crate) fn by_hand() -> (mpsc::UnboundedSender<Frame<Bytes>>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, ByHand(receiver).boxed())
}

struct ByHand(mpsc::UnboundedReceiver<Frame<Bytes>>);

impl hyper::body::Body for ByHand {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// Asserts that a body ends here, without another byte.
pub(crate) async fn assert_ends(body: &mut Incoming) {
    let rest = soon("the end", body.collect()).await.expect("a clean end");
    assert_eq!(rest.to_bytes(), "");
}

pub(crate) fn data(bytes: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(bytes.as_bytes()))
}

/// Sends a request and reads the whole answer.
pub(crate) async fn fetch(caller: &Caller, request: Request<Body>) -> (Response<()>, Bytes) {
    let response = soon("an answer", caller.request(request)).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = soon("the end of the answer", body.collect()).await.unwrap().to_bytes();
    (Response::from_parts(parts, ()), body)
}

pub(crate) async fn get(url: String) -> (Response<()>, Bytes) {
    fetch(&caller(), Request::get(url).body(full("")).unwrap()).await
}

/// Sends raw bytes and reads until the other side closes.
pub(crate) async fn raw(addr: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes.as_ref()).await.unwrap();
    let mut text = Vec::new();
    // A reset after the answer is a way to close as well.
    _ = soon("the close of the connection", stream.read_to_end(&mut text)).await;
    String::from_utf8_lossy(&text).into_owned()
}
