//! Values with a meaning: URLs, switches, durations, addresses, budgets.
//!
//! Each reader says what is wrong with the text and what would be right. The text itself is repeated only if it cannot
//! be a secret: a URL is shown without its user, password and query.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use evergrant::settings::{self, duration};
use evergrant_core::time::Span;
use evergrant_gateway::Address;
use url::{Host, Url};

use super::catalog::Setting;
use super::origin::{Found, Origin};
use crate::exit;
use crate::failure::Failure;

/// A setting's value that cannot be used.
pub(crate) fn bad_value(key: Setting, origin: &Origin, cause: impl fmt::Display) -> Failure {
    let what = format!("cannot use the value of `{}`", key.spec().file_key());
    let mut failure = Failure::new(exit::CONFIG, what).at(origin);
    if let Origin::File(excerpt) = origin {
        failure.excerpt = Some(excerpt.render("this value").into());
    }
    failure.because(cause)
}

/// `on` or `off`, or how a program writes them.
pub(crate) fn on_or_off(key: Setting, found: &Found<String>) -> Result<bool, Failure> {
    match found.value.trim() {
        "on" | "1" | "true" => Ok(true),
        "off" | "0" | "false" => Ok(false),
        other => Err(bad_value(key, &found.origin, format!("`{other}` is neither on nor off")).hint("write on or off")),
    }
}

/// `1`, `true`, `0` or `false`.
pub(crate) fn switch(key: Setting, found: &Found<String>) -> Result<bool, Failure> {
    match found.value.trim() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        other => Err(bad_value(key, &found.origin, format!("`{other}` is neither true nor false"))
            .hint("write 1, true, 0 or false")),
    }
}

/// A duration above zero.
pub(crate) fn positive_duration(key: Setting, found: &Found<String>) -> Result<Span, Failure> {
    let span = any_duration(key, found)?;
    if span > Span::ZERO {
        return Ok(span);
    }
    Err(bad_value(key, &found.origin, "it must be longer than nothing").hint(format!("write {}", key.spec().example)))
}

/// A duration, zero included.
pub(crate) fn any_duration(key: Setting, found: &Found<String>) -> Result<Span, Failure> {
    duration::parse(&found.value).map_err(|error| {
        bad_value(key, &found.origin, format!("`{}` is no duration: {error}", found.value))
            .hint(format!("write {}", key.spec().example))
    })
}

/// An `http` or `https` URL with a host.
pub(crate) fn url(key: Setting, found: &Found<String>, allow_insecure_http: bool) -> Result<Url, Failure> {
    let bad = |cause: String| bad_value(key, &found.origin, cause).hint(format!("write {}", key.spec().example));
    let text = found.value.trim();
    let url = Url::parse(text).map_err(|error| {
        let no_scheme = error == url::ParseError::RelativeUrlWithoutBase;
        bad(if no_scheme {
            "it is no URL: it does not begin with https://".into()
        } else {
            format!("it is no URL: {error}")
        })
    })?;
    match url.scheme() {
        "https" | "http" => {}
        other => return Err(bad(format!("`{other}` is no scheme for it"))),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("it holds a user name or password".to_owned())
            .hint("client credentials have settings of their own: --client-id and EVERGRANT_CLIENT_SECRET"));
    }
    if url.fragment().is_some() {
        return Err(bad("it has a fragment (`#...`), which is never sent".to_owned()));
    }
    if url.scheme() == "http" && !allow_insecure_http && !is_loopback(&url) {
        let shown = shown(&url);
        return Err(bad_value(
            key,
            &found.origin,
            format!("{shown} would send secrets in plain text beyond this machine"),
        )
        .hint("use https://, or --allow-insecure-http if the network in between is trusted"));
    }
    Ok(url)
}

/// Does the URL point at this machine?
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The URL without anything that may be secret.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for URLs without a host, which cannot hold a user.
    let _ = (url.set_username(""), url.set_password(None));
    url.to_string()
}

/// Addresses to listen on, separated by commas.
pub(crate) fn listen_addresses(key: Setting, found: &Found<String>) -> Result<Vec<Address>, Failure> {
    found.value.split(',').map(|part| listen_address(key, part.trim(), &found.origin)).collect()
}

/// One address to listen on: `unix:` and a path, or an IP address and a port. `localhost` is IPv4 loopback. Brackets may be
/// around an IPv4 address as well, so that one text suits whichever an orchestrator puts in.
fn listen_address(key: Setting, text: &str, origin: &Origin) -> Result<Address, Failure> {
    let bad = |cause: String| {
        let hint = format!("write {}, with port 0 for a free one, or unix:/path/of.sock", key.spec().example);
        bad_value(key, origin, cause).hint(hint)
    };
    if let Some(path) = text.strip_prefix("unix:") {
        let is_usable = path.starts_with('/') && !path.ends_with('/');
        return match is_usable {
            true if path.len() <= LONGEST_SOCKET_PATH => Ok(Address::Unix(path.into())),
            true => Err(bad(format!("a path of {} bytes is too long for a socket", path.len()))),
            false => Err(bad(format!("`{path}` is no absolute path of a socket"))),
        };
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address.into());
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(bad(format!("`{text}` has no port")));
    };
    let port = port.parse::<u16>().map_err(|_no_port| bad(format!("`{port}` is no port")))?;
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let Some(Ok(ip)) = in_brackets.map(str::parse::<Ipv4Addr>) {
        return Ok(SocketAddr::from((ip, port)).into());
    }
    match host {
        "" | "localhost" => Ok(Address::loopback(port)),
        _ => Err(bad(format!("`{host}` is no IP address"))),
    }
}

/// A mint budget: so many tokens in 10 minutes.
pub(crate) fn mint_budget(key: Setting, found: &Found<String>) -> Result<u32, Failure> {
    let text = found.value.trim();
    settings::mint_budget(text).map_err(|cause| {
        bad_value(key, &found.origin, format!("`{text}` is no mint budget: {cause}")).hint("write N/10m, as 10/10m")
    })
}

/// `sun_path` of macOS, with its final zero; Linux has 4 bytes more.
const LONGEST_SOCKET_PATH: usize = 103;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Found<String> {
        Found { value: text.to_owned(), origin: Origin::Flag("--x".into()) }
    }

    #[test]
    fn switches_are_one_true_zero_false() {
        for (text, value) in [("1", true), ("true", true), ("0", false), ("false", false)] {
            assert_eq!(switch(Setting::AllowVolatile, &found(text)), Ok(value));
        }
        assert!(switch(Setting::AllowVolatile, &found("yes")).is_err());
    }

    #[test]
    fn plain_http_stays_on_loopback() {
        for text in
            ["http://127.0.0.1:8080/t", "http://localhost/t", "http://[::1]/t", "http://127.9.9.9", "https://x.org"]
        {
            assert!(url(Setting::TokenUrl, &found(text), false).is_ok(), "{text}");
        }
        for text in [
            "http://x.org",
            "http://10.0.0.1/",
            "http://localhost.x.org/",
            "http://127.0.0.1.x.org",
            "http://2852039166/",
        ] {
            assert!(url(Setting::TokenUrl, &found(text), false).is_err(), "{text}");
            assert!(url(Setting::TokenUrl, &found(text), true).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_url_with_a_password_is_refused_without_repeating_it() {
        let failure = url(Setting::TokenUrl, &found("https://me:hunter2@x.org/"), false).unwrap_err();
        assert!(!failure.plain().contains("hunter2"));
        for text in ["hunter2", "ftp://x.org", "https://", "https://x.org/#f", ""] {
            let failure = url(Setting::TokenUrl, &found(text), false).unwrap_err();
            assert!(!failure.plain().contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn listen_addresses_have_a_port() {
        for (text, address) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("localhost:7070", "127.0.0.1:7070"),
            (":7070", "127.0.0.1:7070"),
            ("[::1]:7070", "[::1]:7070"),
            ("[10.1.2.3]:7070", "10.1.2.3:7070"),
            ("unix:/run/evergrant.sock", "unix:/run/evergrant.sock"),
            ("127.0.0.1:1, unix:/x", "127.0.0.1:1 unix:/x"),
        ] {
            let addresses = listen_addresses(Setting::Listen, &found(text)).unwrap();
            assert_eq!(addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "), address);
        }
        for text in [
            "",
            "7070",
            "127.0.0.1",
            "host:7070",
            "127.0.0.1:70700",
            "::1:7070",
            "[10.1.2]:1",
            "[10.1.2.3:1",
            "unix:",
            "unix:x",
            "unix:/x/",
            ":1,",
        ] {
            assert!(listen_addresses(Setting::Listen, &found(text)).is_err(), "{text}");
        }
        assert!(listen_addresses(Setting::Listen, &found(&format!("unix:/{}", "x".repeat(107)))).is_err());
    }

    #[test]
    fn a_mint_budget_is_a_count_in_ten_minutes() {
        assert_eq!(mint_budget(Setting::MintBudget, &found("10/10m")), Ok(10));
        assert_eq!(mint_budget(Setting::MintBudget, &found("3/600s")), Ok(3));
        for text in ["10", "0/10m", "x/10m", "10/1h", "10/"] {
            assert!(mint_budget(Setting::MintBudget, &found(text)).is_err(), "{text}");
        }
    }
}
