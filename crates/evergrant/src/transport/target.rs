//! A URL that secrets may be sent to.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

/// A checked `https://` URL, or `http://` where that is allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    url: Url,
}

impl Target {
    /// Checks the URL that the setting `name` holds.
    ///
    /// # Errors
    /// When it is no HTTP URL, holds credentials, or is plain `http://` beyond loopback and that was not allowed.
    pub fn parse(name: &'static str, text: &str, allow_insecure_http: bool) -> Result<Self, TargetError> {
        let invalid = |cause: String| TargetError::Invalid { name, cause };
        let url = Url::parse(text.trim()).map_err(|error| {
            let is_bare = error == url::ParseError::RelativeUrlWithoutBase;
            invalid(if is_bare { "it does not begin with https://".to_owned() } else { error.to_string() })
        })?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("it holds a user name or password; use the client id and secret settings".to_owned()));
        }
        let target = Self { url };
        match target.url.scheme() {
            "https" => Ok(target),
            "http" if allow_insecure_http || target.is_loopback() => Ok(target),
            "http" => Err(TargetError::InsecureHttp { name, place: target.place() }),
            other => Err(invalid(format!("its scheme is `{other}`, not https"))),
        }
    }

    /// The URL itself.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Is the host this machine, by its name or address?
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
            None => false,
        }
    }

    /// Is it reached over TLS?
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Host and port, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.url.host_str().unwrap_or_default(), self.url.port_or_known_default().unwrap_or_default())
    }
}

impl fmt::Display for Target {
    /// The URL without its query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.url.scheme(), self.place(), self.url.path())
    }
}

/// Why a URL may not be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetError {
    /// Not a URL that can be used here.
    #[error("the {name} cannot be used: {cause}")]
    Invalid {
        /// What the URL is for.
        name: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// Secrets would travel in the clear.
    #[error(
        "the {name} is http://{place}, which would send secrets unprotected; use https:// or --allow-insecure-http"
    )]
    InsecureHttp {
        /// What the URL is for.
        name: &'static str,
        /// Host and port.
        place: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Target, TargetError> {
        Target::parse("token URL", text, false)
    }

    #[test]
    fn plain_http_is_for_loopback_or_when_allowed() {
        for text in [
            "http://127.0.0.1:80/x",
            "http://127.9.9.9",
            "http://[::1]:1/",
            "http://localhost:8080/token",
            "http://a.localhost/",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
        for text in [
            "http://login.example/",
            "http://10.0.0.1/",
            "http://localhost.example/",
            "http://127.0.0.1.nip.io/",
            "http://0.0.0.0/",
        ] {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, TargetError::InsecureHttp { .. }), "{text}: {error}");
            assert!(Target::parse("token URL", text, true).is_ok());
        }
    }

    #[test]
    fn what_is_no_target_is_told_why_without_its_secrets() {
        for (text, words) in [
            ("login.example/token", "does not begin with https://"),
            ("ftp://login.example", "scheme is `ftp`"),
            ("https://", "empty host"),
            ("https://id:hunter2@login.example/", "user name or password"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("token URL") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_place_always_has_its_port_and_a_shown_url_no_query() {
        let target = parse("https://login.example/token?key=hunter2").unwrap();
        assert_eq!(target.place(), "login.example:443");
        assert_eq!(target.to_string(), "https://login.example:443/token");
    }
}
