//! A whole scenario at trace level with everything captured: no secret comes out, in no spelling.
//!
//! The scenario makes the gateway use every secret it has: a rotating refresh token, access tokens that are revoked
//! early and replaced, and a token endpoint that fails first. Callers bring credentials, cookies and query strings of
//! their own, which are none of the log's business.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use evergrant_core::time::Span;
use evergrant_sim::SimServer;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN};
use evergrant_sim::faults::{At, Chance, Event, TokenFault, TokenRule};
use evergrant_sim::scenario::Scenario;
use http::{Method, Request};
use http_body_util::Full;

use crate::client::{Answer, Client};
use crate::gateway::{Folder, Gateway, Setup};
use crate::run;

/// What callers bring and nobody may write down.
const CALLERS: [&str; 4] =
    ["callers-own-token-41c7", "crumbs-of-a-cookie-93aa", "asked-for-quietly-5be0", "Zm9yZWlnbjpwYXNzd29yZA"];

#[test]
fn nothing_secret_at_trace_level() {
    captured("EVERGRANT_LOG");
}

#[test]
fn nothing_secret_at_trace_level_of_everybody() {
    captured("RUST_LOG");
}

fn captured(log_variable: &str) {
    let mut scenario = Scenario::named("rotation").unwrap();
    scenario.name = "secrecy";
    let lost = TokenRule { fault: TokenFault::Status(503, None), chance: Chance::next(1) };
    scenario.events = vec![
        At::millis(1_500, Event::RevokeAll),
        At::millis(4_000, Event::TokenFault(lost)),
        At::millis(5_500, Event::RevokeAll),
    ];
    scenario.duration = Span::from_secs(9);
    scenario.forced.token_requests = 3;
    scenario.forced.wait = Span::from_secs(6);
    let (home, sim) = (Folder::new(), SimServer::start_scenario(&scenario).unwrap());
    let setup = Setup::of(&scenario, &sim, home.path()).env("EVERGRANT_LOG", "").env(log_variable, "trace");
    let mut shown = String::new();
    let load = scenario.duration.to_duration();
    let said = run::runtime().block_on(run::play(scenario, &sim, &setup, async |gateway, start| {
        // Not beside the load: a 429 is shared, and every caller would wait for it.
        tokio::time::sleep_until((start + load).into()).await;
        shown = everything_shown(&gateway).await;
        (gateway, Vec::new())
    }));
    assert!(said.contains("TRACE") && said.contains("/api/v2/users/{id}"), "this is no trace:\n{said}");
    let without_token = run::runtime().block_on(refused(&sim, &setup));
    let secrets = sim.handle().secrets();
    assert!(secrets.len() > 5, "the scenario used few secrets");
    let secrets = secrets.iter().map(|secret| secret.expose()).chain([CLIENT_SECRET, REFRESH_TOKEN]);
    for secret in secrets.chain(CALLERS) {
        for spelling in spellings(secret) {
            for (place, text) in [("log", &said), ("answers", &shown), ("log without a token", &without_token)] {
                assert!(!text.contains(&spelling), "`{secret}` as `{spelling}` in the {place}:\n{text}");
            }
        }
    }
}

/// Everything that the gateway itself answers: refusals that it hands on, its own errors, and its admin pages.
async fn everything_shown(gateway: &Gateway) -> String {
    let mut shown = String::new();
    for client in [Client::http1(), Client::http2()] {
        for (method, path, own) in [
            (Method::GET, "/api/v2/users/12345", "Bearer callers-own-token-41c7"),
            (Method::POST, "/api/v2/users/12345", "Basic Zm9yZWlnbjpwYXNzd29yZA"),
            (Method::GET, "/api/status/503", ""),
            (Method::GET, "/api/status/403", ""),
            (Method::GET, "/api/status/429", ""),
            (Method::DELETE, "/api/v2/users/12345", ""),
        ] {
            let url = format!("http://{}{path}?filter=asked-for-quietly-5be0", gateway.address);
            let mut request = Request::builder().method(method).uri(url).header("cookie", "crumbs-of-a-cookie-93aa");
            if !own.is_empty() {
                request = request.header("authorization", own);
            }
            let answer = client.send(request.body(Full::default()).unwrap()).await.unwrap();
            // The provider echoes what it was asked when it likes it; that is an answer, not an output of ours.
            if !answer.status.is_success() {
                note(&mut shown, &answer);
            }
        }
    }
    for path in ["/", "/status", "/metrics", "/healthz", "/readyz", "/nothing"] {
        note(&mut shown, &Client::http1().get(gateway.admin, path).await.unwrap());
    }
    assert!(shown.contains("evergrant-verdict") && shown.contains("caller_token"), "{shown}");
    shown
}

/// What a gateway shows and says while the provider refuses its refresh token.
async fn refused(sim: &SimServer, setup: &Setup) -> String {
    sim.handle().apply(Event::RevokeRefreshTokens);
    sim.handle().apply(Event::RevokeAll);
    let gateway = Gateway::start(setup);
    let mut shown = String::new();
    let url = format!("http://{}/api/v2/users/12345?filter=asked-for-quietly-5be0", gateway.address);
    let request = Request::get(url).header("cookie", "crumbs-of-a-cookie-93aa").body(Full::default()).unwrap();
    let answer = Client::http1().send(request).await.unwrap();
    assert!(matches!(answer.status.as_u16(), 401 | 503), "{answer:?}");
    note(&mut shown, &answer);
    note(&mut shown, &Client::http1().get(gateway.admin, "/status").await.unwrap());
    shown + &gateway.stop().await.1
}

fn note(shown: &mut String, answer: &Answer) {
    let text = String::from_utf8_lossy(&answer.body);
    writeln!(shown, "{} {:?}\n{text}", answer.status, answer.headers).unwrap();
}

/// A secret as it is, in base64 alone and as Basic credentials, encoded for URLs, and in hexadecimal.
fn spellings(secret: &str) -> Vec<String> {
    let basic = format!("{CLIENT_ID}:{secret}");
    let hex = |byte: &u8| format!("{byte:02x}");
    let percent = |byte: &u8| {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        if is_plain { char::from(*byte).to_string() } else { format!("%{byte:02X}") }
    };
    vec![
        secret.to_owned(),
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        STANDARD_NO_PAD.encode(&basic),
        URL_SAFE_NO_PAD.encode(&basic),
        secret.bytes().map(|byte| percent(&byte)).collect(),
        secret.bytes().map(|byte| hex(&byte)).collect(),
        format!("{:?}", secret.as_bytes()),
    ]
}
