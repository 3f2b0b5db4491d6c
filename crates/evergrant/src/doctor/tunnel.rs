//! The way to a host: directly, or through the HTTP proxy that the environment names.
//!
//! The rules are those of the HTTP clients in this library: `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY` name the proxy,
//! `NO_PROXY` the hosts that are reached without it, and loopback is never reached through one. Here the `CONNECT` is
//! spoken by hand, because its status is what the report is about (RFC 9110 section 9.3.6).

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::transport::Target;

/// An HTTP proxy.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// Can this look be taken through it? Only `http://` proxies are spoken to by hand.
    pub(super) is_http: bool,
    credentials: Option<HeaderValue>,
}

/// Why a proxy opened no tunnel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum TunnelFailure {
    /// It answered with this status.
    Status(u16),
    /// It did not answer as a proxy.
    Broken(String),
}

impl Proxy {
    /// The proxy between here and the target, if there is one.
    pub(super) fn before(target: &Target) -> Option<Self> {
        Self::chosen(&Matcher::from_env(), target)
    }

    fn chosen(rules: &Matcher, target: &Target) -> Option<Self> {
        if target.is_loopback() {
            return None;
        }
        let uri: Uri = target.url().as_str().parse().ok()?;
        let found = rules.intercept(&uri)?;
        let is_http = found.uri().scheme_str() == Some("http");
        let host = found.uri().host().unwrap_or_default().to_owned();
        let port = found.uri().port_u16().unwrap_or(if is_http { 80 } else { 443 });
        Some(Self { host, port, is_http, credentials: found.basic_auth().cloned() })
    }

    /// Host and port.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Does it get credentials of its own?
    pub(super) fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    /// Asks for a tunnel to the target over this connection to the proxy.
    pub(super) async fn tunnel(&self, mut stream: TcpStream, target: &Target) -> Result<TcpStream, TunnelFailure> {
        let broken = |error: std::io::Error| TunnelFailure::Broken(error.to_string());
        let place = target.place();
        let mut head = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n").into_bytes();
        if let Some(credentials) = &self.credentials {
            head.extend_from_slice(b"Proxy-Authorization: ");
            head.extend_from_slice(credentials.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        stream.write_all(&head).await.map_err(broken)?;
        let answer = read_head(&mut stream).await.map_err(broken)?;
        match status_of(&answer) {
            Some(200..=299) => Ok(stream),
            Some(status) => Err(TunnelFailure::Status(status)),
            None => Err(TunnelFailure::Broken("its answer is no HTTP".to_owned())),
        }
    }
}

/// Reads the head of an answer and not a byte more.
pub(super) async fn read_head(stream: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_LIMIT {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    Ok(head)
}

/// The status of an answer's first line.
pub(super) fn status_of(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    if !words.next()?.starts_with("HTTP/1.") {
        return None;
    }
    words.next()?.parse().ok()
}

const HEAD_LIMIT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::parse("token URL", url, true).unwrap()
    }

    #[test]
    fn loopback_and_exceptions_are_reached_directly() {
        let rules = |no| Matcher::builder().all("http://me:s3cr3t@proxy.example:3128").no(no).build();
        assert!(Proxy::chosen(&rules(""), &target("https://localhost/x")).is_none());
        assert!(Proxy::chosen(&rules("api.example"), &target("https://api.example")).is_none());
        let proxy = Proxy::chosen(&rules(""), &target("https://api.example")).unwrap();
        assert_eq!((proxy.place().as_str(), proxy.has_credentials()), ("proxy.example:3128", true));
    }

    #[test]
    fn a_status_is_read_from_the_first_line_alone() {
        assert_eq!(status_of(b"HTTP/1.1 407 Proxy Authentication Required\r\nX: 200\r\n\r\n"), Some(407));
        assert_eq!(status_of(b"HTTP/1.0 200\r\n\r\n"), Some(200));
        for junk in [&b""[..], b"SSH-2.0 200\r\n", b"HTTP/1.1\r\n", b"HTTP/1.1 abc\r\n", b"\xff\xff 200"] {
            assert_eq!(status_of(junk), None);
        }
    }
}
