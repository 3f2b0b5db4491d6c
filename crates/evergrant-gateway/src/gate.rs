//! Which requests are refused before anything else looks at them.
//!
//! A gateway on loopback is reachable by every web page that the user opens: through a form, through `fetch`, and
//! through a name that resolves to 127.0.0.1 after the page was loaded. So the `Host` must be one of ours, and a
//! request that a page sent (an `Origin` that is not listed, a `Sec-Fetch-Site` other than `none` or `same-origin`) is
//! refused. Requests whose framing or target could be read in two ways are refused as well: what the upstream gets must
//! be what was judged here (RFC 9112 sections 3.2 and 11.2).
//!
//! The order matters for what a stranger learns: first whether the request is meant for us, then whether a page sent it,
//! then who calls (`callers`). A preflight cannot carry a secret and gets none to see, so it skips the last.

use std::net::SocketAddr;

use http::header::{HOST, ORIGIN, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version};

use crate::address::Address;
use crate::callers::Door;
use crate::config::GatewayConfig;
use crate::cors::{self, Visitor};
use crate::peer::Peer;
use crate::problem::Problem;

/// The checks that one listener makes on every request.
#[derive(Debug)]
pub(crate) struct Gate {
    hosts: Vec<String>,
    any_port_hosts: Vec<String>,
    origins: Vec<String>,
    /// May pages that this listener served itself ask it for more?
    serves_pages: bool,
    fields: usize,
    /// Does the upstream have a path prefix that requests must not leave?
    has_prefix: bool,
    door: Door,
}

impl Gate {
    /// The gate of the proxy on listeners that are bound to these addresses.
    pub(crate) fn of_proxy(bound: &[Address], config: &GatewayConfig) -> Self {
        let door = Door::new(config.callers, config.caller_secret.clone());
        Self::new(bound, config, door, config.allowed_origins.clone())
    }

    /// The gate of dashboard, status and metrics, which no page of another origin may read, whatever is allowed
    /// elsewhere. A browser names the dashboard's own origin when it fetches the dashboard's modules.
    pub(crate) fn of_admin(bound: &[Address], config: &GatewayConfig) -> Self {
        let door = Door::new(config.admin_callers, config.caller_secret.clone());
        Self { serves_pages: true, ..Self::new(bound, config, door, Vec::new()) }
    }

    fn new(bound: &[Address], config: &GatewayConfig, door: Door, origins: Vec<String>) -> Self {
        let (with_port, any_port_hosts) =
            config.allowed_hosts.iter().cloned().partition::<Vec<_>, _>(|host| has_port(host));
        let hosts = bound.iter().filter_map(Address::tcp).flat_map(own_names).chain(with_port).collect();
        let has_prefix = config.upstream.has_prefix();
        let fields = config.limits.head_fields;
        Self { hosts, any_port_hosts, origins, serves_pages: false, fields, has_prefix, door }
    }

    /// Lets a request pass, or says why not.
    pub(crate) fn admit<B>(&self, peer: &Peer, request: &Request<B>) -> Result<Visitor, Problem> {
        if request.headers().len() > self.fields {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(Problem::new(status, "too many header fields", format!("at most {} fields", self.fields)));
        }
        self.check_target(peer, request)?;
        self.check_sender(request.headers())?;
        check_framing(request.headers(), request.version())?;
        if !cors::is_preflight(request) {
            self.door.check(peer, request.headers())?;
        }
        Ok(Visitor::of(request.headers()))
    }

    /// Is the request meant for this gateway?
    fn check_target<B>(&self, peer: &Peer, request: &Request<B>) -> Result<(), Problem> {
        if request.method() == Method::CONNECT {
            let detail = "the gateway is no forward proxy";
            return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "CONNECT is refused", detail));
        }
        let mut fields = request.headers().get_all(HOST).iter();
        let host = fields.next().map(HeaderValue::as_bytes);
        if fields.next().is_some() {
            return Err(bad_request("more than one Host field"));
        }
        let authority = request.uri().authority().map(Authority::as_str);
        if let (Some(authority), Some(host)) = (authority, host)
            && !host.eq_ignore_ascii_case(authority.as_bytes())
        {
            return Err(bad_request("Host and the request target name different hosts"));
        }
        if request.uri().scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
            return Err(bad_request("request target has an unknown scheme"));
        }
        let path = request.uri().path();
        if path == "*" && request.method() != Method::OPTIONS {
            return Err(bad_request("the target `*` is for OPTIONS only"));
        }
        if self.has_prefix && leaves_prefix(path) {
            return Err(bad_request("the path has a `..` segment, which could lead out of the upstream's prefix"));
        }
        match authority.map(str::as_bytes).or(host) {
            None | Some(b"") => Err(bad_request("no Host field")),
            // No name leads to a Unix socket, so there it may be any.
            Some(name) if peer.is_unix() || self.is_own(name) => Ok(()),
            Some(_) => Err(Problem::new(
                StatusCode::MISDIRECTED_REQUEST,
                "foreign host name",
                "the Host of this request is not one of this gateway's; add it to the allowed hosts if it should be",
            )),
        }
    }

    fn is_own(&self, name: &[u8]) -> bool {
        self.hosts.iter().any(|host| host.as_bytes().eq_ignore_ascii_case(name))
            || self.any_port_hosts.iter().any(|host| without_port(name).eq_ignore_ascii_case(host.as_bytes()))
    }

    /// Was the request sent by a program, or by a page that may?
    fn check_sender(&self, headers: &HeaderMap) -> Result<(), Problem> {
        // One look at each name that is there costs less than a look-up for each that may be.
        if !headers.keys().any(|name| matches!(name.as_str(), "origin" | "sec-fetch-site" | "service-worker")) {
            return Ok(());
        }
        if headers.contains_key(SERVICE_WORKER) {
            return Err(from_a_page());
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        if let Some(origin) = origins.next() {
            let listed = self.origins.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(origin.as_bytes()));
            let own = self.serves_pages && is_of_same_origin(origin, headers);
            return if (listed || own) && origins.next().is_none() { Ok(()) } else { Err(from_a_page()) };
        }
        let mut sites = headers.get_all(SEC_FETCH_SITE).iter().map(HeaderValue::as_bytes);
        if sites.all(|site| matches!(site, b"none" | b"same-origin")) { Ok(()) } else { Err(from_a_page()) }
    }
}

/// Is this the origin of a page that came from the host that the request names? That host was found to be ours before.
fn is_of_same_origin(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let authority =
        [b"http://".as_slice(), b"https://"].iter().find_map(|scheme| origin.as_bytes().strip_prefix(*scheme));
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

/// The names under which a listener is reached.
fn own_names(local: SocketAddr) -> Vec<String> {
    let port = local.port();
    let mut hosts = vec![format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")];
    if !local.ip().is_unspecified() && !local.ip().is_loopback() {
        hosts.push(local.to_string());
    }
    if port == 80 {
        let bare: Vec<String> = hosts.iter().map(|host| host.trim_end_matches(":80").to_owned()).collect();
        hosts.extend(bare);
    }
    hosts
}

/// Has the path a segment that servers read as "one up", written in any way?
fn leaves_prefix(path: &str) -> bool {
    path.split(['/', '\\']).any(|segment| {
        let segment = segment.split(';').next().unwrap_or_default();
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        // An encoded separator hides a segment from the split above, not from a server that decodes first.
        plain == ".." || (plain.contains("..") && (plain.contains("%2f") || plain.contains("%5c")))
    })
}

/// Can the length of the body be read in one way only?
fn check_framing(headers: &HeaderMap, version: Version) -> Result<(), Problem> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    let chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if chunked && codings.next().is_none() && version == Version::HTTP_11 {
        return Ok(());
    }
    let mut problem = bad_request("the only transfer coding accepted is `chunked`, once");
    problem.closes = true;
    Err(problem)
}

pub(crate) fn bad_request(detail: &'static str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed request", detail)
}

fn from_a_page() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "request of a web page",
        "web pages may not call this gateway unless their origin is allowed",
    )
}

fn has_port(host: &str) -> bool {
    without_port(host.as_bytes()).len() != host.len()
}

/// A host name or address without the `:port` after it.
fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|byte| *byte == b':') {
        Some(colon) if host[colon + 1..].iter().all(u8::is_ascii_digit) && !host[..colon].ends_with(b":") => {
            &host[..colon]
        }
        Some(_) | None => host,
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Sent with the script of a service worker, which would stand between a browser and this address for good.
const SERVICE_WORKER: HeaderName = HeaderName::from_static("service-worker");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Upstream;
    use crate::peer::Owner;

    fn gate() -> Gate {
        let mut config = GatewayConfig::new(Upstream::parse("http://127.0.0.1:1").unwrap());
        config.allowed_hosts = vec!["gateway.internal".into(), "other.internal:81".into()];
        config.allowed_origins = vec!["https://app.example".into()];
        Gate::of_proxy(&[Address::loopback(7070)], &config)
    }

    fn own_peer() -> Peer {
        let addr = Some("127.0.0.1:1".parse().unwrap());
        Peer { addr, owner: Owner::User(rustix::process::geteuid().as_raw()) }
    }

    fn refusal(target: &str, fields: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::builder().uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        gate().admit(&own_peer(), &request.body(()).unwrap()).err().map(|problem| problem.status.as_u16())
    }

    #[test]
    fn own_names_pass_and_foreign_names_do_not() {
        let own = ["127.0.0.1:7070", "LocalHost:7070", "[::1]:7070", "gateway.internal", "gateway.internal:9"];
        for host in own.into_iter().chain(["other.internal:81"]) {
            assert_eq!(refusal("/x", &[("host", host)]), None, "{host}");
        }
        for host in
            ["127.0.0.1", "127.0.0.1:7071", "evil.example:7070", "other.internal", "[::1]", "gateway.internal.evil"]
        {
            assert_eq!(refusal("/x", &[("host", host)]), Some(421), "{host}");
        }
    }

    #[test]
    fn a_missing_empty_or_doubled_host_is_a_bad_request() {
        assert_eq!(refusal("/x", &[]), Some(400));
        assert_eq!(refusal("/x", &[("host", "")]), Some(400));
        assert_eq!(refusal("/x", &[("host", "localhost:7070"), ("host", "localhost:7070")]), Some(400));
    }

    #[test]
    fn an_absolute_target_must_name_the_gateway_twice() {
        let own = ("host", "localhost:7070");
        assert_eq!(refusal("http://localhost:7070/x", &[own]), None);
        assert_eq!(refusal("http://evil.example/x", &[("host", "evil.example")]), Some(421));
        assert_eq!(refusal("http://evil.example/x", &[own]), Some(400));
        assert_eq!(refusal("ftp://localhost:7070/x", &[own]), Some(400));
    }

    #[test]
    fn web_pages_are_refused_unless_listed() {
        let own = ("host", "localhost:7070");
        assert_eq!(refusal("/", &[own, ("origin", "https://evil.example")]), Some(403));
        assert_eq!(refusal("/", &[own, ("origin", "null")]), Some(403));
        assert_eq!(refusal("/", &[own, ("sec-fetch-site", "cross-site")]), Some(403));
        assert_eq!(refusal("/", &[own, ("sec-fetch-site", "same-site")]), Some(403));
        assert_eq!(refusal("/", &[own, ("sec-fetch-site", "none")]), None);
        let listed = [own, ("origin", "https://app.example"), ("sec-fetch-site", "cross-site")];
        assert_eq!(refusal("/", &listed), None);
    }

    #[test]
    fn other_transfer_codings_are_refused() {
        let own = ("host", "localhost:7070");
        assert_eq!(refusal("/", &[own, ("transfer-encoding", "Chunked")]), None);
        assert_eq!(refusal("/", &[own, ("transfer-encoding", "gzip, chunked")]), Some(400));
        assert_eq!(refusal("/", &[own, ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")]), Some(400));
    }

    #[test]
    fn two_origins_and_a_service_worker_are_no_listed_page() {
        let own = ("host", "localhost:7070");
        let twice = [own, ("origin", "https://app.example"), ("origin", "https://evil.example")];
        assert_eq!(refusal("/", &twice), Some(403));
        assert_eq!(refusal("/", &[own, ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")]), Some(403));
        assert_eq!(
            refusal("/sw.js", &[own, ("sec-fetch-site", "same-origin"), ("service-worker", "script")]),
            Some(403)
        );
    }

    #[test]
    fn an_origin_that_may_use_the_proxy_may_not_read_the_admin_pages() {
        let mut config = GatewayConfig::new(Upstream::parse("http://127.0.0.1:1").unwrap());
        config.allowed_origins = vec!["https://app.example".into()];
        let request = Request::builder().header("host", "localhost:7071").header("origin", "https://app.example");
        let gate = Gate::of_admin(&[Address::loopback(7071)], &config);
        assert!(gate.admit(&own_peer(), &request.body(()).unwrap()).is_err());
    }

    #[test]
    fn the_dashboard_may_fetch_its_own_modules_and_no_other_local_page_may() {
        let config = GatewayConfig::new(Upstream::parse("http://127.0.0.1:1").unwrap());
        let admin = Gate::of_admin(&[Address::loopback(7071)], &config);
        let admits = |gate: &Gate, host: &str, origin: &str| {
            let request = Request::builder().header("host", host).header("origin", origin).body(()).unwrap();
            gate.admit(&own_peer(), &request).is_ok()
        };
        assert!(admits(&admin, "localhost:7071", "http://localhost:7071"));
        for origin in ["http://localhost:7070", "http://127.0.0.1:7071", "http://localhost", "null", "localhost:7071"] {
            assert!(!admits(&admin, "localhost:7071", origin), "{origin}");
        }
        assert!(!admits(&admin, "evil.example:7071", "http://evil.example:7071"), "a name that was rebound");
        assert!(!admits(&gate(), "localhost:7070", "http://localhost:7070"), "the proxy serves no pages of its own");
    }

    #[test]
    fn another_user_is_refused_and_its_preflight_is_not() {
        let stranger = Peer { owner: Owner::User(u32::MAX - 1), ..own_peer() };
        let request = || Request::builder().method("OPTIONS").header("host", "localhost:7070");
        let preflight =
            request().header("origin", "https://app.example").header("access-control-request-method", "GET");
        assert!(gate().admit(&stranger, &preflight.body(()).unwrap()).is_ok());
        let problem = gate().admit(&stranger, &request().body(()).unwrap()).unwrap_err();
        assert_eq!(problem.status, StatusCode::FORBIDDEN);
    }

    #[test]
    fn a_unix_socket_asks_for_no_name() {
        let config = GatewayConfig::new(Upstream::parse("http://127.0.0.1:1").unwrap());
        let gate = Gate::of_proxy(&[Address::Unix("/x".into()), Address::loopback(7070)], &config);
        let request = Request::builder().header("host", "anything").body(()).unwrap();
        assert!(gate.admit(&Peer { addr: None, ..own_peer() }, &request).is_ok());
        assert!(gate.admit(&own_peer(), &request).is_err());
    }

    #[test]
    fn segments_that_lead_up_are_found_in_every_spelling() {
        for path in ["/..", "/a/../b", "/%2e%2E/b", "/.%2e/b", "/a/..;x/b", "/a\\..\\b", "/a/..%2fb", "/a%2F..%2Fb"] {
            assert!(leaves_prefix(path), "{path}");
        }
        for path in ["/", "/a/.../b", "/a..b/c", "/.well-known/x", "/a/./b", "/a%2Fb"] {
            assert!(!leaves_prefix(path), "{path}");
        }
    }
}
