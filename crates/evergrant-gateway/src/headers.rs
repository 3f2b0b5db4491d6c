//! Which header fields cross the gateway, and what they become.
//!
//! A proxy removes the fields that speak about one connection, those named by `Connection` included (RFC 9110 section
//! 7.6.1), and sets `Host` from its configuration. Everything else passes unchanged: the gateway adds a token to a
//! request and, at most, a verdict to an answer. Fields by which an upstream speaks about its own origin are taken out of
//! answers, because the caller talked to another one (`OF_ONE_ORIGIN`). HTTP/2 lets a caller split `Cookie` into crumbs; an HTTP/1.1 server
//! expects one field, so they are joined (RFC 9113 section 8.2.3).
//!
//! A caller's own `Authorization` wins over ours. An empty one is a client library's way to send none: absent, blank,
//! or `Bearer` without credentials. Two of them are refused, because it is not ours to choose.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, LOCATION, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use crate::callers::CALLER_SECRET;
use crate::config::Upstream;

/// The field that tells a caller why its 401 is a 401.
pub(crate) const VERDICT: HeaderName = HeaderName::from_static("evergrant-verdict");
/// The field in which a program names itself, to have its own part of a rate limit; it is not sent on.
pub(crate) const CALLER: HeaderName = HeaderName::from_static("evergrant-caller");
/// The field that makes a POST repeatable (draft-ietf-httpapi-idempotency-key-header).
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What an upstream says about its own origin, which is not the one that the caller talks to: who may read it, that it
/// has TLS or another address, what a browser should delete or report. On localhost these would hit every local service,
/// and `Alt-Svc` would lead around the gateway.
const OF_ONE_ORIGIN: [&str; 17] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-allow-private-network",
    "access-control-expose-headers",
    "access-control-max-age",
    "alt-svc",
    "clear-site-data",
    "evergrant-verdict",
    "expect-ct",
    "nel",
    "public-key-pins",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
    "strict-transport-security",
];
/// The only expectation there is.
pub(crate) const CONTINUE: HeaderValue = HeaderValue::from_static("100-continue");

/// What the `Authorization` of a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerAuth {
    /// None, or an empty one: the gateway's token goes in.
    Absent,
    /// The caller's own: it passes unchanged and no token logic looks at the answer.
    Own,
    /// More than one field.
    Doubled,
}

impl CallerAuth {
    /// Reads the `Authorization` of a request head.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let Some(first) = fields.next() else { return Self::Absent };
        if fields.next().is_some() {
            return Self::Doubled;
        }
        let text = first.as_bytes().trim_ascii();
        if text.is_empty() || text.eq_ignore_ascii_case(b"bearer") { Self::Absent } else { Self::Own }
    }
}

/// Makes a caller's head fit to be sent on.
pub(crate) fn clean_request(headers: &mut HeaderMap, version: Version) {
    let trailers_welcome = contains_token(headers, &TE, b"trailers");
    remove_hop_by_hop(headers);
    // Whoever asks again does so in its own name (RFC 9110 section 10.1.1).
    remove_all(headers, |name| *name == EXPECT || matches!(name.as_str(), "proxy-authorization" | "http2-settings"));
    headers.remove(CALLER_SECRET);
    if trailers_welcome {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if version == Version::HTTP_2 {
        join_cookies(headers);
    }
}

/// Does the caller want to know whether its body is welcome before it sends it? HTTP/2 has no such wait here.
pub(crate) fn asks_first(headers: &HeaderMap, version: Version) -> bool {
    let expectation = headers.get(EXPECT).map(HeaderValue::as_bytes);
    version == Version::HTTP_11 && expectation.is_some_and(|text| text.eq_ignore_ascii_case(CONTINUE.as_bytes()))
}

/// Makes an upstream's head fit to be handed to the caller. Verdicts are this gateway's own.
pub(crate) fn clean_response(headers: &mut HeaderMap, upstream: &Upstream) {
    remove_hop_by_hop(headers);
    mend_length(headers);
    remove_all(headers, |name| OF_ONE_ORIGIN.contains(&name.as_str()));
    name_location_here(headers, upstream);
    unbind_cookies(headers);
}

/// Leaves one length that everybody reads alike, or none. Where a body follows it was checked when the answer was read; an
/// answer to a HEAD and a 304 have no body, and say what they like.
fn mend_length(headers: &mut HeaderMap) {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return };
    let is_number = !first.is_empty() && first.as_bytes().iter().all(u8::is_ascii_digit);
    let mut others = lengths.peekable();
    if is_number && others.peek().is_none() {
        return;
    }
    let kept = Some(first.clone()).filter(|first| is_number && others.all(|other| other == first));
    headers.remove(CONTENT_LENGTH);
    headers.extend(kept.map(|length| (CONTENT_LENGTH, length)));
}

/// A client follows a `Location` without this gateway's help. One that leads to the upstream itself must lead through
/// the gateway, or the next request has no token; any other stays as it is, and no token goes there.
fn name_location_here(headers: &mut HeaderMap, upstream: &Upstream) {
    let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) else { return };
    if let Some(local) = upstream.local_name(location).and_then(|path| HeaderValue::from_str(path).ok()) {
        headers.insert(LOCATION, local);
    }
}

/// A cookie is for the host that the caller knows. The upstream's `Domain` is another one, so it is taken out.
fn unbind_cookies(headers: &mut HeaderMap) {
    let is_domain = |attribute: &[u8]| {
        attribute
            .split(|byte| *byte == b'=')
            .next()
            .is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"domain"))
    };
    let http::header::Entry::Occupied(mut cookies) = headers.entry(SET_COOKIE) else { return };
    for cookie in cookies.iter_mut() {
        let parts = || cookie.as_bytes().split(|byte| *byte == b';').enumerate();
        if parts().skip(1).any(|(_, part)| is_domain(part)) {
            let kept: Vec<&[u8]> =
                parts().filter(|(index, part)| *index == 0 || !is_domain(part)).map(|(_, part)| part).collect();
            if let Ok(mut unbound) = HeaderValue::from_bytes(&kept.join(b";".as_slice())) {
                unbound.set_sensitive(true);
                *cookie = unbound;
            }
        }
    }
}

/// The protocol that a request asks to change to, if it may: `Upgrade` named by `Connection`, and not `h2c`, which
/// concerns one connection only.
pub(crate) fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = headers.get(UPGRADE)?;
    let allowed = contains_token(headers, &CONNECTION, b"upgrade") && !wanted.as_bytes().eq_ignore_ascii_case(b"h2c");
    allowed.then(|| wanted.clone())
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        for name in named_by_connection(headers) {
            headers.remove(name);
        }
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        // The chunks were believed, so a length beside them is a lie by now (RFC 9112 section 6.3).
        headers.remove(CONTENT_LENGTH);
    }
    remove_all(headers, |name| {
        let name = name.as_str();
        matches!(name, "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" | "upgrade")
    });
}

/// Removes all fields of some kind. One look at each name that is there costs less than a look-up for each that may be.
fn remove_all(headers: &mut HeaderMap, is_one: impl Fn(&HeaderName) -> bool) {
    // The first is found over and over: there is seldom any, and hardly ever more than one.
    while let Some(name) = headers.keys().find(|name| is_one(name)).cloned() {
        headers.remove(name);
    }
}

/// The fields that `Connection` declares to concern this connection only. `Authorization` never does (RFC 9110 section
/// 11.6.2): without the exception a caller could have its request sent on with none.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    tokens(headers, &CONNECTION)
        .filter(|token| !token.eq_ignore_ascii_case(b"close") && !token.eq_ignore_ascii_case(b"keep-alive"))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| name != AUTHORIZATION)
        .collect()
}

fn contains_token(headers: &HeaderMap, name: &HeaderName, wanted: &[u8]) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (Some(_), Some(_)) = (crumbs.next(), crumbs.next()) else { return };
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(mut joined) = HeaderValue::from_bytes(&crumbs.join(b"; ".as_slice())) {
        joined.set_sensitive(true);
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
            .collect()
    }

    #[test]
    fn an_empty_authorization_is_absent() {
        for value in ["", " ", "Bearer", "bearer ", " BEARER\t"] {
            assert_eq!(CallerAuth::of(&map(&[("authorization", value)])), CallerAuth::Absent, "{value:?}");
        }
        assert_eq!(CallerAuth::of(&HeaderMap::new()), CallerAuth::Absent);
        assert_eq!(CallerAuth::of(&map(&[("authorization", "Bearer x")])), CallerAuth::Own);
        assert_eq!(CallerAuth::of(&map(&[("authorization", "Basic")])), CallerAuth::Own);
        let doubled = map(&[("authorization", ""), ("authorization", "Bearer x")]);
        assert_eq!(CallerAuth::of(&doubled), CallerAuth::Doubled);
    }

    #[test]
    fn fields_of_one_connection_stop_here() {
        let mut headers = map(&[
            ("connection", "close, X-Private"),
            ("connection", "x-more"),
            ("x-private", "1"),
            ("x-more", "2"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eDp5"),
            ("evergrant-caller-secret", "s3cr3t"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAA"),
            ("expect", "100-continue"),
            ("x-kept", "3"),
            ("trailer", "x-sum"),
        ]);
        clean_request(&mut headers, Version::HTTP_11);
        assert_eq!(headers, map(&[("x-kept", "3"), ("trailer", "x-sum"), ("te", "trailers")]));
    }

    #[test]
    fn cookie_crumbs_become_one_field() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2; c=3")]);
        clean_request(&mut headers, Version::HTTP_2);
        let cookies: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
        assert!(!format!("{headers:?}").contains("a=1"));
    }

    #[test]
    fn only_a_named_upgrade_is_one() {
        assert!(wanted_upgrade(&map(&[("upgrade", "websocket")])).is_none());
        assert!(wanted_upgrade(&map(&[("upgrade", "h2c"), ("connection", "Upgrade, HTTP2-Settings")])).is_none());
        let websocket = map(&[("upgrade", "websocket"), ("connection", "keep-alive, Upgrade")]);
        assert_eq!(wanted_upgrade(&websocket).unwrap(), "websocket");
    }

    #[test]
    fn what_concerns_the_upstreams_origin_stops_here() {
        let upstream = Upstream::parse("https://api.example").unwrap();
        let mut headers: HeaderMap = OF_ONE_ORIGIN
            .into_iter()
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("x")))
            .collect();
        headers.insert("content-security-policy", HeaderValue::from_static("default-src 'none'"));
        clean_response(&mut headers, &upstream);
        assert_eq!(headers, map(&[("content-security-policy", "default-src 'none'")]));
    }

    #[test]
    fn an_answer_has_one_length_or_none() {
        let upstream = Upstream::parse("https://api.example").unwrap();
        for (lengths, kept) in [
            (&["3"][..], &["3"][..]),
            (&["3", "3"], &["3"]),
            (&["3", "4"], &[]),
            (&["-1"], &[]),
            (&["+3"], &[]),
            (&["3, 3"], &[]),
            (&[""], &[]),
        ] {
            let mut headers = map(&lengths.iter().map(|length| ("content-length", *length)).collect::<Vec<_>>());
            clean_response(&mut headers, &upstream);
            assert_eq!(headers.get_all(CONTENT_LENGTH).iter().collect::<Vec<_>>(), kept, "{lengths:?}");
        }
    }

    #[test]
    fn a_location_leads_through_the_gateway_or_elsewhere_unchanged() {
        let upstream = Upstream::parse("https://api.example").unwrap();
        for (location, expected) in [
            ("https://api.example/next?page=2", "/next?page=2"),
            ("https://evil.example/next", "https://evil.example/next"),
            ("//evil.example/next", "//evil.example/next"),
            ("/next", "/next"),
        ] {
            let mut headers = map(&[("location", location)]);
            clean_response(&mut headers, &upstream);
            assert_eq!(headers.get(LOCATION).unwrap(), expected);
        }
    }

    #[test]
    fn a_cookie_loses_the_upstreams_domain_and_nothing_else() {
        let upstream = Upstream::parse("https://api.example").unwrap();
        for (cookie, expected) in [
            ("a=1; Domain=.api.example; Path=/; HttpOnly", "a=1; Path=/; HttpOnly"),
            ("domain=1; domain = x", "domain=1"),
            ("a=b; Path=/domain=x", "a=b; Path=/domain=x"),
        ] {
            let mut headers = map(&[("set-cookie", "first=1"), ("set-cookie", cookie)]);
            clean_response(&mut headers, &upstream);
            assert_eq!(headers.get_all(SET_COOKIE).iter().collect::<Vec<_>>(), ["first=1", expected]);
        }
    }
}
