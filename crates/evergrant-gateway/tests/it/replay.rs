//! What is sent again after a 401, and what the caller sees when it is not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use evergrant::core::profile::{Probe, ProbeMethod, Profile};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

/// An upstream that refuses the first attempt and accepts every later one.
async fn refusing_once(log: &Log) -> TestUpstream {
    let log = log.clone();
    TestUpstream::start(move |request| {
        let log = log.clone();
        async move {
            match log.note(request).await {
                1 => unauthorized("{\"error\":\"invalid_token\"}"),
                _ => answer(200, "done"),
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_body_of_announced_length_is_replayed_exactly() {
    let log = Log::default();
    let upstream = refusing_once(&log).await;
    let gateway = TestGateway::start(upstream.addr).await;
    let body: Bytes = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
    let (response, text) =
        fetch(&caller(), Request::put(gateway.url("/x?q=1")).body(full(body.clone())).unwrap()).await;
    assert_eq!((response.status(), text), (StatusCode::OK, Bytes::from("done")));
    let seen = log.all();
    assert_eq!(seen.len(), 2);
    for attempt in &seen {
        assert_eq!((attempt.head.as_str(), &attempt.body), ("PUT /x?q=1", &body));
        assert_eq!(attempt.headers.get("content-length").unwrap(), "800000");
    }
}

#[tokio::test]
async fn a_chunked_body_with_trailers_is_replayed_exactly() {
    let log = Log::default();
    let upstream = refusing_once(&log).await;
    let gateway = TestGateway::start(upstream.addr).await;
    let text = format!(
        "POST /x HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
         3\r\nabc\r\n5\r\ndefgh\r\n0\r\nx-sum: 8\r\n\r\n",
        gateway.addr
    );
    assert!(raw(gateway.addr, text).await.starts_with("HTTP/1.1 200"));
    let seen = log.all();
    assert_eq!(seen.len(), 2);
    for attempt in &seen {
        assert_eq!(attempt.body, "abcdefgh");
        assert_eq!(attempt.headers.get("transfer-encoding").unwrap(), "chunked");
        assert_eq!(attempt.trailers.as_ref().unwrap().get("x-sum").unwrap(), "8");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_not_replayed() {
    let log = Log::default();
    let upstream = refusing_once(&log).await;
    let gateway = TestGateway::with(upstream.addr, |config| config.limits.replay_body_bytes = 1_000).await;
    for chunked in [false, true] {
        let before = log.count();
        let body = Bytes::from(vec![b'x'; 1_001]);
        let body = if chunked { chunks(&body) } else { full(body) };
        let (response, _) = fetch(&caller(), Request::put(gateway.url("/x")).body(body).unwrap()).await;
        if before == 0 {
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            assert!(response.headers().contains_key("evergrant-verdict"));
            assert_eq!(response.headers().get("x-kept").unwrap(), "yes");
        }
        assert_eq!(log.count(), before + 1);
        assert_eq!(log.all()[before].body.len(), 1_001);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_sent_on_a_token_that_a_probe_has_proven() {
    let log = Log::default();
    let noted = log.clone();
    let upstream = TestUpstream::start(move |request| {
        let log = noted.clone();
        async move {
            match log.note(request).await {
                1 => unauthorized(""),
                _ => answer(200, "done"),
            }
        }
    })
    .await;
    let mut profile = Profile::oauth2();
    profile.probe = Some(Probe { method: ProbeMethod::Head, path: "/probe".to_owned() });
    profile.api_url = Some(format!("http://{}", upstream.addr));
    let source = probing_source_of(profile, "client-s3cr3t").await;
    let gateway =
        TestGateway::with_source(upstream.addr, source, |config| config.limits.replay_body_bytes = 1_000).await;
    for _ in 0..2 {
        let request = Request::post(gateway.url("/x")).body(full(vec![b'x'; 1_001])).unwrap();
        assert_eq!(fetch(&caller(), request).await.0.status(), StatusCode::OK);
    }
    let heads: Vec<_> = log.all().into_iter().map(|seen| seen.head).collect();
    // The API does not know the young token at first; the upload waits until it does, and the next needs no proof.
    assert_eq!(heads, ["HEAD /probe", "HEAD /probe", "POST /x", "POST /x"]);
}

#[tokio::test]
async fn a_post_that_may_have_been_executed_gets_its_401_and_hears_why() {
    let log = Log::default();
    let noted = log.clone();
    let upstream = TestUpstream::start(move |request| {
        let log = noted.clone();
        async move {
            log.note(request).await;
            answer(401, "no challenge")
        }
    })
    .await;
    let gateway = TestGateway::start(upstream.addr).await;
    let (response, _) = fetch(&caller(), Request::post(gateway.url("/x")).body(full("once")).unwrap()).await;
    assert_eq!((response.status(), log.count()), (StatusCode::UNAUTHORIZED, 1));
    let verdict = response.headers().get("evergrant-verdict").unwrap().to_str().unwrap();
    assert!(verdict.ends_with("; replay=unsafe"), "{verdict}");
}

#[tokio::test]
async fn a_verdict_of_the_upstream_is_not_handed_on() {
    let upstream = TestUpstream::start(|_| async {
        let mut response = answer(200, "fine");
        response.headers_mut().insert("evergrant-verdict", "expired; certain; 1".parse().unwrap());
        response
    })
    .await;
    let gateway = TestGateway::start(upstream.addr).await;
    let (response, _) = get(gateway.url("/")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("evergrant-verdict"));
}

#[tokio::test]
async fn the_budget_of_all_bodies_bounds_replays() {
    let log = Log::default();
    let upstream = refusing_once(&log).await;
    let gateway = TestGateway::with(upstream.addr, |config| config.limits.replay_total_bytes = 1_000).await;
    let (response, _) = fetch(&caller(), Request::put(gateway.url("/x")).body(full(vec![b'x'; 2_000])).unwrap()).await;
    assert_eq!((response.status(), log.count()), (StatusCode::UNAUTHORIZED, 1));
}

#[tokio::test]
async fn a_401_before_the_body_was_read_waits_for_the_body_and_replays_it() {
    // The first upstream connection answers at once and reads nothing more; it stays open or is closed.
    for closes in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = TestGateway::start(listener.local_addr().unwrap()).await;
        let (refused, refusal) = tokio::sync::oneshot::channel();
        let upstream = tokio::spawn(async move {
            let (mut first, _) = listener.accept().await.unwrap();
            read_head(&mut first).await;
            let close = if closes { "Connection: close\r\n" } else { "" };
            let head = format!("HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\n{close}Content-Length: 2\r\n\r\nno");
            first.write_all(head.as_bytes()).await.unwrap();
            refused.send(()).unwrap();
            if closes {
                drop(first);
                (first, _) = listener.accept().await.unwrap();
            } else {
                // The rest of the first attempt, then the replay on the same connection.
                read_until(&mut first, b"late").await;
            }
            let seen = read_until(&mut first, b"late").await;
            first.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            (seen, first)
        });
        let (sender, body) = by_hand();
        sender.send(data("early ")).unwrap();
        let request = Request::put(gateway.url("/x")).header("content-length", "10").body(body).unwrap();
        let caller = caller();
        let answer = tokio::spawn(async move { fetch(&caller, request).await });
        soon("the refusal", refusal).await.unwrap();
        sender.send(data("late")).unwrap();
        drop(sender);
        assert_eq!(soon("the answer", answer).await.unwrap().0.status(), StatusCode::OK);
        let (seen, _open) = soon("the upstream", upstream).await.unwrap();
        assert!(String::from_utf8(seen).unwrap().ends_with("\r\n\r\nearly late"));
    }
}

#[tokio::test]
async fn a_refusal_longer_than_what_is_looked_at_reaches_the_caller_whole() {
    let long: Bytes = (0..100_000_u32).flat_map(u32::to_be_bytes).collect();
    let sent = long.clone();
    let upstream = TestUpstream::start(move |request| {
        let sent = sent.clone();
        async move {
            _ = request.into_body().collect().await;
            unauthorized(sent)
        }
    })
    .await;
    let gateway = TestGateway::with(upstream.addr, |config| config.limits.replay_body_bytes = 1).await;
    let (response, body) = fetch(&caller(), Request::post(gateway.url("/")).body(full("xx")).unwrap()).await;
    assert_eq!((response.status(), body), (StatusCode::UNAUTHORIZED, long));
}

#[tokio::test]
async fn a_replay_without_an_answer_leaves_the_first_401_to_the_caller() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = TestGateway::start(listener.local_addr().unwrap()).await;
    let long = "x".repeat(50_000);
    let refusal = format!(
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nX-Kept: yes\r\nContent-Length: {}\r\n\r\n{long}",
        long.len()
    );
    let upstream = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        read_head(&mut first).await;
        first.write_all(refusal.as_bytes()).await.unwrap();
        // The replay comes on this connection or on a new one; it is read and then dropped with its connection.
        tokio::join!(async move { read_head(&mut first).await }, async move {
            while let Ok((mut next, _)) = listener.accept().await {
                read_head(&mut next).await;
            }
        })
    });
    let (response, body) = get(gateway.url("/")).await;
    assert_eq!((response.status(), body.len()), (StatusCode::UNAUTHORIZED, 50_000));
    assert_eq!(response.headers().get("x-kept").unwrap(), "yes");
    assert!(response.headers().contains_key("evergrant-verdict"));
    upstream.abort();
}

#[tokio::test]
async fn a_callers_own_authorization_passes_untouched() {
    let log = Log::default();
    let upstream = refusing_once(&log).await;
    let gateway = TestGateway::start(upstream.addr).await;
    let request = Request::get(gateway.url("/")).header("authorization", "Basic eDp5").body(full("")).unwrap();
    let (response, _) = fetch(&caller(), request).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let verdict = response.headers().get("evergrant-verdict").unwrap().to_str().unwrap();
    assert!(verdict.starts_with("caller_token; "), "{verdict}");
    let seen = log.all();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].headers.get("authorization").unwrap(), "Basic eDp5");
}

#[tokio::test]
async fn an_empty_authorization_is_replaced_by_a_token() {
    let log = Log::default();
    let noted = log.clone();
    let upstream = TestUpstream::start(move |request| {
        let log = noted.clone();
        async move {
            log.note(request).await;
            answer(200, "")
        }
    })
    .await;
    let gateway = TestGateway::start(upstream.addr).await;
    for value in ["", "Bearer", "Bearer "] {
        let request = Request::get(gateway.url("/")).header("authorization", value).body(full("")).unwrap();
        assert_eq!(fetch(&caller(), request).await.0.status(), StatusCode::OK);
    }
    for seen in log.all() {
        let sent: Vec<_> = seen.headers.get_all("authorization").iter().collect();
        assert_eq!(sent.len(), 1);
        assert!(sent[0].to_str().unwrap().starts_with("Bearer token-"), "{sent:?}");
    }
}

#[tokio::test]
async fn a_get_survives_a_pooled_connection_that_died() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = TestGateway::start(listener.local_addr().unwrap()).await;
    let upstream = tokio::spawn(async move {
        let mut served = 0;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // One answer each; the next request on it is read and then dropped with the connection.
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            served += 1;
            if served == 1 {
                read_head(&mut stream).await;
            } else {
                tokio::spawn(async move {
                    read_head(&mut stream).await;
                    _ = stream.write_all(b"HTTP/1.1 500 Executed\r\nContent-Length: 0\r\n\r\n").await;
                });
            }
        }
    });
    assert_eq!(get(gateway.url("/")).await.0.status(), StatusCode::OK);
    assert_eq!(get(gateway.url("/")).await.0.status(), StatusCode::OK);
    upstream.abort();
}

#[tokio::test]
async fn a_get_survives_when_every_pooled_connection_died() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = TestGateway::start(listener.local_addr().unwrap()).await;
    // Both first requests are answered only when both are there, so that each needs a connection of its own.
    let together = Arc::new(tokio::sync::Barrier::new(2));
    let upstream = tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let together = Arc::clone(&together);
            tokio::spawn(async move {
                read_head(&mut stream).await;
                if number < 2 {
                    together.wait().await;
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
                // The next request on it is read and then dropped with the connection.
                read_head(&mut stream).await;
            });
        }
    });
    let (one, two) = tokio::join!(get(gateway.url("/")), get(gateway.url("/")));
    assert_eq!((one.0.status(), two.0.status()), (StatusCode::OK, StatusCode::OK));
    assert_eq!(get(gateway.url("/")).await.0.status(), StatusCode::OK);
    upstream.abort();
}

#[tokio::test]
async fn a_post_on_a_pooled_connection_that_died_is_not_sent_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = TestGateway::start(listener.local_addr().unwrap()).await;
    let upstream = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        read_head(&mut stream).await;
        drop(stream);
        tokio::time::timeout(Duration::from_millis(500), listener.accept()).await.is_ok()
    });
    assert_eq!(get(gateway.url("/")).await.0.status(), StatusCode::OK);
    let post = Request::post(gateway.url("/")).body(full("once")).unwrap();
    let (response, body) = fetch(&caller(), post).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert!(String::from_utf8_lossy(&body).contains("closed the connection before it answered"));
    assert!(!soon("the upstream", upstream).await.unwrap(), "the POST came twice");
}

async fn read_head(stream: &mut TcpStream) {
    read_until(stream, b"\r\n\r\n").await;
}

/// Reads until these bytes have come, or the other side closes.
async fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut seen = Vec::new();
    while !seen.windows(end.len()).any(|window| window == end) {
        if !stream.read_buf(&mut seen).await.is_ok_and(|length| length > 0) {
            break;
        }
    }
    seen
}

fn chunks(bytes: &Bytes) -> Body {
    let (sender, body) = by_hand();
    for part in bytes.chunks(100) {
        sender.send(hyper::body::Frame::data(Bytes::copy_from_slice(part))).unwrap();
    }
    body
}
