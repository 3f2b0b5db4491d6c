//! Any bytes of a caller and any bytes of an upstream, put together from pieces that have been attacks before.
//!
//! What must hold is in `witness`; the fuzz targets `gateway_request` and `upstream_answer` hold the same against bytes
//! that nobody thought of. A finding of theirs becomes a line of the tables here.

use proptest::prelude::*;
use proptest::sample::select;

use crate::witness::{check_caller, check_upstream};

/// Pieces of requests. `\x1f` is a pause, `HANDLE` a handle of the gateway.
const REQUEST: [&str; 50] = [
    "GET /api/v2/x HTTP/1.1\r\n",
    "POST /api/v2/x HTTP/1.1\r\n",
    "PUT /gw//api/v2/x?y=z HTTP/1.1\r\n",
    "HEAD / HTTP/1.1\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "DELETE /api/v2/tokens/me HTTP/1.1\r\n",
    "POST /login/oauth/token HTTP/1.1\r\n",
    "CONNECT evil.example:443 HTTP/1.1\r\n",
    "GET http://evil.example/ HTTP/1.1\r\n",
    "GET /x HTTP/1.0\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "Host: x\r\n",
    "Host: y\r\n",
    "host:\t x \r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 4\r\n",
    "content-length:3,3\r\n",
    "Content-Length: +3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "transfer-encoding:\tchunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Authorization: Bearer HANDLE\r\n",
    "authorization: bearer  HANDLE \r\n",
    "Authorization: Basic HANDLE\r\n",
    "Authorization: Bearer own\r\n",
    "Authorization:\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, Authorization, Host, Transfer-Encoding\r\n",
    "Connection: Upgrade\r\nUpgrade: websocket\r\n",
    "Keep-Alive: 1\r\nProxy-Connection: x\r\nProxy-Authorization: y\r\n",
    "Expect: 100-continue\r\n",
    "TE: trailers\r\nTrailer: x\r\n",
    "Evergrant-Caller: a\r\n",
    "X: a\r\n b\r\n",
    "X: a\rb\r\n",
    "X: a\n",
    "X: \0\r\n",
    "\r\n",
    "\n\n",
    "abc",
    "3\r\nabc\r\n0\r\n\r\n",
    "3;x=y\r\nabc\r\n0\r\nX: y\r\n\r\n",
    "0\r\n\r\n",
    "5\r\nabc\r\n",
    "\x1f",
    "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /api/v2/x HTTP/1.1\r\nHost: x\r\n\r\n",
];

/// Pieces of answers.
const ANSWER: [&str; 36] = [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 204 No\r\n",
    "HTTP/1.1 304 No\r\n",
    "HTTP/1.1 401 No\r\n",
    "HTTP/1.1 403 No\r\n",
    "HTTP/1.1 429 No\r\n",
    "HTTP/1.1 500 No\r\n",
    "HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n",
    "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: echo\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/2 200\r\n",
    "HTTP/1.1 999 \r\n",
    "HTTP/1.1 20 OK\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 2\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: -1\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Connection: close, x-own\r\n",
    "Connection: Set-Cookie\r\nKeep-Alive: timeout=1\r\n",
    "Set-Cookie: a=b; Domain=x\r\n",
    "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n",
    "Evergrant-Verdict: expired; certain; v1\r\n",
    "Retry-After: 3\r\n",
    "inin-ratelimit-count: 301\r\ninin-ratelimit-allowed: 300\r\ninin-ratelimit-reset: 9\r\n",
    "Strict-Transport-Security: max-age=1\r\nAlt-Svc: h3\r\nUpgrade: h2c\r\n",
    "X: a\rHTTP/1.1 200 OK\r\n",
    "X: a\n",
    "\r\n",
    "ok",
    "2\r\nok\r\n0\r\n\r\n",
    "2\r\nok\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
];

/// Pieces in any order, some of them damaged.
fn bytes(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let damage = proptest::option::weighted(0.3, (any::<proptest::sample::Index>(), any::<u8>()));
    (proptest::collection::vec(select(pieces), 1..9), damage).prop_map(|(chosen, damage)| {
        let mut bytes = chosen.concat().into_bytes();
        if let Some((at, byte)) = damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

/// A request that may be one, with fields and a body of any kind.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let (lines, rest) = REQUEST.split_at(11);
    let (fields, bodies) = rest.split_at(29);
    let fields = proptest::collection::vec(select(fields), 0..4);
    (select(lines), fields, proptest::collection::vec(select(bodies), 0..4)).prop_map(|(line, fields, bodies)| {
        [line, "Host: x\r\n", &fields.concat(), "\r\n", &bodies.concat()].concat().into_bytes()
    })
}

/// An answer that may be one.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    let (lines, rest) = ANSWER.split_at(15);
    let (fields, bodies) = rest.split_at(16);
    let fields = proptest::collection::vec(select(fields), 0..4);
    (select(lines), fields, proptest::collection::vec(select(bodies), 0..3))
        .prop_map(|(line, fields, bodies)| [line, &fields.concat(), "\r\n", &bodies.concat()].concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_of_a_caller_make_two_requests_out_of_one(bytes in prop_oneof![request(), bytes(&REQUEST)]) {
        prop_assert_eq!(check_caller(&bytes), Ok(()));
    }

    #[test]
    fn no_bytes_of_an_upstream_make_two_answers_out_of_one(
        method in select(&["GET", "HEAD", "POST"][..]),
        bytes in prop_oneof![answer(), bytes(&ANSWER)],
    ) {
        prop_assert_eq!(check_upstream(method, &bytes), Ok(()));
    }
}

const CALLERS_FINDINGS: [&str; 1] = [
    // A handle behind a scheme that is not ours went to the upstream.
    "GET /api/v2/x HTTP/1.1\r\nHost: x\r\nAuthorization: Basic HANDLE\r\n\r\n",
];

const UPSTREAMS_FINDINGS: [(&str, &str); 1] = [
    // What is no length was handed on where no body follows.
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
];

#[test]
fn what_was_found_once_stays_mended() {
    for bytes in CALLERS_FINDINGS {
        assert_eq!(check_caller(bytes.as_bytes()), Ok(()), "{bytes:?}");
    }
    for (method, bytes) in UPSTREAMS_FINDINGS {
        assert_eq!(check_upstream(method, bytes.as_bytes()), Ok(()), "{method} {bytes:?}");
    }
}
