//! Where a token may be sent, and what a caller's own `Authorization` means.
//!
//! A bearer token works for whoever holds it, so it is bound to the origins that were named: scheme, host and port. A
//! request to any other place is refused before it is sent, whatever built its URL: a link in an answer, a redirect, a
//! template. An `Authorization` that the caller set wins over ours; an empty one is a library's way to send none.
//!
//! Source: RFC 6750 section 5.3, RFC 6454 section 4.

use http::header::AUTHORIZATION;
use http::{HeaderMap, Uri};
use url::Url;

use crate::transport::{Target, TargetError};

/// The places that a token may be sent to.
#[derive(Clone, Debug)]
pub struct Origins {
    targets: Vec<Target>,
}

impl Origins {
    /// The origins of these URLs; their paths do not matter.
    ///
    /// # Errors
    /// When one is no HTTP URL, or is plain `http://` beyond loopback and that was not allowed.
    pub fn parse<T: AsRef<str>>(
        urls: impl IntoIterator<Item = T>,
        allow_insecure_http: bool,
    ) -> Result<Self, TargetError> {
        let parse = |url: T| Target::parse("API URL", url.as_ref(), allow_insecure_http);
        Ok(Self { targets: urls.into_iter().map(parse).collect::<Result<_, _>>()? })
    }

    pub(crate) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// May the token be sent to this URL?
    ///
    /// # Errors
    /// When it belongs to none of the origins.
    pub fn allow(&self, url: &Url) -> Result<(), ForeignOrigin> {
        self.position(url).map(drop)
    }

    /// Which of the origins this URL belongs to.
    pub(crate) fn position(&self, url: &Url) -> Result<usize, ForeignOrigin> {
        let origin = url.origin();
        self.targets.iter().position(|target| target.url().origin() == origin).ok_or_else(|| ForeignOrigin {
            asked: origin.ascii_serialization(),
            allowed: self.targets.iter().map(|target| target.url().origin().ascii_serialization()).collect(),
        })
    }

    /// Does this target belong here? One without an authority does: its service is connected to one place already.
    pub(crate) fn check(&self, uri: &Uri) -> Result<(), ForeignOrigin> {
        let Some(authority) = uri.authority() else { return Ok(()) };
        let scheme = uri.scheme_str().unwrap_or("https");
        match Url::parse(&format!("{scheme}://{authority}/")) {
            Ok(url) => self.position(&url).map(drop),
            Err(_) => Err(ForeignOrigin { asked: "a URL that cannot be read".to_owned(), allowed: Vec::new() }),
        }
    }
}

/// A request would have carried the token to a place that it is not for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the token is not for {asked}; it may be sent to {}", allowed.join(", "))]
pub struct ForeignOrigin {
    /// Where the request was to go: scheme, host and port.
    pub asked: String,
    /// Where the token may go.
    pub allowed: Vec<String>,
}

/// What the `Authorization` of a caller's request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CallerAuth {
    /// None, or one without credentials: our token goes in.
    Absent,
    /// The caller's own: it passes unchanged.
    Own,
    /// More than one: it is not ours to choose.
    Doubled,
}

impl CallerAuth {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let Some(first) = fields.next() else { return Self::Absent };
        if fields.next().is_some() {
            return Self::Doubled;
        }
        if holds_credentials(first.as_bytes()) { Self::Own } else { Self::Absent }
    }
}

/// Does the value of an `Authorization` field hold credentials, be they right or wrong?
#[must_use]
pub fn holds_credentials(authorization: &[u8]) -> bool {
    let text = authorization.trim_ascii();
    !(text.is_empty() || text.eq_ignore_ascii_case(b"bearer"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn scheme_host_and_port_bind_a_token() {
        let origins = Origins::parse(["https://api.example/base", "http://127.0.0.1:8080"], false).unwrap();
        for (url, belongs) in [
            ("https://api.example/x?y", true),
            ("https://API.EXAMPLE:443/", true),
            ("http://127.0.0.1:8080/a", true),
            ("http://api.example/", false),
            ("https://api.example:8443/", false),
            ("https://api.example.evil.example/", false),
            ("https://evil.example/api.example", false),
            ("http://127.0.0.1:8081/", false),
            ("http://127.0.0.1/", false),
        ] {
            assert_eq!(origins.position(&Url::parse(url).unwrap()).is_ok(), belongs, "{url}");
            assert_eq!(origins.check(&url.parse().unwrap()).is_ok(), belongs, "{url}");
        }
        assert!(origins.check(&Uri::from_static("/relative")).is_ok());
        assert!(origins.check(&Uri::from_static("https://user@evil.example/")).is_err());
    }

    #[test]
    fn a_refusal_names_origins_and_no_path_or_query() {
        let origins = Origins::parse(["https://api.example"], false).unwrap();
        let error = origins.position(&Url::parse("https://id:hunter2@evil.example/p?code=hunter2").unwrap());
        let text = error.unwrap_err().to_string();
        assert_eq!(text, "the token is not for https://evil.example; it may be sent to https://api.example");
    }

    #[test]
    fn plain_http_is_for_loopback_or_when_allowed() {
        assert!(Origins::parse(["http://api.example"], false).is_err());
        assert!(Origins::parse(["http://api.example"], true).is_ok());
    }

    #[test]
    fn an_authorization_without_credentials_is_none() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            CallerAuth::of(&headers)
        };
        assert_eq!(of(&[]), CallerAuth::Absent);
        assert_eq!(
            (of(&[""]), of(&["Bearer "]), of(&["bearer"])),
            (CallerAuth::Absent, CallerAuth::Absent, CallerAuth::Absent)
        );
        assert_eq!((of(&["Bearer x"]), of(&["Basic eA=="])), (CallerAuth::Own, CallerAuth::Own));
        assert_eq!(of(&["Bearer", "Bearer x"]), CallerAuth::Doubled);
    }
}
