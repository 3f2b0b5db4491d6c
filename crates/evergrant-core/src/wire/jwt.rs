//! The time claims of a JWT, unverified: hints about the issuer's clock and nothing more.
//!
//! No signature is checked here, so a claim may never extend trust: it may shorten a lifetime or explain a refusal.
//! Access tokens are opaque to clients by definition (RFC 6749 section 1.4); a token that is not a signed JWT in the
//! compact form gives `None`, and so does an encrypted one (five parts).
//!
//! Source: RFC 7515 section 7.1, RFC 7519 sections 2 (NumericDate) and 4.1.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD_INDIFFERENT;
use serde_json::{Map, Value};

use crate::time::Server;

/// The registered claims that concern time and destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwtClaims {
    /// Who issued the token.
    pub iss: Option<String>,
    /// For whom it is meant; one name or several.
    pub aud: Vec<String>,
    /// When it was issued, by the issuer's clock. Some issuers backdate it.
    pub iat: Option<Server>,
    /// Before when it must not be accepted.
    pub nbf: Option<Server>,
    /// From when on it must not be accepted.
    pub exp: Option<Server>,
}

/// Reads the claims of a token that is a JWT; `None` for an opaque token.
#[must_use]
pub fn read_claims(token: &str) -> Option<JwtClaims> {
    if token.len() > TOKEN_LIMIT {
        return None;
    }
    let mut parts = token.split('.');
    let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !signature.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte)) {
        return None;
    }
    if !decode_object(header)?.contains_key("alg") {
        return None;
    }
    let claims = decode_object(payload)?;
    let date = |name| claims.get(name).and_then(read_numeric_date);
    Some(JwtClaims {
        iss: claims.get("iss").and_then(Value::as_str).map(str::to_owned),
        aud: claims.get("aud").map(read_audience).unwrap_or_default(),
        iat: date("iat"),
        nbf: date("nbf"),
        exp: date("exp"),
    })
}

fn decode_object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD_INDIFFERENT.decode(part).ok()?).ok()
}

/// Seconds since the epoch, possibly with a fraction. Dates before 1970 or after 2262 are no dates of a token.
fn read_numeric_date(value: &Value) -> Option<Server> {
    if let Some(secs) = value.as_i64() {
        return (0..=i64::MAX / 1_000_000_000).contains(&secs).then(|| Server::from_secs(secs));
    }
    let since_epoch = Duration::try_from_secs_f64(value.as_f64()?).ok()?;
    i64::try_from(since_epoch.as_nanos()).ok().map(Server::from_nanos)
}

fn read_audience(value: &Value) -> Vec<String> {
    let names = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
    names.iter().filter_map(Value::as_str).take(AUDIENCE_LIMIT).map(str::to_owned).collect()
}

/// Longer tokens fit no header.
const TOKEN_LIMIT: usize = 64 << 10;
/// The most audiences that are kept.
const AUDIENCE_LIMIT: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    fn jwt(header: &str, payload: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn time_claims_are_read() {
        let claims = read_claims(&jwt(
            r#"{"alg":"RS256","typ":"at+jwt"}"#,
            r#"{"iss":"https://idp","aud":"api","iat":1790000000,"nbf":1789999940,"exp":1790003600.5}"#,
        ));
        let claims = claims.unwrap();
        assert_eq!(claims.iss.as_deref(), Some("https://idp"));
        assert_eq!(claims.aud, ["api"]);
        assert_eq!(claims.iat, Some(Server::from_secs(1_790_000_000)));
        assert_eq!(claims.nbf, Some(Server::from_secs(1_789_999_940)));
        assert_eq!(claims.exp, Some(Server::from_millis(1_790_003_600_500)));
    }

    #[test]
    fn several_audiences_and_odd_claims_are_tolerated() {
        let claims = read_claims(&jwt(
            r#"{"alg":"none"}"#,
            r#"{"aud":["a",1,"b"],"exp":"1790003600","iat":-5,"nbf":1e300,"iss":7}"#,
        ));
        assert_eq!(claims, Some(JwtClaims { aud: vec!["a".to_owned(), "b".to_owned()], ..JwtClaims::default() }));
    }

    #[test]
    fn opaque_tokens_have_no_claims() {
        let signed = jwt(r#"{"alg":"RS256"}"#, "{}");
        assert!(read_claims(&signed).is_some());
        assert!(read_claims(signed.trim_end_matches("c2ln")).is_some(), "an empty signature is still a hint");
        for token in [
            "",
            "..",
            "abc",
            "a.b.c",
            "DCl7jJaGIGQ1M-8dq791twKewbp8bI5Vr1vFV1gRizlxlsH1U4aA25FG4BqLcjKqcG5AVuzFJ4_g0Q",
            &format!("{signed}.x"),
            &format!("{signed}.x.y"),
            &format!("{signed}!"),
            &format!(" {signed}"),
            &jwt(r#"{"typ":"JWT"}"#, "{}"),
            &jwt("[]", "{}"),
            &jwt(r#"{"alg":"RS256"}"#, "[]"),
            &"a".repeat(100_000),
        ] {
            assert_eq!(read_claims(token), None, "{token}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(token: String) {
            let _ = read_claims(&token);
        }

        #[test]
        fn arbitrary_claims_never_panic(exp in "[-+0-9.eE]{1,30}", rest: String) {
            let _ = read_claims(&jwt(r#"{"alg":"RS256"}"#, &format!(r#"{{"exp":{exp}}}"#)));
            let _ = read_claims(&jwt(r#"{"alg":"RS256"}"#, &rest));
        }
    }
}
