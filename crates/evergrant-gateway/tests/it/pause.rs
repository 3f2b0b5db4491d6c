//! Connections that pause while their callers are quiet: no request is lost, doubled, cut or answered out of turn.
//!
//! A connection pauses a tenth or two of a second after its last byte, so every gap here is about as long. What is
//! asserted holds whether it has paused or not; that it does is told by `connection` and by the memory of ten thousand.

use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::*;

/// Long enough for a pause.
const LONG: Duration = Duration::from_millis(350);

/// An upstream that says what it was asked, and with how many bytes.
async fn repeating(log: &Log) -> TestUpstream {
    let log = log.clone();
    TestUpstream::start(move |request: Request<Incoming>| {
        let log = log.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let said = format!("{} {}", parts.uri.path(), body.len());
            log.note(Request::from_parts(parts, full(body))).await;
            answer(200, said)
        }
    })
    .await
}

/// A caller's connection.
struct Wire {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Wire {
    async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, seen: Vec::new() }
    }

    async fn say(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes).await {
            // What was answered says more than that nobody listens any more.
            _ = self.stream.read_to_end(&mut self.seen).await;
            panic!("{error} after {:?}", String::from_utf8_lossy(&self.seen));
        }
    }

    /// The next answer's head, in lower case, and its body.
    async fn answer(&mut self) -> (String, String) {
        loop {
            let text = String::from_utf8_lossy(&self.seen);
            if let Some((head, rest)) = text.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                let length: usize = length.unwrap_or_else(|| panic!("no length in {head}")).parse().unwrap();
                if rest.len() >= length {
                    let body = rest[..length].to_owned();
                    self.seen.drain(..head.len() + 4 + length);
                    return (head, body);
                }
            }
            let read = soon("an answer", self.stream.read_buf(&mut self.seen)).await.unwrap();
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&self.seen));
        }
    }

    async fn expect(&mut self, body: &str) -> String {
        let (head, said) = self.answer().await;
        assert!(head.starts_with("http/1.1 200") && said == body, "{body:?} was expected: {head}\n{said}");
        head
    }
}

fn get_request(addr: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n").into_bytes()
}

/// What a caller sends.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Nothing,
    Sized(usize),
    /// In chunks of this length.
    Chunks(usize, usize),
}

impl Sent {
    fn request(self, addr: SocketAddr, path: &str) -> Vec<u8> {
        let head = |fields: &str| format!("POST {path} HTTP/1.1\r\nHost: {addr}\r\n{fields}\r\n").into_bytes();
        match self {
            Self::Nothing => get_request(addr, path),
            Self::Sized(length) => [head(&format!("Content-Length: {length}\r\n")), vec![b'x'; length]].concat(),
            Self::Chunks(count, length) => {
                let chunk = format!("{length:x}\r\n{}\r\n", "G".repeat(length));
                [head("Transfer-Encoding: chunked\r\n"), chunk.repeat(count).into(), b"0\r\n\r\n".to_vec()].concat()
            }
        }
    }

    fn length(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Sized(length) => length,
            Self::Chunks(count, length) => count * length,
        }
    }
}

/// Requests that are sent without waiting for answers, after a gap, in pieces with gaps between them.
#[derive(Clone, Debug)]
struct Burst {
    gap_ms: u64,
    first: Sent,
    others: Vec<Sent>,
    cuts: Vec<(Index, u64)>,
}

fn bursts() -> impl Strategy<Value = Vec<Burst>> {
    let sized = || (0..5000_usize).prop_map(Sent::Sized);
    let chunks = (1..5_usize, 1..2000_usize).prop_map(|(count, length)| Sent::Chunks(count, length));
    let first = prop_oneof![Just(Sent::Nothing), sized(), chunks];
    let others = proptest::collection::vec(prop_oneof![Just(Sent::Nothing), sized()], 0..3);
    let cuts = proptest::collection::vec((any::<Index>(), 0..150_u64), 0..4);
    let burst = (0..300_u64, first, others, cuts).prop_map(|(gap_ms, first, others, cuts)| Burst {
        gap_ms,
        first,
        others,
        cuts,
    });
    proptest::collection::vec(burst, 1..4)
}

/// Sends bursts on one connection and reads every answer; how many there were.
async fn call(addr: SocketAddr, number: usize, bursts: Vec<Burst>) -> usize {
    let mut wire = Wire::connect(addr).await;
    let mut answers = 0;
    for mut burst in bursts {
        let is_chunked_later = answers > 0 && matches!(burst.first, Sent::Chunks(..));
        if is_chunked_later {
            // Behind another upload its head may not be seen, and then it is the last on its connection.
            burst.others.clear();
        }
        sleep(Duration::from_millis(burst.gap_ms)).await;
        let requests: Vec<Sent> = std::iter::once(burst.first).chain(burst.others).collect();
        let path = |at: usize| format!("/{number}/{}", answers + at);
        let bytes: Vec<u8> = requests.iter().enumerate().flat_map(|(at, sent)| sent.request(addr, &path(at))).collect();
        let mut cuts: Vec<(usize, u64)> =
            burst.cuts.iter().map(|(at, gap_ms)| (at.index(bytes.len()), *gap_ms)).collect();
        cuts.sort_unstable();
        let mut from = 0;
        for (to, gap_ms) in cuts {
            wire.say(&bytes[from..to]).await;
            sleep(Duration::from_millis(gap_ms)).await;
            from = to;
        }
        wire.say(&bytes[from..]).await;
        for (at, sent) in requests.iter().enumerate() {
            let head = wire.expect(&format!("{} {}", path(at), sent.length())).await;
            if head.contains("connection: close") {
                assert!(is_chunked_later, "{head}");
                wire = Wire::connect(addr).await;
            }
        }
        answers += requests.len();
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_sent_around_a_pause_is_answered_once_and_in_order(
        scripts in proptest::collection::vec(bursts(), 40..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let log = Log::default();
            let upstream = repeating(&log).await;
            let gateway = TestGateway::start(upstream.addr).await;
            let mut callers = JoinSet::new();
            for (number, script) in scripts.into_iter().enumerate() {
                callers.spawn(call(gateway.addr, number, script));
            }
            let answers: usize = callers.join_all().await.into_iter().sum();
            let mut heads: Vec<String> = log.all().into_iter().map(|seen| seen.head).collect();
            heads.sort_unstable();
            heads.dedup();
            assert_eq!((heads.len(), log.count()), (answers, answers));
        });
    }
}

#[tokio::test]
async fn a_request_in_single_bytes_around_a_pause_is_whole() {
    let log = Log::default();
    let upstream = repeating(&log).await;
    let gateway = TestGateway::start(upstream.addr).await;
    let addr = gateway.addr;
    let mut callers = JoinSet::new();
    for number in 0..30 {
        callers.spawn(async move {
            let mut wire = Wire::connect(addr).await;
            wire.say(&get_request(addr, "/first")).await;
            wire.expect("/first 0").await;
            sleep(Duration::from_millis(10 * number)).await;
            for byte in get_request(addr, "/bytes") {
                wire.say(&[byte]).await;
                sleep(Duration::from_millis(1)).await;
            }
            wire.expect("/bytes 0").await;
            sleep(LONG).await;
            wire.say(&Sent::Chunks(2, 3).request(addr, "/last")).await;
            wire.expect("/last 6").await;
        });
    }
    callers.join_all().await;
    assert_eq!(log.count(), 90);
}

/// Reads until so many bytes have come after a head.
async fn read_upload(stream: &mut TcpStream, seen: &mut Vec<u8>, length: usize) {
    loop {
        let end = seen.windows(4).position(|window| window == b"\r\n\r\n");
        if end.is_some_and(|end| seen.len() >= end + 4 + length) {
            return;
        }
        let read = soon("the upload", stream.read_buf(seen)).await.unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(seen));
    }
}

#[tokio::test]
async fn an_upload_that_outlives_its_answer_keeps_its_connection_awake() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = TestGateway::start(listener.local_addr().unwrap()).await;
    let request = Sent::Sized(2000).request(gateway.addr, "/upload");
    let (begun, rest) = request.split_at(request.len() - 1000);
    let mut wire = Wire::connect(gateway.addr).await;
    wire.say(begun).await;
    let (mut upstream, _) = soon("a connection", listener.accept()).await.unwrap();
    let mut seen = Vec::new();
    read_upload(&mut upstream, &mut seen, 1000).await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly").await.unwrap();
    wire.expect("early").await;
    sleep(LONG).await;
    wire.say(rest).await;
    read_upload(&mut upstream, &mut seen, 2000).await;
    assert!(seen.ends_with(&[b'x'; 2000]), "{:?}", String::from_utf8_lossy(&seen));
    wire.say(&get_request(gateway.addr, "/next")).await;
    let mut next = Vec::new();
    read_upload(&mut upstream, &mut next, 0).await;
    assert!(next.starts_with(b"GET /next "));
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext").await.unwrap();
    wire.expect("next").await;
}

#[tokio::test]
async fn a_paused_connection_takes_part_in_the_drain() {
    let upstream = repeating(&Log::default()).await;
    let mut gateway = TestGateway::start(upstream.addr).await;
    let mut wires = Vec::new();
    for _ in 0..10 {
        let mut wire = Wire::connect(gateway.addr).await;
        wire.say(&get_request(gateway.addr, "/first")).await;
        wire.expect("/first 0").await;
        wires.push(wire);
    }
    sleep(LONG).await;
    gateway.stop();
    let quiet = wires.split_off(5);
    for wire in &mut wires {
        let mut head = String::new();
        // The drain begins a moment after it was asked for.
        while !head.contains("connection: close") {
            sleep(LONG / 2).await;
            wire.say(&get_request(gateway.addr, "/second")).await;
            head = wire.expect("/second 0").await;
        }
    }
    for mut wire in wires.into_iter().chain(quiet) {
        assert_eq!(soon("the close", wire.stream.read(&mut [0; 1])).await.unwrap(), 0);
    }
    assert_eq!(gateway.ended().await.cut, 0);
}

#[tokio::test]
async fn a_paused_connection_that_stays_quiet_is_closed_at_last() {
    let upstream = repeating(&Log::default()).await;
    let idle = Duration::from_millis(600);
    let gateway = TestGateway::with(upstream.addr, |config| config.timeouts.idle = idle).await;
    let mut wire = Wire::connect(gateway.addr).await;
    for _ in 0..2 {
        wire.say(&get_request(gateway.addr, "/")).await;
        wire.expect("/ 0").await;
        sleep(LONG).await;
    }
    let before = std::time::Instant::now();
    assert_eq!(soon("the close", wire.stream.read(&mut [0; 1])).await.unwrap(), 0);
    assert!(before.elapsed() < 2 * idle, "{:?}", before.elapsed());
}
