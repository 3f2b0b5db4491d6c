//! Nothing is lost: every request is answered with 200 and executed once, whatever happens to the gateway meanwhile.
//!
//! Callers send one request after the other, as fast as they are answered: GETs, POSTs with a body, and GETs whose
//! answer comes in pieces. Each request has a number. The upstream counts how often it executed each; at the end every
//! number has been answered once and executed once.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use evergrant_sim::SimServer;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep};

use crate::served::{Files, Served, command};
use crate::service::activated;
use crate::support::provider;

/// How often each request was executed.
type Executed = Arc<Mutex<BTreeMap<u64, u32>>>;

/// An API that counts.
async fn upstream(executed: &Executed) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let executed = Arc::clone(executed);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let executed = Arc::clone(&executed);
            tokio::spawn(async move {
                let service = hyper::service::service_fn(|request| execute(request, Arc::clone(&executed)));
                let builder = auto::Builder::new(TokioExecutor::new());
                // An error is a connection that the gateway has closed.
                _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    addr
}

async fn execute(request: Request<Incoming>, executed: Executed) -> Result<Response<Pieces>, hyper::Error> {
    assert!(request.headers()[AUTHORIZATION].to_str().unwrap().starts_with("Bearer "));
    let number = request.uri().query().unwrap_or_default().parse().unwrap();
    let (streams, posts) = (request.uri().path() == "/stream", request.method() == Method::POST);
    let body = request.into_body().collect().await?.to_bytes();
    *executed.lock().unwrap().entry(number).or_default() += 1;
    let rest = if posts { body } else { Bytes::from(format!("answer {number}")) };
    let size = if streams { 4 } else { rest.len() };
    Ok(Response::new(Pieces { rest, size, next: Box::pin(sleep(Duration::ZERO)) }))
}

/// A body that comes in pieces, with pauses between them.
struct Pieces {
    rest: Bytes,
    size: usize,
    next: Pin<Box<Sleep>>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        ready!(self.next.as_mut().poll(cx));
        self.next.as_mut().reset(Instant::now() + PAUSE);
        let size = self.size.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let whole = self.size == self.rest.len();
        if whole { SizeHint::with_exact(self.rest.len() as u64) } else { SizeHint::default() }
    }
}

/// Callers that call until they are told to stop.
struct Load {
    executed: Executed,
    enough: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    callers: JoinSet<Result<Vec<u64>, String>>,
}

impl Load {
    fn start(addr: SocketAddr, executed: &Executed) -> Self {
        let (enough, answered, numbers) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::default());
        let mut callers = JoinSet::new();
        for kind in [Kind::Get, Kind::Post, Kind::Stream].into_iter().cycle().take(CALLERS) {
            let caller = Caller { addr, kind, enough: Arc::clone(&enough), answered: Arc::clone(&answered) };
            callers.spawn(caller.call(Arc::clone(&numbers)));
        }
        Self { executed: Arc::clone(executed), enough, answered, callers }
    }

    /// Waits until so many more requests have been answered, or a caller has failed.
    async fn go_on(&mut self, requests: u64) {
        let target = self.answered.load(Ordering::Relaxed) + requests;
        let started = Instant::now();
        while self.answered.load(Ordering::Relaxed) < target {
            if let Some(ended) = self.callers.try_join_next() {
                panic!("{:?}", ended.unwrap());
            }
            assert!(started.elapsed() < Duration::from_secs(60), "the callers are not answered");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the load. Every request was answered, and executed once.
    async fn end(self) -> usize {
        self.enough.store(true, Ordering::Relaxed);
        let mut numbers: Vec<u64> = Vec::new();
        for answered in self.callers.join_all().await {
            numbers.extend(answered.unwrap());
        }
        numbers.sort_unstable();
        let executed = self.executed.lock().unwrap();
        let more: Vec<_> = executed.iter().filter(|(_, times)| **times != 1).collect();
        assert!(more.is_empty(), "executed more than once: {more:?}");
        assert_eq!(executed.keys().copied().collect::<Vec<_>>(), numbers);
        numbers.len()
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Get,
    Post,
    Stream,
}

struct Caller {
    addr: SocketAddr,
    kind: Kind,
    enough: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

impl Caller {
    /// Sends one request after the other, on a new connection where the last one ended; the numbers of the answered ones.
    async fn call(self, numbers: Arc<AtomicU64>) -> Result<Vec<u64>, String> {
        let mut answered = Vec::new();
        loop {
            let stream = TcpStream::connect(self.addr).await.map_err(|error| format!("connect: {error}"))?;
            let mut connection = Connection { stream, host: self.addr, buffer: Vec::new() };
            loop {
                if self.enough.load(Ordering::Relaxed) {
                    return Ok(answered);
                }
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let sent = answered.len();
                let is_over = connection.request(self.kind, number).await;
                let is_over = is_over.map_err(|error| format!("request {number} after {sent} others: {error}"))?;
                answered.push(number);
                self.answered.fetch_add(1, Ordering::Relaxed);
                if is_over {
                    break;
                }
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    host: SocketAddr,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends a request and reads its answer, which must be the right one; is the connection to be closed?
    async fn request(&mut self, kind: Kind, number: u64) -> Result<bool, String> {
        let (line, sent) = match kind {
            Kind::Get => ("GET /get", String::new()),
            Kind::Post => ("POST /post", format!("body of {number}, {}", "x".repeat(2_000))),
            Kind::Stream => ("GET /stream", String::new()),
        };
        let (length, host) = (sent.len(), self.host);
        let head = format!("{line}?{number} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n");
        self.stream.write_all((head + &sent).as_bytes()).await.map_err(|error| error.to_string())?;
        let head = self.read_past(b"\r\n\r\n").await?.to_ascii_lowercase();
        if !head.starts_with("http/1.1 200") {
            return Err(head);
        }
        let field = |name: &str| head.split(&format!("\r\n{name}: ")).nth(1).and_then(|rest| rest.split("\r\n").next());
        let body = match field("content-length") {
            Some(length) => self.read(length.parse().unwrap()).await?,
            None => self.read_chunks().await?,
        };
        let expected = if length > 0 { sent } else { format!("answer {number}") };
        if body != expected.as_bytes() {
            return Err(format!("another body: {}", String::from_utf8_lossy(&body)));
        }
        Ok(field("connection") == Some("close"))
    }

    async fn read_chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let line = self.read_past(b"\r\n").await?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(|_| format!("a chunk of size `{line}`"))?;
            let chunk = self.read(size + 2).await?;
            body.extend(&chunk[..size]);
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn read_past(&mut self, end: &[u8]) -> Result<String, String> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Ok(String::from_utf8_lossy(&self.read(at + end.len()).await?).into_owned());
            }
            self.fill().await?;
        }
    }

    async fn read(&mut self, length: usize) -> Result<Vec<u8>, String> {
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn fill(&mut self) -> Result<(), String> {
        let read = tokio::time::timeout(Duration::from_secs(30), self.stream.read_buf(&mut self.buffer)).await;
        match read.map_err(|_| "no answer")?.map_err(|error| error.to_string())? {
            0 => Err(format!("closed after {:?}", String::from_utf8_lossy(&self.buffer))),
            _ => Ok(()),
        }
    }
}

/// A provider, two upstreams that count together, and the settings of a gateway in front of them.
struct Scene {
    provider: SimServer,
    files: Files,
    executed: Executed,
    upstreams: [String; 2],
}

impl Scene {
    async fn new() -> Self {
        let executed = Executed::default();
        let upstreams = [upstream(&executed).await, upstream(&executed).await].map(|addr| format!("http://{addr}"));
        Self { provider: provider(), files: Files::new(), executed, upstreams }
    }

    /// Writes the settings of a profile on `addr` in front of one of the upstreams; `more` is added.
    fn settings(&self, addr: SocketAddr, upstream: usize, more: &str) -> String {
        let profile = Files::profile("a", &self.provider, &self.upstreams[upstream]);
        let profile = profile.replace("\"127.0.0.1:0\"", &format!("[\"{addr}\"{more}]"));
        self.files.write(&(self.files.head() + &profile))
    }

    fn token_requests(&self) -> u64 {
        self.provider.handle().ledger().token.requests
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_good_and_bad_lose_no_request() {
    let scene = Scene::new().await;
    let addr = free_address();
    let config = scene.settings(addr, 0, "");
    let mut command = command(&scene.files.folder, &config);
    command.args(["--profile", "a"]);
    let served = Served::start(command);
    let mut load = Load::start(addr, &scene.executed);
    load.go_on(100).await;
    for round in 1..=10 {
        // Another upstream each time, a second listener every other time.
        scene.settings(addr, round % 2, if round % 2 == 0 { "" } else { ", \"127.0.0.1:0\"" });
        tokio::task::block_in_place(|| served.reload());
        load.go_on(50).await;
        if round % 3 == 0 {
            scene.files.write("[profile.a]\nnonsense = 1\n");
            tokio::task::block_in_place(|| served.reload());
            load.go_on(50).await;
        }
    }
    let requests = load.end().await;
    assert!(requests > 700, "{requests}");
    let reloads = served.status()["reloads"].clone();
    assert!(reloads["accepted"].as_u64() >= Some(10) && reloads["rejected"].as_u64() >= Some(3), "{reloads}");
    assert_eq!(scene.token_requests(), 1);
    assert_eq!(served.end().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_on_a_socket_of_the_service_manager_lose_no_request() {
    let scene = Scene::new().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    let config = scene.settings(addr, 0, "");
    let mut command = command(&scene.files.folder, &config);
    command.args(["--profile", "a"]);
    let start = || Served::start(activated(&command, "gateway", socket.try_clone().unwrap().into(), None));
    let mut served = tokio::task::block_in_place(start);
    let mut load = Load::start(addr, &scene.executed);
    for overlap in [false, true, false, true] {
        load.go_on(150).await;
        // A manager starts the next one when the last one has ended; a deployment by hand may start it before.
        served = tokio::task::block_in_place(|| {
            if overlap {
                let next = start();
                assert_eq!(served.end().code(), Some(0));
                next
            } else {
                assert_eq!(served.end().code(), Some(0));
                start()
            }
        });
    }
    load.go_on(150).await;
    let requests = load.end().await;
    assert!(requests > 700, "{requests}");
    assert_eq!(scene.token_requests(), 5, "one for each start");
    assert_eq!(served.end().code(), Some(0));
}

const CALLERS: usize = 24;
const PAUSE: Duration = Duration::from_millis(5);
