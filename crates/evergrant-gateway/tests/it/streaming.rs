//! Bodies move at once, both ways, whole, with their trailers.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use tokio::sync::mpsc;

use crate::support::*;

#[tokio::test]
async fn an_answer_is_handed_on_while_it_is_written() {
    let (bodies, mut given) = mpsc::unbounded_channel();
    let upstream = TestUpstream::start(move |_| {
        let bodies = bodies.clone();
        async move {
            let (sender, body) = by_hand();
            bodies.send(sender).unwrap();
            Response::new(body)
        }
    })
    .await;
    let gateway = TestGateway::start(upstream.addr).await;
    let request = Request::get(gateway.url("/stream")).body(full("")).unwrap();
    let mut body = soon("the head", caller().request(request)).await.unwrap().into_body();
    let sender = given.recv().await.unwrap();
    for part in ["one", "two", "three"] {
        sender.send(data(part)).unwrap();
        // The next part is sent only after this one was read at the far end.
        let frame = soon(part, body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), part);
    }
    drop(sender);
    assert_ends(&mut body).await;
}

#[tokio::test]
async fn a_request_is_sent_on_while_it_is_written_and_answered_before_it_ends() {
    let upstream = TestUpstream::start(|request| async move { Response::new(request.into_body().boxed()) }).await;
    let gateway = TestGateway::start(upstream.addr).await;
    for caller in [caller(), h2_caller()] {
        let (sender, body) = by_hand();
        let request = Request::post(gateway.url("/echo")).body(body).unwrap();
        let mut echo = soon("the head", caller.request(request)).await.unwrap().into_body();
        for part in ["one", "two", "three"] {
            sender.send(data(part)).unwrap();
            let frame = soon(part, echo.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), part);
        }
        drop(sender);
        assert_ends(&mut echo).await;
    }
}

#[tokio::test]
async fn an_upload_goes_on_after_an_early_and_complete_answer() {
    let (bodies, mut given) = mpsc::unbounded_channel();
    let upstream = TestUpstream::start(move |request: Request<hyper::body::Incoming>| {
        bodies.send(request.into_body()).unwrap();
        async { answer(202, "accepted") }
    })
    .await;
    let gateway = TestGateway::start(upstream.addr).await;
    let (sender, body) = by_hand();
    let request = Request::post(gateway.url("/upload")).body(body).unwrap();
    let (response, text) = fetch(&caller(), request).await;
    assert_eq!((response.status().as_u16(), text), (202, Bytes::from("accepted")));
    let upload = given.recv().await.unwrap();
    sender.send(data("late")).unwrap();
    drop(sender);
    assert_eq!(soon("the upload", upload.collect()).await.unwrap().to_bytes(), "late");
}

#[tokio::test]
async fn trailers_cross_both_ways() {
    let log = Log::default();
    let noted = log.clone();
    let upstream = TestUpstream::start(move |request| {
        let log = noted.clone();
        async move {
            log.note(request).await;
            let (sender, body) = by_hand();
            sender.send(data("body")).unwrap();
            sender.send(Frame::trailers(trailers("down"))).unwrap();
            Response::builder().header("trailer", "x-sum").body(body).unwrap()
        }
    })
    .await;
    let gateway = TestGateway::start(upstream.addr).await;
    for caller in [caller(), h2_caller()] {
        let (sender, body) = by_hand();
        sender.send(data("up")).unwrap();
        sender.send(Frame::trailers(trailers("up"))).unwrap();
        drop(sender);
        let request = Request::post(gateway.url("/")).header("te", "trailers").header("trailer", "x-sum");
        let response = soon("the head", caller.request(request.body(body).unwrap())).await.unwrap();
        let collected = soon("the body", response.into_body().collect()).await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers("down")));
    }
    for seen in log.all() {
        assert_eq!((seen.body, seen.trailers), (Bytes::from("up"), Some(trailers("up"))));
    }
}

#[tokio::test]
async fn answers_without_a_body_stay_without_one() {
    let upstream = TestUpstream::start(|request| async move {
        let path = request.uri().path().to_owned();
        match path.as_str() {
            "/head" => Response::builder().header("content-length", "1234").body(full("")).unwrap(),
            "/304" => Response::builder().status(304).header("etag", "\"x\"").body(full("")).unwrap(),
            _ => Response::builder().status(204).body(full("")).unwrap(),
        }
    })
    .await;
    let gateway = TestGateway::start(upstream.addr).await;
    for caller in [caller(), h2_caller()] {
        let head = Request::head(gateway.url("/head")).body(full("")).unwrap();
        let (response, body) = fetch(&caller, head).await;
        assert_eq!((response.headers().get("content-length").unwrap(), body.len()), (&HeaderValue::from(1234), 0));
        for (path, status) in [("/204", 204), ("/304", 304)] {
            let (response, body) = fetch(&caller, Request::get(gateway.url(path)).body(full("")).unwrap()).await;
            assert_eq!((response.status().as_u16(), body.len()), (status, 0));
            assert!(response.headers().get("transfer-encoding").is_none());
        }
    }
}

#[tokio::test]
async fn an_empty_body_keeps_its_announced_length() {
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
    let head = format!("POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", gateway.addr);
    assert!(raw(gateway.addr, head).await.starts_with("HTTP/1.1 200"));
    let seen = &log.all()[0];
    assert_eq!(seen.headers.get("content-length").unwrap(), "0");
    assert!(seen.headers.get("transfer-encoding").is_none());
}

#[tokio::test]
async fn a_redirect_is_handed_on() {
    let upstream = TestUpstream::start(|_| async {
        Response::builder().status(302).header("location", "https://elsewhere.example/").body(full("")).unwrap()
    })
    .await;
    let gateway = TestGateway::start(upstream.addr).await;
    let (response, _) = get(gateway.url("/")).await;
    assert_eq!(response.status().as_u16(), 302);
    assert_eq!(response.headers().get("location").unwrap(), "https://elsewhere.example/");
}

fn trailers(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static(value))])
}
