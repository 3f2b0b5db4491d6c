//! The way out: directly, or through the HTTP proxy that a company's network asks for.
//!
//! The rules are curl's: `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY` name the proxy, `NO_PROXY` the hosts that are
//! reached without it. Loopback is never reached through a proxy. The proxy sees a `CONNECT` to the upstream's host and
//! port and then bytes that it cannot read (RFC 9110 section 9.3.6); its own credentials, if the URL holds any, go to it
//! and to nobody else.

use std::fmt;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use crate::config::Upstream;

/// An HTTP proxy between the gateway and its upstream.
#[derive(Clone, PartialEq)]
pub struct Egress {
    uri: Uri,
    credentials: Option<HeaderValue>,
}

impl Egress {
    /// The proxy that this process's environment names for `upstream`; `None` to connect directly.
    #[must_use]
    pub fn from_env(upstream: &Upstream) -> Option<Self> {
        Self::chosen(&Matcher::from_env(), upstream)
    }

    /// The proxy at this URL, such as `http://user:password@proxy.example:3128`; `None` if it cannot be used.
    #[must_use]
    pub fn through(url: &str, upstream: &Upstream) -> Option<Self> {
        Self::chosen(&Matcher::builder().all(url).build(), upstream)
    }

    fn chosen(rules: &Matcher, upstream: &Upstream) -> Option<Self> {
        if upstream.is_loopback() {
            return None;
        }
        let target = upstream.target(None).ok()?;
        rules.intercept(&target).and_then(|proxy| Self::usable(&proxy))
    }

    fn usable(proxy: &Intercept) -> Option<Self> {
        if proxy.uri().scheme_str() != Some("http") {
            tracing::warn!("only http:// proxies can be used; connecting to the upstream without the configured one");
            return None;
        }
        let credentials = proxy.basic_auth().cloned().map(|mut value| {
            value.set_sensitive(true);
            value
        });
        Some(Self { uri: proxy.uri().clone(), credentials })
    }

    pub(crate) fn uri(&self) -> Uri {
        self.uri.clone()
    }

    pub(crate) fn credentials(&self) -> Option<HeaderValue> {
        self.credentials.clone()
    }
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").field("host", &self.uri.host()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_exceptions_are_reached_directly() {
        let rules = |no| Matcher::builder().all("http://me:s3cr3t@proxy.example:3128").no(no).build();
        let chosen = |no, url| Egress::chosen(&rules(no), &Upstream::parse(url).unwrap());
        assert!(chosen("", "http://127.0.0.1:1").is_none());
        assert!(chosen("", "https://localhost").is_none());
        assert!(chosen("api.example", "https://api.example").is_none());
        let proxy = chosen("other.example", "https://api.example").unwrap();
        assert_eq!(proxy.uri().port_u16(), Some(3128));
        assert_eq!(proxy.credentials().unwrap(), "Basic bWU6czNjcjN0");
        assert!(!format!("{proxy:?}").contains("s3cr3t"));
    }

    #[test]
    fn other_kinds_of_proxies_are_not_taken_for_http() {
        assert!(Egress::through("socks5://proxy.example", &Upstream::parse("https://api.example").unwrap()).is_none());
    }
}
