//! The address of a Redis or Valkey server, with its user and password.
//!
//! `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, or `rediss://` for TLS. The password is kept apart, so that
//! whatever prints the address cannot print it. One server is named, not several: what stands behind its name (a
//! replicated set with a floating address, a managed service) is its operator's business.
//!
//! Source: the IANA registration of the `redis` URI scheme.

use std::fmt;
use std::net::IpAddr;

use evergrant_core::Secret;
use url::{Host, Url};

/// One server and how to log in there.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    is_tls: bool,
    host: Host,
    port: u16,
    database: u16,
    username: Option<String>,
    password: Option<Secret>,
}

impl RedisUrl {
    /// Reads the URL.
    ///
    /// # Errors
    /// What is wrong with it, without repeating any of it: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        // As a special scheme the host is read like that of a web address: with IPv4, IPv6 and international names.
        let (scheme, rest) = text.split_once("://").ok_or("has no host: write redis://HOST:PORT/DATABASE")?;
        let is_tls = match scheme {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err("is not a Redis URL"),
        };
        if rest.is_empty() || rest.starts_with('/') {
            return Err("has no host: write redis://HOST:PORT/DATABASE");
        }
        if rest.contains(',') {
            return Err(
                "names several servers; a list, a cluster and Sentinel are not supported: name the one server \
                        that is written to, or the address that always leads to it",
            );
        }
        let url =
            Url::parse(&format!("http://{rest}")).map_err(|_| "is not a URL: write redis://HOST:PORT/DATABASE")?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err("has a `?` or `#`, which means nothing here; in a password write %3F or %23");
        }
        let database = url.path().trim_matches('/');
        let database = if database.is_empty() { Ok(0) } else { database.parse() };
        let plain = |text: &str| percent_decoded(text).ok_or("has a user name or password that is not text");
        Ok(Self {
            is_tls,
            host: url.host().ok_or("has no host: write redis://HOST:PORT/DATABASE")?.to_owned(),
            // The port that was not written is that of the scheme which stood in for this one.
            port: explicit_port(rest).unwrap_or(DEFAULT_PORT),
            database: database.map_err(|_| "has a path that is not the number of a database")?,
            username: Some(plain(url.username())?).filter(|name| !name.is_empty()),
            password: url.password().map(plain).transpose()?.map(Secret::new),
        })
    }

    /// Is it reached over TLS?
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Is the host this machine, by its name or address?
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => IpAddr::V6(*address).to_canonical().is_loopback(),
        }
    }

    /// Host and port, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The host alone, as a name to connect to and to hold a certificate against.
    #[must_use]
    pub fn host(&self) -> String {
        match &self.host {
            Host::Ipv6(address) => address.to_string(),
            Host::Ipv4(_) | Host::Domain(_) => self.host.to_string(),
        }
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The number of the database.
    #[must_use]
    pub fn database(&self) -> u16 {
        self.database
    }

    /// The user to log in as, if it is not the default one.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// The password to log in with.
    #[must_use]
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        let login = if self.username.is_some() || self.password.is_some() { "[redacted]@" } else { "" };
        write!(f, "{scheme}://{login}{}:{}/{}", self.host, self.port, self.database)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn explicit_port(rest: &str) -> Option<u16> {
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let (before, port) = host.rsplit_once(':')?;
    let is_inside_brackets = before.starts_with('[') && !before.ends_with(']');
    if is_inside_brackets { None } else { port.parse().ok() }
}

/// `form_urlencoded` would read a plus sign as a space; passwords are full of them.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

const DEFAULT_PORT: u16 = 6379;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> RedisUrl {
        RedisUrl::parse(text).unwrap()
    }

    #[test]
    fn every_part_is_read_and_has_a_default() {
        let url = parse("redis://cache.example");
        assert_eq!((url.place().as_str(), url.database(), url.is_tls()), ("cache.example:6379", 0, false));
        assert_eq!((url.username(), url.password()), (None, None));
        let url = parse("rediss://app:p%40ss+1@[::1]:80/7");
        assert_eq!((url.place().as_str(), url.host().as_str(), url.port()), ("[::1]:80", "::1", 80));
        assert_eq!((url.database(), url.is_tls(), url.is_loopback()), (7, true, true));
        assert_eq!((url.username(), url.password()), (Some("app"), Some(&Secret::from("p@ss+1"))));
        assert_eq!(parse("redis://:pw@h").username(), None);
        assert_eq!(parse("valkey://127.0.0.1:443/").port(), 443);
        assert_eq!(parse("redis://[::1]").port(), 6379);
    }

    #[test]
    fn the_password_is_never_shown() {
        let url = parse("redis://app:hunter2@h:1/2");
        assert_eq!(url.to_string(), "redis://[redacted]@h:1/2");
        assert!(!format!("{url:?}").contains("hunter2"));
        for wrong in ["redis://u:hunter2@h/x", "redis://u:hunter2@h?x", "redis://u:hunter2@a,b", "http://u:hunter2@h"] {
            assert!(!RedisUrl::parse(wrong).unwrap_err().contains("hunter2"));
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for text in ["redis://localhost", "redis://127.9.9.9", "redis://[::ffff:127.0.0.1]", "redis://x.localhost"] {
            assert!(parse(text).is_loopback(), "{text}");
        }
        for text in ["redis://10.0.0.1", "redis://localhost.example", "redis://redis"] {
            assert!(!parse(text).is_loopback(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |text: &str| RedisUrl::parse(text).unwrap_err();
        assert!(wrong("redis:").contains("no host"));
        assert!(wrong("redis:///0").contains("no host"));
        assert!(wrong("redis://h/first").contains("number of a database"));
        assert!(wrong("redis://a:1,b:2/main").contains("several servers"));
        assert!(wrong("redis://h:99999").contains("not a URL"));
    }
}
