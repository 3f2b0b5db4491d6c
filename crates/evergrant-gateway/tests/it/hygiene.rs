//! What crosses the gateway, and what is refused at its door.

use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::*;

async fn noting(log: &Log) -> TestUpstream {
    let log = log.clone();
    TestUpstream::start(move |request| {
        let log = log.clone();
        async move {
            log.note(request).await;
            Response::builder()
                .header("connection", "x-private")
                .header("x-private", "1")
                .header("keep-alive", "timeout=5")
                .header("x-kept", "2")
                .header("set-cookie", "a=1")
                .header("set-cookie", "b=2")
                .body(full("body"))
                .unwrap()
        }
    })
    .await
}

#[tokio::test]
async fn fields_of_one_connection_do_not_cross() {
    let log = Log::default();
    let upstream = noting(&log).await;
    let gateway = TestGateway::start(upstream.addr).await;
    let request = Request::get(gateway.url("/x"))
        .header("connection", "x-mine, host")
        .header("x-mine", "1")
        .header("proxy-authorization", "Basic eDp5")
        .header("te", "gzip")
        .header("x-forwarded-host", "kept.example");
    let (response, _) = fetch(&caller(), request.body(full("")).unwrap()).await;
    assert!(response.headers().get("x-private").is_none());
    assert!(response.headers().get("keep-alive").is_none());
    assert_eq!(response.headers().get("x-kept").unwrap(), "2");
    assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
    let seen = &log.all()[0];
    for gone in ["connection", "x-mine", "proxy-authorization", "te"] {
        assert!(seen.headers.get(gone).is_none(), "{gone}");
    }
    assert_eq!(seen.headers.get("x-forwarded-host").unwrap(), "kept.example");
    assert_eq!(seen.headers.get("host").unwrap().to_str().unwrap(), upstream.addr.to_string());
}

#[tokio::test]
async fn an_authorization_that_connection_names_crosses_all_the_same() {
    let log = Log::default();
    let upstream = noting(&log).await;
    let gateway = TestGateway::start(upstream.addr).await;
    let request = Request::get(gateway.url("/")).header("connection", "authorization").header("authorization", "Own x");
    fetch(&caller(), request.body(full("")).unwrap()).await;
    assert_eq!(log.all()[0].headers.get("authorization").unwrap(), "Own x");
}

#[tokio::test]
async fn an_http2_caller_reaches_an_http1_upstream() {
    let log = Log::default();
    let upstream = noting(&log).await;
    let gateway = TestGateway::start(upstream.addr).await;
    let request = Request::post(gateway.url("/a//b?c=%2F"))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(full("text"))
        .unwrap();
    let (response, body) = fetch(&h2_caller(), request).await;
    assert_eq!((response.version(), body.as_ref()), (http::Version::HTTP_2, b"body".as_slice()));
    let seen = &log.all()[0];
    assert_eq!((seen.head.as_str(), seen.body.as_ref()), ("POST /a//b?c=%2F", b"text".as_slice()));
    assert_eq!(seen.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    assert_eq!(seen.headers.get("host").unwrap().to_str().unwrap(), upstream.addr.to_string());
}

#[tokio::test]
async fn a_prefix_of_the_upstream_comes_before_the_path() {
    let log = Log::default();
    let upstream = noting(&log).await;
    let addr = upstream.addr;
    let gateway = TestGateway::with(addr, |config| {
        config.upstream = evergrant_gateway::Upstream::parse(&format!("http://{addr}/base/")).unwrap();
    })
    .await;
    get(gateway.url("/x?y=1")).await;
    assert_eq!(log.all()[0].head, "GET /base/x?y=1");
}

#[tokio::test]
async fn requests_that_could_be_read_in_two_ways_are_refused() {
    let log = Log::default();
    let upstream = noting(&log).await;
    let gateway = TestGateway::start(upstream.addr).await;
    let own = format!("Host: {}\r\nConnection: close\r\n", gateway.addr);
    let many = "X-A: 1\r\n".repeat(130);
    let long = format!("X-A: {}\r\n", "a".repeat(66_000));
    for (text, status) in [
        (format!("GET / HTTP/1.1\r\n{own}Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n"), 400),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(), 421),
        (format!("GET http://evil.example/ HTTP/1.1\r\n{own}\r\n"), 400),
        (format!("CONNECT evil.example:443 HTTP/1.1\r\n{own}\r\n"), 405),
        (format!("GET / HTTP/1.1\r\n{own}Origin: https://evil.example\r\n\r\n"), 403),
        (format!("GET / HTTP/1.1\r\n{own}Sec-Fetch-Site: cross-site\r\n\r\n"), 403),
        (format!("GET / HTTP/1.1\r\n{own}{many}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\n{own}{long}\r\n"), 431),
        (format!("POST / HTTP/1.1\r\n{own}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 400),
        (format!("POST / HTTP/1.1\r\n{own}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), 400),
        (format!("POST / HTTP/1.1\r\n{own}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        (format!("POST / HTTP/1.1\r\n{own}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"), 400),
    ] {
        let answer = raw(gateway.addr, &text).await;
        let line = answer.lines().next().unwrap_or_default();
        assert!(line.starts_with(&format!("HTTP/1.1 {status}")), "{line} for {}", &text[..text.len().min(200)]);
    }
    assert_eq!(log.count(), 0);
}

#[tokio::test]
async fn as_many_fields_as_allowed_pass() {
    let log = Log::default();
    let upstream = noting(&log).await;
    let gateway = TestGateway::start(upstream.addr).await;
    let many = "X-A: 1\r\n".repeat(126);
    let text = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{many}\r\n", gateway.addr);
    assert!(raw(gateway.addr, text).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_incomplete_head_is_closed_and_a_resting_connection_is_not() {
    let log = Log::default();
    let upstream = noting(&log).await;
    let gateway = TestGateway::with(upstream.addr, |config| config.timeouts.head = Duration::from_millis(200)).await;
    for text in ["GET / HTTP/1.1\r\nHost: x", "PRI * HT", "P"] {
        let begun = Instant::now();
        assert_eq!(raw(gateway.addr, text).await, "");
        assert!(begun.elapsed() >= Duration::from_millis(150), "{text} was closed at once");
    }
    let mut resting = TcpStream::connect(gateway.addr).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.addr);
    for _ in 0..2 {
        resting.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"body") {
            assert!(soon("the answer", resting.read_buf(&mut answer)).await.unwrap() > 0);
        }
        // Longer than a head may take: a connection between two requests has no head to wait for.
        let rest = tokio::time::timeout(Duration::from_millis(400), resting.read(&mut [0; 1])).await;
        assert!(rest.is_err(), "the resting connection was closed");
    }
    resting.write_all(b"GET / HT").await.unwrap();
    assert_eq!(soon("the close", resting.read(&mut [0; 1])).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed_at_last() {
    let log = Log::default();
    let upstream = noting(&log).await;
    let gateway = TestGateway::with(upstream.addr, |config| config.timeouts.idle = Duration::from_millis(100)).await;
    let text = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.addr);
    assert!(raw(gateway.addr, text).await.ends_with("body"));
    assert_eq!(raw(gateway.addr, "").await, "");
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_named() {
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = TestGateway::start(unused).await;
    let (response, body) = get(gateway.url("/secret?token=1")).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(response.headers().get("content-type").unwrap(), "application/problem+json");
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains("refused") && text.contains(&unused.to_string()), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_chunked_request_behind_another_is_the_last_on_its_connection() {
    let log = Log::default();
    let upstream = noting(&log).await;
    let gateway = TestGateway::start(upstream.addr).await;
    let host = format!("Host: {}\r\n", gateway.addr);
    let chunked = format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    let text = format!("GET / HTTP/1.1\r\n{host}\r\n{chunked}{chunked}");
    // Ends because the gateway closes: the second request of the three is the last one served.
    assert_eq!(raw(gateway.addr, text).await.matches("HTTP/1.1 200").count(), 2);
    assert_eq!(log.count(), 2);
}
