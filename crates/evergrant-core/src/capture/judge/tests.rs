//! Captures in, causes out. Each is a HAR, because a HAR can show everything.

use super::*;
use crate::capture::{Explainer, Explanation};
use crate::verdict::Cause;

/// One entry of an archive.
struct Entry<'a> {
    at: i64,
    url: &'a str,
    token: Option<&'a str>,
    form: &'a str,
    status: u16,
    body: String,
    location: &'a str,
}

const START: i64 = 1_790_000_000;
const API: &str = "https://api.mypurecloud.de/api/v2/users/me";
const LOGIN: &str = "https://login.mypurecloud.de/oauth/token";
const REFUSED: &str = r#"{"message":"Invalid login credentials.","code":"bad.credentials","status":401}"#;
const OLD: &str = "OLD0token-that-nobody-may-see";
const NEW: &str = "NEW0token-that-nobody-may-see";

fn call(at: i64, token: &str, status: u16) -> Entry<'_> {
    let body = if status == 401 { REFUSED.to_owned() } else { "{}".to_owned() };
    Entry { at, url: API, token: Some(token), form: "", status, body, location: "" }
}

fn mint<'a>(at: i64, token: &str, lifetime: i64) -> Entry<'a> {
    let body = format!(r#"{{"access_token":"{token}","token_type":"bearer","expires_in":{lifetime}}}"#);
    Entry { at, url: LOGIN, token: None, form: "grant_type=client_credentials", status: 200, body, location: "" }
}

fn failed_mint<'a>(at: i64, form: &'a str, body: &str) -> Entry<'a> {
    Entry { at, url: LOGIN, token: None, form, status: 400, body: body.to_owned(), location: "" }
}

fn har(entries: &[Entry<'_>]) -> String {
    let entries = entries.iter().map(|entry| {
        let json = serde_json::Value::from;
        let mut headers = vec![serde_json::json!({ "name": "Cookie", "value": "a=b" })];
        headers.extend(
            entry.token.map(|token| serde_json::json!({ "name": "Authorization", "value": format!("Bearer {token}") })),
        );
        let date = std::time::UNIX_EPOCH + std::time::Duration::from_secs(entry.at.try_into().unwrap());
        serde_json::json!({
            "startedDateTime": crate::capture::show_moment(entry.at * 1_000_000_000),
            "time": 100,
            "request": {
                "method": if entry.form.is_empty() { "GET" } else { "POST" },
                "url": entry.url,
                "headers": headers,
                "postData": { "text": entry.form },
            },
            "response": {
                "status": entry.status,
                "headers": [
                    { "name": "Date", "value": httpdate::fmt_http_date(date) },
                    { "name": "Location", "value": entry.location },
                ],
                "content": { "text": json(entry.body.clone()) },
            },
        })
    });
    serde_json::json!({ "log": { "entries": entries.collect::<Vec<_>>() } }).to_string()
}

fn explain(entries: &[Entry<'_>]) -> Explanation {
    let mut explainer = Explainer::new();
    explainer.push(har(entries).as_bytes());
    let explanation = explainer.end(&Hints::default()).unwrap();
    let shown = format!("{explanation:?}");
    assert!(!shown.contains("nobody-may-see"), "{shown}");
    explanation
}

fn causes(entries: &[Entry<'_>]) -> Vec<Cause> {
    explain(entries).verdicts.iter().map(|explained| explained.verdict.cause).collect()
}

#[test]
fn a_token_past_its_lifetime_is_expired_by_the_times_of_the_capture() {
    let (expired, alive) = (call(START + 400, OLD, 401), call(START + 290, OLD, 401));
    assert_eq!(causes(&[mint(START, OLD, 300), call(START + 10, OLD, 200), expired]), [Cause::Expired]);
    assert_ne!(causes(&[mint(START, OLD, 300), call(START + 10, OLD, 200), alive]), [Cause::Expired]);
}

#[test]
fn a_refused_token_that_is_accepted_later_is_spreading_while_young_and_then_a_matter_of_the_route() {
    let spreading = [mint(START, OLD, 86_400), call(START + 1, OLD, 401), call(START + 3, OLD, 200)];
    assert_eq!(causes(&spreading), [Cause::Propagating]);
    let elsewhere = Entry { url: "https://api.mypurecloud.de/api/v2/date", ..call(START + 103, OLD, 200) };
    let route = [mint(START, OLD, 86_400), call(START + 100, OLD, 401), elsewhere];
    assert_eq!(causes(&route), [Cause::RouteSpecific]);
    let same = [mint(START, OLD, 86_400), call(START + 100, OLD, 401), call(START + 103, OLD, 200)];
    assert_eq!(causes(&same), [Cause::Unknown], "the route takes it a moment later");
}

#[test]
fn a_token_that_was_replaced_is_superseded() {
    let entries = [
        mint(START, OLD, 86_400),
        call(START + 100, OLD, 200),
        mint(START + 200, NEW, 86_400),
        call(START + 201, OLD, 401),
        call(START + 202, NEW, 200),
    ];
    let explanation = explain(&entries);
    let evidence = &explanation.verdicts[0].evidence;
    assert_eq!(explanation.verdicts[0].verdict.cause, Cause::Superseded);
    assert!(evidence.newer_works && evidence.worked_before && evidence.newest > evidence.generation);
}

#[test]
fn a_provider_that_ends_the_old_token_twice_does_so_as_a_rule() {
    let third = "THIRDtoken-that-nobody-may-see";
    let entries = [
        mint(START, OLD, 86_400),
        call(START + 100, OLD, 200),
        mint(START + 200, NEW, 86_400),
        call(START + 201, OLD, 401),
        call(START + 220, NEW, 200),
        mint(START + 300, third, 86_400),
        call(START + 301, NEW, 401),
    ];
    assert_eq!(causes(&entries), [Cause::RevokedByRefresh, Cause::RevokedByRefresh]);
}

#[test]
fn a_token_of_another_client_is_no_successor() {
    let mut second = mint(START + 200, NEW, 86_400);
    second.url = "https://idp.example/token";
    let entries = [mint(START, OLD, 86_400), call(START + 100, OLD, 200), second, call(START + 210, OLD, 401)];
    let evidence = &explain(&entries).verdicts[0].evidence;
    assert_eq!(evidence.newest, evidence.generation);
}

#[test]
fn a_token_of_one_region_in_another_is_in_the_wrong_region() {
    let elsewhere = Entry { url: "https://api.mypurecloud.com/api/v2/users/me", ..call(START + 60, OLD, 401) };
    let explanation = explain(&[mint(START, OLD, 86_400), elsewhere]);
    assert_eq!(explanation.verdicts[0].verdict.cause, Cause::WrongRegion);
}

#[test]
fn a_redirect_to_another_host_takes_the_token_away() {
    let away = Entry { status: 302, location: "https://other.example/x", ..call(START, OLD, 200) };
    let lost = Entry { url: "https://other.example/x", token: None, ..call(START + 1, OLD, 401) };
    let explanation = explain(&[away, lost]);
    assert!(explanation.verdicts[0].evidence.is_redirected);
    assert_eq!(explanation.verdicts[0].verdict.cause, Cause::TokenLostInTransit);
    let near = Entry { status: 302, location: API, ..call(START, OLD, 200) };
    let none = Entry { token: None, ..call(START + 1, OLD, 401) };
    assert!(!explain(&[near, none]).verdicts[0].evidence.is_redirected);
}

#[test]
fn the_token_endpoint_says_its_own_causes() {
    for (form, body, cause) in [
        (
            "grant_type=client_credentials",
            r#"{"error":"invalid_client","description":"authentication failed"}"#,
            Cause::ClientRejected,
        ),
        (
            "grant_type=client_credentials",
            r#"{"error":"invalid_request","error_description":"rate limit exceeded; wait"}"#,
            Cause::RateLimited,
        ),
        ("grant_type=refresh_token&refresh_token=x", r#"{"error":"invalid_grant"}"#, Cause::LoginRequired),
    ] {
        assert_eq!(causes(&[failed_mint(START, form, body)]), [cause], "{body}");
    }
}

#[test]
fn a_refresh_token_that_was_spent_before_is_told() {
    let form = "grant_type=refresh_token&refresh_token=R-that-nobody-may-see";
    let rotated =
        r#"{"access_token":"OLD0token-that-nobody-may-see","expires_in":60,"refresh_token":"R2-that-nobody-may-see"}"#;
    let first = Entry { status: 200, ..failed_mint(START, form, rotated) };
    let again = failed_mint(START + 30, form, r#"{"error":"invalid_grant"}"#);
    let explanation = explain(&[first, again]);
    let spent = explanation.verdicts[0].evidence.refresh_token.clone().unwrap();
    assert_eq!((spent.sent_before, spent.has_successor), (Some(Span::from_secs(30)), true));
    assert_eq!(explanation.verdicts[0].verdict.cause, Cause::RefreshTokenReused);
}

#[test]
fn a_request_without_a_token_is_told_from_a_capture_that_shows_none() {
    let bare = Entry { token: None, ..call(START, OLD, 401) };
    assert_eq!(causes(&[bare]), [Cause::MissingToken]);
    let silent = har(&[Entry { token: None, ..call(START, OLD, 401) }]).replace("Cookie", "Accept");
    let mut explainer = Explainer::new();
    explainer.push(silent.as_bytes());
    let explanation = explainer.end(&Hints::default()).unwrap();
    assert_eq!(explanation.verdicts[0].evidence.carried, Carried::NotShown);
    assert!(explanation.verdicts[0].missing.iter().any(|missing| missing.contains("sensitive data")));
}

#[test]
fn the_dates_of_a_jwt_are_judged_by_the_date_of_the_answer() {
    // {"alg":"none"} and an end in 2026, long past or long ahead by today's clock, whenever that is.
    let exp = START + 100;
    let jwt = format!("eyJhbGciOiJub25lIn0.{}.c2ln", base64_url(&format!(r#"{{"exp":{exp}}}"#)));
    assert_eq!(causes(&[call(exp + 10, &jwt, 401)]), [Cause::Expired]);
    assert_ne!(causes(&[call(exp - 10, &jwt, 401)]), [Cause::Expired]);
}

fn base64_url(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

#[test]
fn a_token_and_a_time_given_by_hand_take_the_place_of_what_is_missing() {
    let exp = START + 100;
    let jwt = format!("eyJhbGciOiJub25lIn0.{}.c2ln", base64_url(&format!(r#"{{"exp":{exp}}}"#)));
    let answer = format!("HTTP/1.1 401 Unauthorized\r\n\r\n{REFUSED}");
    let judged = |hints: &Hints| {
        let mut explainer = Explainer::new();
        explainer.push(answer.as_bytes());
        explainer.end(hints).unwrap().verdicts.remove(0)
    };
    let alone = judged(&Hints::default());
    assert_eq!(alone.verdict.cause, Cause::Unknown);
    assert!(alone.missing.iter().any(|missing| missing.contains("no Date")), "{:?}", alone.missing);
    let hints = Hints { token: TokenFacts::of_token(&jwt), captured_at: Some(Wall::from_secs(exp + 3600)) };
    assert_eq!(judged(&hints).verdict.cause, Cause::Expired);
    let quoted = Hints { token: TokenFacts::of_token("\"abcdefghijklmnop\""), captured_at: None };
    assert!(judged(&quoted).evidence.shape.unwrap().is_proof());
}
