//! What a gateway is told: where to listen, where the API is, who may call, and every bound.
//!
//! Text is parsed here, once: an [`Upstream`] that exists has a scheme, an authority and no user information, so that
//! the proxy never looks at them again. The authority and the scheme of every request come from it and from nowhere
//! else; nothing a caller sends can redirect a token to another host.
//!
//! Plain `http` is accepted for loopback hosts only, because the token travels in clear text, unless
//! [`Upstream::parse_insecure`] is asked for by name.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use evergrant_core::Secret;
use evergrant_core::pace::PaceRules;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};

use crate::address::Address;
use crate::broker::BrokerConfig;
use crate::callers::Callers;
use crate::egress::Egress;

/// The settings of one gateway.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where callers connect; port 0 takes any free port.
    pub listen: Vec<Address>,
    /// Where status and metrics are served; nowhere if it is empty.
    pub admin_listen: Vec<Address>,
    /// The API that every request goes to.
    pub upstream: Upstream,
    /// The HTTP proxy on the way to the upstream; [`GatewayConfig::new`] takes it from the environment.
    pub egress: Option<Egress>,
    /// `Host` names accepted besides the gateway's own, such as `gateway.internal` (any port) or `gateway.internal:80`.
    pub allowed_hosts: Vec<String>,
    /// Origins whose web pages may call, such as `https://app.example`.
    pub allowed_origins: Vec<String>,
    /// Who may call the gateway.
    pub callers: Callers,
    /// Who may read status and metrics.
    pub admin_callers: Callers,
    /// What callers show where their user is not enough, or not known.
    pub caller_secret: Option<Secret>,
    /// Does a refusal that is passed on carry `evergrant-verdict`?
    pub verdict_header: bool,
    /// How callers' logins are handled; `None` sends them to the upstream like any other request. A logout that carries
    /// no Authorization of the caller's own never gets there: it would end the token that the gateway adds for all.
    pub broker: Option<BrokerConfig>,
    /// How a rate limit of the provider is shared out. Sites with one credential and the same rules share one pace.
    pub pace: PaceRules,
    /// How much of everything.
    pub limits: Limits,
    /// How long everything.
    pub timeouts: Timeouts,
    /// The commit that the program was built from, where it is known; the status shows it.
    pub commit: Option<&'static str>,
}

impl GatewayConfig {
    /// A gateway to `upstream` on 127.0.0.1:7070, with its admin listener on 127.0.0.1:7071 and default bounds.
    #[must_use]
    pub fn new(upstream: Upstream) -> Self {
        Self {
            listen: vec![Address::loopback(7070)],
            admin_listen: vec![Address::loopback(7071)],
            egress: Egress::from_env(&upstream),
            upstream,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            callers: Callers::SameUser,
            admin_callers: Callers::SameUser,
            caller_secret: None,
            verdict_header: true,
            broker: None,
            pace: PaceRules::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            commit: None,
        }
    }

    /// Does the way to the upstream stay the same, so that its connections can be used on?
    pub(crate) fn has_same_way_out(&self, other: &Self) -> bool {
        self.upstream == other.upstream && self.egress == other.egress && self.timeouts == other.timeouts
    }

    /// Lets the system choose free ports on loopback instead of the usual ones.
    pub fn take_free_ports(&mut self) {
        self.listen = vec![Address::loopback(0)];
        self.admin_listen = vec![Address::loopback(0)];
    }
}

/// Bounds on what the gateway holds in memory.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest request body kept for a replay; a longer one streams through and is not replayable.
    pub replay_body_bytes: usize,
    /// All bodies kept for replays, together.
    pub replay_total_bytes: usize,
    /// The longest request head, in bytes; a longer one is answered with 431.
    pub head_bytes: usize,
    /// The most header fields in a request; more are answered with 431.
    pub head_fields: usize,
    /// The most connections of a site open at once; further callers wait for a second, and are answered with 503.
    pub connections: usize,
    /// The most requests of a site in flight at once, open tunnels included; further ones are answered with 503.
    pub requests_in_flight: usize,
    /// The most requests of a site that wait for a token; further ones are answered with 503.
    pub waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            replay_body_bytes: 1 << 20,
            replay_total_bytes: 64 << 20,
            head_bytes: 64 << 10,
            head_fields: 128,
            connections: 10_000,
            requests_in_flight: 10_000,
            waiting: 1_000,
        }
    }
}

/// Bounds on how long the gateway waits. None of them cuts a body that is still moving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// How long a request waits for tokens, over all its attempts.
    pub token_wait: Duration,
    /// One connection to the upstream: name lookup, TCP and TLS.
    pub connect: Duration,
    /// From the end of a request to the end of the head of its answer.
    pub upstream: Duration,
    /// From the first byte of a request head to its last.
    pub head: Duration,
    /// A caller's connection without a request is closed after once to twice this time.
    pub idle: Duration,
    /// How long a caller may send nothing of a body that is wanted, and how long the whole body may be waited for besides
    /// a second for each KiB of it.
    pub upload: Duration,
    /// How long a caller may take nothing of an answer before its connection is cut.
    pub write_stall: Duration,
    /// How long the rest of a request body may take to arrive once its answer is a 401.
    pub body_after_401: Duration,
    /// How long requests in flight may take to finish after shutdown was asked for.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            token_wait: Duration::from_secs(30),
            connect: Duration::from_secs(10),
            upstream: Duration::from_secs(300),
            head: Duration::from_secs(15),
            idle: Duration::from_secs(75),
            upload: Duration::from_secs(60),
            write_stall: Duration::from_secs(120),
            body_after_401: Duration::from_secs(5),
            drain: Duration::from_secs(25),
        }
    }
}

/// The API that a gateway fronts: scheme, authority and an optional path prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    /// The authority without its port.
    host_name: String,
    prefix: String,
}

impl Upstream {
    /// Parses `https://host[:port][/prefix]`, or `http://` on loopback.
    ///
    /// # Errors
    /// [`UpstreamError`] names the part that cannot be used.
    pub fn parse(text: &str) -> Result<Self, UpstreamError> {
        let upstream = Self::parse_insecure(text)?;
        if upstream.is_tls() || upstream.is_loopback() {
            Ok(upstream)
        } else {
            Err(UpstreamError::ClearText(upstream.authority.host().to_owned()))
        }
    }

    /// Parses like [`Upstream::parse`] and accepts `http://` for any host: whoever sees the traffic sees the token.
    ///
    /// # Errors
    /// [`UpstreamError`] names the part that cannot be used.
    pub fn parse_insecure(text: &str) -> Result<Self, UpstreamError> {
        let uri: Uri = text.trim().parse().map_err(|_| UpstreamError::Syntax)?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(UpstreamError::Syntax);
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(UpstreamError::Scheme(scheme.to_string()));
        }
        if authority.as_str().contains('@') {
            return Err(UpstreamError::UserInfo);
        }
        if authority.host().is_empty() {
            return Err(UpstreamError::Syntax);
        }
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        if path.query().is_some() {
            return Err(UpstreamError::Query);
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| UpstreamError::Syntax)?;
        let (host_name, prefix) = (authority.host().to_owned(), path.path().trim_end_matches('/').to_owned());
        Ok(Self { scheme, authority, host, host_name, prefix })
    }

    /// Does the upstream speak TLS?
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Does the upstream run on this machine?
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.authority.host())
    }

    /// The host without a port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host_name
    }

    /// `host:port`, the port spelled out, as errors name it.
    #[must_use]
    pub fn host_port(&self) -> String {
        format!("{}:{}", self.authority.host(), self.port_of(&self.authority))
    }

    /// Do requests go below a path of the upstream only?
    pub(crate) fn has_prefix(&self) -> bool {
        !self.prefix.is_empty()
    }

    /// What a reference in the upstream's answer is called here: the path that a caller of this gateway asks for to get
    /// there. `None` if it leads elsewhere, or is right as it is.
    pub(crate) fn local_name<'a>(&self, reference: &'a str) -> Option<&'a str> {
        let path = match reference.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(self.scheme.as_str()) => {
                let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
                let authority: Authority = authority.parse().ok()?;
                let is_own = authority.host().eq_ignore_ascii_case(self.authority.host())
                    && !authority.as_str().contains('@')
                    && self.port_of(&authority) == self.port_of(&self.authority);
                if path.is_empty() && is_own { "/" } else { Some(path).filter(|_| is_own)? }
            }
            // A path of the upstream's host; right as it is unless there is a prefix.
            None if self.has_prefix() && reference.starts_with('/') => reference,
            Some(_) | None => return None,
        };
        let path = path.strip_prefix(self.prefix.as_str())?;
        let path = if path.is_empty() { "/" } else { path };
        // Two slashes would name a host.
        let is_path = path.starts_with('/') && !path[1..].starts_with(['/', '\\']);
        is_path.then_some(path)
    }

    fn port_of(&self, authority: &Authority) -> u16 {
        authority.port_u16().unwrap_or_else(|| if self.is_tls() { 443 } else { 80 })
    }

    /// The value of the `Host` field of every request.
    pub(crate) fn host_value(&self) -> HeaderValue {
        self.host.clone()
    }

    /// Its scheme and authority, with the path `/`.
    pub(crate) fn root(&self) -> Uri {
        self.with_path(PathAndQuery::from_static("/")).expect("a scheme, an authority and a path make a URI")
    }

    fn with_path(&self, path: PathAndQuery) -> Result<Uri, http::Error> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Ok(Uri::from_parts(parts)?)
    }

    /// Where a request for `path` goes. Without a prefix this joins shared parts and copies nothing.
    pub(crate) fn target(&self, path: Option<&PathAndQuery>) -> Result<Uri, http::Error> {
        let path = path.cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let path = if self.prefix.is_empty() || path.as_str() == "*" {
            path
        } else {
            PathAndQuery::from_maybe_shared(Bytes::from(format!("{}{path}", self.prefix)))?
        };
        self.with_path(path)
    }
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

/// Why a text is not an upstream URL. The fault is in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// Not a URL with a scheme and a host.
    #[error("upstream is not a URL of the form https://host[:port][/prefix]")]
    Syntax,
    /// Another scheme.
    #[error("upstream scheme `{0}` is neither https nor http")]
    Scheme(String),
    /// A user name or a password in the URL.
    #[error("upstream URL contains a user name or a password")]
    UserInfo,
    /// A query in the URL.
    #[error("upstream URL contains a query")]
    Query,
    /// Clear text to another machine.
    #[error("upstream `{0}` is not on loopback, so http would send the access token in clear text; use https")]
    ClearText(String),
}

/// Does this host name or address stay on this machine?
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_joins_its_prefix_and_keeps_the_query() {
        let upstream = Upstream::parse("https://api.example/base/").unwrap();
        let target = upstream.target(Some(&PathAndQuery::from_static("/v2/x?q=1%2F2"))).unwrap();
        assert_eq!(target.to_string(), "https://api.example/base/v2/x?q=1%2F2");
        assert_eq!(upstream.host_port(), "api.example:443");
        assert_eq!(upstream.to_string(), "https://api.example/base");
    }

    #[test]
    fn repeated_slashes_of_a_path_survive() {
        let upstream = Upstream::parse("http://127.0.0.1:9").unwrap();
        let target = upstream.target(Some(&PathAndQuery::from_static("//a//b"))).unwrap();
        assert_eq!(target.to_string(), "http://127.0.0.1:9//a//b");
    }

    #[test]
    fn a_reference_to_the_upstream_becomes_a_path_here() {
        for (upstream, reference, path) in [
            ("https://api.example", "https://API.example:443/x?y#z", Some("/x?y#z")),
            ("https://api.example", "https://api.example", Some("/")),
            ("https://api.example", "http://api.example/x", None),
            ("https://api.example", "https://api.example:444/x", None),
            ("https://api.example", "https://api.example.evil/x", None),
            ("https://api.example", "https://me@api.example/x", None),
            ("https://api.example", "https://api.example?x", None),
            ("https://api.example", "https://api.example//evil.example/x", None),
            ("https://api.example", "https://api.example/\\evil.example/x", None),
            ("https://api.example", "//evil.example/x", None),
            ("https://api.example", "/x", None),
            ("https://api.example", "x", None),
            ("https://api.example/base", "https://api.example/base/x", Some("/x")),
            ("https://api.example/base", "https://api.example/base", Some("/")),
            ("https://api.example/base", "https://api.example/based", None),
            ("https://api.example/base", "https://api.example/other", None),
            ("https://api.example/base", "/base/x", Some("/x")),
            ("https://api.example/base", "/base//evil.example", None),
            ("https://api.example/base", "/other", None),
        ] {
            assert_eq!(Upstream::parse(upstream).unwrap().local_name(reference), path, "{upstream} {reference}");
        }
    }

    #[test]
    fn clear_text_stays_on_this_machine() {
        for loopback in ["http://localhost:1", "http://127.8.9.1", "http://[::1]:80/x"] {
            assert!(Upstream::parse(loopback).is_ok(), "{loopback}");
        }
        for (text, error) in [
            ("http://api.example", UpstreamError::ClearText("api.example".into())),
            ("http://127.0.0.1.example", UpstreamError::ClearText("127.0.0.1.example".into())),
            ("ftp://localhost", UpstreamError::Scheme("ftp".into())),
            ("https://me:pw@api.example", UpstreamError::UserInfo),
            ("https://api.example/?a=b", UpstreamError::Query),
            ("api.example", UpstreamError::Syntax),
            ("", UpstreamError::Syntax),
        ] {
            assert_eq!(Upstream::parse(text), Err(error), "{text}");
        }
        assert!(Upstream::parse_insecure("http://api.example").is_ok());
    }
}
