//! `evergrant api`.

use evergrant_sim::faults::{ApiFault, ApiRule, Chance, Event};

use crate::support::{Folder, evergrant, program, provider};

#[test]
fn the_body_of_the_answer_goes_to_standard_output() {
    let text = evergrant(["api", "GET", "/api/v2/users?page=2"]).client_of(&provider()).end().good();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["path"], "/api/v2/users");
}

#[test]
fn a_body_comes_from_a_flag_or_the_file_or_standard_input_that_it_names() {
    let (provider, folder) = (provider(), Folder::new());
    let file = format!("@{}", folder.file("body", "{\"a\":1}"));
    let echoed = |args: &[&str], input: &str| {
        let args = ["api", "POST", "/api/v2/things"].iter().chain(args);
        let text = evergrant(args).client_of(&provider).input(input).end().good();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["body_len"].as_i64()
    };
    assert_eq!(echoed(&["--data", "{\"a\":1}"], ""), Some(7));
    assert_eq!(echoed(&["--data", &file], ""), Some(7));
    assert_eq!(echoed(&["--data", "@-"], "{\"a\":1}"), Some(7));
    assert_eq!(echoed(&["--data", "-"], "{\"a\":1}"), Some(7));
    assert_eq!(echoed(&["--data", ""], "ignored"), Some(0));
    assert_eq!(echoed(&[], "ignored"), Some(0));
}

#[test]
fn a_loop_that_reads_standard_input_keeps_its_lines() {
    let (provider, folder) = (provider(), Folder::new());
    folder.file("ids", "1\n2\n3\n");
    let line = format!("while read id; do {} api POST /api/v2/things/$id; done < ids", env!("CARGO_BIN_EXE_evergrant"));
    let printed = program(&["sh", "-c", &line]).client_of(&provider).folder(&folder).end().good();
    let answers: Vec<serde_json::Value> =
        serde_json::Deserializer::from_str(&printed).into_iter().map(Result::unwrap).collect();
    let told: Vec<_> = answers.iter().map(|answer| (answer["path"].as_str(), answer["body_len"].as_i64())).collect();
    let expected = ["/api/v2/things/1", "/api/v2/things/2", "/api/v2/things/3"].map(|path| (Some(path), Some(0)));
    assert_eq!(told, expected);
}

#[test]
fn json_wraps_the_whole_answer() {
    let text = evergrant(["api", "GET", "/api/v2/users", "--json"]).client_of(&provider()).end().good();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["status"], 200);
    assert_eq!(json["body"]["path"], "/api/v2/users");
    assert!(json["headers"]["date"].is_string());
}

#[test]
fn a_refusal_that_stays_comes_with_its_verdict() {
    let provider = provider();
    provider.handle().apply(Event::api(ApiFault::MissingPermission));
    let stderr = evergrant(["api", "GET", "/api/v2/users"]).client_of(&provider).end().failed(9);
    assert!(stderr.contains("403") && stderr.contains("missing_permission"), "{stderr}");
}

#[test]
fn a_429_is_waited_out_if_it_ends_in_time() {
    let provider = provider();
    let limited = |secs| {
        let fault = ApiFault::TooManyRequests(secs);
        provider.handle().apply(Event::ApiFault(ApiRule { fault, route: None, chance: Chance::next(1) }));
    };
    limited(1);
    evergrant(["api", "POST", "/api/v2/things", "--data", "{}"]).client_of(&provider).end().good();
    assert_eq!(provider.handle().ledger().effects.len(), 1);
    limited(600);
    let stderr = evergrant(["api", "GET", "/api/v2/users"]).client_of(&provider).end().failed(9);
    assert!(stderr.contains("429") && stderr.contains("rate_limited"), "{stderr}");
}

#[test]
fn a_token_never_goes_to_another_origin() {
    let provider = provider();
    let run = evergrant(["api", "GET", "https://elsewhere.example/x"]).client_of(&provider);
    insta::assert_snapshot!(run.end().failed(2).replace(&provider.url(), "UPSTREAM"), @r"
    error: the URL is not one of the upstream
      cause: the token is for UPSTREAM/ and goes nowhere else
    hint: give the path alone, as `evergrant api GET /api/v2/users`, or set another --upstream
    ");
    assert_eq!(provider.handle().ledger().token.requests, 0);
}

#[test]
fn a_token_that_died_early_does_not_show() {
    let (provider, folder) = (provider(), Folder::new());
    let store = format!("file+plain:{}", folder.path().join("tokens").display());
    let run = || evergrant(["api", "GET", "/api/v2/users", "--store", &store]).client_of(&provider).end().good();
    run();
    provider.handle().apply(Event::RevokeAll);
    run();
    assert_eq!(provider.handle().ledger().token.succeeded, 2);
}
