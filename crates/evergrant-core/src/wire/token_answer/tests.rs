use super::*;
use proptest::prelude::*;

fn lifetime(json: &str) -> Result<Span, ExpiresInNote> {
    let body = format!(r#"{{"access_token":"t","expires_in":{json}}}"#);
    let answer = parse_token_answer(200, body.as_bytes()).unwrap();
    assert_eq!(answer.expires_in.is_some(), answer.expires_in_note.is_none());
    answer.expires_in.ok_or_else(|| answer.expires_in_note.unwrap())
}

fn failure(status: u16, body: &str) -> TokenFailure {
    parse_token_answer(status, body.as_bytes()).unwrap_err()
}

#[test]
fn a_complete_answer_is_read() {
    let body = br#"{"access_token":"DCl7**aA-x_~+/=","token_type":"bearer","expires_in":86399,"refresh_token":"r","scope":"a b"}"#;
    let answer = parse_token_answer(200, body).unwrap();
    assert_eq!(answer.access_token.expose(), "DCl7**aA-x_~+/=");
    assert_eq!(answer.token_type.as_deref(), Some("bearer"));
    assert_eq!(answer.expires_in, Some(Span::from_secs(86_399)));
    assert_eq!(answer.refresh_token, Some(Secret::from("r")));
    assert_eq!(answer.scope.as_deref(), Some("a b"));
    assert!(!format!("{answer:?}").contains("DCl7"));
}

#[test]
fn lifetimes_come_in_many_forms() {
    for (json, secs) in
        [("3600", 3600), ("3600.0", 3600), ("3.6e3", 3600), ("\"3600\"", 3600), ("\" 3600 \"", 3600), ("1", 1)]
    {
        assert_eq!(lifetime(json), Ok(Span::from_secs(secs)), "{json}");
    }
    assert_eq!(lifetime("0.5"), Ok(Span::from_millis(500)));
    assert_eq!(lifetime("38880000"), Ok(Span::from_secs(38_880_000)), "450 days are real");
}

#[test]
fn unusable_lifetimes_are_noted_and_never_an_error() {
    use ExpiresInNote::{Absurd, Missing, NotANumber, NotPositive};
    for (json, note) in [
        ("null", Missing),
        ("\"\"", NotANumber),
        ("\"soon\"", NotANumber),
        ("\"nan\"", NotANumber),
        ("[3600]", NotANumber),
        ("{}", NotANumber),
        ("true", NotANumber),
        ("0", NotPositive),
        ("-0.0", NotPositive),
        ("1e-12", NotPositive),
        ("-1", NotPositive),
        ("\"-3600\"", NotPositive),
        ("-1e300", NotPositive),
        ("\"-inf\"", NotPositive),
        ("1e300", Absurd),
        ("\"inf\"", Absurd),
        ("1790000000", Absurd),
        ("18446744073709551615", Absurd),
        ("99999999999999999999999999", Absurd),
        ("316224001", Absurd),
    ] {
        assert_eq!(lifetime(json), Err(note), "{json}");
    }
    assert_eq!(lifetime("316224000"), Ok(Span::from_secs(316_224_000)), "the last one believed");
    let answer = parse_token_answer(200, br#"{"access_token":"t"}"#).unwrap();
    assert_eq!((answer.expires_in, answer.expires_in_note), (None, Some(Missing)));
}

#[test]
fn answers_without_a_usable_token_are_malformed() {
    for (body, defect) in [
        ("", Defect::Empty),
        (" \r\n", Defect::Empty),
        ("{\"access_token\":\"abc", Defect::Torn),
        ("{", Defect::Torn),
        ("<html><body>Sign in</body></html>", Defect::WebPage),
        ("OK", Defect::NotJson),
        ("\"token\"", Defect::NotJson),
        ("[]", Defect::NotJson),
        ("null", Defect::NotJson),
        ("{}}", Defect::NotJson),
        ("{}", Defect::NoToken),
        ("{\"access_token\":null}", Defect::NoToken),
        ("{\"access_token\":\"\"}", Defect::NoToken),
        ("{\"access_token\":7}", Defect::NoToken),
        ("{\"token\":\"t\"}", Defect::NoToken),
        ("{\"access_token\":\"a b\"}", Defect::UnusableToken),
        ("{\"access_token\":\"a\\r\\nX: y\"}", Defect::UnusableToken),
        ("{\"access_token\":\"a\\u0000\"}", Defect::UnusableToken),
        ("{\"access_token\":\"tök\"}", Defect::UnusableToken),
    ] {
        let failure = failure(200, body);
        assert_eq!((failure.kind, failure.defect), (TokenFailureKind::Malformed, Some(defect)), "{body}");
        assert!(failure.kind.answer_may_be_lost() && !failure.kind.is_permanent());
    }
    assert_eq!(failure(200, &" x".repeat(BODY_LIMIT)).defect, Some(Defect::TooLong));
}

#[test]
fn a_form_encoded_answer_is_read() {
    let answer =
        parse_token_answer(200, b"access_token=gho_1%2B2&scope=repo%2Cgist&token_type=bearer&expires_in=28800")
            .unwrap();
    assert_eq!(answer.access_token.expose(), "gho_1+2");
    assert_eq!(answer.scope.as_deref(), Some("repo,gist"));
    assert_eq!(answer.expires_in, Some(Span::from_secs(28_800)));
    let failure = failure(200, "error=bad_verification_code&error_description=The+code+is+incorrect");
    assert_eq!(failure.to_string(), "bad_verification_code (HTTP 200): The code is incorrect");
    assert_eq!(failure.kind, TokenFailureKind::Rejected);
}

#[test]
fn statuses_and_codes_choose_the_kind() {
    use TokenFailureKind as Kind;
    let json = |code: &str| format!(r#"{{"error":"{code}","description":"d","error_description":"words"}}"#);
    for (status, body, kind) in [
        (400, json("invalid_grant"), Kind::InvalidGrant),
        (401, json("invalid_client"), Kind::InvalidClient),
        (400, json("invalid_client"), Kind::InvalidClient),
        (400, json("unauthorized_client"), Kind::UnauthorizedClient),
        (400, json("invalid_scope"), Kind::InvalidScope),
        (400, json("unsupported_grant_type"), Kind::UnsupportedGrantType),
        (400, json("invalid_request"), Kind::Rejected),
        (400, json("INVALID_GRANT"), Kind::Rejected),
        (403, json("invalid_grant"), Kind::Rejected),
        (200, json("invalid_grant"), Kind::Rejected),
        (400, "error=invalid_grant".to_owned(), Kind::Rejected),
        (400, "{\"error\":\"invalid_grant\"".to_owned(), Kind::Rejected),
        (401, String::new(), Kind::Rejected),
        (404, "<html>".to_owned(), Kind::Rejected),
        (429, json("invalid_grant"), Kind::RateLimited),
        (500, json("invalid_client"), Kind::ServerError),
        (503, String::new(), Kind::ServerError),
        (302, String::new(), Kind::Redirected),
        (301, json("invalid_grant"), Kind::Redirected),
        (308, String::new(), Kind::Redirected),
        (300, String::new(), Kind::Malformed),
        (100, json("invalid_grant"), Kind::Malformed),
        (999, String::new(), Kind::Malformed),
    ] {
        let failure = failure(status, &body);
        assert_eq!((failure.kind, failure.status), (kind, Some(status)), "{status} {body}");
    }
    assert_eq!(failure(401, &json("invalid_client")).to_string(), "invalid_client (HTTP 401): words");
}

#[test]
fn the_first_status_that_redirects_and_the_last() {
    assert_eq!(failure(304, "").kind, TokenFailureKind::Redirected);
    assert_eq!(failure(309, "").kind, TokenFailureKind::Malformed);
}

#[test]
fn an_error_that_quotes_the_refresh_token_does_not_carry_it_on() {
    let failure = failure(
        400,
        r#"{"error":"invalid_grant","error_description":"Invalid refresh token: 8f14e45f-ceea-467f-a0e6-b7a1d0c2"}"#,
    );
    assert_eq!(failure.to_string(), "invalid_grant (HTTP 400): Invalid refresh token: [redacted]");
}

proptest! {
    #[test]
    fn arbitrary_bodies_never_panic(status: u16, body: Vec<u8>) {
        let _ = parse_token_answer(status, &body);
    }

    #[test]
    fn a_torn_answer_is_never_taken(cut in 0_usize..90) {
        let body = br#"{"access_token":"abcdef","token_type":"bearer","expires_in":3600,"refresh_token":"ghijkl"}"#;
        prop_assert!(parse_token_answer(200, &body[..cut.min(body.len() - 1)]).is_err());
    }

    #[test]
    fn arbitrary_fields_never_panic_and_tokens_fit_headers(token: String, expires in "[-+0-9.eE]{0,12}") {
        let body = serde_json::json!({ "access_token": token, "expires_in": expires }).to_string();
        if let Ok(answer) = parse_token_answer(200, body.as_bytes()) {
            prop_assert!(answer.access_token.expose().bytes().all(|b| (0x21..=0x7e).contains(&b)));
            prop_assert!(answer.expires_in.is_none_or(|span| span > Span::ZERO && span <= LIFETIME_LIMIT));
        }
    }
}
