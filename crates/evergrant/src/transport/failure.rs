//! Why no answer came: sorted by whether the request was sent, with words that name host, port and remedy.
//!
//! The HTTP client reports a chain of errors. What decides is found inside it: whether it happened while connecting,
//! the operating system's error kind, and the TLS library's verdict on a certificate. A certificate that is "expired"
//! or "not yet valid" is also what a wrong local clock looks like, so those words say so.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use evergrant_core::time::Span;
use evergrant_core::wire::{TokenFailure, TokenFailureKind};
use rustls::CertificateError;

use super::Target;
use crate::tls;

/// A request that got no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionFailure {
    /// What is known about the request.
    pub kind: ConnectionFailureKind,
    /// What happened, where, and what to do: one line.
    pub text: String,
}

impl fmt::Display for ConnectionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for ConnectionFailure {}

/// What is known about a request that got no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionFailureKind {
    /// It was never sent.
    Unreachable,
    /// No answer in time; it may have been sent.
    TimedOut,
    /// It was sent, at least in part, and the connection ended before the whole answer.
    Lost,
}

impl ConnectionFailure {
    /// Reads the HTTP client's error for a request to `target` that was given `timeout`.
    pub(crate) fn of(error: &reqwest::Error, target: &Target, timeout: Duration) -> Self {
        let (kind, text) = if error.is_connect() {
            (ConnectionFailureKind::Unreachable, unreachable(error, target))
        } else if error.is_timeout() {
            let text = format!("no answer from {} within {}", target.place(), Span::from_duration(timeout));
            (ConnectionFailureKind::TimedOut, text)
        } else {
            let text =
                format!("connection to {} lost before the answer was complete: {}", target.place(), innermost(error));
            (ConnectionFailureKind::Lost, text)
        };
        Self { kind, text }
    }
}

impl From<ConnectionFailure> for TokenFailure {
    fn from(failure: ConnectionFailure) -> Self {
        let kind = match failure.kind {
            ConnectionFailureKind::Unreachable => TokenFailureKind::Unreachable,
            ConnectionFailureKind::TimedOut => TokenFailureKind::TimedOut,
            ConnectionFailureKind::Lost => TokenFailureKind::Lost,
        };
        // Our own words: cleaning them as a server's text would take long host names for secrets.
        Self { description: Some(failure.text), ..Self::of(kind) }
    }
}

/// The last and most exact error of a chain, in one line.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = String::new();
    for error in chain(error) {
        last = error.to_string();
    }
    last.replace(['\n', '\r'], " ")
}

fn unreachable(error: &reqwest::Error, target: &Target) -> String {
    let place = target.place();
    if let Some(tls) = find::<rustls::Error>(error) {
        return tls_failure(tls, &place);
    }
    let proxied =
        if target.is_loopback() || !proxy_is_configured() { "" } else { " (a proxy is configured in the environment)" };
    if error.is_dns() {
        return format!("{place} is unreachable: its name cannot be resolved{proxied}; check the URL and the network");
    }
    if chain(error).any(|error| error.downcast_ref::<io::Error>().is_some_and(is_refused)) {
        return format!("connection refused by {place}{proxied}; check the URL and that the server is running");
    }
    let cause = if error.is_timeout() { too_late(target).to_owned() } else { innermost(error) };
    format!("{place} is unreachable: {cause}{proxied}; check the URL and the network")
}

/// Where there is no list of name servers, in an empty root for example, musl asks this machine and waits in vain.
fn too_late(target: &Target) -> &'static str {
    if target.url().domain().is_some() && cfg!(unix) && !Path::new(NAME_SERVERS).exists() {
        return "no connection in time, and there is no /etc/resolv.conf to resolve its name with";
    }
    "no connection in time"
}

fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

fn tls_failure(error: &rustls::Error, place: &str) -> String {
    if tls::is_marked_as_authority(error) {
        return format!(
            "TLS with {place} failed: its certificate is self-signed; if it is right, name it as the CA file"
        );
    }
    let remedy = if let rustls::Error::InvalidCertificate(cause) = error {
        certificate_remedy(cause)
    } else if matches!(error, rustls::Error::InvalidMessage(_)) {
        "check that this port speaks TLS"
    } else {
        "check the URL and the server's TLS settings"
    };
    format!("TLS with {place} failed: {}; {remedy}", error.to_string().replace(['\n', '\r'], " "))
}

fn certificate_remedy(cause: &CertificateError) -> &'static str {
    use CertificateError as C;
    if matches!(cause, C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. }) {
        "check this machine's clock, then the server's certificate"
    } else if matches!(cause, C::UnknownIssuer) {
        "if its authority is private, name its certificate as the CA file"
    } else if matches!(cause, C::NotValidForName | C::NotValidForNameContext { .. }) {
        "check the host in the URL"
    } else {
        "check the server's certificate"
    }
}

/// Every error of a chain. An [`io::Error`] hides the error it wraps behind that error's own source, so it is opened.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
        None => error.source(),
    })
    .take(CHAIN_LIMIT)
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref::<E>())
}

fn proxy_is_configured() -> bool {
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

const CHAIN_LIMIT: usize = 32;

const NAME_SERVERS: &str = "/etc/resolv.conf";
