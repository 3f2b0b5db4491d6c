//! Callers that send or read as slowly as they can.

use std::time::{Duration, Instant};

use http::Response;
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
