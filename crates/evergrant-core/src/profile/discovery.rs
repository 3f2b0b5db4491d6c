//! The discovery document of an OpenID provider.
//!
//! It names the token endpoint, so whoever can alter it receives the client secret. Therefore the issuer in the
//! document must be identical to the configured one, character by character, and an `https` issuer may only name
//! `https` endpoints. A difference of one trailing slash is the usual slip and is explained, not forgiven: tokens
//! carry the same text in `iss`.
//!
//! Source: OpenID Connect Discovery 1.0 sections 3, 4.1 and 4.3; RFC 8414 section 2.

use serde_json::{Map, Value};
use thiserror::Error;

/// What Evergrant uses of a discovery document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// The issuer, identical to the configured one.
    pub issuer: String,
    /// Where tokens are requested.
    pub token_endpoint: String,
    /// Where a person logs in.
    pub authorization_endpoint: Option<String>,
    /// Where a login on another device begins (RFC 8628 section 4).
    pub device_authorization_endpoint: Option<String>,
    /// Where the provider's public keys are.
    pub jwks_uri: Option<String>,
    /// The algorithms that the provider signs with, such as `RS256`. Empty if not listed.
    ///
    /// There is no list for access tokens alone (RFC 9068 section 4 leaves it open), so it is the one for ID tokens.
    pub signing_algs: Vec<String>,
    /// The ways a client may authenticate at the token endpoint, such as `client_secret_basic`. Empty if not listed.
    pub client_auth_methods: Vec<String>,
}

/// Why a discovery document was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DiscoveryError {
    /// The body is longer than any discovery document.
    #[error("the discovery document is longer than 1 MiB")]
    TooLong,
    /// The body is no JSON object.
    #[error("the discovery document is not a JSON object")]
    NotJson,
    /// A required member is absent or not text.
    #[error("the discovery document has no {0}")]
    Missing(&'static str),
    /// The document belongs to another issuer.
    #[error("the discovery document is for the issuer `{found}`, not `{expected}`{}", slash_note(.expected, .found))]
    WrongIssuer {
        /// The configured issuer.
        expected: String,
        /// The issuer in the document, cut to 200 characters.
        found: String,
    },
    /// A member is no usable URL.
    #[error("the {0} of the discovery document is not a URL")]
    NotAUrl(&'static str),
    /// An `https` issuer names an endpoint that is not `https`.
    #[error("the {0} of the discovery document is not https")]
    Insecure(&'static str),
}

/// Where an issuer's discovery document is (section 4.1).
#[must_use]
pub fn discovery_url(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer))
}

/// Reads the discovery document of this issuer.
///
/// # Errors
/// The document is not usable, or belongs to another issuer.
pub fn parse_discovery(issuer: &str, body: &[u8]) -> Result<Discovery, DiscoveryError> {
    if body.len() > BODY_LIMIT {
        return Err(DiscoveryError::TooLong);
    }
    let document: Map<String, Value> = serde_json::from_slice(body).map_err(|_| DiscoveryError::NotJson)?;
    let found = text(&document, "issuer").ok_or(DiscoveryError::Missing("issuer"))?;
    if found != issuer {
        let found = found.chars().filter(|c| !c.is_control()).take(FOUND_LIMIT).collect();
        return Err(DiscoveryError::WrongIssuer { expected: issuer.to_owned(), found });
    }
    Ok(Discovery {
        issuer: issuer.to_owned(),
        token_endpoint: endpoint(&document, issuer, "token_endpoint")?
            .ok_or(DiscoveryError::Missing("token_endpoint"))?,
        authorization_endpoint: endpoint(&document, issuer, "authorization_endpoint")?,
        device_authorization_endpoint: endpoint(&document, issuer, "device_authorization_endpoint")?,
        jwks_uri: endpoint(&document, issuer, "jwks_uri")?,
        signing_algs: names(&document, "id_token_signing_alg_values_supported"),
        client_auth_methods: names(&document, "token_endpoint_auth_methods_supported"),
    })
}

fn names(document: &Map<String, Value>, name: &str) -> Vec<String> {
    let listed = document.get(name).and_then(Value::as_array).into_iter().flatten();
    listed.filter_map(Value::as_str).take(METHOD_LIMIT).map(str::to_owned).collect()
}

fn text<'a>(document: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    document.get(name).and_then(Value::as_str)
}

fn endpoint(document: &Map<String, Value>, issuer: &str, name: &'static str) -> Result<Option<String>, DiscoveryError> {
    let Some(url) = text(document, name) else { return Ok(None) };
    let scheme = scheme_of(url).ok_or(DiscoveryError::NotAUrl(name))?;
    if scheme != Scheme::Https && scheme_of(issuer) != Some(Scheme::Http) {
        return Err(DiscoveryError::Insecure(name));
    }
    Ok(Some(url.to_owned()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// The scheme of a URL that has a host, no user name and nothing invisible.
fn scheme_of(url: &str) -> Option<Scheme> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let is_usable = !authority.is_empty() && !authority.contains('@') && url.chars().all(|c| c.is_ascii_graphic());
    is_usable.then_some(scheme)
}

fn slash_note(expected: &str, found: &str) -> &'static str {
    if expected.trim_end_matches('/') == found.trim_end_matches('/') {
        "; only the trailing slash differs: configure the issuer exactly as the document has it"
    } else {
        ""
    }
}

const BODY_LIMIT: usize = 1 << 20;
const FOUND_LIMIT: usize = 200;
const METHOD_LIMIT: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ISSUER: &str = "https://idp.example/tenant";

    fn document(member: &str, value: &str) -> String {
        let mut document = serde_json::json!({
            "issuer": ISSUER,
            "token_endpoint": "https://idp.example/tenant/token",
            "authorization_endpoint": "https://idp.example/tenant/authorize",
            "jwks_uri": "https://keys.example/jwks",
            "token_endpoint_auth_methods_supported": ["client_secret_basic", 1, "private_key_jwt"],
        });
        document[member] = serde_json::from_str(value).unwrap();
        document.to_string()
    }

    #[test]
    fn a_complete_document_is_read() {
        let discovery = parse_discovery(ISSUER, document("x", "0").as_bytes()).unwrap();
        assert_eq!(discovery.token_endpoint, "https://idp.example/tenant/token");
        assert_eq!(discovery.jwks_uri.as_deref(), Some("https://keys.example/jwks"));
        assert_eq!(discovery.client_auth_methods, ["client_secret_basic", "private_key_jwt"]);
    }

    #[test]
    fn the_document_is_at_the_well_known_place() {
        for issuer in ["https://idp.example/tenant", "https://idp.example/tenant/"] {
            assert_eq!(discovery_url(issuer), "https://idp.example/tenant/.well-known/openid-configuration");
        }
    }

    #[test]
    fn the_issuer_must_be_identical() {
        for found in [
            "https://evil.example",
            "https://idp.example/tenant/",
            "https://IDP.example/tenant",
            "http://idp.example/tenant",
        ] {
            let error = parse_discovery(ISSUER, document("issuer", &format!("{found:?}")).as_bytes()).unwrap_err();
            assert!(matches!(error, DiscoveryError::WrongIssuer { .. }), "{found}");
            assert_eq!(error.to_string().contains("trailing slash"), found.ends_with("tenant/"), "{found}");
        }
    }

    #[test]
    fn bad_documents_are_named() {
        use DiscoveryError::{Insecure, Missing, NotAUrl, NotJson, TooLong};
        for (body, error) in [
            (String::new(), NotJson),
            ("[]".to_owned(), NotJson),
            ("<html>".to_owned(), NotJson),
            ("{}".to_owned(), Missing("issuer")),
            (document("issuer", "7"), Missing("issuer")),
            (document("token_endpoint", "null"), Missing("token_endpoint")),
            (document("token_endpoint", "\"/token\""), NotAUrl("token_endpoint")),
            (document("token_endpoint", "\"https://\""), NotAUrl("token_endpoint")),
            (document("token_endpoint", "\"https://a@b/token\""), NotAUrl("token_endpoint")),
            (document("token_endpoint", "\"https://b/to ken\""), NotAUrl("token_endpoint")),
            (document("token_endpoint", "\"file:///etc/passwd\""), NotAUrl("token_endpoint")),
            (document("token_endpoint", "\"http://idp.example/token\""), Insecure("token_endpoint")),
            (document("jwks_uri", "\"http://idp.example/jwks\""), Insecure("jwks_uri")),
            (" ".repeat(BODY_LIMIT + 1), TooLong),
        ] {
            assert_eq!(parse_discovery(ISSUER, body.as_bytes()), Err(error), "{}", &body[..body.len().min(300)]);
        }
    }

    #[test]
    fn an_http_issuer_may_name_http_endpoints() {
        let body = br#"{"issuer":"http://127.0.0.1:4011","token_endpoint":"http://127.0.0.1:4011/token"}"#;
        assert!(parse_discovery("http://127.0.0.1:4011", body).is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(issuer: String, body: Vec<u8>, url: String) {
            let _ = parse_discovery(&issuer, &body);
            let _ = parse_discovery(ISSUER, document("token_endpoint", &serde_json::json!(url).to_string()).as_bytes());
        }
    }
}
