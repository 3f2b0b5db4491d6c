//! Attacks over HTTP/2: what its frames allow that lines of text do not, and what must be refused in both.
//!
//! Requests that a client library is able to send are sent by one, and the answer counts. Frames that no library sends
//! are written by hand, and what counts is that the upstream saw nothing and the stream or the connection ended.

use http::{Request, StatusCode, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::*;

async fn start(log: &Log) -> (TestUpstream, TestGateway) {
    let noted = log.clone();
    let upstream = TestUpstream::start(move |request| {
        let log = noted.clone();
        async move {
            log.note(request).await;
            answer(200, "body")
        }
    })
    .await;
    let gateway = TestGateway::start(upstream.addr).await;
    (upstream, gateway)
}

#[tokio::test]
async fn what_is_refused_over_http1_is_refused_over_http2() {
    let log = Log::default();
    let (_upstream, gateway) = start(&log).await;
    let url = gateway.url("/x");
    let long = "a".repeat(70_000);
    let get = || Request::get(&url).version(Version::HTTP_2);
    let many = (0..200).fold(get(), |request, _| request.header("x", "a"));
    for (what, request, status) in [
        ("two Authorizations", get().header("authorization", "Bearer a").header("authorization", "Bearer b"), 400),
        ("a Host that is not the authority", get().header("host", "evil.example"), 400),
        ("two Hosts", get().header("host", gateway.addr.to_string()).header("host", "evil.example"), 400),
        ("a page", get().header("origin", "https://evil.example"), 403),
        ("a page", get().header("sec-fetch-site", "cross-site"), 403),
        ("a long head", get().header("x", &long), 431),
        ("many fields", many, 431),
    ] {
        let (response, _) = fetch(&h2_caller(), request.body(full("")).unwrap()).await;
        assert_eq!(response.status(), status, "{what}");
        assert_eq!(response.version(), Version::HTTP_2, "{what}");
    }
    assert_eq!(log.count(), 0);
    let (response, _) = fetch(&h2_caller(), get().body(full("")).unwrap()).await;
    assert_eq!((response.status(), log.count()), (StatusCode::OK, 1), "without an attack it passes");
}

/// A frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals that are not indexed (RFC 7541 section 6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let text =
        |text: &str| [&[u8::try_from(text.len()).ok().filter(|len| *len < 127).unwrap()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// The fields of a request of this gateway, and more.
fn head(gateway: &TestGateway, method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let authority = gateway.addr.to_string();
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", authority.as_str()), (":path", "/x")];
    [fields(&pseudo), fields(more)].concat()
}

/// Sends frames behind a preface and empty settings. Returns the kinds of the frames that came back, until there was a
/// body or the stream or the connection was ended.
async fn send(gateway: &TestGateway, frames: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(gateway.addr).await.unwrap();
    let opening = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(SETTINGS, 0, 0, &[]), frames].concat();
    // The other side may close before it has read everything.
    _ = stream.write_all(&opening).await;
    let mut kinds = Vec::new();
    loop {
        let mut head = [0; 9];
        if soon("a frame or the end", stream.read_exact(&mut head)).await.is_err() {
            return kinds;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if soon("a payload", stream.read_exact(&mut payload)).await.is_err() {
            return kinds;
        }
        kinds.push(head[3]);
        if [DATA, RST_STREAM, GOAWAY].contains(&head[3]) {
            return kinds;
        }
    }
}

#[tokio::test]
async fn frames_that_no_library_sends_end_the_stream_and_go_nowhere() {
    let log = Log::default();
    let (_upstream, gateway) = start(&log).await;
    let gateway = &gateway;
    let open = |method: &str, more: &[(&str, &str)]| frame(HEADERS, END_HEADERS, 1, &head(gateway, method, more));
    let whole =
        |method: &str, more: &[(&str, &str)]| frame(HEADERS, END_HEADERS | END_STREAM, 1, &head(gateway, method, more));
    let first_field = |name: &str, value: &str| {
        let all = [fields(&[("x", "a"), (name, value)]), head(gateway, "GET", &[])].concat();
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &all)
    };
    let length = |length: &str, sent: &[u8]| {
        [open("POST", &[("content-length", length)]), frame(DATA, END_STREAM, 1, sent)].concat()
    };
    let continued = [
        frame(HEADERS, END_STREAM, 1, &head(gateway, "GET", &[])),
        frame(CONTINUATION, 0, 1, &fields(&[("x", "a")])).repeat(20_000),
    ];
    let resets: Vec<u8> = (0..2_000_u32)
        .flat_map(|n| {
            let stream = 2 * n + 1;
            let open = frame(HEADERS, END_HEADERS, stream, &head(gateway, "POST", &[]));
            [open, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        })
        .collect();
    for (what, frames) in [
        ("a coding beside frames", whole("POST", &[("transfer-encoding", "chunked")])),
        ("a field of one connection", whole("GET", &[("connection", "close")])),
        ("an upgrade", whole("GET", &[("upgrade", "websocket")])),
        ("a capital in a name", whole("GET", &[("X-Upper", "a")])),
        ("a line end in a value", whole("GET", &[("x", "a\r\nauthorization: b")])),
        ("a line end in a path", {
            let pseudo =
                [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/x HTTP/1.1\r\na: b")];
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&pseudo))
        }),
        ("a pseudo-field after a field", first_field("x", "b")),
        ("two paths", whole("GET", &[(":path", "/y")])),
        ("a tunnel for another protocol", whole("CONNECT", &[(":protocol", "websocket")])),
        ("less than the length", length("4", b"abc")),
        ("more than the length", length("2", b"abc")),
        ("a body behind a length of nothing", length("0", b"GET /smuggled HTTP/1.1\r\n\r\n")),
        ("data of a stream that is not open", frame(DATA, END_STREAM, 1, b"abc")),
        ("a head without an end", continued.concat()),
        ("streams that are opened and reset", resets),
    ] {
        let seen = send(gateway, &frames).await;
        assert!(!seen.contains(&DATA), "{what} got an answer: {seen:?}");
        assert!(seen.last().is_none_or(|kind| [RST_STREAM, GOAWAY].contains(kind)), "{what}: {seen:?}");
    }
    let connect = fields(&[(":method", "CONNECT"), (":authority", "evil.example:443")]);
    send(gateway, &frame(HEADERS, END_HEADERS | END_STREAM, 1, &connect)).await;
    // A body is streamed, so a head may have gone out before its body turned out to be wrong; never a whole request.
    assert_eq!(log.count(), 0, "{:?}", log.all());
    assert!(send(gateway, &whole("GET", &[("x", "a")])).await.contains(&DATA), "without an attack it passes");
    assert_eq!(log.count(), 1);
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
