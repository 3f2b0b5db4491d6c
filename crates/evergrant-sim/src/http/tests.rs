//! Raw sockets on purpose: what a client library would hide is what is tested here.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use http_body_util::Full;
use hyper_util::client::legacy::Client;

use super::*;
use crate::config::{CLIENT_ID, CLIENT_SECRET, Delay};
use crate::faults::{ApiFault, Chance, TokenFault, TokenRule};
use crate::ledger::TokenOutcome;

fn server() -> SimServer {
    SimServer::start(ProviderConfig::genesys()).unwrap()
}

/// Sends one HTTP/1.1 request and reads to the end of the connection.
fn exchange(addr: SocketAddr, head: &str, body: &str) -> (String, io::Result<()>) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let len = body.len();
    write!(stream, "{head}\r\nHost: sim\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n{body}").unwrap();
    let mut bytes = Vec::new();
    let ended = stream.read_to_end(&mut bytes).map(|_| ());
    (String::from_utf8(bytes).unwrap(), ended)
}

fn mint_head() -> String {
    let request = Request::token(&[]).basic(CLIENT_ID, CLIENT_SECRET);
    let basic = request.headers["authorization"].to_str().unwrap();
    format!("POST /oauth/token HTTP/1.1\r\nAuthorization: {basic}\r\nContent-Type: application/x-www-form-urlencoded")
}

const MINT_BODY: &str = "grant_type=client_credentials";

fn mint(server: &SimServer) -> String {
    let (answer, ended) = exchange(server.login, &mint_head(), MINT_BODY);
    ended.unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let json: serde_json::Value = serde_json::from_str(body).unwrap();
    json["access_token"].as_str().unwrap().to_owned()
}

fn get(server: &SimServer, target: &str, token: &str) -> (String, io::Result<()>) {
    exchange(server.addr(), &format!("GET {target} HTTP/1.1\r\nAuthorization: Bearer {token}"), "")
}

fn date_secs(answer: &str) -> i64 {
    let dates: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("date: ")).collect();
    assert_eq!(dates.len(), 1, "one Date field: {answer}");
    let at = httpdate::parse_http_date(dates[0]).unwrap();
    i64::try_from(at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

#[test]
fn a_minted_token_opens_the_api() {
    let server = server();
    let token = mint(&server);
    let (answer, _) = get(&server, "/api/v2/users?pageSize=1", &token);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("cache-control: no-store") && answer.contains("\"path\":\"/api/v2/users\""), "{answer}");
    let (answer, _) = get(&server, "/api/v2/users", "wrong");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert_eq!(server.handle().ledger().refused(), 1);
}

#[test]
fn the_date_obeys_steps_both_ways() {
    let server = server();
    let handle = server.handle();
    let read = || date_secs(&get(&server, "/api/v2/health/check", "none").0);
    let first = read();
    handle.apply(Event::StepServer(Span::from_secs(-300)));
    let back = read();
    assert!((first - 300..=first - 297).contains(&back), "{first} {back}");
    handle.apply(Event::StepServer(Span::from_secs(600)));
    let forward = read();
    assert!((first + 300..=first + 305).contains(&forward), "{first} {forward}");
}

#[test]
fn an_absent_date_is_not_filled_in() {
    let server = server();
    server.handle().apply(Event::SetDate(crate::config::DateHeader::Absent));
    let (answer, _) = get(&server, "/api/v2/health/check", "none");
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("date: "), "{answer}");
}

#[test]
fn a_reset_is_a_reset() {
    let server = server();
    let handle = server.handle();
    let rule = |fault| Event::TokenFault(TokenRule { fault, chance: Chance::next(1) });
    handle.apply(rule(TokenFault::Reset));
    let (text, ended) = exchange(server.addr(), &mint_head(), MINT_BODY);
    assert_eq!((text.as_str(), ended.unwrap_err().kind()), ("", ErrorKind::ConnectionReset));
    handle.apply(rule(TokenFault::Lost));
    let (text, ended) = exchange(server.addr(), &mint_head(), MINT_BODY);
    assert_eq!((text.as_str(), ended.unwrap_err().kind()), ("", ErrorKind::ConnectionReset));
    let ledger = handle.ledger();
    assert_eq!(ledger.token_requests_ended(TokenOutcome::NotReached), 1);
    assert_eq!(ledger.token_requests_ended(TokenOutcome::Issued), 1, "a lost answer was acted on");
    assert_eq!(ledger.token.succeeded, 0);
}

#[test]
fn a_torn_answer_has_a_head_and_half_a_body() {
    let server = server();
    server.handle().apply(Event::token(TokenFault::Torn));
    let (answer, _) = exchange(server.addr(), &mint_head(), MINT_BODY);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let announced: usize = announced.parse().unwrap();
    assert!(!body.is_empty() && body.len() < announced, "{} of {announced}", body.len());
}

#[test]
fn a_slow_answer_is_slow_and_in_flight_meanwhile() {
    let mut config = ProviderConfig::genesys();
    config.latency.token = Delay::fixed(Span::from_millis(300));
    let server = SimServer::start(config).unwrap();
    let addr = server.addr();
    let start = Instant::now();
    let threads: Vec<_> = (0..2).map(|_| std::thread::spawn(move || exchange(addr, &mint_head(), MINT_BODY))).collect();
    threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
    assert!(start.elapsed() >= Duration::from_millis(300));
    let ledger = server.handle().ledger();
    assert_eq!((ledger.token.max_in_flight, ledger.token.in_flight), (2, 0));
}

#[test]
fn a_client_that_goes_away_is_no_longer_in_flight() {
    let server = server();
    let handle = server.handle();
    handle.apply(Event::token(TokenFault::Hang(Span::from_secs(60))));
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    let len = MINT_BODY.len();
    write!(stream, "{}\r\nHost: sim\r\nContent-Length: {len}\r\n\r\n{MINT_BODY}", mint_head()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let wait_for = |in_flight| {
        while handle.ledger().token.in_flight != in_flight {
            assert!(Instant::now() < deadline, "in flight: {}", handle.ledger().token.in_flight);
            std::thread::yield_now();
        }
    };
    wait_for(1);
    drop(stream);
    wait_for(0);
}

#[test]
fn an_early_refusal_answers_before_the_body_has_come() {
    let server = SimServer::start(ProviderConfig { refuse_early: true, ..ProviderConfig::genesys() }).unwrap();
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "POST /api/x HTTP/1.1\r\nHost: sim\r\nAuthorization: Bearer bad\r\nContent-Length: 500000\r\n\r\n")
        .unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 401");
    // The body is still welcome, and the connection good for another request.
    stream.write_all(&vec![b'x'; 500_000]).unwrap();
    write!(stream, "GET /api/v2/health/check HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n").unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("HTTP/1.1 200"), "{rest}");
    assert!(server.handle().ledger().effects.is_empty());
}

#[test]
fn a_write_whose_body_breaks_off_executes_nothing() {
    let server = server();
    let token = mint(&server);
    let calls_before = server.handle().ledger().api.calls;
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    let head = format!("POST /api/x HTTP/1.1\r\nHost: sim\r\nAuthorization: Bearer {token}\r\nContent-Length: 10");
    write!(stream, "{head}\r\n\r\nhalf").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    // The server closes once it has seen the end, with or without an answer.
    let _ended = stream.read_to_end(&mut answer);
    let ledger = server.handle().ledger();
    assert_eq!((ledger.api.calls, ledger.effects.len()), (calls_before, 0));
}

#[test]
fn discovery_names_the_token_endpoint_by_the_host_that_was_asked() {
    let server = server();
    let (answer, _) = exchange(server.addr(), "GET /.well-known/openid-configuration HTTP/1.1", "");
    assert!(answer.contains(r#""token_endpoint":"http://sim/oauth/token""#), "{answer}");
}

#[test]
fn split_listeners_serve_their_part_only() {
    let server = SimServer::start_split(ProviderConfig::genesys()).unwrap();
    let token = mint(&server);
    assert!(get(&server, "/api/x", &token).0.starts_with("HTTP/1.1 200"));
    let (answer, _) = exchange(server.api, &mint_head(), MINT_BODY);
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let (answer, _) = exchange(server.login, "GET /api/x HTTP/1.1", "");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[test]
fn scheduled_events_happen_without_any_request() {
    let server = server();
    let handle = server.handle();
    let token = mint(&server);
    handle.play([At::millis(0, Event::RevokeAll)]);
    assert!(get(&server, "/api/x", &token).0.starts_with("HTTP/1.1 401"));
    let (before, _) = handle.issuer_clock();
    handle.play([At::millis(0, Event::StepServer(Span::from_secs(50)))]);
    assert!(handle.issuer_clock().0 - before >= Span::from_secs(50));
}

#[test]
fn big_and_streamed_bodies_arrive_whole() {
    let server = server();
    let token = mint(&server);
    let (answer, _) = get(&server, "/api/bytes/1000000", &token);
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), 1_000_000);
    let (answer, _) = get(&server, "/api/events?count=3&every_ms=20", &token);
    assert_eq!(answer.matches("data: {").count(), 3, "{answer}");
    let (answer, _) =
        exchange(server.addr(), &format!("HEAD /api/v2/tokens/me HTTP/1.1\r\nAuthorization: Bearer {token}"), "");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn http2_is_spoken_and_a_reset_ends_one_stream_only() {
    let server = server();
    let token = mint(&server);
    let url = format!("{}/api/v2/users", server.url());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
        let get = || {
            let request = http::Request::get(&url).header("authorization", format!("Bearer {token}"));
            client.request(request.body(Full::default()).unwrap())
        };
        let response = get().await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
        assert!(response.headers().contains_key("date"));
        server.handle().apply(Event::api(ApiFault::Reset));
        assert!(get().await.is_err());
        server.handle().apply(Event::ClearApiFaults);
        assert_eq!(get().await.unwrap().status(), 200);
    });
}

#[test]
fn a_stopped_server_refuses_connections() {
    let server = server();
    let addr = server.addr();
    server.stop();
    assert!(TcpStream::connect(addr).is_err());
}
