//! A run at trace level with everything captured holds no secret.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use evergrant_sim::config::{CLIENT_SECRET, REFRESH_TOKEN};
use evergrant_sim::http::SimServer;
use rustix::process::Signal;

use crate::support::{evergrant, provider};

fn assert_clean(text: &str, provider: &SimServer) {
    let secrets = provider.handle().secrets();
    assert!(!secrets.is_empty());
    for secret in secrets.iter().map(|secret| secret.expose()).chain([CLIENT_SECRET, REFRESH_TOKEN]) {
        assert!(!text.contains(secret), "a secret in:\n{text}");
    }
}

#[test]
fn a_trace_of_a_token_holds_none() {
    let provider = provider();
    let ended = evergrant(["token"]).client_of(&provider).env("RUST_LOG", "trace").end();
    assert_eq!(ended.code(), 0);
    assert!(ended.stderr.contains("TRACE") && !ended.stderr.contains("hyper"), "{}", ended.stderr);
    assert_clean(&ended.stderr, &provider);
}

#[test]
fn a_trace_of_a_gateway_holds_none() {
    let provider = provider();
    let args = ["gateway", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log", "trace"];
    let (mut running, _home) = evergrant(args).client_of(&provider).start();
    let mut log = BufReader::new(running.child().stderr.take().unwrap());
    let mut text = String::new();
    while !text.contains("listener=\"gateway\"") {
        assert_ne!(log.read_line(&mut text).unwrap(), 0, "{text}");
    }
    let address = text.split("addr=").nth(1).unwrap().lines().next().unwrap().trim().to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    let head = "GET /api/v2/users?secret=quiet-query HTTP/1.1\r\nCookie: quiet-cookie\r\nConnection: close\r\n";
    write!(stream, "{head}Host: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut stream = TcpStream::connect(&address).unwrap();
    let head = "GET /api/v2/users HTTP/1.1\r\nAuthorization: Bearer quiet-token\r\nConnection: close\r\n";
    write!(stream, "{head}Host: {address}\r\n\r\n").unwrap();
    stream.read_to_string(&mut answer).unwrap();
    running.signal(Signal::TERM);
    log.read_to_string(&mut text).unwrap();
    assert_eq!(running.wait().code(), Some(0));
    assert_clean(&text, &provider);
    for quiet in ["quiet-query", "quiet-cookie", "quiet-token"] {
        assert!(!text.contains(quiet), "{quiet} in:\n{text}");
    }
}

#[test]
fn a_secret_that_the_token_endpoint_repeats_is_not_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/oauth/token", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        while !request.ends_with("grant_type=client_credentials") {
            let mut part = [0; 4096];
            let count = stream.read(&mut part).unwrap();
            request.push_str(std::str::from_utf8(&part[..count]).unwrap());
        }
        let body = r#"{"error":"invalid_client","error_description":"wrong secret hunter2"}"#;
        write!(stream, "HTTP/1.1 401 No\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    });
    let args = ["token", "--log", "trace", "--token-url", &url, "--client-id", "id"];
    let text = evergrant(args).env("EVERGRANT_CLIENT_SECRET", "hunter2").end().failed(4);
    server.join().unwrap();
    assert!(text.contains("wrong secret [redacted]") && !text.contains("hunter2"), "{text}");
}

#[test]
fn failures_at_trace_level_hold_none() {
    let provider = provider();
    provider.handle().apply(evergrant_sim::faults::Event::RevokeRefreshTokens);
    let run = evergrant(["token", "--allow-volatile", "--log", "trace"])
        .client_of(&provider)
        .env("EVERGRANT_GRANT", "refresh_token")
        .env("EVERGRANT_REFRESH_TOKEN", REFRESH_TOKEN);
    let stderr = run.end().failed(6);
    assert!(stderr.contains("invalid_grant"), "{stderr}");
    assert_clean(&stderr, &provider);
}
