//! What went wrong between the gateway and the upstream, in words that a person can act on.
//!
//! Libraries describe a failure by where it came up in them, and change their texts. [`FaultKind`] is the closed list of
//! what can happen to a request without an answer; each has a sentence of ours, a name in the metrics and a status:
//! 504 if something took too long, 502 for the rest. Whose fault it is follows from the kind: `refused` and `closed` are
//! the upstream's, `tls` mostly a setting's or a clock's, `proxy` the way out's.
//!
//! [`FaultKind::of`] finds the kind in a chain of errors by type. Two types are not public, the connector's for names
//! and the tunnel's; those are known by the beginning of their text, and a test with a real failure stands behind each.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use http::StatusCode;
use rustls::CertificateError;

use crate::problem::Problem;

/// What went wrong between the gateway and the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Nobody listens there.
    Refused,
    /// The name has no address.
    Unresolved,
    /// No route, or none that this process may use.
    Unreachable,
    /// No connection in time.
    ConnectTimeout,
    /// The proxy on the way out.
    Proxy(ProxyFault),
    /// No connection that can be trusted.
    Tls(TlsFault),
    /// The connection ended before the answer.
    Closed,
    /// The upstream ended this request alone.
    BrokenOff,
    /// The answer is not HTTP.
    Invalid,
    /// No answer in time.
    NoAnswer,
    /// The answer changes the protocol without being asked to.
    Upgraded,
    /// The answer broke off in its body.
    CutShort,
    /// The caller broke its own request off.
    Caller,
    /// The caller sends its request too slowly.
    SlowCaller,
}

/// What went wrong at the proxy on the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyFault {
    /// It cannot be reached.
    Unreachable,
    /// It wants credentials, or others.
    Credentials,
    /// It makes no tunnel to the upstream.
    Refused,
}

/// Why a connection cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsFault {
    /// The other side speaks something else.
    NotTls,
    /// The certificate is for another name.
    Name,
    /// Nobody who is trusted vouches for the certificate.
    Issuer,
    /// The certificate is not valid yet or any more.
    Dates,
    /// The certificate cannot be used for another reason.
    Certificate,
    /// The other side ended the handshake with an alert.
    Alert,
    /// The other side ended the connection in the handshake.
    Ended,
    /// There is no version or cipher that both sides know.
    Incompatible,
}

/// What a request was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It had no connection yet.
    Connecting,
    /// It had one.
    Connected,
}

impl FaultKind {
    /// The kind of a failure.
    pub(crate) fn of(error: &(dyn Error + 'static), stage: Stage) -> Self {
        if let Some(error) = find::<rustls::Error>(error) {
            return Self::Tls(TlsFault::of(error));
        }
        match stage {
            Stage::Connecting => Self::of_connecting(error),
            Stage::Connected => Self::of_connection(error),
        }
    }

    fn of_connecting(error: &(dyn Error + 'static)) -> Self {
        let texts = || links(error).map(ToString::to_string);
        if let Some(tunnel) = texts().find_map(|text| text.strip_prefix(TUNNEL).map(str::to_owned)) {
            return Self::Proxy(match tunnel.as_str() {
                "proxy authorization required" => ProxyFault::Credentials,
                "failed to create underlying connection" => ProxyFault::Unreachable,
                _ => ProxyFault::Refused,
            });
        }
        if texts().any(|text| text.starts_with(NAME)) {
            return Self::Unresolved;
        }
        // The outer ones only carry the inner one.
        match links(error).filter_map(|link| link.downcast_ref()).last().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => Self::Refused,
            Some(io::ErrorKind::TimedOut) => Self::ConnectTimeout,
            // Without TLS there is nothing to be cut off before the connection stands.
            Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) => {
                Self::Tls(TlsFault::Ended)
            }
            _ => Self::Unreachable,
        }
    }

    fn of_connection(error: &(dyn Error + 'static)) -> Self {
        if let Some(error) = find::<h2::Error>(error) {
            return match () {
                () if error.is_reset() && error.is_remote() => Self::BrokenOff,
                () if error.is_library() => Self::Invalid,
                () => Self::Closed,
            };
        }
        match find::<hyper::Error>(error) {
            Some(error) if error.is_user() => Self::Caller,
            Some(error) if error.is_parse() => Self::Invalid,
            Some(_) | None => Self::Closed,
        }
    }

    /// Is it the caller's doing, and nothing about the upstream?
    pub(crate) fn is_callers(self) -> bool {
        matches!(self, Self::Caller | Self::SlowCaller)
    }

    /// The kind's name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unresolved => "unresolved",
            Self::Unreachable => "unreachable",
            Self::ConnectTimeout => "connect_timeout",
            Self::Proxy(_) => "proxy",
            Self::Tls(_) => "tls",
            Self::Closed | Self::BrokenOff => "closed",
            Self::Invalid | Self::Upgraded => "invalid",
            Self::NoAnswer => "no_answer",
            Self::CutShort => "cut_short",
            Self::Caller => "caller",
            Self::SlowCaller => "slow_caller",
        }
    }

    /// What the caller is told; `upstream` is `host:port`, `after` how long the request took to fail.
    pub(crate) fn problem(self, upstream: &str, after: Duration) -> Problem {
        let (status, title) = match self {
            Self::ConnectTimeout | Self::NoAnswer => (StatusCode::GATEWAY_TIMEOUT, "upstream timed out"),
            Self::Tls(_) => (StatusCode::BAD_GATEWAY, "no trusted connection to upstream"),
            Self::Caller => (StatusCode::BAD_REQUEST, "malformed request"),
            Self::SlowCaller => (StatusCode::REQUEST_TIMEOUT, "request too slow"),
            Self::Refused
            | Self::Unresolved
            | Self::Unreachable
            | Self::Proxy(_)
            | Self::Closed
            | Self::BrokenOff
            | Self::Invalid
            | Self::Upgraded
            | Self::CutShort => (StatusCode::BAD_GATEWAY, "no answer from upstream"),
        };
        let detail = if self.is_callers() {
            self.to_string()
        } else {
            format!("upstream {upstream} {self} (after {:.1} s)", after.as_secs_f64())
        };
        let mut problem = Problem::new(status, title, detail);
        // What is left of the request may still come.
        problem.closes = self == Self::SlowCaller;
        problem
    }
}

impl TlsFault {
    #[expect(clippy::wildcard_enum_match_arm, reason = "rustls adds errors; what is not known here has the last name")]
    fn of(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => Self::of_certificate(error),
            rustls::Error::AlertReceived(_) => Self::Alert,
            rustls::Error::InvalidMessage(_)
            | rustls::Error::InappropriateMessage { .. }
            | rustls::Error::InappropriateHandshakeMessage { .. } => Self::NotTls,
            rustls::Error::NoCertificatesPresented => Self::Certificate,
            _ => Self::Incompatible,
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "rustls adds errors; what is not known here has the last name")]
    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Dates,
            CertificateError::UnknownIssuer => Self::Issuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::Name,
            _ => Self::Certificate,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused the connection",
            Self::Unresolved => "cannot be reached: its name has no address",
            Self::Unreachable => "cannot be reached from this machine",
            Self::ConnectTimeout => "cannot be reached: no connection in time",
            Self::Proxy(ProxyFault::Unreachable) => "cannot be reached: nobody answers at the proxy on the way",
            Self::Proxy(ProxyFault::Credentials) => "cannot be reached: the proxy on the way wants other credentials",
            Self::Proxy(ProxyFault::Refused) => "cannot be reached: the proxy on the way refused the tunnel",
            Self::Tls(fault) => return fault.fmt(f),
            Self::Closed => "closed the connection before it answered",
            Self::BrokenOff => "broke the request off before it answered",
            Self::Invalid => "answered with something that is not HTTP",
            Self::NoAnswer => "did not answer in time",
            Self::Upgraded => "changed the protocol without being asked to",
            Self::CutShort => "broke its answer off",
            Self::Caller => "the request body broke off",
            Self::SlowCaller => "the request body arrives too slowly",
        })
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotTls => "does not speak TLS, or speaks it wrongly",
            Self::Name => "cannot be trusted: its certificate is for another name",
            Self::Issuer => "cannot be trusted: its certificate is not from a trusted authority",
            Self::Dates => {
                "cannot be trusted: by this machine's clock its certificate is not valid yet or not valid any more"
            }
            Self::Certificate => "cannot be trusted: its certificate is not valid",
            Self::Alert => "refused the TLS handshake",
            Self::Ended => "ended the TLS handshake",
            Self::Incompatible => "has no version or cipher of TLS in common with the gateway",
        })
    }
}

/// The first cause of this type.
pub(crate) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    links(error).find_map(|link| link.downcast_ref())
}

/// An error and its causes. An `io::Error` hides what it wraps from `source`, so it is opened by hand.
fn links<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    })
}

/// How a failed look-up of a name begins.
const NAME: &str = "dns error";
/// How the failure of a tunnel begins.
const TUNNEL: &str = "tunnel error: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_certificate_lacks_is_told_apart() {
        for (error, fault) in [
            (CertificateError::Expired, TlsFault::Dates),
            (CertificateError::NotValidYet, TlsFault::Dates),
            (CertificateError::UnknownIssuer, TlsFault::Issuer),
            (CertificateError::NotValidForName, TlsFault::Name),
            (CertificateError::BadSignature, TlsFault::Certificate),
        ] {
            let error = io::Error::other(rustls::Error::InvalidCertificate(error));
            assert_eq!(FaultKind::of(&error, Stage::Connecting), FaultKind::Tls(fault));
        }
    }

    #[test]
    fn a_problem_says_who_what_and_how_long() {
        let problem = FaultKind::NoAnswer.problem("api.example:443", Duration::from_millis(10_040));
        assert_eq!(problem.status, StatusCode::GATEWAY_TIMEOUT);
        let json = problem.into_response(|json| json).into_body();
        let text = String::from_utf8_lossy(&json);
        assert!(text.contains("upstream api.example:443 did not answer in time"), "{text}");
        assert!(text.contains("(after 10.0 s)"), "{text}");
    }
}
