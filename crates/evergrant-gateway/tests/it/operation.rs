//! Several sites, reloads, limits, and ends that nobody notices.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evergrant::TokenSource;
use evergrant::tls::Tls;
use evergrant_gateway::{
    Address, Drained, Gateway, GatewayConfig, Handle, Inherited, InheritedSocket, SitePlan, Upstream,
};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::support::*;

/// Gateways of several sites and what their plans are made of.
struct Sites {
    source: TokenSource,
    tls: Arc<Tls>,
}

impl Sites {
    async fn new() -> Self {
        Self { source: source().await, tls: test_tls() }
    }

    /// A site on these addresses in front of this upstream.
    fn plan(&self, name: &str, listen: &[Address], upstream: SocketAddr) -> SitePlan {
        let mut config = GatewayConfig::new(Upstream::parse(&format!("http://{upstream}")).unwrap());
        config.take_free_ports();
        config.listen = listen.to_vec();
        config.allowed_hosts = vec!["gateway.test".to_owned()];
        SitePlan { name: name.to_owned(), config, source: self.source.clone(), tls: Arc::clone(&self.tls) }
    }
}

struct RunningGateway {
    listeners: BTreeMap<String, Vec<Address>>,
    admin: SocketAddr,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Drained>,
}

impl RunningGateway {
    async fn start(plans: Vec<SitePlan>) -> Self {
        Self::start_on(plans, Inherited::default()).await
    }

    async fn start_on(plans: Vec<SitePlan>, inherited: Inherited) -> Self {
        let gateway = Gateway::bind_sites(plans, inherited).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        Self {
            listeners: gateway.listeners().into_iter().collect(),
            admin: gateway.admin_listeners()[0].tcp().unwrap(),
            handle: gateway.handle(),
            stop: Some(stop),
            task: tokio::spawn(gateway.run(async { _ = stopped.await })),
        }
    }

    fn tcp(&self, site: &str) -> SocketAddr {
        self.listeners[site].iter().find_map(Address::tcp).unwrap()
    }

    async fn get(&self, site: &str) -> String {
        let (response, body) = get(format!("http://{}/", self.tcp(site))).await;
        format!("{} {}", response.status().as_u16(), String::from_utf8_lossy(&body))
    }

    async fn status(&self) -> serde_json::Value {
        serde_json::from_slice(&get(format!("http://{}/status", self.admin)).await.1).unwrap()
    }

    async fn end(mut self) -> Drained {
        _ = self.stop.take().unwrap().send(());
        soon("the end of the gateway", &mut self.task).await.unwrap()
    }
}

impl Drop for RunningGateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn upstream(says: &'static str) -> TestUpstream {
    TestUpstream::start(move |_| async move { answer(200, says) }).await
}

const FREE: Address = Address::loopback(0);

#[tokio::test]
async fn each_site_has_its_own_upstream_and_counts() {
    let (sites, a, b) = (Sites::new().await, upstream("a").await, upstream("b").await);
    let plans = vec![sites.plan("a", &[FREE, FREE], a.addr), sites.plan("b", &[FREE], b.addr)];
    let gateway = RunningGateway::start(plans).await;
    assert_eq!((gateway.get("a").await.as_str(), gateway.get("b").await.as_str()), ("200 a", "200 b"));
    let second = gateway.listeners["a"][1].tcp().unwrap();
    assert_eq!(get(format!("http://{second}/")).await.1, "a");
    let status = gateway.status().await;
    let of = |at: usize| (&status["listeners"][at]["profile"], &status["listeners"][at]["gateway"]["answers"]["2xx"]);
    assert_eq!(of(0), (&"a".into(), &2.into()));
    assert_eq!(of(1), (&"b".into(), &1.into()));
}

#[tokio::test]
async fn a_unix_socket_serves_whatever_the_host_is_called() {
    let (sites, up, folder) = (Sites::new().await, upstream("up").await, tempfile::tempdir().unwrap());
    let path = folder.path().join("gateway.sock");
    let gateway = RunningGateway::start(vec![sites.plan("a", &[Address::Unix(path.clone())], up.addr)]).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: any.name\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    soon("the answer", stream.read_to_string(&mut text)).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("up"), "{text}");
    gateway.end().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_reload_changes_settings_and_leaves_connections_and_counts() {
    let (sites, a, b) = (Sites::new().await, upstream("a").await, upstream("b").await);
    let gateway = RunningGateway::start(vec![sites.plan("x", &[FREE], a.addr)]).await;
    let mut caller = Caller::connect(gateway.tcp("x")).await.unwrap();
    assert_eq!(caller.get().await.unwrap(), "a");
    gateway.handle.reload(vec![sites.plan("x", &[FREE], b.addr)]).await.unwrap();
    assert_eq!(caller.get().await.unwrap(), "b");
    let status = gateway.status().await;
    assert_eq!(status["listeners"][0]["gateway"]["answers"]["2xx"], 2);
    assert_eq!(status["listeners"][0]["gateway"]["connections"], 1);
}

#[tokio::test]
async fn a_reload_adds_removes_and_moves_listeners() {
    let (sites, a, b) = (Sites::new().await, upstream("a").await, upstream("b").await);
    let gateway = RunningGateway::start(vec![sites.plan("old", &[FREE], a.addr)]).await;
    let addr = gateway.tcp("old");
    // The address of `old` as a fixed one: another entrance of the same site would be in the way, so it is taken over.
    let fixed = Address::Tcp(addr);
    let refused = gateway.handle.reload(vec![sites.plan("new", std::slice::from_ref(&fixed), b.addr)]).await;
    assert!(refused.unwrap_err().to_string().contains("in use"), "a free port that was asked for is another address");
    assert_eq!(gateway.get("old").await, "200 a");
    gateway.end().await;

    let gateway = RunningGateway::start(vec![sites.plan("old", std::slice::from_ref(&fixed), a.addr)]).await;
    gateway.handle.reload(vec![sites.plan("new", &[fixed.clone(), FREE], b.addr)]).await.unwrap();
    assert_eq!(gateway.get("old").await, "200 b");
    let status = gateway.status().await;
    assert_eq!(status["listeners"][0]["profile"], "new");
    assert_eq!(status["listeners"][0]["listen"][0], fixed.to_string());
    gateway.handle.reload(vec![sites.plan("new", &[FREE], b.addr)]).await.unwrap();
    soon("the removed listener to close", async {
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_reload_that_cannot_listen_changes_nothing() {
    let (sites, a, b) = (Sites::new().await, upstream("a").await, upstream("b").await);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = RunningGateway::start(vec![sites.plan("x", &[FREE], a.addr)]).await;
    let plans =
        vec![sites.plan("x", &[FREE], b.addr), sites.plan("y", &[FREE, taken.local_addr().unwrap().into()], b.addr)];
    gateway.handle.reload(plans).await.unwrap_err();
    assert_eq!(gateway.get("x").await, "200 a");
    assert_eq!(gateway.status().await["listeners"].as_array().unwrap().len(), 1);
    gateway.handle.reload(Vec::new()).await.unwrap_err();
}

#[tokio::test]
async fn callers_beyond_the_limit_are_told_after_a_moment() {
    let (sites, up) = (Sites::new().await, upstream("up").await);
    let mut plan = sites.plan("x", &[FREE], up.addr);
    plan.config.limits.connections = 1;
    let gateway = RunningGateway::start(vec![plan]).await;
    let mut first = Caller::connect(gateway.tcp("x")).await.unwrap();
    first.get().await.unwrap();
    for _ in 0..3 {
        let text = raw(gateway.tcp("x"), "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 503") && text.contains("retry-after: 1\r\n"), "{text}");
        assert!(text.ends_with('}'), "{text}");
    }
    first.get().await.unwrap();
    drop(first);
    // A caller that comes in the moment of the limit is served once there is room.
    soon("room", async { while gateway.get("x").await != "200 up" {} }).await;
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_at_once() {
    let (hold, held) = tokio::sync::watch::channel(true);
    let up = TestUpstream::start(move |_| {
        let mut held = held.clone();
        async move {
            _ = held.wait_for(|held| !*held).await;
            answer(200, "late")
        }
    })
    .await;
    let sites = Sites::new().await;
    let mut plan = sites.plan("x", &[FREE], up.addr);
    plan.config.limits.requests_in_flight = 1;
    let gateway = RunningGateway::start(vec![plan]).await;
    let url = format!("http://{}/", gateway.tcp("x"));
    let first = tokio::spawn(get(url.clone()));
    soon("the first request", async { while gateway.status().await["listeners"][0]["gateway"]["in_flight"] != 1 {} })
        .await;
    let (response, _) = get(url.clone()).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    hold.send_replace(false);
    assert_eq!(soon("the first answer", first).await.unwrap().1, "late");
}

#[tokio::test]
async fn only_so_many_requests_wait_for_a_token() {
    let (open, opened) = tokio::sync::watch::channel(false);
    let provider = TestUpstream::start(move |_| {
        let mut opened = opened.clone();
        async move {
            _ = opened.wait_for(|opened| *opened).await;
            answer(200, r#"{"access_token":"late-token","token_type":"Bearer","expires_in":3600}"#)
        }
    })
    .await;
    let up = upstream("up").await;
    let sites = Sites { source: source_at(provider.addr), tls: test_tls() };
    let mut plan = sites.plan("x", &[FREE], up.addr);
    plan.config.limits.waiting = 2;
    let gateway = RunningGateway::start(vec![plan]).await;
    let url = format!("http://{}/", gateway.tcp("x"));
    let waiting: Vec<_> = (0..2).map(|_| tokio::spawn(get(url.clone()))).collect();
    soon("two requests that wait", async {
        while gateway.status().await["listeners"][0]["gateway"]["in_flight"] != 2 {}
    })
    .await;
    soon("a refusal", async {
        let (response, body) = get(url.clone()).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{body:?}");
        assert!(response.headers().contains_key("retry-after"));
    })
    .await;
    open.send_replace(true);
    for request in waiting {
        assert_eq!(soon("an answer", request).await.unwrap().1, "up");
    }
}

/// Reloads that change everything there is, under load, and an end under load: every request gets its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_and_the_drain_lose_no_request() {
    let (sites, a, b) = (Sites::new().await, upstream("a").await, upstream("b").await);
    let folder = tempfile::tempdir().unwrap();
    let socket = Address::Unix(folder.path().join("gateway.sock"));
    let gateway = RunningGateway::start(vec![
        sites.plan("one", &[FREE, socket.clone()], a.addr),
        sites.plan("two", &[FREE], b.addr),
    ])
    .await;
    let stopping = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for at in 0..24 {
        let target = match at % 3 {
            0 => Address::Tcp(gateway.tcp("one")),
            1 => Address::Tcp(gateway.tcp("two")),
            _ => socket.clone(),
        };
        load.spawn(call(target, Until::Refused(Arc::clone(&stopping))));
    }
    for round in 0..20 {
        let (first, second) = if round % 2 == 0 { (&b, &a) } else { (&a, &b) };
        let mut plans =
            vec![sites.plan("one", &[FREE, socket.clone()], first.addr), sites.plan("two", &[FREE], second.addr)];
        plans[0].config.limits.head_fields = 100 + round;
        if round % 3 == 0 {
            plans.push(sites.plan("three", &[FREE], a.addr));
        }
        gateway.handle.reload(plans).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stopping.store(true, Ordering::Relaxed);
    let drained = gateway.end().await;
    let mut answered = 0;
    for result in load.join_all().await {
        answered += result.unwrap();
    }
    assert_eq!(drained.cut, 0);
    assert!(answered > 500, "{answered}");
}

/// A gateway that ends lets go of a socket that was handed to it: whoever comes meanwhile is served by the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_on_the_same_socket_serves_whoever_comes_meanwhile() {
    let (sites, a) = (Sites::new().await, upstream("a").await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let listen = [Address::Tcp(tcp.local_addr().unwrap()), Address::Unix(path.clone())];
    let start = async || {
        let sockets =
            [InheritedSocket::Tcp(tcp.try_clone().unwrap()), InheritedSocket::Unix(unix.try_clone().unwrap())];
        RunningGateway::start_on(vec![sites.plan("x", &listen, a.addr)], Inherited::new(sockets).unwrap()).await
    };
    let mut gateway = start().await;
    let stopping = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for at in 0..16 {
        load.spawn(call(listen[at % 2].clone(), Until::Told(Arc::clone(&stopping))));
    }
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(gateway.end().await.cut, 0);
        gateway = start().await;
    }
    assert!(path.exists(), "the file of a socket belongs to whoever made it");
    stopping.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for result in load.join_all().await {
        answered += result.unwrap();
    }
    assert!(answered > 200, "{answered}");
    gateway.end().await;
}

/// When a caller has called enough.
enum Until {
    /// When this is set.
    Told(Arc<AtomicBool>),
    /// When nobody listens any more, which is no failure once this is set.
    Refused(Arc<AtomicBool>),
}

/// Sends one request after the other, on a new connection where the last one ended.
async fn call(target: Address, until: Until) -> Result<u32, String> {
    let mut answered = 0;
    loop {
        let connected = match &target {
            Address::Tcp(addr) => Caller::connect(*addr).await,
            Address::Unix(path) => UnixStream::connect(path).await.map(Caller::of),
        };
        let mut caller = match (connected, &until) {
            (Ok(caller), _) => caller,
            (Err(_), Until::Refused(is_fine)) if is_fine.load(Ordering::Relaxed) => return Ok(answered),
            (Err(error), _) => return Err(format!("{target}: {error} after {answered} answers")),
        };
        while !caller.is_over {
            caller.get().await.map_err(|error| format!("{target}: {error} after {answered} answers"))?;
            answered += 1;
            if matches!(&until, Until::Told(enough) if enough.load(Ordering::Relaxed)) {
                return Ok(answered);
            }
        }
    }
}

/// A caller that keeps its connection and believes what answers say about it.
struct Caller {
    stream: Box<dyn Stream>,
    is_over: bool,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Caller {
    async fn connect(addr: SocketAddr) -> std::io::Result<Self> {
        TcpStream::connect(addr).await.map(Self::of)
    }

    fn of(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), is_over: false }
    }

    /// One request and the body of its answer, which is short.
    async fn get(&mut self) -> Result<String, String> {
        self.stream
            .write_all(b"GET / HTTP/1.1\r\nhost: gateway.test\r\n\r\n")
            .await
            .map_err(|error| error.to_string())?;
        let mut text = Vec::new();
        loop {
            let mut buffer = [0; 1024];
            let read = soon("an answer", self.stream.read(&mut buffer)).await.map_err(|error| error.to_string())?;
            if read == 0 {
                return Err(format!("closed after {:?}", String::from_utf8_lossy(&text)));
            }
            text.extend_from_slice(&buffer[..read]);
            let answer = String::from_utf8_lossy(&text);
            let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
            let head = head.to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
            if body.len() < length.parse().unwrap() {
                continue;
            }
            self.is_over = head.contains("connection: close");
            return if head.starts_with("http/1.1 200") { Ok(body.to_owned()) } else { Err(head) };
        }
    }
}
