//! An upstream that is down, slow, resets, lies or speaks garbage: the caller gets 502 or 504 that says which and how
//! long it took, or a transfer that is visibly broken; never a whole-looking half, never a second execution.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use evergrant_gateway::{Egress, GatewayConfig, Upstream};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::support::*;

/// What the upstream does once it has read the head of a request.
#[derive(Clone, Copy)]
struct Script {
    says: &'static [u8],
    then: Then,
}

#[derive(Clone, Copy, PartialEq)]
enum Then {
    Close,
    Reset,
    Hang,
    /// Says the same again and again.
    Repeat,
}

/// An upstream that follows a script on every connection and counts the requests that it got.
struct Scripted {
    addr: SocketAddr,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Scripted {
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, requests) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(play(stream, script, Arc::clone(&counted)));
            }
        });
        Self { addr, requests, task }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn play(mut stream: TcpStream, script: Script, requests: Arc<AtomicUsize>) {
    let mut seen = Vec::new();
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        if !stream.read_buf(&mut seen).await.is_ok_and(|length| length > 0) {
            return;
        }
    }
    requests.fetch_add(1, Ordering::Relaxed);
    while stream.write_all(script.says).await.is_ok() && script.then == Then::Repeat {
        tokio::task::yield_now().await;
    }
    match script.then {
        Then::Close | Then::Repeat => {}
        Then::Reset => stream.set_zero_linger().unwrap(),
        Then::Hang => std::future::pending().await,
    }
}

/// A gateway that waits briefly for everything.
async fn impatient(upstream: &str) -> TestGateway {
    TestGateway::with(([127, 0, 0, 1], 1).into(), |config| hurry(config, upstream)).await
}

fn hurry(config: &mut GatewayConfig, upstream: &str) {
    config.upstream = Upstream::parse_insecure(upstream).unwrap();
    // With TLS more has to be done in the time, and the machine may be busy.
    let scale = if config.upstream.is_tls() { 10 } else { 1 };
    config.timeouts.connect = scale * Duration::from_millis(300);
    config.timeouts.upstream = scale * Duration::from_millis(400);
}

/// Asserts that a GET fails with a problem that names the upstream, says how long it took, and is in our own words.
async fn assert_fault(name: &str, gateway: &TestGateway, upstream: &str, status: u16, words: &str, kind: &str) {
    let (response, body) = get(gateway.url("/x?secret=1")).await;
    let text = String::from_utf8_lossy(&body).into_owned();
    assert_eq!(response.status().as_u16(), status, "{name}: {text}");
    assert_eq!(response.headers().get("content-type").unwrap(), "application/problem+json", "{name}");
    let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert_eq!(problem["status"], status, "{name}");
    assert!(detail.contains(words) && detail.contains(upstream), "{name}: {detail}");
    assert!(is_timed(detail), "{name}: {detail}");
    for raw in ["hyper", "error", "os error", "rustls", "dns", "invalid HTTP", "Custom", "secret", "InvalidCertificate"]
    {
        assert!(!detail.contains(raw), "{name}: `{raw}` is a library's text or the caller's in: {detail}");
    }
    let (_, metrics) = get(format!("http://{}/metrics", gateway.admin)).await;
    let line = format!("evergrant_gateway_upstream_faults_total{{profile=\"default\",kind=\"{kind}\"}} 1");
    let metrics = String::from_utf8_lossy(&metrics);
    assert!(metrics.contains(&line), "{name}: no {line} in {metrics}");
}

/// Does a text end with `(after 0.4 s)` or the like?
fn is_timed(detail: &str) -> bool {
    let Some((_, time)) = detail.rsplit_once(" (after ") else { return false };
    time.strip_suffix(" s)").is_some_and(|seconds| seconds.contains('.') && seconds.parse::<f64>().is_ok())
}

#[tokio::test]
async fn an_upstream_that_answers_nothing_usable_gives_a_problem_that_says_what_and_how_long() {
    let many_fields: &'static [u8] = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-a: b\r\n".repeat(2_000)).leak().as_bytes();
    let long_field: &'static [u8] = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)).leak().as_bytes();
    let closed = "closed the connection before it answered";
    let invalid = "answered with something that is not HTTP";
    let silent = "did not answer in time";
    type Row = (&'static str, &'static [u8], Then, u16, &'static str, &'static str);
    let table: &[Row] = &[
        ("closes before the head", b"", Then::Close, 502, closed, "closed"),
        ("resets before the head", b"", Then::Reset, 502, closed, "closed"),
        ("closes in the head", b"HTTP/1.1 200 OK\r\nContent-Le", Then::Close, 502, closed, "closed"),
        ("resets in the head", b"HTTP/1.1 200 OK\r\nContent-Le", Then::Reset, 502, closed, "closed"),
        ("never answers", b"", Then::Hang, 504, silent, "no_answer"),
        ("never ends its head", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", Then::Hang, 504, silent, "no_answer"),
        ("says a field for ever", b"x: y\r\n", Then::Repeat, 502, invalid, "invalid"),
        ("says interim answers for ever", b"HTTP/1.1 103 Early Hints\r\n\r\n", Then::Repeat, 504, silent, "no_answer"),
        ("garbage", b"\x00\x01\x02\xff\xfe garbage \r\n\r\n", Then::Hang, 502, invalid, "invalid"),
        ("another protocol", b"220 mail.example ESMTP\r\n\r\n", Then::Hang, 502, invalid, "invalid"),
        ("TLS alert", b"\x15\x03\x01\x00\x02\x02\x0a", Then::Close, 502, invalid, "invalid"),
        ("version unknown", b"HTTP/7.3 200 OK\r\n\r\n", Then::Hang, 502, invalid, "invalid"),
        ("status no number", b"HTTP/1.1 abc OK\r\n\r\n", Then::Hang, 502, invalid, "invalid"),
        ("field without colon", b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n", Then::Hang, 502, invalid, "invalid"),
        (
            "two lengths",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
            Then::Hang,
            502,
            invalid,
            "invalid",
        ),
        ("negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Then::Hang, 502, invalid, "invalid"),
        ("length no number", b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok", Then::Hang, 502, invalid, "invalid"),
        (
            "length beyond all",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            Then::Hang,
            502,
            invalid,
            "invalid",
        ),
        ("too many fields", many_fields, Then::Hang, 502, invalid, "invalid"),
        ("a field of 1 MiB", long_field, Then::Hang, 502, invalid, "invalid"),
        (
            "a protocol nobody asked for",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            Then::Hang,
            502,
            "changed the protocol",
            "invalid",
        ),
    ];
    for (name, says, then, status, words, kind) in table {
        let upstream = Scripted::start(Script { says, then: *then }).await;
        let gateway = impatient(&format!("http://{}", upstream.addr)).await;
        assert_fault(name, &gateway, &upstream.addr.to_string(), *status, words, kind).await;
        assert_eq!(upstream.requests(), 1, "{name}: sent more than once");
    }
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_gives_a_problem_that_says_why() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = impatient(&format!("http://{free}")).await;
    assert_fault("refused", &gateway, &free.to_string(), 502, "refused the connection", "refused").await;

    // No name has a part of 64 letters (RFC 1035 section 2.3.4), which needs no server to find out.
    let nowhere = format!("{}.invalid", "x".repeat(64));
    let gateway = impatient(&format!("http://{nowhere}:81")).await;
    assert_fault("name", &gateway, &format!("{nowhere}:81"), 502, "name has no address", "unresolved").await;

    let gateway = impatient("http://255.255.255.255:81").await;
    assert_fault("no way", &gateway, "255.255.255.255:81", 502, "cannot be reached", "unreachable").await;

    // A queue of one that is full: the next caller's handshake is not answered.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let full = listener.local_addr().unwrap();
    let fillers: Vec<_> = (0..3).map(|_| tokio::spawn(TcpStream::connect(full))).collect();
    let gateway = impatient(&format!("http://{full}")).await;
    // The first fillers are in the queue once one of them is connected.
    soon("a filler", async {
        while !fillers.iter().any(JoinHandle::is_finished) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_fault("slow to connect", &gateway, &full.to_string(), 504, "no connection in time", "connect_timeout").await;
}

#[tokio::test]
async fn a_tls_fault_is_named_in_words_of_ours() {
    let expect = |_: Request<hyper::body::Incoming>| async { unreachable!("no request may come") };
    let foreign_name = TestUpstream::start_tls("127.0.0.2", &["h2"], expect).await;
    let plain = TestUpstream::start(expect).await;
    let table = [
        ("another name", format!("127.0.0.2:{}", foreign_name.addr.port()), "certificate is for another name"),
        ("no TLS", plain.addr.to_string(), "does not speak TLS"),
    ];
    for (name, addr, words) in table {
        let gateway = impatient(&format!("https://{addr}")).await;
        assert_fault(name, &gateway, &addr, 502, words, "tls").await;
    }
    // One that nobody vouches for: the same server, without the test authority among the trusted.
    let unknown = TestUpstream::start_tls("127.0.0.1", &["http/1.1"], expect).await;
    let gateway = TestGateway::trusting(Arc::new(evergrant::tls::Tls::new(None)), |config| {
        hurry(config, &format!("https://{}", unknown.addr));
    })
    .await;
    let words = "certificate is not from a trusted authority";
    assert_fault("unknown authority", &gateway, &unknown.addr.to_string(), 502, words, "tls").await;

    for (name, says, then, status, words, kind) in [
        ("closes in the handshake", b"".as_slice(), Then::Close, 502, "ended the TLS handshake", "tls"),
        (
            "alert in the handshake",
            b"\x15\x03\x03\x00\x02\x02\x28",
            Then::Close,
            502,
            "refused the TLS handshake",
            "tls",
        ),
        ("silent in the handshake", b"", Then::Hang, 504, "no connection in time", "connect_timeout"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let upstream = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The caller's side of the handshake, or enough of it.
            assert!(stream.read(&mut [0; 16_384]).await.unwrap() > 0);
            stream.write_all(says).await.unwrap();
            if then == Then::Hang {
                std::future::pending::<()>().await;
            }
        });
        let gateway = impatient(&format!("https://{addr}")).await;
        assert_fault(name, &gateway, &addr.to_string(), status, words, kind).await;
        upstream.abort();
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_is_not_taken_for_the_upstream() {
    for (says, words) in [
        (b"HTTP/1.1 407 No\r\n\r\n".as_slice(), "wants other credentials"),
        (b"HTTP/1.1 503 No\r\n\r\n", "refused the tunnel"),
    ] {
        let proxy = Scripted::start(Script { says, then: Then::Close }).await;
        let gateway = TestGateway::with(proxy.addr, |config| {
            hurry(config, "https://api.example");
            config.egress = Egress::through(&format!("http://me:pw@{}", proxy.addr), &config.upstream);
        })
        .await;
        assert_fault("proxy", &gateway, "api.example:443", 502, words, "proxy").await;
    }
}

#[tokio::test]
async fn a_transfer_that_breaks_off_is_never_taken_for_a_whole_one() {
    let table: &[(&str, &'static [u8], Then)] = &[
        ("shorter than announced, closed", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", Then::Close),
        ("shorter than announced, reset", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", Then::Reset),
        ("nothing of what was announced", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", Then::Close),
        ("chunked without its end", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", Then::Close),
        ("chunk cut", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", Then::Close),
        (
            "chunk size no number",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
            Then::Hang,
        ),
        (
            "chunk size beyond all",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nfffffffffffffffff\r\n",
            Then::Hang,
        ),
        (
            "chunk longer than its size",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalfmore\r\n0\r\n\r\n",
            Then::Hang,
        ),
        ("until the close, but reset", b"HTTP/1.1 200 OK\r\n\r\nhalf", Then::Reset),
    ];
    for (name, says, then) in table {
        let upstream = Scripted::start(Script { says, then: *then }).await;
        let gateway = impatient(&format!("http://{}", upstream.addr)).await;
        for caller in [caller(), h2_caller()] {
            let request = Request::get(gateway.url("/")).body(full("")).unwrap();
            // A break that comes with the head may be seen before the head is handed on.
            match soon(name, caller.request(request)).await {
                Ok(response) if response.status() == StatusCode::OK => {
                    assert!(soon(name, response.into_body().collect()).await.is_err(), "{name}: looked whole");
                }
                Ok(response) => assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "{name}"),
                Err(_) => {}
            }
        }
        // And as it is on the wire: no last chunk, and not the announced length.
        let head = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", gateway.addr);
        let text = raw(gateway.addr, head).await;
        assert!(!text.ends_with("\r\n0\r\n\r\n"), "{name}: {text:?}");
    }
}

#[tokio::test]
async fn a_broken_transfer_is_counted() {
    let says = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let upstream = Scripted::start(Script { says, then: Then::Close }).await;
    let gateway = impatient(&format!("http://{}", upstream.addr)).await;
    let request = Request::get(gateway.url("/")).body(full("")).unwrap();
    if let Ok(response) = soon("the head", caller().request(request)).await {
        assert!(soon("the break", response.into_body().collect()).await.is_err());
    }
    gateway
        .until("the count", "/metrics", |text| {
            text.contains("upstream_faults_total{profile=\"default\",kind=\"cut_short\"} 1")
        })
        .await;
}

#[tokio::test]
async fn what_comes_after_an_answer_is_neither_handed_on_nor_taken_for_the_next() {
    let says = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let upstream = Scripted::start(Script { says, then: Then::Hang }).await;
    let gateway = impatient(&format!("http://{}", upstream.addr)).await;
    for _ in 0..3 {
        let (response, body) = get(gateway.url("/")).await;
        assert_eq!((response.status(), body), (StatusCode::OK, Bytes::from("ok")));
    }
    assert_eq!(upstream.requests(), 3);
}

#[tokio::test]
async fn a_length_beside_chunks_is_dropped_and_the_chunks_are_believed() {
    let says = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    let upstream = Scripted::start(Script { says, then: Then::Hang }).await;
    let gateway = impatient(&format!("http://{}", upstream.addr)).await;
    let (response, body) = get(gateway.url("/")).await;
    assert_eq!((response.status(), body), (StatusCode::OK, Bytes::from("body")));
    assert!(response.headers().get("content-length").is_none());
}

#[tokio::test]
async fn interim_answers_before_the_answer_are_skipped() {
    let says = format!(
        "{}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n".repeat(50)
    );
    let upstream = Scripted::start(Script { says: says.leak().as_bytes(), then: Then::Hang }).await;
    let gateway = impatient(&format!("http://{}", upstream.addr)).await;
    let (response, body) = get(gateway.url("/")).await;
    assert_eq!((response.status(), body), (StatusCode::OK, Bytes::from("ok")));
}

#[tokio::test]
async fn a_request_that_breaks_off_on_a_new_connection_is_not_sent_again() {
    for method in ["GET", "PUT", "POST", "PATCH", "DELETE"] {
        for then in [Then::Close, Then::Reset] {
            let upstream = Scripted::start(Script { says: b"", then }).await;
            let gateway = impatient(&format!("http://{}", upstream.addr)).await;
            let request = Request::builder().method(method).uri(gateway.url("/")).body(full("once")).unwrap();
            assert_eq!(fetch(&caller(), request).await.0.status(), StatusCode::BAD_GATEWAY, "{method}");
            assert_eq!(upstream.requests(), 1, "{method} was sent twice");
        }
    }
}

#[tokio::test]
async fn a_reset_in_the_middle_of_an_upload_is_a_fault_and_no_second_try() {
    let upstream = Scripted::start(Script { says: b"", then: Then::Reset }).await;
    let gateway = impatient(&format!("http://{}", upstream.addr)).await;
    for caller in [caller(), h2_caller()] {
        let before = upstream.requests();
        let request = Request::post(gateway.url("/")).body(full(vec![b'x'; 8 << 20])).unwrap();
        match soon("an answer", caller.request(request)).await {
            Ok(response) => assert_eq!(response.status(), StatusCode::BAD_GATEWAY),
            Err(error) => panic!("the caller saw no answer: {error:?}"),
        }
        assert_eq!(upstream.requests(), before + 1);
    }
}

#[tokio::test]
async fn the_time_limit_begins_when_the_request_was_sent_whole() {
    let upstream = TestUpstream::start(|request| async move {
        request.into_body().collect().await.unwrap();
        answer(200, "read it all")
    })
    .await;
    let gateway = impatient(&format!("http://{}", upstream.addr)).await;
    let (sender, body) = by_hand();
    let request = Request::post(gateway.url("/")).body(body).unwrap();
    let answer = tokio::spawn(async move { fetch(&caller(), request).await });
    for _ in 0..6 {
        sender.send(data("part ")).unwrap();
        // Longer in all than the limit for the answer; what is measured is the time itself.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    drop(sender);
    assert_eq!(soon("the answer", answer).await.unwrap().0.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_time_limit_ends_with_the_head_of_the_answer() {
    let (bodies, mut given) = tokio::sync::mpsc::unbounded_channel();
    let upstream = TestUpstream::start(move |_| {
        let (sender, body) = by_hand();
        bodies.send(sender).unwrap();
        async move { Response::new(body) }
    })
    .await;
    let gateway = impatient(&format!("http://{}", upstream.addr)).await;
    let request = Request::get(gateway.url("/")).body(full("")).unwrap();
    let mut body = soon("the head", caller().request(request)).await.unwrap().into_body();
    let sender = given.recv().await.unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    sender.send(data("late")).unwrap();
    assert_eq!(soon("the part", body.frame()).await.unwrap().unwrap().into_data().unwrap(), "late");
    drop(sender);
    assert_ends(&mut body).await;
}

mod http2 {
    //! Faults that only HTTP/2 has.

    use super::*;
    use h2::Reason;

    #[derive(Clone, Copy, PartialEq)]
    enum Does {
        ResetBefore(Reason),
        ResetIn(Reason),
        GoAway,
        Close,
        RefuseOnce,
    }

    /// An HTTP/2 server over TLS that does this to every request.
    async fn start(does: Does) -> (SocketAddr, Arc<AtomicUsize>, JoinHandle<()>) {
        let (addr, mut accepted, accepting) = tls_listener("127.0.0.1", &["h2"]).await;
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            let _accepting = accepting;
            while let Some(stream) = accepted.recv().await {
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        let number = counted.fetch_add(1, Ordering::Relaxed);
                        match does {
                            Does::ResetBefore(reason) => respond.send_reset(reason),
                            Does::RefuseOnce if number == 0 => respond.send_reset(Reason::REFUSED_STREAM),
                            Does::RefuseOnce => _ = respond.send_response(Response::new(()), true).unwrap(),
                            Does::ResetIn(reason) => {
                                let mut body = respond.send_response(Response::new(()), false).unwrap();
                                body.send_data(Bytes::from("half"), false).unwrap();
                                tokio::spawn(async move {
                                    tokio::time::sleep(Duration::from_millis(50)).await;
                                    body.send_reset(reason);
                                });
                            }
                            Does::GoAway => connection.abrupt_shutdown(Reason::INTERNAL_ERROR),
                            Does::Close => return,
                        }
                    }
                });
            }
        });
        (addr, requests, task)
    }

    #[tokio::test]
    async fn a_stream_that_ends_without_an_answer_is_a_fault() {
        let broke = "broke the request off";
        for (does, words) in [
            (Does::ResetBefore(Reason::INTERNAL_ERROR), broke),
            (Does::ResetBefore(Reason::ENHANCE_YOUR_CALM), broke),
            (Does::ResetBefore(Reason::CANCEL), broke),
            (Does::GoAway, "closed the connection before it answered"),
            (Does::Close, "closed the connection before it answered"),
        ] {
            let (addr, requests, task) = start(does).await;
            let gateway = impatient(&format!("https://{addr}")).await;
            assert_fault("HTTP/2", &gateway, &addr.to_string(), 502, words, "closed").await;
            let before = requests.load(Ordering::Relaxed);
            assert_eq!(before, 1);
            let post = Request::post(gateway.url("/")).body(full("once")).unwrap();
            assert_eq!(fetch(&caller(), post).await.0.status(), StatusCode::BAD_GATEWAY);
            assert_eq!(requests.load(Ordering::Relaxed), before + 1, "the POST was sent twice");
            task.abort();
        }
    }

    #[tokio::test]
    async fn a_stream_that_was_refused_is_sent_again_even_if_it_is_a_post() {
        let (addr, requests, task) = start(Does::RefuseOnce).await;
        let gateway = impatient(&format!("https://{addr}")).await;
        let post = Request::post(gateway.url("/")).body(full("twice is fine")).unwrap();
        assert_eq!(fetch(&caller(), post).await.0.status(), StatusCode::OK);
        assert_eq!(requests.load(Ordering::Relaxed), 2);
        task.abort();
    }

    #[tokio::test]
    async fn a_stream_that_is_reset_in_its_body_is_broken_for_the_caller_too() {
        let (addr, _, task) = start(Does::ResetIn(Reason::INTERNAL_ERROR)).await;
        let gateway = impatient(&format!("https://{addr}")).await;
        for caller in [caller(), h2_caller()] {
            let request = Request::get(gateway.url("/")).body(full("")).unwrap();
            let response = soon("the head", caller.request(request)).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert!(soon("the break", response.into_body().collect()).await.is_err());
        }
        task.abort();
    }
}
