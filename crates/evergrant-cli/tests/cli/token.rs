//! `evergrant token`.

use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig, REFRESH_TOKEN};
use evergrant_sim::faults::Event;
use evergrant_sim::http::SimServer;

use crate::support::{Folder, evergrant, provider};

#[test]
fn a_token_and_a_newline_is_all_there_is() {
    let provider = provider();
    let ended = evergrant(["token"]).client_of(&provider).end();
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    let token = ended.stdout.strip_suffix('\n').unwrap();
    assert!(!token.is_empty() && !token.contains(char::is_whitespace));
    assert!(provider.handle().secrets().iter().any(|secret| secret.expose() == token));
}

#[test]
fn json_tells_how_long_the_token_lasts() {
    let text = evergrant(["token", "--json"]).client_of(&provider()).end().good();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["token_type"], "Bearer");
    assert!(json["access_token"].is_string());
    let left = json["expires_in"].as_i64().unwrap();
    assert!((86_000..=86_400).contains(&left), "{left}");
}

#[test]
fn a_header_line_is_ready_for_curl() {
    let text = evergrant(["token", "--format", "header"]).client_of(&provider()).end().good();
    assert!(text.starts_with("Authorization: Bearer ") && text.ends_with('\n'));
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn env_lines_hold_the_variable_of_the_providers_own_tools() {
    let text = evergrant(["token", "--format=env"]).client_of(&provider()).end().good();
    assert!(text.starts_with("EVERGRANT_ACCESS_TOKEN=") && text.lines().count() == 1, "{text}");
    let genesys = SimServer::start(ProviderConfig::genesys()).unwrap();
    let run = evergrant(["token", "--format=env"]).client_of(&genesys).env("EVERGRANT_PROVIDER", "genesys");
    let text = run.end().good();
    let token = text.lines().next().unwrap().strip_prefix("EVERGRANT_ACCESS_TOKEN=").unwrap();
    assert_eq!(text.lines().nth(1), Some(format!("GENESYSCLOUD_ACCESS_TOKEN={token}").as_str()));
}

#[test]
fn a_stored_token_serves_the_next_run() {
    let (provider, folder) = (provider(), Folder::new());
    let store = format!("file+plain:{}", folder.path().join("tokens").display());
    let run = || evergrant(["token", "--store", &store]).client_of(&provider).end().good();
    let first = run();
    assert_eq!(run(), first);
    assert_eq!(provider.handle().ledger().token.succeeded, 1);
}

#[test]
fn an_issuer_is_enough_to_find_the_token_endpoint() {
    let provider = provider();
    let run = evergrant(["token", "--issuer", &provider.url()]).client_of(&provider).env("EVERGRANT_TOKEN_URL", "");
    assert!(run.end().good().len() > 1);
}

#[test]
fn a_token_that_lasts_long_enough_can_be_asked_for() {
    let (provider, folder) = (provider(), Folder::new());
    let store = format!("file+plain:{}", folder.path().join("tokens").display());
    let run = |least| evergrant(["token", "--store", &store, "--min-remaining", least]).client_of(&provider).end();
    let first = run("10m").good();
    assert_eq!(run("23h").good(), first);
    assert!(run("2d").failed(7).contains("--min-remaining"));
}

#[test]
fn command_lines_that_run_at_once_share_one_token_through_the_lock_of_the_file() {
    let (provider, folder) = (provider(), Folder::new());
    let store = format!("file+plain:{}", folder.path().join("tokens").display());
    let run = || evergrant(["token", "--store", &store]).client_of(&provider).end().good();
    let tokens: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..6).map(|_| scope.spawn(run)).collect();
        running.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
    assert_eq!(provider.handle().ledger().token.requests, 1);
}

#[test]
fn a_rotating_refresh_token_is_kept_by_the_store() {
    let (provider, folder) = (provider(), Folder::new());
    let store = format!("file+plain:{}", folder.path().join("tokens").display());
    let run = |least| {
        let run = evergrant(["token", "--store", &store, "--min-remaining", least]).client_of(&provider);
        run.env("EVERGRANT_GRANT", "refresh_token").env("EVERGRANT_REFRESH_TOKEN", REFRESH_TOKEN).end()
    };
    let first = run("10m").good();
    provider.handle().apply(Event::SetLifetime(Span::from_secs(100_000)));
    let second = run("23h59m59s").good();
    assert_ne!(second, first);
    assert_eq!(run("23h59m59s").good(), second);
    assert_eq!(provider.handle().ledger().token.succeeded, 2);
}

#[test]
fn during_a_change_over_either_secret_gets_a_token_and_two_wrong_ones_are_named() {
    let provider = provider();
    let run = |current: &str, next: &str| {
        let run = evergrant(["token"]).client_of(&provider).env("EVERGRANT_CLIENT_SECRET", current);
        run.env("EVERGRANT_CLIENT_SECRET_NEXT", next).end()
    };
    assert!(run("0ld-s3cret", CLIENT_SECRET).good().len() > 1);
    assert!(run(CLIENT_SECRET, "n3w-s3cret").good().len() > 1);
    let text = run("0ld-s3cret", "n3w-s3cret").failed(4);
    assert!(text.contains("client_rejected: invalid_client"), "{text}");
    assert!(text.contains("both client secrets were refused") && !text.contains("s3cret"), "{text}");
    assert_eq!(provider.handle().ledger().token.requests, 2 + 1 + 2);
}

#[test]
fn a_ready_token_is_passed_through() {
    let run = evergrant(["token"]).env("GENESYSCLOUD_ACCESS_TOKEN", "ready").env("GENESYSCLOUD_REGION", "us-east-1");
    assert_eq!(run.end().good(), "ready\n");
}

#[test]
fn settings_come_from_every_layer() {
    let (provider, folder) = (provider(), Folder::new());
    let secret = folder.file("secret", &format!("{CLIENT_SECRET}\n"));
    let env_file = folder.file(".env", &format!("EVERGRANT_CLIENT_ID={CLIENT_ID}\nEVERGRANT_REGION=unheard-of\n"));
    let token_url = provider.token_url();
    let config = format!("[profile.it]\ntoken_url = \"{token_url}\"\nclient_secret_file = \"{secret}\"\n");
    let run = evergrant([
        "--profile",
        "it",
        "token",
        "--env-file",
        &env_file,
        "--provider",
        "oauth2",
        "--region",
        "us-east-1",
    ]);
    assert!(run.config(&config).end().good().len() > 1);
}

#[test]
fn a_secret_may_come_from_standard_input() {
    let provider = provider();
    let args = ["token", "--client-secret-file", "-", "--client-id", CLIENT_ID, "--token-url", &provider.token_url()];
    assert!(evergrant(args).input(&format!("{CLIENT_SECRET}\r\n")).end().good().len() > 1);
}
