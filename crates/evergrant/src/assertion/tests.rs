use evergrant_core::time::{Offset, OffsetInterval, Server, Span};
use evergrant_core::wire::read_claims;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};

use super::*;

/// An elliptic key made for these tests: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`.
const KEY: &str = include_str!("keys/es256.pem");
const PUBLIC: &str = include_str!("keys/es256.pub.pem");
const TOKEN_URL: &str = "https://id.example/token";

fn at(earliest: i64, latest: i64) -> Occasion<'static> {
    let time = ServerTime { earliest: Server::from_secs(earliest), latest: Server::from_secs(latest) };
    Occasion { token_url: TOKEN_URL, time }
}

fn signed() -> Assertion {
    let signer = Signer::from_pem(&Secret::from(KEY), Some("key-1".to_owned()), None).unwrap();
    let claims = Claims { issuer: "me".to_owned(), subject: "ada".to_owned(), audience: None };
    Assertion::Signed(Arc::new(signer), claims)
}

#[test]
fn the_dates_are_the_servers_and_the_signature_holds() {
    let text = signed().write(&at(1_800_000_000, 1_800_000_002)).unwrap();
    let claims = read_claims(text.expose()).unwrap();
    assert_eq!(claims.iat, Some(Server::from_secs(1_800_000_000)), "never in the server's future");
    assert_eq!(claims.exp, Some(Server::from_secs(1_800_000_122)), "still to come by its latest time");
    assert_eq!(claims.aud, [TOKEN_URL]);
    let mut validation = Validation::new(Algorithm::ES256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_ec_pem(PUBLIC.as_bytes()).unwrap();
    let verified = decode::<serde_json::Value>(text.expose(), &key, &validation).unwrap();
    assert_eq!((&verified.claims["iss"], &verified.claims["sub"]), (&"me".into(), &"ada".into()));
    assert_eq!(decode_header(text.expose()).unwrap().kid.as_deref(), Some("key-1"));
}

#[test]
fn no_two_assertions_are_the_same() {
    let now = at(1_800_000_000, 1_800_000_002);
    assert_ne!(signed().write(&now).unwrap().expose(), signed().write(&now).unwrap().expose());
}

#[test]
fn a_key_that_cannot_sign_is_named_and_not_shown() {
    let read = |pem: &str, algorithm: Option<&str>| Signer::from_pem(&Secret::from(pem), None, algorithm).unwrap_err();
    assert_eq!(read("hunter2", None), SignError::NotPem);
    assert_eq!(read(PUBLIC, None), SignError::NotAKey("public key"));
    assert_eq!(read("-----BEGIN CERTIFICATE-----\n", None), SignError::NotAKey("certificate"));
    assert_eq!(read("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", None), SignError::Encrypted);
    assert_eq!(read("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", None), SignError::Unusable);
    assert_eq!(read(KEY, Some("RS256")), SignError::WrongAlgorithm("RS256".to_owned()));
    assert_eq!(read(KEY, Some("none")), SignError::UnknownAlgorithm("none".to_owned()));
    assert_eq!(read(KEY, Some("HS256")), SignError::UnknownAlgorithm("HS256".to_owned()));
    let shown = format!("{:?}", signed());
    assert!(shown.contains("ES256") && !KEY.lines().any(|line| line.len() > 20 && shown.contains(line)), "{shown}");
}

#[test]
fn an_assertion_made_elsewhere_is_read_for_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("assertion");
    let assertion = Assertion::File(path.clone());
    let now = at(0, 0);
    assert!(assertion.write(&now).unwrap_err().to_string().contains("assertion"));
    std::fs::write(&path, "first.of.all\n").unwrap();
    assert_eq!(assertion.write(&now).unwrap().expose(), "first.of.all");
    std::fs::write(&path, "<saml:Assertion/>\n").unwrap();
    assert_eq!(assertion.write(&now).unwrap().expose(), "PHNhbWw6QXNzZXJ0aW9uLz4=", "base64url, RFC 7522");
    std::fs::write(&path, " \n").unwrap();
    assert!(matches!(assertion.write(&now), Err(AssertionError::Empty(_))));
    std::fs::write(&path, "x".repeat((256 << 10) + 1)).unwrap();
    assert!(assertion.write(&now).unwrap_err().to_string().contains("longer than 256 KiB"));
}

#[test]
fn the_servers_time_is_the_boot_clock_plus_the_offset_not_minus_it() {
    let theta = OffsetInterval::new(Offset::from_nanos(5_000_000_000), Offset::from_nanos(7_000_000_000)).unwrap();
    let time = ServerTime::by_offset(theta, evergrant_core::time::Boot::from_secs(100));
    assert_eq!((time.earliest, time.latest), (Server::from_secs(105), Server::from_secs(107)));
}

#[test]
fn a_refusal_is_about_time_only_if_the_dates_lie_outside() {
    let shown = at(1000, 1002).time;
    let lifetime = Span::from_secs(120);
    for (dated, is_refused) in [
        (at(1002, 1002), false),
        (at(1003, 1003), true),
        (at(870, 880), false),
        (at(870, 879), true),
        (at(1000, 1002), false),
    ] {
        assert_eq!(shown.refuses(dated.time, lifetime), is_refused, "{dated:?}");
    }
}
