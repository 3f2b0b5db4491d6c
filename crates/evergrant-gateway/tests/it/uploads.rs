//! Uploads: whole or not at all, sent on as they come, and sent again only when that can do no harm.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use evergrant::core::pace::WhenLimited;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::pattern::Pattern;
use crate::support::*;

const MIB: usize = 1 << 20;

/// An upstream in the hands of the test: one connection, read and written step by step.
struct ByHandUpstream {
    listener: TcpListener,
    gateway: TestGateway,
}

impl ByHandUpstream {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(adjust: impl FnOnce(&mut evergrant_gateway::GatewayConfig)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = TestGateway::with(listener.local_addr().unwrap(), adjust).await;
        Self { listener, gateway }
    }

    async fn accept(&self) -> Wire {
        Wire { stream: soon("a connection", self.listener.accept()).await.unwrap().0, seen: Vec::new() }
    }

    /// A caller's connection on which a head was sent.
    async fn ask(&self, head: &str) -> Wire {
        let mut stream = TcpStream::connect(self.gateway.addr).await.unwrap();
        let (line, fields) = head.split_once("\r\n").unwrap();
        let head = format!("{line}\r\nHost: {}\r\n{fields}\r\n", self.gateway.addr);
        stream.write_all(head.as_bytes()).await.unwrap();
        Wire { stream, seen: Vec::new() }
    }
}

/// One connection, and what came on it.
struct Wire {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Wire {
    /// Reads up to the end of a head and takes it off.
    async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.seen.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.seen.split_off(end + 4);
                return String::from_utf8(std::mem::replace(&mut self.seen, rest)).unwrap().to_lowercase();
            }
            assert!(self.more().await, "closed in a head: {:?}", String::from_utf8_lossy(&self.seen));
        }
    }

    /// Reads so many bytes and takes them off.
    async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.seen.len() < length {
            assert!(self.more().await, "closed after {} bytes of {length}", self.seen.len());
        }
        let rest = self.seen.split_off(length);
        std::mem::replace(&mut self.seen, rest)
    }

    async fn say(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.unwrap();
    }

    /// Asserts that nothing comes for a while.
    async fn assert_silent(&mut self, what: &str) {
        let quiet = tokio::time::timeout(Duration::from_millis(200), self.more()).await;
        assert!(quiet.is_err(), "{what}: {:?}", String::from_utf8_lossy(&self.seen));
    }

    /// Reads to the end; what came.
    async fn rest(mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// `false` at the end.
    async fn more(&mut self) -> bool {
        soon("more bytes", self.stream.read_buf(&mut self.seen)).await.is_ok_and(|length| length > 0)
    }
}

const ASKING: &str = "POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n";
const REFUSAL: &str = "HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\nContent-Length: 2\r\n\r\nno";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn the_upstream_decides_when_a_body_that_waits_is_sent() {
    let world = ByHandUpstream::start().await;
    let mut caller = world.ask(ASKING).await;
    let mut upstream = world.accept().await;
    assert!(upstream.head().await.contains("expect: 100-continue"));
    caller.assert_silent("told to go on by nobody").await;
    upstream.say(CONTINUE).await;
    assert!(caller.head().await.starts_with("http/1.1 100"));
    caller.say("body").await;
    assert_eq!(upstream.take(4).await, b"body");
    upstream.say(OK).await;
    assert!(caller.head().await.starts_with("http/1.1 200"));
    assert_eq!(caller.take(2).await, b"ok");
    // Both connections can be used again.
    caller.say(format!("GET /next HTTP/1.1\r\nHost: {}\r\n\r\n", world.gateway.addr)).await;
    assert!(upstream.head().await.starts_with("get /next"));
}

#[tokio::test]
async fn a_refused_token_costs_no_upload_however_long_the_body_is() {
    for chunked in [false, true] {
        let world = ByHandUpstream::with(|config| config.limits.replay_body_bytes = 3).await;
        let length = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 10" };
        let mut caller = world.ask(&format!("POST /x HTTP/1.1\r\nExpect: 100-continue\r\n{length}\r\n")).await;
        let mut first = world.accept().await;
        first.head().await;
        first.say(REFUSAL).await;
        // The replay, on a connection of its own: the first one still owes a body.
        let mut second = world.accept().await;
        assert!(second.head().await.contains("expect: 100-continue"));
        caller.assert_silent("told to go on by a refusal").await;
        second.say(CONTINUE).await;
        assert!(caller.head().await.starts_with("http/1.1 100"));
        let body = if chunked { "A\r\n0123456789\r\n0\r\n\r\n" } else { "0123456789" };
        caller.say(body).await;
        assert_eq!(second.take(body.len()).await, body.as_bytes());
        second.say(OK).await;
        assert!(caller.head().await.starts_with("http/1.1 200"));
        assert_eq!(soon("the end of the first", first.rest()).await, "", "bytes of the body came to the first");
    }
}

#[tokio::test]
async fn a_refusal_of_the_body_arrives_before_the_body_is_sent() {
    for status in ["413 Too Large", "417 Failed", "400 Bad", "503 Busy", "403 Forbidden", "429 Slow"] {
        // Otherwise a 429 is waited out.
        let world = ByHandUpstream::with(|config| config.pace.when_limited = WhenLimited::Answer).await;
        let mut caller = world.ask(ASKING).await;
        let mut upstream = world.accept().await;
        upstream.head().await;
        upstream.say(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno")).await;
        let head = caller.head().await;
        assert!(head.starts_with(&format!("http/1.1 {}", &status[..3])), "{head}");
        // Nobody may take the next bytes for a request while a body may still come.
        assert!(head.contains("connection: close"), "{head}");
        assert_eq!(soon("the end of the caller's connection", caller.rest()).await, "no", "{status}");
        assert_eq!(soon("the end of the upstream's connection", upstream.rest()).await, "", "{status}");
    }
}

#[tokio::test]
async fn an_upstream_that_says_nothing_gets_the_body_after_a_second() {
    let world = ByHandUpstream::start().await;
    let asked = Instant::now();
    let mut caller = world.ask(ASKING).await;
    let mut upstream = world.accept().await;
    upstream.head().await;
    assert!(caller.head().await.starts_with("http/1.1 100"));
    assert!(asked.elapsed() >= Duration::from_secs(1));
    caller.say("body").await;
    assert_eq!(upstream.take(4).await, b"body");
    upstream.say(OK).await;
    assert!(caller.head().await.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn an_answer_that_is_no_refusal_lets_the_body_through() {
    let world = ByHandUpstream::start().await;
    let mut caller = world.ask(ASKING).await;
    let mut upstream = world.accept().await;
    upstream.head().await;
    upstream.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let mut head = caller.head().await;
    if head.starts_with("http/1.1 100") {
        head = caller.head().await;
    }
    assert!(head.starts_with("http/1.1 200"), "{head}");
    caller.say("body").await;
    assert_eq!(upstream.take(4).await, b"body");
    upstream.say("2\r\nok\r\n0\r\n\r\n").await;
    assert_eq!(caller.take(12).await, b"2\r\nok\r\n0\r\n\r\n");
}

#[tokio::test]
async fn an_upstream_that_goes_away_before_the_body_is_a_fault_and_no_upload() {
    let world = ByHandUpstream::start().await;
    let caller = world.ask(ASKING).await;
    let mut upstream = world.accept().await;
    upstream.head().await;
    drop(upstream);
    let text = soon("the answer", caller.rest()).await;
    assert!(text.starts_with("HTTP/1.1 502"), "{text}");
    assert!(text.contains("closed the connection before it answered"), "{text}");
}

#[tokio::test]
async fn asking_about_nothing_is_no_question() {
    for fields in ["Expect: 100-continue\r\n", "Expect: 100-continue\r\nContent-Length: 0\r\n"] {
        let world = ByHandUpstream::start().await;
        let mut caller = world.ask(&format!("POST /x HTTP/1.1\r\n{fields}")).await;
        let mut upstream = world.accept().await;
        assert!(!upstream.head().await.contains("expect"));
        upstream.say(OK).await;
        assert!(caller.head().await.starts_with("http/1.1 200"));
    }
}

#[tokio::test]
async fn a_question_reaches_an_upstream_that_prefers_http2() {
    let log = Log::default();
    let noted = log.clone();
    let upstream = TestUpstream::start_tls("127.0.0.1", &["h2", "http/1.1"], move |request: Request<Incoming>| {
        let log = noted.clone();
        async move {
            let is_first = log.count() == 0;
            assert_eq!(request.headers().get("expect").unwrap(), "100-continue");
            if is_first {
                // Answered without reading the body.
                log.note(request.map(|_| full(""))).await;
                return unauthorized("no");
            }
            log.note(request).await;
            answer(200, "ok")
        }
    })
    .await;
    let url = format!("https://{}", upstream.addr);
    let gateway = TestGateway::with(upstream.addr, |config| {
        config.upstream = evergrant_gateway::Upstream::parse(&url).unwrap();
        config.limits.replay_body_bytes = 3;
    })
    .await;
    let world = ByHandUpstream { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), gateway };
    let mut caller = world.ask(ASKING).await;
    assert!(caller.head().await.starts_with("http/1.1 100"));
    caller.say("body").await;
    assert!(caller.head().await.starts_with("http/1.1 200"));
    assert_eq!(log.all()[1].body, "body");
}

#[tokio::test]
async fn an_early_answer_reaches_a_caller_that_is_still_sending() {
    // With a reset in place of a close, the answer would be lost on its way: the caller has filled every buffer.
    for (status, closes) in [(413, true), (413, false), (200, true), (500, true)] {
        let world = ByHandUpstream::start().await;
        let head = format!("POST /x HTTP/1.1\r\nContent-Length: {}\r\n", 64 * MIB);
        let caller = world.ask(&head).await;
        let mut upstream = world.accept().await;
        upstream.head().await;
        let (mut reader, mut writer) = caller.stream.into_split();
        let sending = tokio::spawn(async move {
            let piece = vec![b'x'; MIB];
            for _ in 0..64 {
                // An error is the other side that has had enough.
                if writer.write_all(&piece).await.is_err() {
                    break;
                }
            }
        });
        let close = if closes { "Connection: close\r\n" } else { "" };
        upstream.say(format!("HTTP/1.1 {status} Early\r\n{close}Content-Length: 5\r\n\r\nearly")).await;
        if closes {
            drop(upstream);
        }
        // The caller reads late, after everything has happened.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut text = Vec::new();
        while !text.ends_with(b"early") {
            let length = soon("the answer", reader.read_buf(&mut text)).await.expect("an answer instead of a reset");
            assert!(length > 0, "closed after {:?}", String::from_utf8_lossy(&text));
        }
        let text = String::from_utf8_lossy(&text);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        sending.abort();
    }
}

#[tokio::test]
async fn a_401_is_not_held_back_for_a_caller_that_stalls() {
    let world = ByHandUpstream::with(|config| config.timeouts.body_after_401 = Duration::from_millis(200)).await;
    let mut caller = world.ask("PUT /x HTTP/1.1\r\nContent-Length: 10\r\n").await;
    let mut upstream = world.accept().await;
    upstream.head().await;
    caller.say("half ").await;
    upstream.say(REFUSAL).await;
    let head = caller.head().await;
    assert!(head.starts_with("http/1.1 401") && head.contains("; replay=unsafe"), "{head}");
    assert_eq!(caller.take(2).await, b"no");
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_its_request_with_it_and_leaves_nothing_behind() {
    for h2 in [false, true] {
        let (bodies, mut given) = mpsc::unbounded_channel();
        let refused = Arc::new(AtomicBool::new(false));
        let upstream = TestUpstream::start(move |request: Request<Incoming>| {
            let (bodies, refused) = (bodies.clone(), Arc::clone(&refused));
            async move {
                let is_refused = request.method() == Method::PUT && !refused.swap(true, Ordering::Relaxed);
                let result = request.into_body().collect().await.map(|body| body.to_bytes().len());
                bodies.send(result).unwrap();
                if is_refused { unauthorized("no") } else { answer(200, "") }
            }
        })
        .await;
        // Room for the bodies of two requests, so that a leak shows at the third.
        let gateway = TestGateway::with(upstream.addr, |config| config.limits.replay_total_bytes = 200_000).await;
        for _ in 0..4 {
            let caller = if h2 { h2_caller() } else { caller() };
            let (sender, body) = by_hand();
            sender.send(Frame::data(Bytes::from(vec![b'x'; 50_000]))).unwrap();
            let request = Request::post(gateway.url("/")).body(body).unwrap();
            let sending = tokio::spawn(async move { caller.request(request).await });
            gateway.until("the request", "/status", |text| text.contains("\"in_flight\":1")).await;
            sending.abort();
            drop(sender);
            assert!(soon("the end of the upload", given.recv()).await.unwrap().is_err(), "half a body looked whole");
        }
        gateway.until("the end", "/status", |text| text.contains("\"in_flight\":0")).await;
        assert!(given.try_recv().is_err(), "sent again");
        // The whole budget is there: a body that needs most of it is replayed.
        let put = Request::put(gateway.url("/")).body(full(vec![b'y'; 131_000])).unwrap();
        fetch(&caller(), put).await;
        for _ in 0..2 {
            assert_eq!(soon("a try", given.recv()).await.unwrap().unwrap(), 131_000);
        }
    }
}

#[tokio::test]
async fn short_and_missing_bodies_arrive_as_they_were_announced() {
    let log = Log::default();
    let noted = log.clone();
    let upstream = TestUpstream::start(move |request| {
        let log = noted.clone();
        async move {
            // Every other attempt is refused, so that each request is seen as first sent and as sent again.
            if log.note(request).await % 2 == 1 { unauthorized("no") } else { answer(200, "ok") }
        }
    })
    .await;
    let gateway = TestGateway::start(upstream.addr).await;
    let zero = "Content-Length: 0\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let (length, coding) = (Some("content-length"), Some("transfer-encoding"));
    let table = [
        ("POST", zero.to_owned(), length, ""),
        ("PUT", zero.to_owned(), length, ""),
        ("POST", "\r\n".to_owned(), None, ""),
        ("POST", format!("{chunked}0\r\n\r\n"), coding, ""),
        ("GET", "\r\n".to_owned(), None, ""),
        ("GET", "Content-Length: 5\r\n\r\nquery".to_owned(), length, "query"),
        ("GET", format!("{chunked}5\r\nquery\r\n0\r\n\r\n"), coding, "query"),
        ("DELETE", "Content-Length: 3\r\n\r\nwhy".to_owned(), length, "why"),
        ("DELETE", format!("{chunked}3\r\nwhy\r\n0\r\n\r\n"), coding, "why"),
        ("OPTIONS", "Content-Length: 1\r\n\r\nx".to_owned(), length, "x"),
        ("PATCH", "Content-Length: 1\r\n\r\nx".to_owned(), length, "x"),
    ];
    for (method, rest, framing, body) in table {
        let before = log.count();
        let text = format!("{method} / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{rest}", gateway.addr);
        let answer = raw(gateway.addr, &text).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{text:?}: {answer}");
        let seen = log.all().split_off(before);
        assert_eq!(seen.len(), 2, "{text:?}");
        for seen in seen {
            assert_eq!(seen.body, body, "{text:?}");
            for field in ["content-length", "transfer-encoding"] {
                assert_eq!(seen.headers.contains_key(field), framing == Some(field), "{text:?}: {:?}", seen.headers);
            }
        }
    }
}

#[tokio::test]
async fn a_hundred_mebibytes_cross_both_ways_byte_for_byte_in_bounded_memory() {
    let pattern = Pattern::new();
    let made = pattern.clone();
    let upstream = TestUpstream::start(move |request: Request<Incoming>| {
        let pattern = made.clone();
        async move {
            let announced = request.uri().path() == "/announced";
            assert_eq!(pattern.check(request.into_body()).await.unwrap(), 100 * MIB);
            Response::new(pattern.body(100 * MIB, announced))
        }
    })
    .await;
    let gateway = TestGateway::start(upstream.addr).await;
    // What the first one allocates for good is not counted.
    let mut before = None;
    for caller in [caller(), h2_caller()] {
        for (path, announced) in [("/announced", true), ("/chunked", false)] {
            let request = Request::post(gateway.url(path)).body(pattern.body(100 * MIB, announced)).unwrap();
            let response = soon("the head", caller.request(request)).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(soon("the body", pattern.check(response.into_body())).await.unwrap(), 100 * MIB);
            before.get_or_insert_with(resident_mib);
        }
    }
    // Caller, gateway and upstream together; a copy of one body would be 100.
    let grown = resident_mib().saturating_sub(before.unwrap());
    assert!(grown < 24, "{grown} MiB more than before");
}

/// What this process holds in memory.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn no_timer_cuts_a_stream_that_lasts_for_hours() {
    let (bodies, mut given) = mpsc::unbounded_channel();
    let upstream = TestUpstream::start(move |request: Request<Incoming>| {
        let (sender, body) = by_hand();
        bodies.send((sender, request.into_body())).unwrap();
        async move { Response::builder().header("content-type", "text/event-stream").body(body).unwrap() }
    })
    .await;
    let gateway = TestGateway::start(upstream.addr).await;
    let (up, body) = by_hand();
    up.send(data("first up")).unwrap();
    let request = Request::post(gateway.url("/events")).body(body).unwrap();
    let mut events = soon("the head", caller().request(request)).await.unwrap().into_body();
    let (down, mut upload) = given.recv().await.unwrap();
    assert_eq!(upload.frame().await.unwrap().unwrap().into_data().unwrap(), "first up");
    tokio::time::pause();
    for hour in 0..6 {
        // In steps, so that every timer on the way runs out in its turn.
        for _ in 0..360 {
            tokio::time::advance(Duration::from_secs(10)).await;
        }
        tokio::time::resume();
        down.send(data("event")).unwrap();
        up.send(data("part")).unwrap();
        assert_eq!(soon("the event", events.frame()).await.unwrap().unwrap().into_data().unwrap(), "event", "{hour}");
        assert_eq!(soon("the part", upload.frame()).await.unwrap().unwrap().into_data().unwrap(), "part", "{hour}");
        tokio::time::pause();
    }
}

#[tokio::test]
async fn trailers_of_a_long_body_cross_although_no_copy_is_kept() {
    let log = Log::default();
    let noted = log.clone();
    let upstream = TestUpstream::start(move |request| {
        let log = noted.clone();
        async move {
            log.note(request).await;
            answer(200, "ok")
        }
    })
    .await;
    let gateway = TestGateway::with(upstream.addr, |config| config.limits.replay_body_bytes = 3).await;
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("10"))]);
    for caller in [caller(), h2_caller()] {
        let (sender, body) = by_hand();
        sender.send(data("0123456789")).unwrap();
        sender.send(Frame::trailers(trailers.clone())).unwrap();
        drop(sender);
        let request = Request::post(gateway.url("/")).header("te", "trailers").header("trailer", "x-sum");
        assert_eq!(fetch(&caller, request.body(body).unwrap()).await.0.status(), StatusCode::OK);
    }
    for seen in log.all() {
        assert_eq!((seen.body, seen.trailers.as_ref()), (Bytes::from("0123456789"), Some(&trailers)));
    }
}
