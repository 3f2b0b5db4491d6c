//! Assertions against servers whose clocks are wrong, and step.

use std::sync::Arc;

use evergrant::assertion::{Assertion, Claims, Signer};
use evergrant::core::Secret;
use evergrant::core::keeper::AcquireErrorKind;
use evergrant::core::time::Span;
use evergrant::grant::{ClientAuth, Grant};
use evergrant::{Credential, TokenSource};
use evergrant_sim::config::CLIENT_ID;
use evergrant_sim::faults::{Chance, TokenFault, TokenRule};
use evergrant_sim::ledger::TokenOutcome;
use evergrant_sim::{Event, ProviderConfig, SimServer};

use crate::support::{credential, genesys, until};

const KEY: &str = include_str!("../../src/assertion/keys/es256.pem");

fn signed(subject: &str) -> Assertion {
    let signer = Signer::from_pem(&Secret::from(KEY), None, None).unwrap();
    let claims = Claims { issuer: CLIENT_ID.to_owned(), subject: subject.to_owned(), audience: None };
    Assertion::Signed(Arc::new(signer), claims)
}

/// A client that shows an assertion instead of a secret.
fn with_private_key() -> Credential {
    let client_assertion = Some(signed(CLIENT_ID));
    Credential { client_auth: ClientAuth::PrivateKeyJwt, client_secret: None, client_assertion, ..credential() }
}

/// A client that spends an assertion about somebody.
fn spending() -> Credential {
    Credential { grant: Grant::JwtBearer, grant_assertion: Some(signed("ada")), ..credential() }
}

fn refused(sim: &SimServer) -> usize {
    let outcomes = sim.handle().ledger().token.events;
    let is_refusal = |outcome| matches!(outcome, TokenOutcome::InvalidClient | TokenOutcome::InvalidGrant);
    outcomes.iter().filter(|event| is_refusal(event.outcome)).count()
}

#[tokio::test]
async fn a_wrong_clock_on_either_side_refuses_no_assertion() {
    for offset in [-86_400, -600, 0, 7, 3600] {
        for credential in [with_private_key(), spending()] {
            let config = ProviderConfig::rfc().with_offset(Span::from_secs(offset));
            let sim = SimServer::start(config).unwrap();
            let source = TokenSource::builder(genesys(&sim), credential).build().unwrap();
            assert!(!source.token().await.unwrap().expose().is_empty());
            assert_eq!(refused(&sim), 0, "offset {offset}: the first HEAD told the time");
        }
    }
}

#[tokio::test]
async fn a_step_between_two_refreshes_costs_one_more_request_and_no_failure() {
    for step in [-7200, 7200] {
        let sim = SimServer::start(ProviderConfig::rfc().with_lifetime(Span::from_secs(5))).unwrap();
        let source = TokenSource::builder(genesys(&sim), with_private_key()).build().unwrap();
        let first = source.token().await.unwrap().generation();
        sim.handle().apply(Event::StepServer(Span::from_secs(step)));
        until("the token was renewed", || source.try_token().is_some_and(|token| token.generation() > first)).await;
        assert_eq!(refused(&sim), 1, "step {step}: refused for its dates, then signed anew");
    }
}

#[tokio::test]
async fn a_refusal_that_is_not_about_time_is_not_repeated() {
    let sim = SimServer::start(ProviderConfig::rfc()).unwrap();
    let unknown = Credential { client_assertion: Some(signed("nobody")), ..with_private_key() };
    let source = TokenSource::builder(genesys(&sim), unknown).build().unwrap();
    let error = source.token().await.unwrap_err();
    assert_eq!(error.kind, AcquireErrorKind::Rejected, "{error}");
    assert_eq!(refused(&sim), 1);
}

#[tokio::test]
async fn a_key_never_shows_in_an_error() {
    let sim = SimServer::start(ProviderConfig::rfc()).unwrap();
    let rule = TokenRule { fault: TokenFault::Status(500, None), chance: Chance::ALWAYS };
    sim.handle().apply(Event::TokenFault(rule));
    let source = TokenSource::builder(genesys(&sim), with_private_key()).build().unwrap();
    let deadline = Some(evergrant::clock::boot() + Span::from_secs(1));
    let error = source.token_lasting(Span::ZERO, deadline).await.unwrap_err();
    let shown = format!("{error} {error:?} {source:?} {:?}", with_private_key());
    assert!(!KEY.lines().any(|line| line.len() > 20 && shown.contains(line)), "{shown}");
}
