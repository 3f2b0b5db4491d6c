//! Bad input from the other side: each failure says what, where, why and what to do, with its own exit code.

use evergrant_core::time::Span;
use evergrant_sim::faults::{Event, TokenFault};
use evergrant_sim::http::SimServer;

use crate::support::{Ended, Folder, closed_port, evergrant, provider};

/// What the user sees, without the ports and times of this run.
fn shown(ended: Ended, code: i32, provider: Option<&SimServer>) -> String {
    let text = ended.failed(code);
    match provider {
        Some(provider) => text.replace(&provider.addr().to_string(), "HOST:PORT"),
        None => text,
    }
}

fn token_with(fault: TokenFault, code: i32) -> String {
    let provider = provider();
    provider.handle().apply(Event::token(fault));
    let run = evergrant(["token", "--timeout", "1500ms", "--token-timeout", "1s"]).client_of(&provider);
    shown(run.end(), code, Some(&provider))
}

#[test]
fn a_wrong_secret_is_rejected() {
    let provider = provider();
    let run = evergrant(["token"]).client_of(&provider).env("EVERGRANT_CLIENT_SECRET", "hunter2");
    let text = shown(run.end(), 4, Some(&provider));
    assert!(!text.contains("hunter2"));
    insta::assert_snapshot!(text, @r"
    error: the token endpoint refuses the credentials
      in: http://HOST:PORT/oauth/token
      cause: client_rejected: invalid_client (HTTP 401): authentication failed
    hint: check the client id and secret, and --client-auth; `evergrant config check` shows where they come from
    ");
}

#[test]
fn an_endpoint_that_nobody_serves_is_unreachable() {
    let address = closed_port().to_string();
    let url = format!("http://{address}/oauth/token");
    let args = ["token", "--timeout", "2s", "--token-url", &url, "--client-id", "id"];
    let ended = evergrant(args).env("EVERGRANT_CLIENT_SECRET", "s3cr3t").end();
    insta::assert_snapshot!(shown(ended, 5, None).replace(&address, "HOST:PORT"), @r"
    error: the token endpoint cannot be reached
      in: http://HOST:PORT/oauth/token
      cause: connection refused by HOST:PORT; check the URL and that the server is running
    hint: check the token URL or region, the network, and HTTPS_PROXY
    ");
}

#[test]
fn a_server_that_does_not_speak_tls_is_unreachable() {
    let provider = provider();
    let url = provider.token_url().replace("http://", "https://");
    let args = ["token", "--timeout", "2s", "--token-url", &url, "--client-id", "id"];
    let ended = evergrant(args).env("EVERGRANT_CLIENT_SECRET", "s3cr3t").end();
    insta::assert_snapshot!(shown(ended, 5, Some(&provider)), @r"
    error: the token endpoint cannot be reached
      in: https://HOST:PORT/oauth/token
      cause: TLS with HOST:PORT failed: received corrupt message of type InvalidContentType; check that this port speaks TLS
    hint: check the token URL or region, the network, and HTTPS_PROXY
    ");
}

#[test]
fn answers_without_a_token_are_named() {
    insta::assert_snapshot!(token_with(TokenFault::NotJson, 7), @r"
    error: the token endpoint gives no token
      in: http://HOST:PORT/oauth/token
      cause: the token endpoint's answer holds no usable token (HTTP 200): the body is a web page, not JSON
    hint: check the token URL: it must be the token endpoint of the provider
    ");
    insta::assert_snapshot!(token_with(TokenFault::MissingToken, 7), @r"
    error: the token endpoint gives no token
      in: http://HOST:PORT/oauth/token
      cause: the token endpoint's answer holds no usable token (HTTP 200): the body has no access_token
    hint: check the token URL: it must be the token endpoint of the provider
    ");
    insta::assert_snapshot!(token_with(TokenFault::Empty, 7), @r"
    error: the token endpoint gives no token
      in: http://HOST:PORT/oauth/token
      cause: the token endpoint's answer holds no usable token (HTTP 200): the body is empty
    hint: check the token URL: it must be the token endpoint of the provider
    ");
    insta::assert_snapshot!(token_with(TokenFault::Status(503, None), 7), @r"
    error: the token endpoint gives no token
      in: http://HOST:PORT/oauth/token
      cause: the token endpoint failed (HTTP 503)
    hint: try again later; if it stays like this, check the provider's status page
    ");
    insta::assert_snapshot!(token_with(TokenFault::Redirect("https://elsewhere.example/token".into()), 7), @r"
    error: the token endpoint gives no token
      in: http://HOST:PORT/oauth/token
      cause: the token URL redirects, and token requests follow no redirect (HTTP 302): HOST:PORT redirects to https://elsewhere.example; token requests follow no redirect: check the token URL
    hint: set the token URL that it redirects to
    ");
}

#[test]
fn an_endpoint_that_does_not_answer_times_out() {
    insta::assert_snapshot!(token_with(TokenFault::Hang(Span::from_secs(30)), 5), @r"
    error: no token arrived in time
      in: http://HOST:PORT/oauth/token
      cause: nothing came within 1.5 s
    hint: try again, or wait longer with --timeout and --token-timeout
    ");
}

#[test]
fn an_odd_lifetime_still_gives_a_token() {
    use evergrant_sim::config::ExpiresIn;
    let provider = provider();
    for odd in [ExpiresIn::Says(-5), ExpiresIn::Says(i64::MAX)] {
        provider.handle().apply(Event::SetExpiresIn(odd));
        let text = evergrant(["token", "--json"]).client_of(&provider).end().good();
        assert!(text.contains("access_token"), "{text}");
    }
}

#[test]
fn a_store_that_cannot_be_used_is_named_and_left_alone() {
    let (provider, folder) = (provider(), Folder::new());
    let foreign = folder.file("notes.txt", "not a store");
    let run = |store: &str| evergrant(["token", "--store", store]).client_of(&provider).end();
    let tidy = |text: String| text.replace(folder.path().to_str().unwrap(), "FOLDER");
    insta::assert_snapshot!(tidy(run(&format!("file+plain:{foreign}")).failed(8)), @r"
    error: cannot use the token store
      cause: FOLDER/notes.txt is open to other users (mode 0644, expected 0600)
    hint: run `chmod 600 FOLDER/notes.txt`; revoke its tokens if others may have read it
    ");
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "not a store");
    insta::assert_snapshot!(tidy(run(&format!("file:{foreign}")).failed(8)), @r"
    error: cannot use the token store
      cause: the store file:FOLDER/notes.txt is to be sealed, and there is no store key
    hint: set EVERGRANT_STORE_KEY to 32 random bytes in base64 (`openssl rand -base64 32`), or EVERGRANT_STORE_PASSPHRASE to a passphrase, or use `file+plain:`
    ");
    assert_eq!(provider.handle().ledger().token.succeeded, 0);
}
