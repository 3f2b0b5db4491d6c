//! Somewhere that tells a time.

use std::fmt;
use std::time::Duration;

use evergrant_core::Secret;
use evergrant_core::offset::{Sample, Source};
use evergrant_core::time::Span;

use super::http::HttpPlace;
use super::ntp::NtpPlace;
use crate::tls::Tls;
use crate::transport::{ConnectionFailure, ConnectionFailureKind, TransportError, TransportOptions};

/// A server that can be asked for its clock.
#[derive(Clone, Debug)]
pub struct Place(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Http(HttpPlace),
    Ntp(NtpPlace),
}

impl Place {
    /// The `Date` of the token endpoint's host.
    ///
    /// # Errors
    /// When the URL may not be used or TLS cannot be set up; so for all places that are URLs.
    pub fn auth(url: &str, tls: &Tls, options: TransportOptions) -> Result<Self, PlaceError> {
        Self::date(Source::AuthDate, "token URL", url, tls, options)
    }

    /// The `Date` of the API's host.
    ///
    /// # Errors
    /// As [`Place::auth`].
    pub fn api(url: &str, tls: &Tls, options: TransportOptions) -> Result<Self, PlaceError> {
        Self::date(Source::ApiDate, "API URL", url, tls, options)
    }

    /// The `Date` of any other host, for networks that let nothing but HTTPS out.
    ///
    /// # Errors
    /// As [`Place::auth`].
    pub fn reference(url: &str, tls: &Tls, options: TransportOptions) -> Result<Self, PlaceError> {
        Self::date(Source::Reference, "reference URL", url, tls, options)
    }

    /// An endpoint whose body is the server's time in milliseconds, and the token that it asks for.
    ///
    /// # Errors
    /// As [`Place::auth`].
    pub fn ms_endpoint(url: &str, token: Secret, tls: &Tls, options: TransportOptions) -> Result<Self, PlaceError> {
        Ok(Self(Kind::Http(HttpPlace::new(Source::MsEndpoint, "date URL", url, Some(token), tls, options)?)))
    }

    /// An NTP server, as `HOST` or `HOST:PORT`.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn ntp(address: &str) -> Result<Self, PlaceError> {
        Ok(Self(Kind::Ntp(NtpPlace::parse(address)?)))
    }

    /// What its answers are evidence of.
    #[must_use]
    pub fn source(&self) -> Source {
        match &self.0 {
            Kind::Http(place) => place.source(),
            Kind::Ntp(_) => Source::Ntp,
        }
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.0 {
            Kind::Http(place) => place.address(),
            Kind::Ntp(place) => place.address(),
        }
    }

    /// The least time between two questions, whatever a plan says: what the server's operator would call polite.
    pub(super) fn least_spacing(&self) -> Span {
        match &self.0 {
            Kind::Http(_) => Span::ZERO,
            Kind::Ntp(_) => Span::from_secs(2),
        }
    }

    /// Asks once.
    pub(super) async fn ask(&mut self) -> Result<Told, PlaceFailure> {
        match &mut self.0 {
            Kind::Http(place) => place.ask().await,
            Kind::Ntp(place) => place.ask().await,
        }
    }

    fn date(
        source: Source,
        name: &'static str,
        url: &str,
        tls: &Tls,
        options: TransportOptions,
    ) -> Result<Self, PlaceError> {
        Ok(Self(Kind::Http(HttpPlace::new(source, name, url, None, tls, options)?)))
    }
}

/// What a place told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) sample: Sample,
    pub(super) remark: Option<Remark>,
}

/// Something about an answer that makes it worth less, or a server's own word on its error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Remark {
    /// A cache answered: the date may be old.
    Cached,
    /// The host sends its callers elsewhere; scheme, host and port of where.
    Redirects(String),
    /// How far an NTP server may be from UTC, by its own account, and its stratum.
    Ntp {
        /// Its distance from a reference clock in servers.
        stratum: u8,
        /// How far it may be from UTC.
        root_distance: Span,
    },
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cached => {
                f.write_str("a cache answers, so its date may be old and says only that it is later than that")
            }
            Self::Redirects(to) => write!(f, "it redirects to {to}; give that URL"),
            Self::Ntp { stratum, root_distance } => {
                write!(f, "stratum {stratum}, by its own account within {} ms of UTC", millis_up(*root_distance))
            }
        }
    }
}

fn millis_up(span: Span) -> i64 {
    (span + Span::from_nanos(999_999)).as_millis()
}

/// Why a place told no time.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text}")]
pub struct PlaceFailure {
    /// What can be done about it.
    pub kind: PlaceFailureKind,
    /// What happened, where, and what to do: one line that names host and port.
    pub text: String,
}

/// What can be done about a place that told no time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlaceFailureKind {
    /// It cannot be reached.
    Unreachable,
    /// It did not answer in time.
    TimedOut,
    /// It answered, but not with a time that can be used.
    NoTime,
}

impl PlaceFailure {
    /// A failure with this text.
    #[must_use]
    pub fn new(kind: PlaceFailureKind, text: String) -> Self {
        Self { kind, text }
    }

    pub(super) fn silent(address: &str, patience: Duration) -> Self {
        let patience = Span::from_duration(patience);
        Self::new(PlaceFailureKind::TimedOut, format!("no answer from {address} within {patience}"))
    }
}

impl From<ConnectionFailure> for PlaceFailure {
    fn from(failure: ConnectionFailure) -> Self {
        let kind = match failure.kind {
            ConnectionFailureKind::Unreachable => PlaceFailureKind::Unreachable,
            ConnectionFailureKind::TimedOut => PlaceFailureKind::TimedOut,
            ConnectionFailureKind::Lost => PlaceFailureKind::NoTime,
        };
        Self::new(kind, failure.text)
    }
}

/// Why a place cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The URL may not be used, or TLS cannot be set up.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The address of an NTP server is none.
    #[error(
        "`{given}` is no address of an NTP server: {cause}; write HOST or HOST:PORT, as ntp.example.com or 192.0.2.1:123"
    )]
    Address {
        /// What was given.
        given: String,
        /// What is wrong with it.
        cause: &'static str,
    },
}
