//! Web pages: refused unless their origin is listed, and then served by the gateway's own rules.

use evergrant_gateway::GatewayConfig;
use http::{HeaderMap, Method, Request, Response, StatusCode};

use crate::support::*;

const PAGE: &str = "https://app.example";

/// An API that allows everybody everything, sets cookies and speaks about its own origin.
async fn generous(log: &Log) -> TestUpstream {
    let log = log.clone();
    TestUpstream::start(move |request| {
        let log = log.clone();
        async move {
            let path = request.uri().path().to_owned();
            log.note(request).await;
            let mut response = Response::builder()
                .status(if path == "/redirect" { 302 } else { 200 })
                .header("access-control-allow-origin", "*")
                .header("access-control-allow-credentials", "true")
                .header("access-control-expose-headers", "x-upstream")
                .header("set-cookie", "session=1; Domain=api.example; Path=/")
                .header("strict-transport-security", "max-age=31536000; includeSubDomains")
                .header("alt-svc", "h3=\":443\"")
                .header("clear-site-data", "\"*\"")
                .header("nel", "{}")
                .header("report-to", "{}")
                .header("service-worker-allowed", "/")
                .header("inin-correlation-id", "c-1");
            if path == "/redirect" {
                response = response.header("location", "https://evil.example/take?it");
            }
            response.body(full("body")).unwrap()
        }
    })
    .await
}

fn allow_page(config: &mut GatewayConfig) {
    config.allowed_origins = vec![PAGE.to_owned()];
}

async fn send(url: String, method: Method, fields: &[(&str, &str)]) -> (Response<()>, String) {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (response, body) = fetch(&caller(), request.body(full("")).unwrap()).await;
    (response, String::from_utf8_lossy(&body).into_owned())
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn a_page_that_is_not_listed_is_refused_everywhere() {
    let log = Log::default();
    let upstream = generous(&log).await;
    let gateway = TestGateway::with(upstream.addr, allow_page).await;
    let websocket = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")];
    let proxy = gateway.url("/x");
    let status = format!("http://{}/status", gateway.admin);
    for fields in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "null")],
        &[("origin", "https://app.example.evil")],
        &[("origin", "http://app.example")],
        &[("origin", "https://app.example"), ("origin", "https://evil.example")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")],
        &[("origin", "https://evil.example"), ("access-control-request-method", "POST")],
        &[("service-worker", "script")],
    ] {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            let (response, _) = send(proxy.clone(), method, fields).await;
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "{fields:?}");
            assert!(!response.headers().contains_key("access-control-allow-origin"), "{fields:?}");
        }
        let (response, _) = send(proxy.clone(), Method::GET, &[fields, &websocket].concat()).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "WebSocket with {fields:?}");
        let (response, _) = send(status.clone(), Method::GET, fields).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "admin with {fields:?}");
    }
    assert_eq!(log.count(), 0);
}

#[tokio::test]
async fn a_listed_page_is_answered_by_the_gateways_rules_and_not_by_the_upstreams() {
    let log = Log::default();
    let upstream = generous(&log).await;
    let gateway = TestGateway::with(upstream.addr, allow_page).await;
    let fields = [("origin", PAGE), ("sec-fetch-site", "cross-site"), ("cookie", "other-service=s3cr3t")];
    let (response, body) = send(gateway.url("/x"), Method::GET, &fields).await;
    let headers = response.headers();
    assert_eq!((response.status(), body.as_str()), (StatusCode::OK, "body"));
    assert_eq!(values(headers, "access-control-allow-origin"), [PAGE]);
    assert_eq!(values(headers, "vary"), ["Origin"]);
    let exposed = values(headers, "access-control-expose-headers").concat();
    assert!(exposed.contains("inin-correlation-id") && !exposed.contains('*'), "{exposed}");
    assert!(!headers.contains_key("access-control-allow-credentials"));
    assert!(!headers.contains_key("set-cookie"), "a cookie would lie among those of every local service");
    assert_eq!(values(headers, "content-security-policy"), ["sandbox"]);
    let seen = &log.all()[0].headers;
    for stopped in ["cookie", "origin", "sec-fetch-site"] {
        assert!(!seen.contains_key(stopped), "{stopped}");
    }
    assert_eq!(seen.get("authorization").unwrap(), "Bearer token-1-of-the-test");
}

#[tokio::test]
async fn a_page_can_read_why_there_is_no_answer() {
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = TestGateway::with(unused, allow_page).await;
    let (response, body) = send(gateway.url("/x"), Method::GET, &[("origin", PAGE)]).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(values(response.headers(), "access-control-allow-origin"), [PAGE]);
    assert!(body.contains("upstream"), "{body}");
}

#[tokio::test]
async fn a_preflight_is_answered_here_without_token_and_without_upstream() {
    let log = Log::default();
    let upstream = generous(&log).await;
    let gateway = TestGateway::with(upstream.addr, |config| {
        allow_page(config);
        config.callers = evergrant_gateway::Callers::Secret;
        config.caller_secret = Some("0123456789abcdef".into());
    })
    .await;
    let fields = [
        ("origin", PAGE),
        ("access-control-request-method", "PATCH"),
        ("access-control-request-headers", "content-type,x-own"),
        ("access-control-request-private-network", "true"),
    ];
    let (response, body) = send(gateway.url("/x"), Method::OPTIONS, &fields).await;
    let headers = response.headers();
    assert_eq!((response.status(), body.as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(values(headers, "access-control-allow-origin"), [PAGE]);
    assert_eq!(values(headers, "access-control-allow-methods"), ["PATCH"]);
    assert_eq!(values(headers, "access-control-allow-headers"), ["content-type, x-own"]);
    assert_eq!(values(headers, "access-control-allow-private-network"), ["true"]);
    assert!(values(headers, "vary").contains(&"Origin"));
    assert_eq!(log.count(), 0);
    let (response, _) = send(gateway.url("/x"), Method::PATCH, &[("origin", PAGE)]).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN, "the request itself shows the secret");
}

#[tokio::test]
async fn the_admin_pages_are_for_no_page_of_another_origin() {
    let log = Log::default();
    let upstream = generous(&log).await;
    let gateway = TestGateway::with(upstream.addr, allow_page).await;
    for path in ["/", "/status", "/metrics", "/events", "/nothing"] {
        let url = format!("http://{}{path}", gateway.admin);
        let (response, _) = send(url.clone(), Method::GET, &[("origin", PAGE)]).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
        assert!(!response.headers().contains_key("access-control-allow-origin"), "{path}");
        let (response, _) = send(url.clone(), Method::GET, &[("host", "evil.example")]).await;
        assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST, "{path} by rebinding");
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let (response, _) = send(url.clone(), method, &[]).await;
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path} changes nothing");
        }
    }
}

#[tokio::test]
async fn what_the_upstream_says_about_its_own_origin_does_not_cross() {
    let log = Log::default();
    let upstream = generous(&log).await;
    let gateway = TestGateway::start(upstream.addr).await;
    let (response, _) = send(gateway.url("/x"), Method::GET, &[("cookie", "mine=1")]).await;
    let headers = response.headers();
    for gone in [
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "strict-transport-security",
        "alt-svc",
        "clear-site-data",
        "nel",
        "report-to",
        "service-worker-allowed",
    ] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    assert_eq!(values(headers, "set-cookie"), ["session=1; Path=/"], "a program keeps its cookies, for this host");
    assert_eq!(log.all()[0].headers.get("cookie").unwrap(), "mine=1");
}

#[tokio::test]
async fn a_redirect_elsewhere_is_handed_on_and_never_followed() {
    let log = Log::default();
    let upstream = generous(&log).await;
    let gateway = TestGateway::start(upstream.addr).await;
    let (response, _) = send(gateway.url("/redirect"), Method::GET, &[]).await;
    assert_eq!((response.status(), log.count()), (StatusCode::FOUND, 1));
    assert_eq!(values(response.headers(), "location"), ["https://evil.example/take?it"]);
    assert!(!format!("{:?}", response.headers()).contains("token-1"), "no token goes along");
}

#[tokio::test]
async fn a_redirect_to_the_upstream_leads_back_through_the_gateway() {
    let upstream = TestUpstream::start(|request| async move {
        let host = request.headers().get("host").unwrap().to_str().unwrap().to_owned();
        let location = format!("http://{host}/base/next?page=2");
        let response = Response::builder().status(307).header("location", location);
        if request.uri().path() == "/base/first" { response.body(full("")).unwrap() } else { answer(200, "second") }
    })
    .await;
    let addr = upstream.addr;
    let gateway = TestGateway::with(addr, |config| {
        config.upstream = evergrant_gateway::Upstream::parse(&format!("http://{addr}/base")).unwrap();
    })
    .await;
    let (response, _) = send(gateway.url("/first"), Method::GET, &[]).await;
    let location = values(response.headers(), "location").concat();
    assert_eq!(location, "/next?page=2");
    assert_eq!(send(gateway.url(&location), Method::GET, &[]).await.1, "second");
    for up in ["/../other", "/%2e%2e/other", "/..%2fother"] {
        let text = format!("GET {up} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", gateway.addr);
        assert!(raw(gateway.addr, text).await.starts_with("HTTP/1.1 400"), "{up} leads out of the prefix");
    }
}

#[tokio::test]
async fn the_verdict_field_can_be_switched_off() {
    let upstream = TestUpstream::start(|_| async { unauthorized("no") }).await;
    for on in [true, false] {
        let gateway = TestGateway::with(upstream.addr, |config| config.verdict_header = on).await;
        let (response, _) = send(gateway.url("/x"), Method::GET, &[("authorization", "Bearer of-the-caller")]).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers().contains_key("evergrant-verdict"), on);
    }
}
