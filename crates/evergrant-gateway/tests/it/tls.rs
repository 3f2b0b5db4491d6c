//! Upstreams with TLS: HTTP/2 by ALPN, HTTP/1.1 where it is not offered or an upgrade needs it.

use std::net::SocketAddr;
use std::time::Duration;

use evergrant_gateway::{Egress, Upstream};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::*;

async fn gateway_to(addr: SocketAddr, host: &str) -> TestGateway {
    let url = format!("https://{host}:{}", addr.port());
    TestGateway::with(addr, |config| config.upstream = Upstream::parse(&url).unwrap()).await
}

#[tokio::test]
async fn the_upstream_chooses_the_protocol() {
    let all: &[&str] = &["h2", "http/1.1"];
    for (offered, expected) in [(all, Version::HTTP_2), (&all[1..], Version::HTTP_11), (&[], Version::HTTP_11)] {
        let (versions, mut seen) = mpsc::unbounded_channel();
        let log = Log::default();
        let upstream = TestUpstream::start_tls("127.0.0.1", offered, move |request: Request<Incoming>| {
            let (versions, log) = (versions.clone(), log.clone());
            async move {
                versions.send((request.version(), request.uri().authority().map(ToString::to_string))).unwrap();
                if log.note(request).await == 1 { unauthorized("no") } else { answer(200, "yes") }
            }
        })
        .await;
        let gateway = gateway_to(upstream.addr, "localhost").await;
        for caller in [caller(), h2_caller()] {
            let request = Request::put(gateway.url("/x")).body(full("text")).unwrap();
            assert_eq!(fetch(&caller, request).await.0.status(), StatusCode::OK);
        }
        for _ in 0..3 {
            let (version, authority) = seen.recv().await.unwrap();
            assert_eq!(version, expected);
            let own = format!("localhost:{}", upstream.addr.port());
            assert_eq!(authority, (version == Version::HTTP_2).then_some(own));
        }
    }
}

#[tokio::test]
async fn an_upgrade_uses_http1_although_http2_is_offered() {
    let upstream = TestUpstream::start_tls("127.0.0.1", &["h2", "http/1.1"], |request: Request<Incoming>| async move {
        assert_eq!(request.version(), Version::HTTP_11);
        assert_eq!(request.headers().get("upgrade").unwrap(), "echo");
        Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "echo")
            .body(full(""))
            .unwrap()
    })
    .await;
    let gateway = gateway_to(upstream.addr, "localhost").await;
    let text = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n", gateway.addr);
    assert!(raw(gateway.addr, text).await.starts_with("HTTP/1.1 101"));
}

#[tokio::test]
async fn an_upstream_that_cannot_prove_its_name_gets_nothing() {
    let tls = TestUpstream::start_tls("127.0.0.2", &["h2"], |_| async { unreachable!("no request may come") }).await;
    let plain = TestUpstream::start(|_| async { unreachable!("no request may come") }).await;
    let (name, protocol) = ("its certificate is for another name", "does not speak TLS");
    for (addr, host, why) in [(tls.addr, "127.0.0.2", name), (plain.addr, "127.0.0.1", protocol)] {
        let gateway = gateway_to(addr, host).await;
        let (response, body) = get(gateway.url("/")).await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
        let text = String::from_utf8_lossy(&body);
        assert!(text.contains(why) && text.contains(&format!("{host}:{}", addr.port())), "{text}");
    }
}

#[tokio::test]
async fn an_upstream_that_never_finishes_its_handshake_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = silent.local_addr().unwrap();
    let gateway = TestGateway::with(addr, |config| {
        config.upstream = Upstream::parse(&format!("https://{addr}")).unwrap();
        config.timeouts.connect = Duration::from_millis(50);
    })
    .await;
    let (response, body) = get(gateway.url("/")).await;
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains("timed out") && text.contains(&addr.to_string()), "{text}");
}

#[tokio::test]
async fn a_proxy_is_asked_for_a_tunnel_and_sees_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://me:pw@{}", listener.local_addr().unwrap());
    let seen = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut seen).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 407 No\r\n\r\n").await.unwrap();
        String::from_utf8(seen).unwrap()
    });
    let gateway = TestGateway::with(([127, 0, 0, 1], 1).into(), |config| {
        config.upstream = Upstream::parse("https://api.example").unwrap();
        config.egress = Egress::through(&proxy, &config.upstream);
    })
    .await;
    let (response, body) = get(gateway.url("/path")).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert!(String::from_utf8_lossy(&body).contains("the proxy on the way wants other credentials"));
    let seen = soon("the proxy", seen).await.unwrap();
    assert!(seen.starts_with("CONNECT api.example:443 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("Proxy-Authorization: Basic bWU6cHc=") && !seen.contains("path"), "{seen}");
}
