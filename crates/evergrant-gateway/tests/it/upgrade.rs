//! Connections that change their protocol.

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::*;

/// An upstream that refuses the first attempt if told so, then changes to a protocol that echoes.
async fn echoing(log: &Log, refuses_first: bool) -> TestUpstream {
    let log = log.clone();
    TestUpstream::start(move |mut request: Request<Incoming>| {
        let log = log.clone();
        async move {
            let upgraded = hyper::upgrade::on(&mut request);
            if log.note(request).await == 1 && refuses_first {
                return unauthorized("");
            }
            tokio::spawn(async move {
                let stream = TokioIo::new(upgraded.await.unwrap());
                let (mut reader, mut writer) = tokio::io::split(stream);
                _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
            Response::builder()
                .status(101)
                .header("connection", "upgrade")
                .header("upgrade", "echo")
                .body(full(""))
                .unwrap()
        }
    })
    .await
}

async fn upgraded(gateway: &TestGateway) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.addr).await.unwrap();
    let head = format!("GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", gateway.addr);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        soon("the head", stream.read_buf(&mut answer)).await.unwrap();
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    assert!(answer.contains("upgrade: echo") && answer.contains("connection: upgrade"), "{answer}");
    stream
}

#[tokio::test]
async fn an_upgraded_connection_carries_bytes_both_ways() {
    for refuses_first in [false, true] {
        let log = Log::default();
        let upstream = echoing(&log, refuses_first).await;
        let gateway = TestGateway::start(upstream.addr).await;
        let mut stream = upgraded(&gateway).await;
        for part in [b"one".as_slice(), b"two"] {
            stream.write_all(part).await.unwrap();
            let mut echo = [0; 3];
            soon("the echo", stream.read_exact(&mut echo)).await.unwrap();
            assert_eq!(echo, part);
        }
        let seen = log.all();
        assert_eq!(seen.len(), 1 + usize::from(refuses_first));
        assert!(
            seen.last().unwrap().headers.get("authorization").unwrap().to_str().unwrap().starts_with("Bearer token-")
        );
    }
}

#[tokio::test]
async fn a_tunnel_is_cut_when_the_drain_time_is_over() {
    let log = Log::default();
    let upstream = echoing(&log, false).await;
    let gateway =
        TestGateway::with(upstream.addr, |config| config.timeouts.drain = std::time::Duration::from_millis(50)).await;
    let mut stream = upgraded(&gateway).await;
    let drained = gateway.ended().await;
    assert_eq!((drained.in_flight, drained.cut), (1, 1));
    assert_eq!(soon("the cut", stream.read(&mut [0; 1])).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_quiet_tunnel_is_no_slow_head_and_no_idle_connection() {
    let log = Log::default();
    let upstream = echoing(&log, false).await;
    let gateway = TestGateway::with(upstream.addr, |config| {
        config.timeouts.head = std::time::Duration::from_millis(100);
        config.timeouts.idle = std::time::Duration::from_millis(100);
    })
    .await;
    let mut stream = upgraded(&gateway).await;
    for part in [b"one".as_slice(), b"two"] {
        stream.write_all(part).await.unwrap();
        let mut echo = [0; 3];
        soon("the echo", stream.read_exact(&mut echo)).await.unwrap();
        let quiet = tokio::time::timeout(std::time::Duration::from_millis(400), stream.read(&mut [0; 1])).await;
        assert!(quiet.is_err(), "the tunnel was closed");
    }
}
