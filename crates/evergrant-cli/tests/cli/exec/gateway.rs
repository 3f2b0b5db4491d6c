//! `exec --gateway`: what the command can see, and where its requests go.

use std::time::{Duration, Instant};

use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig};
use evergrant_sim::faults::Event;
use evergrant_sim::http::SimServer;
use evergrant_sim::ledger::TokenOutcome;

use super::{genesys, lines};
use crate::support::{Folder, closed_port, evergrant, get, provider};

#[test]
fn the_command_sees_neither_the_token_nor_a_secret_of_the_client() {
    for (config, genesys) in [(ProviderConfig::genesys(), true), (ProviderConfig::rfc(), false)] {
        let provider = SimServer::start(config).unwrap();
        let run = evergrant(["exec", "--gateway", "--", "env"]).client_of(&provider);
        let run = run.env("EVERGRANT_PROVIDER", if genesys { "genesys" } else { "oauth2" });
        let said = run.env("GENESYS_CLIENT_SECRET", "s3cr3t").end().good();
        let value = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        assert!(value("EVERGRANT_ACCESS_TOKEN").unwrap().starts_with("eg1_"), "{said}");
        assert_eq!(value("GENESYSCLOUD_ACCESS_TOKEN"), value("EVERGRANT_ACCESS_TOKEN").filter(|_| genesys));
        assert_eq!(value("GENESYSCLOUD_OAUTHCLIENT_SECRET").is_some(), genesys);
        for secret in provider.handle().secrets().iter().map(|secret| secret.expose()).chain(["s3cr3t"]) {
            assert!(!said.contains(secret), "{said}");
        }
    }
}

/// Logs in as the tools do that know an id and a secret, and calls with what it got; then with what is in the
/// environment.
const LOGS_IN: &str = r#"
    set -eu
    ask() { curl --silent --show-error --fail-with-body "$@"; }
    token=$(ask --user "$GENESYSCLOUD_OAUTHCLIENT_ID:$GENESYSCLOUD_OAUTHCLIENT_SECRET" \
        --data grant_type=client_credentials "$EVERGRANT_GATEWAY_URL/oauth/token" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
    gateway="$GENESYSCLOUD_GATEWAY_PROTOCOL://$GENESYSCLOUD_GATEWAY_HOST:$GENESYSCLOUD_GATEWAY_PORT"
    ask --header "Authorization: Bearer $token" "$gateway/api/v2/users/me"
    ask --header "Authorization: Bearer $GENESYSCLOUD_ACCESS_TOKEN" "$gateway/api/v2/users/me"
    ask "http://localhost:$GENESYSCLOUD_GATEWAY_PORT/api/v2/users/me"
"#;

#[test]
fn a_tool_that_logs_in_needs_no_secret_of_ours_and_no_proxy_is_asked() {
    let provider = genesys(Span::from_secs(100));
    let proxy = format!("http://{}", closed_port());
    let run = evergrant(["exec", "--gateway", "--", "sh", "-c", LOGS_IN]).client_of(&provider);
    let run = run.env("EVERGRANT_PROVIDER", "genesys").env("http_proxy", &proxy).env("ALL_PROXY", &proxy);
    let said = run.end().good();
    assert_eq!(said.matches(r#""path":"/api/v2/users/me""#).count(), 3, "{said}");
    assert_eq!(provider.handle().ledger().token.requests, 1);
}

#[test]
fn evergrant_itself_uses_its_own_settings_inside() {
    let provider = genesys(Span::from_secs(100));
    let folder = Folder::new();
    let secret = folder.file("secret", CLIENT_SECRET);
    let binary = env!("CARGO_BIN_EXE_evergrant");
    let run = evergrant(["exec", "--gateway", "--", binary, "api", "GET", "/api/v2/users/me"]).config(&format!(
        "provider = \"genesys\"\ntoken_url = \"{}\"\nupstream = \"{}\"\nclient_id = \"{CLIENT_ID}\"\n\
         client_secret_file = \"{secret}\"\n",
        provider.token_url(),
        provider.url()
    ));
    assert!(run.end().good().contains(r#""path":"/api/v2/users/me""#));
    let ledger = provider.handle().ledger();
    assert_eq!((ledger.token.requests, ledger.token_requests_ended(TokenOutcome::Issued)), (2, 2));
}

#[test]
fn where_logins_are_not_answered_the_handle_still_is() {
    let provider = genesys(Span::from_secs(100));
    let script = r#"echo "${GENESYSCLOUD_OAUTHCLIENT_SECRET-none}"
        curl --silent --header "Authorization: Bearer $EVERGRANT_ACCESS_TOKEN" "$EVERGRANT_GATEWAY_URL/api/v2/users/me""#;
    let run = evergrant(["exec", "--gateway", "--", "sh", "-c", script]).client_of(&provider);
    let said = run.env("EVERGRANT_PROVIDER", "genesys").env("EVERGRANT_BROKER", "false").end().good();
    assert!(said.starts_with("none\n") && said.contains(r#""path":"/api/v2/users/me""#), "{said}");
}

#[test]
fn a_private_gateway_takes_a_secret_that_is_changed_in_its_file() {
    let lifetime = Span::from_secs(2);
    let provider = SimServer::start(ProviderConfig::rfc().with_lifetime(lifetime)).unwrap();
    let folder = Folder::new();
    let file = folder.file("secret", CLIENT_SECRET);
    let script = "echo $EVERGRANT_GATEWAY_URL; read line";
    let run = evergrant(["exec", "--gateway", "--", "sh", "-c", script]).client_of(&provider);
    let run = run.env("EVERGRANT_CLIENT_SECRET", "").env("EVERGRANT_CLIENT_SECRET_FILE", &file);
    let (mut running, _home) = run.start();
    let mut lines = lines(&mut running);
    let url = lines.next().unwrap().unwrap();
    let address = url.strip_prefix("http://").unwrap();
    folder.file("secret", "another-s3cret");
    provider.handle().apply(Event::SetClientSecret("another-s3cret".to_owned()));
    let issued = || provider.handle().ledger().token_requests_ended(TokenOutcome::Issued);
    let before = issued();
    let deadline = Instant::now() + Duration::from_secs(20);
    while issued() < before + 2 {
        assert!(Instant::now() < deadline, "the new secret is not used");
        let answer = get(address, "/api/v2/users");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(provider.handle().ledger().token_requests_ended(TokenOutcome::InvalidClient), 0);
    drop(running.child().stdin.take());
    running.wait();
}

#[test]
fn a_private_gateway_lives_as_long_as_the_child() {
    let provider = provider();
    let script = "echo $EVERGRANT_GATEWAY_URL; read line; exit 3";
    let (mut running, _home) = evergrant(["exec", "--gateway", "--", "sh", "-c", script]).client_of(&provider).start();
    let mut lines = lines(&mut running);
    let url = lines.next().unwrap().unwrap();
    let address = url.strip_prefix("http://").unwrap();
    let answer = get(address, "/api/v2/users");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("/api/v2/users"), "{answer}");
    drop(running.child().stdin.take());
    assert_eq!(running.wait().code(), Some(3));
    assert!(std::net::TcpStream::connect(address).is_err(), "the gateway still listens");
}
