//! Commands that outlive many tokens: not one of their requests fails.

use std::time::{Duration, Instant};

use evergrant_core::time::Span;
use evergrant_sim::config::{ProviderConfig, REFRESH_TOKEN};
use evergrant_sim::faults::{Event, TokenFault};
use evergrant_sim::http::SimServer;
use evergrant_sim::ledger::TokenOutcome;

use super::{finish, genesys, lines};
use crate::support::{Folder, Running, evergrant};

/// Asks again and again with what `BEARER` says, until its input is closed; each answer that is not 200 is a line.
const ASKS: &str = r#"
    echo ready
    (read line; touch "$DONE") <&3 &
    while [ ! -e "$DONE" ]; do
        status=$(curl --silent --output /dev/null --write-out '%{http_code}' --header "Authorization: Bearer $(eval "$BEARER")" "$URL/api/v2/users/me")
        [ "$status" = 200 ] || echo "$status"
    done
"#;

/// Waits until that many more tokens were issued, and then for some calls.
fn outlive(running: &mut Running, provider: &SimServer, tokens: u64) {
    let seen = provider.handle().ledger().token.succeeded;
    running.when(|| provider.handle().ledger().token.succeeded >= seen + tokens);
    let calls = provider.handle().ledger().api.calls;
    running.when(|| provider.handle().ledger().api.calls >= calls + 5);
}

#[test]
fn through_a_gateway_no_end_of_a_token_is_seen_whoever_ends_it() {
    let (provider, folder) = (genesys(Span::from_secs(4)), Folder::new());
    let script = format!("exec 3<&0; URL=$EVERGRANT_GATEWAY_URL; {ASKS}");
    let run = evergrant(["exec", "--gateway", "--", "sh", "-c", &script]).client_of(&provider);
    let run = run.env("EVERGRANT_PROVIDER", "genesys").env("DONE", folder.path().join("done"));
    let (mut running, _home) = run.env("BEARER", r#"echo "$EVERGRANT_ACCESS_TOKEN""#).start();
    let mut lines = lines(&mut running);
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    for _ in 0..3 {
        outlive(&mut running, &provider, 1);
        provider.handle().apply(Event::RevokeAll);
        // The one that takes the place of what was revoked.
        outlive(&mut running, &provider, 1);
    }
    assert_eq!(finish(running, 0), "");
    assert_eq!(lines.map(Result::unwrap).collect::<Vec<_>>(), [""; 0]);
    let ledger = provider.handle().ledger();
    assert!(ledger.refused() > 0, "the revocations must have met calls, or the test proves nothing");
    assert!(ledger.token.max_in_flight <= 1);
}

#[test]
fn a_file_has_the_token_that_works_now() {
    let (provider, folder) = (genesys(Span::from_secs(3)), Folder::new());
    let script = format!("exec 3<&0; {ASKS}");
    let run = evergrant(["exec", "--token-file", "--", "sh", "-c", &script]).client_of(&provider);
    let run = run.env("EVERGRANT_PROVIDER", "genesys").env("DONE", folder.path().join("done"));
    let run = run.env("URL", provider.url()).env("BEARER", r#"cat "$EVERGRANT_ACCESS_TOKEN_FILE""#);
    let (mut running, _home) = run.start();
    let mut lines = lines(&mut running);
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    outlive(&mut running, &provider, 5);
    assert_eq!(finish(running, 0), "", "no warning: the file outlives the token");
    assert_eq!(lines.map(Result::unwrap).collect::<Vec<_>>(), [""; 0]);
    let ledger = provider.handle().ledger();
    assert!(ledger.api.calls > 20 && ledger.refused() == 0, "{:?}", ledger.api);
}

#[test]
fn a_refresh_in_flight_when_the_command_ends_is_not_lost() {
    let lifetime = Span::from_secs(5);
    let provider = SimServer::start(ProviderConfig::rfc().with_lifetime(lifetime)).unwrap();
    let folder = Folder::new();
    let store = format!("file+plain:{}", folder.path().join("store").display());
    let with = |arguments: &[&str]| {
        let run = evergrant(arguments).client_of(&provider).env("EVERGRANT_STORE", &store);
        run.env("EVERGRANT_GRANT", "refresh_token").env("EVERGRANT_REFRESH_TOKEN", REFRESH_TOKEN)
    };
    let (mut running, _home) = with(&["exec", "--gateway", "--", "sh", "-c", "echo ready; read line; exit 3"]).start();
    assert_eq!(lines(&mut running).next().unwrap().unwrap(), "ready");
    provider.handle().apply(Event::token(TokenFault::Slow(Span::from_secs(1))));
    running.when(|| provider.handle().ledger().token.in_flight > 0);
    assert_eq!(finish(running, 3), "");
    provider.handle().apply(Event::ClearTokenFaults);
    with(&["token", "--min-remaining", "4500ms"]).end().good();
    assert_eq!(provider.handle().ledger().token_requests_ended(TokenOutcome::InvalidGrant), 0);
}

#[test]
fn answers_that_come_too_late_to_be_of_use_do_not_put_off_the_end() {
    let provider = genesys(Span::from_secs(2));
    let (mut running, _home) = evergrant(["exec", "--gateway", "--", "sh", "-c", "echo ready; read line; exit 3"])
        .client_of(&provider)
        .start();
    assert_eq!(lines(&mut running).next().unwrap().unwrap(), "ready");
    provider.handle().apply(Event::token(TokenFault::Slow(Span::from_secs(3))));
    running.when(|| provider.handle().ledger().token.in_flight > 0);
    let closed = Instant::now();
    finish(running, 3);
    assert!(closed.elapsed() < Duration::from_secs(20), "it waits for one answer and no more");
}
