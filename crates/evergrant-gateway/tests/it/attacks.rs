//! Attack bytes, and what becomes of them: the status that the sender gets, and what the upstream saw.

use crate::support::*;

/// What a head needs besides the attack. `HOST` is replaced by the gateway's address.
const END: &str = "Host: HOST\r\nConnection: close\r\n\r\n";

struct Attack {
    bytes: Vec<u8>,
    /// The status of the answer; 0 for a connection that is closed without one.
    status: u16,
    /// What the upstream saw.
    seen: Vec<&'static str>,
}

fn attack(bytes: impl Into<Vec<u8>>, status: u16, seen: &[&'static str]) -> Attack {
    Attack { bytes: bytes.into(), status, seen: seen.to_vec() }
}

async fn noting(log: &Log) -> TestUpstream {
    let log = log.clone();
    TestUpstream::start(move |request| {
        let log = log.clone();
        async move {
            log.note(request).await;
            answer(200, "body")
        }
    })
    .await
}

/// Sends each attack on a connection of its own.
async fn check(attacks: Vec<Attack>) {
    let log = Log::default();
    let upstream = noting(&log).await;
    let gateway = TestGateway::start(upstream.addr).await;
    let host = gateway.addr.to_string();
    let mut seen_before = 0;
    for Attack { bytes, status, seen } in attacks {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let shown = text.chars().take(120).collect::<String>();
        // Bytes that are no text hold no host to replace.
        let bytes = if text.as_bytes() == bytes { text.replace("HOST", &host).into_bytes() } else { bytes };
        let answer = raw(gateway.addr, bytes).await;
        let got = answer.split_ascii_whitespace().nth(1).map_or(0, |code| code.parse().unwrap());
        assert_eq!(got, status, "{shown:?} was answered {answer:?}");
        let all = log.all();
        let heads: Vec<String> = all[seen_before..]
            .iter()
            .map(|seen| format!("{} {}", seen.head, String::from_utf8_lossy(&seen.body)).trim_end().to_owned())
            .collect();
        assert_eq!(heads, seen, "{shown:?}");
        for seen in &all[seen_before..] {
            let (to, host) = (upstream.addr.to_string(), seen.headers.get("host").unwrap().to_str().unwrap());
            assert_eq!(host, to, "{shown:?} must reach the configured authority only");
        }
        seen_before = all.len();
    }
}

#[tokio::test]
async fn targets_reach_the_configured_upstream_or_nothing() {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\n{END}");
    check(vec![
        attack(get("/"), 200, &["GET /"]),
        attack(get("http://HOST/x"), 200, &["GET /x"]),
        attack(get("http://evil.example/x"), 400, &[]),
        attack("GET http://evil.example/x HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 421, &[]),
        attack(get("http://me@HOST/x"), 400, &[]),
        attack(get("https://HOST/x"), 200, &["GET /x"]),
        attack(get("file:///etc/passwd"), 400, &[]),
        attack(get("//evil.example/x"), 200, &["GET //evil.example/x"]),
        attack(get("/\\evil.example/x"), 200, &["GET /\\evil.example/x"]),
        attack(get("/@evil.example/x"), 200, &["GET /@evil.example/x"]),
        attack(get("@evil.example/x"), 400, &[]),
        attack(get("evil.example:80"), 400, &[]),
        attack(get("/a/../../b/..;/%2e%2e/c"), 200, &["GET /a/../../b/..;/%2e%2e/c"]),
        attack(get("/%00%0d%0aX:%20y"), 200, &["GET /%00%0d%0aX:%20y"]),
        attack(get("/x#fragment"), 200, &["GET /x"]),
        attack(get("/x?url=http://evil.example"), 200, &["GET /x?url=http://evil.example"]),
        attack(get("*"), 400, &[]),
        attack(get(""), 400, &[]),
        attack(get("/a b"), 400, &[]),
        attack(get("/\u{e4}"), 200, &["GET /\u{e4}"]),
        attack(b"GET /\x00 HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n".to_vec(), 400, &[]),
        attack(format!("CONNECT evil.example:443 HTTP/1.1\r\n{END}"), 405, &[]),
        attack(format!("CONNECT HOST HTTP/1.1\r\n{END}"), 405, &[]),
    ])
    .await;
}

#[tokio::test]
async fn names_that_lead_here_by_rebinding_are_refused() {
    let with = |host: &str| format!("GET /x HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
    check(vec![
        attack(with("Host: evil.example\r\n"), 421, &[]),
        attack(with("Host: evil.example:80\r\n"), 421, &[]),
        attack(with("Host: HOST.evil.example\r\n"), 421, &[]),
        attack(with("Host: HOST\r\nHost: evil.example\r\n"), 400, &[]),
        attack(with("Host: evil.example\r\nHost: HOST\r\n"), 400, &[]),
        attack(with("Host: HOST, evil.example\r\n"), 421, &[]),
        attack(with("Host:\r\n"), 400, &[]),
        attack(with(""), 400, &[]),
        attack(with("Host : HOST\r\n"), 400, &[]),
    ])
    .await;
}

#[tokio::test]
async fn heads_that_servers_read_differently_are_refused() {
    let with = |field: &str| format!("GET /x HTTP/1.1\r\n{field}{END}");
    check(vec![
        attack(with("X: a\r\n b\r\n"), 400, &[]),
        attack(with(" X: a\r\n"), 400, &[]),
        attack(with("X : a\r\n"), 400, &[]),
        attack(with("X: a\0b\r\n"), 400, &[]),
        attack(with("X: a\rb\r\n"), 400, &[]),
        attack(with("X\r\n"), 400, &[]),
        attack(with(": a\r\n"), 400, &[]),
        attack(with("X\u{e4}: a\r\n"), 400, &[]),
        attack(with("Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"), 400, &[]),
        attack(with("Authorization:\r\nauthorization: Bearer b\r\n"), 400, &[]),
        // A bare line feed ends a line (RFC 9112 section 2.2); what is sent on has whole line ends again.
        attack("GET /x HTTP/1.1\nHost: HOST\nConnection: close\n\n", 200, &["GET /x"]),
        attack(with(&format!("X: {}\r\n", "a".repeat(70_000))), 431, &[]),
        attack(format!("GET /{} HTTP/1.1\r\n{END}", "a".repeat(70_000)), 431, &[]),
        attack(with(&"X: a\r\n".repeat(200)), 431, &[]),
    ])
    .await;
}

#[tokio::test]
async fn other_protocols_are_refused() {
    check(vec![
        attack("GET /\r\n", 400, &[]),
        attack("GET / HTTP/0.9\r\n\r\n", 400, &[]),
        attack("GET / HTTP/3.0\r\n\r\n", 400, &[]),
        attack(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400, &[]),
        attack("SSH-2.0-x\r\n", 400, &[]),
        attack("GET /x HTTP/1.0\r\n\r\n", 400, &[]),
        attack("GET /x HTTP/1.0\r\nHost: HOST\r\n\r\n", 200, &["GET /x"]),
        attack(
            "POST /x HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            400,
            &[],
        ),
        // An offer to change to HTTP/2 is not taken up; the request is answered as it is.
        attack(
            "GET /x HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
            200,
            &["GET /x"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_body_has_one_length() {
    let post = |fields: &str, body: &str| format!("POST /x HTTP/1.1\r\n{fields}{END}{body}");
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: HOST\r\n\r\n";
    check(vec![
        attack(post("Content-Length: 3\r\n", "abc"), 200, &["POST /x abc"]),
        attack(post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 200, &["POST /x abc"]),
        attack(post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"), 400, &[]),
        attack(post("Content-Length: 3, 4\r\n", "abcd"), 400, &[]),
        attack(post("Content-Length: +3\r\n", "abc"), 400, &[]),
        attack(post("Content-Length: -1\r\n", "abc"), 400, &[]),
        attack(post("Content-Length: 0x3\r\n", "abc"), 400, &[]),
        attack(post("Content-Length: 99999999999999999999\r\n", "abc"), 400, &[]),
        attack(post("Content-Length:\r\n", ""), 400, &[]),
        attack(post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{smuggled}")), 400, &[]),
        attack(post("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", &format!("0\r\n\r\n{smuggled}")), 400, &[]),
        attack(post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 400, &[]),
        attack(post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), 400, &[]),
        attack(post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 400, &[]),
        attack(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400, &[]),
        attack(post("Transfer-Encoding:\u{b}chunked\r\n", "0\r\n\r\n"), 400, &[]),
        attack(post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), 400, &[]),
        // A body that looks like a request is a body.
        attack(post("Content-Length: 19\r\n", "GET /s HTTP/1.1\r\n\r\n"), 200, &["POST /x GET /s HTTP/1.1"]),
        attack(
            format!("GET /x HTTP/1.1\r\nContent-Length: 19\r\n{END}GET /s HTTP/1.1\r\n\r\n"),
            200,
            &["GET /x GET /s HTTP/1.1"],
        ),
    ])
    .await;
}

// A body is streamed, so the upstream may have seen the head of a request whose chunks turn out to be wrong. It never
// sees such a request to its end, and does not get what comes behind it.
#[tokio::test]
async fn chunks_are_read_as_they_are_written_or_not_at_all() {
    let chunked = |body: &str| format!("POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{END}{body}");
    check(vec![
        attack(chunked("3\r\nabc\r\n0\r\n\r\n"), 200, &["POST /x abc"]),
        attack(chunked("3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n"), 200, &["POST /x abc"]),
        attack(chunked("-1\r\nabc\r\n0\r\n\r\n"), 400, &[]),
        attack(chunked("0x3\r\nabc\r\n0\r\n\r\n"), 400, &[]),
        attack(chunked("ffffffffffffffffff\r\nabc\r\n0\r\n\r\n"), 400, &[]),
        attack(chunked("\r\nabc\r\n0\r\n\r\n"), 400, &[]),
        attack(chunked("3\nabc\n0\n\n"), 400, &[]),
        attack(chunked("3\r\nabcd\r\n0\r\n\r\n"), 400, &[]),
        attack(chunked(&format!("3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(70_000))), 400, &[]),
        attack(chunked(&format!("3\r\nabc\r\n0\r\n{}\r\n", "X: y\r\n".repeat(10_000))), 400, &[]),
    ])
    .await;
}
