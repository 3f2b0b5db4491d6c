//! The transport against a server that answers, resets, tears, hangs and redirects on command.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use evergrant_core::Secret;
use evergrant_core::wire::{RetryAfter, TokenFailure, TokenFailureKind};
use reqwest::Method;

use super::*;
use crate::assertion::{Occasion, ServerTime};
use crate::clock;
use crate::grant::{Credential, TokenRequest};

/// Accepts one connection, reads one request head and body, and lets `act` do the rest. Returns what was read.
fn serve(act: impl FnOnce(TcpStream) + Send + 'static) -> (SocketAddr, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let request = read_request(&mut stream);
        act(stream);
        request
    });
    (address, server)
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    let head = String::from_utf8(request).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned))
        .map_or(0, |length| length.trim().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

/// Waits for the server on another thread, so that the client can close its connection meanwhile.
async fn ended<T: Send + 'static>(server: std::thread::JoinHandle<T>) -> T {
    tokio::task::spawn_blocking(|| server.join().unwrap()).await.unwrap()
}

fn answer(text: impl Into<String>) -> impl FnOnce(TcpStream) + Send + 'static {
    let text = text.into();
    move |mut stream| stream.write_all(text.as_bytes()).unwrap()
}

fn options() -> TransportOptions {
    TransportOptions { timeout: Duration::from_secs(20), allow_insecure_http: false }
}

fn endpoint(address: SocketAddr) -> TokenEndpoint {
    TokenEndpoint::new(&format!("http://{address}/oauth/token"), &Tls::default(), options()).unwrap()
}

fn token_request() -> TokenRequest {
    let time = ServerTime::by_wall(clock::now());
    let occasion = Occasion { token_url: "https://id.example/token", time };
    Credential::client_credentials("id", Secret::from("s3cr3t")).token_request(None, &occasion).unwrap()
}

/// The failure of one token request to a server that does `act`.
async fn failure(act: impl FnOnce(TcpStream) + Send + 'static) -> (TokenFailure, Option<AnswerHead>, SocketAddr) {
    let (address, server) = serve(act);
    let exchange = endpoint(address).request(&token_request(), None).await;
    ended(server).await;
    assert!(exchange.sent <= exchange.received);
    let failure = exchange.result.unwrap_err();
    assert!(!failure.to_string().contains("s3cr3t"), "{failure}");
    (failure, exchange.head, address)
}

const OK: &str = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: application/json\r\n";
const TOKEN: &str = r#"{"access_token":"at","token_type":"bearer","expires_in":"60","refresh_token":"rt"}"#;

#[tokio::test]
async fn a_token_comes_with_both_moments_and_the_servers_date() {
    let (address, server) = serve(answer(format!("{OK}Age: 3\r\nContent-Length: {}\r\n\r\n{TOKEN}", TOKEN.len())));
    let before = clock::boot();
    let exchange = endpoint(address).request(&token_request(), None).await;
    assert!(before <= exchange.sent && exchange.sent < exchange.received && exchange.received <= clock::boot());
    let head = exchange.head.unwrap();
    assert_eq!(
        (head.status, head.date, head.age),
        (200, Some(Server::from_secs(784_111_777)), Some(Span::from_secs(3)))
    );
    let token = exchange.result.unwrap();
    assert_eq!((token.access_token, token.expires_in), (Secret::from("at"), Some(Span::from_secs(60))));

    let request = ended(server).await.to_ascii_lowercase();
    assert!(request.starts_with("post /oauth/token http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nauthorization: basic "), "{request}");
    assert!(request.contains("\r\naccept: application/json\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\ngrant_type=client_credentials"), "{request}");
}

#[tokio::test]
async fn an_error_answer_keeps_its_code_and_retry_after() {
    let body = r#"{"error":"invalid_client","description":"client is disabled"}"#;
    let text = format!("HTTP/1.1 401 No\r\nRetry-After: 7\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (failure, head, _) = failure(answer(text)).await;
    assert_eq!((failure.kind, failure.status), (TokenFailureKind::InvalidClient, Some(401)));
    assert_eq!(failure.retry_after, Some(RetryAfter::Delay(Span::from_secs(7))));
    assert_eq!(head.unwrap().status, 401);
}

#[tokio::test]
async fn no_redirect_is_followed_and_its_origin_is_named() {
    for (location, words) in [
        ("https://evil.example/oauth/token?x=hunter2", "redirects to https://evil.example;"),
        ("/login", "another path of the same server"),
        ("http://[", "without saying where"),
    ] {
        let text = format!("HTTP/1.1 307 Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        let (failure, ..) = failure(answer(text)).await;
        assert_eq!((failure.kind, failure.status), (TokenFailureKind::Redirected, Some(307)));
        let text = failure.to_string();
        assert!(text.contains(words) && !text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn a_refused_connection_was_never_sent() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let exchange = endpoint(address).request(&token_request(), None).await;
    let failure = exchange.result.unwrap_err();
    assert_eq!(failure.kind, TokenFailureKind::Unreachable);
    assert!(failure.to_string().contains(&format!("connection refused by {address}")), "{failure}");
    assert!(exchange.head.is_none());
}

#[tokio::test]
async fn an_unknown_name_is_unreachable() {
    let tls = Tls::default();
    let allowed = TransportOptions { allow_insecure_http: true, ..options() };
    let endpoint = TokenEndpoint::new("http://no-such-host.invalid/token", &tls, allowed).unwrap();
    let failure = endpoint.request(&token_request(), None).await.result.unwrap_err();
    assert_eq!(failure.kind, TokenFailureKind::Unreachable);
    assert!(failure.to_string().contains("no-such-host.invalid:80 is unreachable"), "{failure}");
}

#[tokio::test]
async fn a_server_without_tls_is_a_tls_failure() {
    // Answers the TLS hello with plain text, as a plain HTTP port does.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 512];
        let _ = stream.read(&mut hello).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    let endpoint = TokenEndpoint::new(&format!("https://{address}/token"), &Tls::default(), options()).unwrap();
    let failure = endpoint.request(&token_request(), None).await.result.unwrap_err();
    ended(server).await;
    assert_eq!(failure.kind, TokenFailureKind::Unreachable);
    let text = failure.to_string();
    assert!(text.contains(&format!("TLS with {address} failed")) && text.contains("speaks TLS"), "{text}");
}

#[tokio::test]
async fn a_connection_that_dies_after_sending_is_lost() {
    let (closed, ..) = failure(drop).await;
    assert_eq!((closed.kind, closed.status), (TokenFailureKind::Lost, None));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Closing with unread bytes makes the system send a reset.
    let server = std::thread::spawn(move || listener.accept().unwrap().0.read_exact(&mut [0]).unwrap());
    let reset = endpoint(address).request(&token_request(), None).await.result.unwrap_err();
    ended(server).await;
    assert_eq!(reset.kind, TokenFailureKind::Lost);
    assert!(reset.to_string().contains(&address.to_string()), "{reset}");
    let (half_head, ..) = failure(answer("HTTP/1.1 200 OK\r\nContent-")).await;
    assert_eq!(half_head.kind, TokenFailureKind::Lost);
}

#[tokio::test]
async fn a_torn_body_is_lost_with_its_status_or_malformed() {
    let (short, head, _) = failure(answer(format!("{OK}Content-Length: 500\r\n\r\n{{\"access_token\":\"tell"))).await;
    assert_eq!((short.kind, short.status), (TokenFailureKind::Lost, Some(200)));
    assert!(!short.to_string().contains("tell"), "{short}");
    assert!(head.unwrap().date.is_some(), "the Date of a torn answer is still a clock sample");
    // Without a length only the JSON itself shows that something is missing.
    let (open_end, ..) = failure(answer(format!("{OK}\r\n{{\"access_token\":\"tell"))).await;
    assert_eq!(open_end.kind, TokenFailureKind::Malformed);
    let (empty, ..) = failure(answer(format!("{OK}Content-Length: 0\r\n\r\n"))).await;
    assert_eq!(empty.kind, TokenFailureKind::Malformed);
    // An error is an error, even if its page is torn.
    let (error, ..) = failure(answer("HTTP/1.1 503 Down\r\nContent-Length: 500\r\n\r\n<html>")).await;
    assert_eq!((error.kind, error.status), (TokenFailureKind::ServerError, Some(503)));
}

#[tokio::test]
async fn an_endless_body_is_cut_off() {
    let (failure, ..) = failure(|mut stream| {
        stream.write_all(format!("{OK}\r\n").as_bytes()).unwrap();
        // Until the client has had enough and closes.
        while stream.write_all(&[b' '; 65_536]).is_ok() {}
    })
    .await;
    assert_eq!(failure.kind, TokenFailureKind::Malformed);
}

#[tokio::test]
async fn a_silent_server_times_out_within_the_callers_time() {
    let (address, server) = serve(|mut stream| {
        // Until the client gives up and closes.
        let _ = stream.read(&mut [0]);
    });
    let started = clock::boot();
    let exchange = endpoint(address).request(&token_request(), Some(Duration::from_millis(100))).await;
    assert!(clock::boot() - started < Span::from_secs(10));
    let failure = exchange.result.unwrap_err();
    assert_eq!(failure.kind, TokenFailureKind::TimedOut);
    assert!(failure.to_string().contains(&format!("no answer from {address} within 100 ms")), "{failure}");
    ended(server).await;
}

#[tokio::test]
async fn an_answer_that_stalls_in_its_body_times_out() {
    let (address, server) = serve(|mut stream| {
        stream.write_all(format!("{OK}Content-Length: 500\r\n\r\n{{").as_bytes()).unwrap();
        let _ = stream.read(&mut [0]);
    });
    let exchange = endpoint(address).request(&token_request(), Some(Duration::from_millis(200))).await;
    let failure = exchange.result.unwrap_err();
    assert_eq!((failure.kind, failure.status), (TokenFailureKind::TimedOut, Some(200)));
    ended(server).await;
}

#[tokio::test]
async fn each_token_request_has_its_own_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = endpoint(listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            read_request(&mut stream);
            write!(stream, "{OK}Content-Length: {}\r\n\r\n{TOKEN}", TOKEN.len()).unwrap();
        }
    });
    for _ in 0..2 {
        assert!(endpoint.request(&token_request(), None).await.result.is_ok());
    }
    ended(server).await;
}

#[tokio::test]
async fn a_probe_reports_status_clock_and_body() {
    let text = "HTTP/1.1 401 No\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nWWW-Authenticate: Bearer\r\nContent-Length: 2\r\n\r\nno";
    let (address, server) = serve(answer(text));
    let probe = ApiProbe::new(&format!("http://{address}/base/"), &Tls::default(), options()).unwrap();
    let exchange = probe.send(Method::GET, "/api/v2/date?x=1", Some(&Secret::from("at"))).await;
    assert!(exchange.sent < exchange.received);
    let answer = exchange.result.unwrap();
    assert_eq!((answer.head.status, answer.body.as_slice()), (401, b"no".as_slice()));
    assert_eq!(answer.head.date, Some(Server::from_secs(784_111_777)));
    assert_eq!(answer.head.headers["www-authenticate"], "Bearer");
    let request = ended(server).await.to_ascii_lowercase();
    assert!(request.starts_with("get /base/api/v2/date?x=1 http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nauthorization: bearer at\r\n"), "{request}");
}

#[tokio::test]
async fn a_probe_of_a_closed_port_is_unreachable() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let probe = ApiProbe::new(&format!("http://{address}"), &Tls::default(), options()).unwrap();
    let failure = probe.send(Method::HEAD, "//elsewhere.example/", None).await.result.unwrap_err();
    assert_eq!(failure.kind, ConnectionFailureKind::Unreachable);
    assert!(failure.to_string().contains(&address.to_string()), "{failure}");
}

#[tokio::test]
async fn discovery_returns_the_document_of_this_issuer_only() {
    for (path, ok) in [("", true), ("/other", false)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let body = format!(r#"{{"issuer":"{issuer}{path}","token_endpoint":"{issuer}/token"}}"#);
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read_request(&mut stream);
            write!(stream, "{OK}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
            request
        });
        let found = discover(&issuer, &Tls::default(), options()).await;
        assert!(ended(server).await.starts_with("GET /.well-known/openid-configuration "));
        match found {
            Ok(discovery) => assert_eq!((discovery.token_endpoint, ok), (format!("{issuer}/token"), true)),
            Err(error) => assert!(!ok && matches!(error, DiscoverError::Document { .. }), "{error}"),
        }
    }
    let (address, server) = serve(answer("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"));
    let error = discover(&format!("http://{address}"), &Tls::default(), options()).await.unwrap_err();
    assert!(error.to_string().contains("answered with status 404"), "{error}");
    ended(server).await;
}

#[test]
fn plain_http_beyond_loopback_is_refused_at_construction() {
    let error = TokenEndpoint::new("http://login.example/token", &Tls::default(), options()).unwrap_err();
    assert!(matches!(error, TransportError::Target(TargetError::InsecureHttp { .. })), "{error}");
}

#[test]
fn plain_loopback_reads_no_certificate_store() {
    let broken = Tls::new(Some("/nonexistent/ca.pem".into()));
    assert!(TokenEndpoint::new("http://127.0.0.1:1/token", &broken, options()).is_ok());
    let error = TokenEndpoint::new("https://127.0.0.1:1/token", &broken, options()).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
}
