//! The address of a Redis or Valkey, with its user and password.
//!
//! - `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`: one server that is written to.
//! - `redis+sentinel://...@HOST[:PORT][,HOST...]/NAME[/DATABASE]`: the Sentinels that know where the primary NAME is.
//! - `redis+cluster://...@HOST[:PORT][,HOST...]`: some nodes of a cluster.
//!
//! `rediss` in place of `redis` means TLS, to Sentinels and nodes too. The password is kept apart, so that whatever prints
//! the address cannot print it.
//!
//! Source: the IANA registration of the `redis` URI scheme; the two others are what other clients read too.

use std::fmt;
use std::net::IpAddr;

use evergrant_core::Secret;
use url::{Host, Url};

/// Where a fleet's records are and how to log in there.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    is_tls: bool,
    kind: RedisKind,
    addresses: Vec<RedisAddress>,
    database: u16,
    username: Option<String>,
    password: Option<Secret>,
}

/// What the addresses of a URL lead to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum RedisKind {
    /// The server that is written to.
    Server,
    /// Sentinels that know the primary of this name.
    Sentinel(String),
    /// Nodes of a cluster.
    Cluster,
}

/// A host and a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct RedisAddress {
    host: Host,
    port: u16,
}

impl RedisUrl {
    /// Reads the URL.
    ///
    /// # Errors
    /// What is wrong with it, without repeating any of it: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or(NO_HOST)?;
        let (base, way) = scheme.split_once('+').map_or((scheme, None), |(base, way)| (base, Some(way)));
        let is_tls = match base {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err("is not a Redis URL"),
        };
        if rest.contains(['?', '#']) {
            return Err("has a `?` or `#`, which means nothing here; in a password write %3F or %23");
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').map_or(("", authority), |(login, hosts)| (login, hosts));
        let (kind, database) = kind(way, path.trim_matches('/'))?;
        if kind == RedisKind::Server && hosts.contains(',') {
            return Err(
                "names several servers: write redis+sentinel:// or redis+cluster:// if that is what they are, \
                        or name the one that is written to",
            );
        }
        let port = if matches!(kind, RedisKind::Sentinel(_)) { SENTINEL_PORT } else { DEFAULT_PORT };
        let addresses = hosts.split(',').map(|host| RedisAddress::parse(host, port)).collect::<Result<_, _>>()?;
        let database = if database.is_empty() { Ok(0) } else { database.parse() };
        let (username, password) = login.split_once(':').map_or((login, None), |(name, word)| (name, Some(word)));
        let plain = |text: &str| percent_decoded(text).ok_or("has a user name or password that is not text");
        Ok(Self {
            is_tls,
            kind,
            addresses,
            database: database.map_err(|_| "has a path that is not the number of a database")?,
            username: Some(plain(username)?).filter(|name| !name.is_empty()),
            password: password.map(plain).transpose()?.map(Secret::new),
        })
    }

    /// Is it reached over TLS?
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Is every host this machine, by its name or address?
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.addresses.iter().all(RedisAddress::is_loopback)
    }

    /// Hosts and ports, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        let hosts: Vec<_> = self.addresses.iter().map(RedisAddress::to_string).collect();
        match &self.kind {
            RedisKind::Sentinel(name) => format!("{}/{name}", hosts.join(",")),
            RedisKind::Server | RedisKind::Cluster => hosts.join(","),
        }
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

    /// What the addresses lead to.
    #[cfg(feature = "redis")]
    pub(super) fn kind(&self) -> &RedisKind {
        &self.kind
    }

    /// The addresses that were written, of which there is at least one.
    #[cfg(feature = "redis")]
    pub(super) fn addresses(&self) -> &[RedisAddress] {
        &self.addresses
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        let login = if self.username.is_some() || self.password.is_some() { "[redacted]@" } else { "" };
        let place = self.place();
        match &self.kind {
            RedisKind::Server => write!(f, "{scheme}://{login}{place}/{}", self.database),
            RedisKind::Sentinel(_) => write!(f, "{scheme}+sentinel://{login}{place}/{}", self.database),
            RedisKind::Cluster => write!(f, "{scheme}+cluster://{login}{place}"),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl RedisAddress {
    /// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`.
    pub(super) fn parse(text: &str, default_port: u16) -> Result<Self, &'static str> {
        if text.is_empty() || text.starts_with(':') {
            return Err(NO_HOST);
        }
        // As a special scheme the host is read like that of a web address: with IPv4, IPv6 and international names.
        let url =
            Url::parse(&format!("http://{text}")).map_err(|_| "is not a URL: write redis://HOST:PORT/DATABASE")?;
        let host = url.host().ok_or(NO_HOST)?.to_owned();
        // The port that was not written is that of the scheme which stood in for this one.
        Ok(Self { host, port: explicit_port(text).unwrap_or(default_port) })
    }

    /// Is the host this machine?
    pub(super) fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => IpAddr::V6(*address).to_canonical().is_loopback(),
        }
    }

    /// The host alone, as a name to connect to and to hold a certificate against.
    #[cfg(feature = "redis")]
    pub(super) fn host(&self) -> String {
        match &self.host {
            Host::Ipv6(address) => address.to_string(),
            Host::Ipv4(_) | Host::Domain(_) => self.host.to_string(),
        }
    }

    /// The port.
    #[cfg(feature = "redis")]
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What a scheme's second word and the path say: whom the addresses lead to, and which database there.
fn kind<'a>(way: Option<&str>, path: &'a str) -> Result<(RedisKind, &'a str), &'static str> {
    match way {
        None => Ok((RedisKind::Server, path)),
        Some("cluster") if path.is_empty() || path == "0" => Ok((RedisKind::Cluster, "")),
        Some("cluster") => Err("has a path, and a cluster has one database only: write redis+cluster://HOST:PORT"),
        Some("sentinel") => {
            let (name, database) = path.split_once('/').unwrap_or((path, ""));
            let name = percent_decoded(name).filter(|name| !name.is_empty());
            let name = name.ok_or("names no primary: write redis+sentinel://HOST:PORT,HOST:PORT/NAME")?;
            Ok((RedisKind::Sentinel(name), database))
        }
        Some(_) => Err("is not a Redis URL"),
    }
}

fn explicit_port(host: &str) -> Option<u16> {
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

const NO_HOST: &str = "has no host: write redis://HOST:PORT/DATABASE";
const DEFAULT_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

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
        assert_eq!((url.place().as_str(), &url.addresses[0].host), ("[::1]:80", &Host::Ipv6("::1".parse().unwrap())));
        assert_eq!((url.database(), url.is_tls(), url.is_loopback()), (7, true, true));
        assert_eq!((url.username(), url.password()), (Some("app"), Some(&Secret::from("p@ss+1"))));
        assert_eq!(parse("redis://:pw@h").username(), None);
        assert_eq!(parse("valkey://127.0.0.1:443/").place(), "127.0.0.1:443");
        assert_eq!(parse("redis://[::1]").place(), "[::1]:6379");
    }

    #[test]
    fn sentinels_and_nodes_are_read() {
        let url = parse("rediss+sentinel://app:p%2Fw@a,b:1,[::1]/main/3");
        assert_eq!(url.kind, RedisKind::Sentinel("main".to_owned()));
        assert_eq!((url.place().as_str(), url.database(), url.is_tls()), ("a:26379,b:1,[::1]:26379/main", 3, true));
        assert_eq!((url.username(), url.password()), (Some("app"), Some(&Secret::from("p/w"))));
        assert_eq!(url.to_string(), "rediss+sentinel://[redacted]@a:26379,b:1,[::1]:26379/main/3");
        let url = parse("valkey+cluster://127.0.0.1:7000,127.0.0.1:7001");
        assert_eq!((&url.kind, url.is_loopback()), (&RedisKind::Cluster, true));
        assert_eq!(url.to_string(), "redis+cluster://127.0.0.1:7000,127.0.0.1:7001");
        assert!(!parse("redis+cluster://127.0.0.1,10.0.0.1").is_loopback());
    }

    #[test]
    fn the_password_is_never_shown() {
        let url = parse("redis://app:hunter2@h:1/2");
        assert_eq!(url.to_string(), "redis://[redacted]@h:1/2");
        assert!(!format!("{url:?}").contains("hunter2"));
        for wrong in [
            "redis://u:hunter2@h/x",
            "redis://u:hunter2@h?x",
            "redis://u:hunter2@a,b",
            "http://u:hunter2@h",
            "redis+sentinel://u:hunter2@h",
        ] {
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
        assert!(wrong("redis+sentinel://h:1").contains("names no primary"));
        assert!(wrong("redis+sentinel://h:1,/main").contains("no host"));
        assert!(wrong("redis+cluster://h/1").contains("one database"));
        assert!(wrong("redis+unix://h").contains("not a Redis URL"));
    }
}
