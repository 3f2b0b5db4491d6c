//! Starting, being looked at, and ending.

use std::time::Duration;

use evergrant_gateway::{GatewayConfig, Upstream};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::*;

#[tokio::test]
async fn a_stream_in_flight_is_finished_after_shutdown() {
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
    for caller in [caller(), h2_caller()] {
        let mut gateway = TestGateway::start(upstream.addr).await;
        let request = Request::get(gateway.url("/")).body(full("")).unwrap();
        let mut body = soon("the head", caller.request(request)).await.unwrap().into_body();
        let sender = given.recv().await.unwrap();
        sender.send(data("before")).unwrap();
        assert_eq!(soon("data", body.frame()).await.unwrap().unwrap().into_data().unwrap(), "before");
        gateway.stop();
        soon("the listener to close", async {
            while TcpStream::connect(gateway.addr).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        sender.send(data("after")).unwrap();
        assert_eq!(soon("data", body.frame()).await.unwrap().unwrap().into_data().unwrap(), "after");
        drop(sender);
        assert_ends(&mut body).await;
        let drained = gateway.ended().await;
        assert_eq!((drained.in_flight, drained.cut), (1, 0));
    }
}

#[tokio::test]
async fn resting_connections_do_not_hold_the_end_up() {
    let upstream = TestUpstream::start(|_| async { answer(200, "") }).await;
    let gateway = TestGateway::start(upstream.addr).await;
    let silent = TcpStream::connect(gateway.addr).await.unwrap();
    let caller = caller();
    fetch(&caller, Request::get(gateway.url("/")).body(full("")).unwrap()).await;
    let drained = gateway.ended().await;
    assert_eq!((drained.in_flight, drained.cut), (0, 0));
    assert!(drained.took < Duration::from_secs(5));
    drop((silent, caller));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = GatewayConfig::new(Upstream::parse("http://127.0.0.1:1").unwrap());
    config.listen = vec![taken.local_addr().unwrap().into()];
    let Err(error) = evergrant_gateway::Gateway::bind(config, source().await, Default::default()).await else {
        panic!("the port was taken");
    };
    let expected = format!("cannot listen on {}: the port is in use by another process", taken.local_addr().unwrap());
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn the_admin_listener_shows_what_happened() {
    let upstream = TestUpstream::start(|_| async { answer(200, "") }).await;
    let gateway = TestGateway::start(upstream.addr).await;
    get(gateway.url("/")).await;
    let admin = |path: &str| format!("http://{}{path}", gateway.admin);
    let (response, body) = get(admin("/status")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let status: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status["gateway"]["answers"]["2xx"], 1);
    assert_eq!(status["ready"], true);
    assert_eq!(status["counters"]["mints"], 1);
    assert!(status["clock"]["words"].is_string(), "{status}");
    let (response, body) = get(admin("/metrics")).await;
    assert!(response.headers().get("content-type").unwrap().to_str().unwrap().contains("openmetrics-text"));
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.contains("evergrant_gateway_requests_total{profile=\"default\",class=\"2xx\"} 1"), "{text}");
    assert!(text.contains("evergrant_gateway_answer_seconds_count{profile=\"default\"} 1"), "{text}");
    assert!(text.contains("evergrant_mints_total{profile=\"default\"} 1"), "{text}");
    assert!(text.contains("evergrant_ready{profile=\"default\"} 1"), "{text}");
    assert!(text.contains("evergrant_token_remaining_seconds{profile=\"default\",slot=\"active\"} 35"), "{text}");
    assert!(text.ends_with("# EOF\n"));
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(admin(path)).await.0.status(), StatusCode::OK, "{path}");
        let foreign = Request::get(admin(path)).header("host", "pod.example").body(full("")).unwrap();
        assert_eq!(fetch(&caller(), foreign).await.0.status(), StatusCode::OK, "{path}");
    }
    let foreign = Request::get(admin("/status")).header("host", "pod.example").body(full("")).unwrap();
    assert_eq!(fetch(&caller(), foreign).await.0.status(), StatusCode::MISDIRECTED_REQUEST);
    let post = Request::post(admin("/status")).body(full("")).unwrap();
    assert_eq!(fetch(&caller(), post).await.0.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(get(admin("/nothing")).await.0.status(), StatusCode::NOT_FOUND);
}
