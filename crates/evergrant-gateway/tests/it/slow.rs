//! Callers that send or read as slowly as they can.

use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::*;

const SHORT: Duration = Duration::from_millis(200);

/// Writes one byte at a time until the other side closes, and says how long that took.
async fn trickle(mut stream: TcpStream, pause: Duration) -> Duration {
    let begun = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let write = async {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(pause).await;
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        () = write => {}
        _ = reader.read_to_end(&mut rest) => {}
    }
    begun.elapsed()
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off() {
    let upstream = TestUpstream::start(|_| async { answer(200, "body") }).await;
    let gateway = TestGateway::with(upstream.addr, |config| config.timeouts.head = SHORT).await;
    let mut stream = TcpStream::connect(gateway.addr).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    let took = soon("the close", trickle(stream, Duration::from_millis(10))).await;
    assert!(took >= SHORT - Duration::from_millis(50), "cut after {took:?}");
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let upstream = TestUpstream::start(|_| async { answer(200, vec![b'x'; 64 << 20]) }).await;
    let gateway = TestGateway::with(upstream.addr, |config| config.timeouts.write_stall = SHORT).await;
    let mut stream = TcpStream::connect(gateway.addr).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.addr);
    stream.write_all(request.as_bytes()).await.unwrap();
    gateway.until("the cut", "/status", |status| status.contains("\"connections\":0")).await;
    let mut received = Vec::new();
    _ = soon("the end", stream.read_to_end(&mut received)).await;
    assert!(received.len() < 64 << 20, "the caller got only what fits between the two");
}

#[tokio::test]
async fn a_reader_that_waits_for_a_quiet_upstream_is_not_slow() {
    let (events, body) = by_hand();
    let body = std::sync::Arc::new(std::sync::Mutex::new(Some(body)));
    let upstream = TestUpstream::start(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move { Response::new(body) }
    })
    .await;
    let gateway = TestGateway::with(upstream.addr, |config| {
        config.timeouts.write_stall = SHORT;
        config.timeouts.idle = SHORT;
        config.timeouts.head = SHORT;
    })
    .await;
    let mut stream = TcpStream::connect(gateway.addr).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.addr);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    for event in ["one", "two"] {
        events.send(data(event)).unwrap();
        while !String::from_utf8_lossy(&seen).contains(event) {
            assert!(soon("the event", stream.read_buf(&mut seen)).await.unwrap() > 0);
        }
        let quiet = tokio::time::timeout(3 * SHORT, stream.read_buf(&mut seen)).await;
        assert!(quiet.is_err(), "the stream was cut while nothing had to be sent");
    }
}

/// An upstream that reads each request to its end before it answers.
async fn reading(log: &Log) -> TestUpstream {
    let log = log.clone();
    TestUpstream::start(move |request| {
        let log = log.clone();
        async move {
            log.note(request).await;
            answer(200, "body")
        }
    })
    .await
}

#[tokio::test]
async fn a_body_that_stops_or_trickles_in_is_answered_with_408() {
    let (length, chunked) = (("Content-Length: 1000000", ""), ("Transfer-Encoding: chunked", "fffff\r\n"));
    // At once, because each connection is read from for some seconds after its answer.
    tokio::join!(
        slow_body(length, false),
        slow_body(length, true),
        slow_body(chunked, false),
        slow_body(chunked, true)
    );
}

/// Announces a body and sends nothing of it, or a byte now and then.
async fn slow_body((announced, begun): (&str, &str), trickles: bool) {
    let log = Log::default();
    let upstream = reading(&log).await;
    let gateway = TestGateway::with(upstream.addr, |config| config.timeouts.upload = SHORT).await;
    let mut stream = TcpStream::connect(gateway.addr).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: {}\r\n{announced}\r\n\r\n{begun}", gateway.addr);
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let trickle = async {
        while trickles && writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = String::new();
    tokio::select! {
        () = trickle => {}
        _ = soon("the answer and the close", reader.read_to_string(&mut answer)) => {}
    }
    let lower = answer.to_lowercase();
    assert!(lower.starts_with("http/1.1 408") && lower.contains("connection: close"), "{answer:?}");
    assert!(answer.contains("too slow"), "{answer}");
}

#[tokio::test]
async fn a_slow_http2_body_ends_its_stream_and_no_other() {
    let log = Log::default();
    let upstream = reading(&log).await;
    let gateway = TestGateway::with(upstream.addr, |config| config.timeouts.upload = SHORT).await;
    let caller = h2_caller();
    let (begun, body) = by_hand();
    begun.send(data("begun")).unwrap();
    let (slow, _) = fetch(&caller, Request::post(gateway.url("/slow")).body(body).unwrap()).await;
    assert_eq!(slow.status(), StatusCode::REQUEST_TIMEOUT);
    let (other, _) = fetch(&caller, Request::post(gateway.url("/other")).body(full("whole")).unwrap()).await;
    assert_eq!(other.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_steady_upload_and_a_slow_upstream_are_not_cut() {
    let upstream = TestUpstream::start(|request: Request<hyper::body::Incoming>| async move {
        // Takes nothing of the body for longer than a caller may be quiet.
        tokio::time::sleep(4 * SHORT).await;
        let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
        answer(200, body.len().to_string())
    })
    .await;
    let gateway = TestGateway::with(upstream.addr, |config| config.timeouts.upload = SHORT).await;
    let request = Request::post(gateway.url("/")).body(full(vec![b'x'; 32 << 20])).unwrap();
    assert_eq!(fetch(&caller(), request).await.1, (32 << 20).to_string());
}

#[tokio::test]
async fn an_exchange_that_has_begun_to_be_answered_may_be_quiet_both_ways() {
    let upstream = TestUpstream::start(|request: Request<hyper::body::Incoming>| async move {
        // What comes in goes out.
        Response::new(http_body_util::BodyExt::boxed(request.into_body()))
    })
    .await;
    let gateway = TestGateway::with(upstream.addr, |config| {
        config.timeouts.upload = SHORT;
        (config.timeouts.write_stall, config.timeouts.head) = (SHORT, SHORT);
    })
    .await;
    let (sender, body) = by_hand();
    let caller = h2_caller();
    let answer = caller.request(Request::post(gateway.url("/")).body(body).unwrap());
    let mut answer = soon("the head", answer).await.unwrap().into_body();
    for word in ["one", "two"] {
        tokio::time::sleep(3 * SHORT).await;
        sender.send(data(word)).unwrap();
        let frame = soon("the echo", http_body_util::BodyExt::frame(&mut answer)).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), word);
    }
}
