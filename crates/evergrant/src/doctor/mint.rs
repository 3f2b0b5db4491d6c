//! The one token request.

use evergrant_core::offset::Source;
use evergrant_core::time::{Boot, Span};
use evergrant_core::wire::{TokenAnswer, TokenFailure, TokenFailureKind};

use super::evidence;
use super::report::{Check, Name, State};
use super::visit::Visit;
use super::words::millis;
use crate::assertion::Occasion;
use crate::client_secrets::{self, ClientSecrets};
use crate::grant::{Credential, Grant};
use crate::transport::{Target, TokenEndpoint, TokenExchange};

/// A token that was asked for here.
pub(super) struct Minted {
    pub(super) answer: TokenAnswer,
    pub(super) sent: Boot,
    pub(super) received: Boot,
}

/// Asks for one token.
pub(super) async fn mint(visit: &Visit<'_>, url: &str, credential: &Credential) -> (Check, Option<Minted>) {
    let check = Check::ok(Name::TokenEndpoint);
    if credential.grant == Grant::RefreshToken {
        let check = Check::skipped(Name::TokenEndpoint, "not asked: the request would spend the refresh token")
            .saw("what the store holds is looked at instead");
        return (check, None);
    }
    let endpoint = match TokenEndpoint::new(url, &visit.tls, visit.options()) {
        Ok(endpoint) => endpoint,
        Err(error) => return (check.saw(error.to_string()).fault("check the token URL and the CA file"), None),
    };
    if let Err(error) = credential.check() {
        return (
            check.saw(error.to_string()).fault("check the client id, the client authentication and its secret"),
            None,
        );
    }
    let secrets = ClientSecrets::of(credential);
    let make = |shown: &Credential, occasion: &Occasion<'_>| shown.token_request(None, occasion);
    let heard = |exchange: &TokenExchange| {
        visit.notes().token_requests += 1;
        if let Some(head) = &exchange.head {
            visit.note_answer(Source::AuthDate, exchange.sent, exchange.received, head);
        }
    };
    match client_secrets::ask(&endpoint, credential, &secrets, None, make, heard).await {
        Ok(exchange) => {
            let check = if secrets.is_next_in_use() { check.saw(NEXT_IN_USE) } else { check };
            judge(visit, endpoint.target(), credential, check, exchange)
        }
        Err(unsent) => {
            let fact = format!("no request could be made: {}", unsent.description.unwrap_or_default());
            (check.saw(fact).fault("check what signs for the client: its key, its claims and its files"), None)
        }
    }
}

fn judge(
    visit: &Visit<'_>,
    target: &Target,
    credential: &Credential,
    check: Check,
    exchange: TokenExchange,
) -> (Check, Option<Minted>) {
    let took = exchange.received - exchange.sent;
    let how = format!("grant {}, client authentication {}", credential.grant, credential.client_auth);
    match exchange.result {
        Ok(answer) => {
            let check = check
                .saw(format!("POST {target} ({how}) gave a token after {}", millis(took)))
                .saw("no other token was asked for; this one is not kept and was not revoked");
            let check = narrower_scope(check, credential, &answer);
            let check = if took > SLOW {
                check.saw(format!("an answer that takes longer than {SLOW} delays every caller that has to wait for it")).warning(
                    "ask the provider why its token endpoint is slow; Evergrant refreshes early, so raise EVERGRANT_TOKEN_TIMEOUT before EVERGRANT_SLACK",
                )
            } else {
                check
            };
            (check, Some(Minted { answer, sent: exchange.sent, received: exchange.received }))
        }
        Err(mut failure) => {
            visit.setup.profile.classify_token_failure(&mut failure);
            (refused(visit, target, credential, check, &failure, took), None)
        }
    }
}

fn refused(
    visit: &Visit<'_>,
    target: &Target,
    credential: &Credential,
    check: Check,
    failure: &TokenFailure,
    took: Span,
) -> Check {
    let how = format!("grant {}, client authentication {}", credential.grant, credential.client_auth);
    let check = check.saw(format!("POST {target} ({how}) failed after {}: {failure}", millis(took)));
    let check = match &failure.retry_after {
        Some(wait) => check.saw(format!("it asks to wait: {wait:?}")),
        None => check,
    };
    let judged = check.judged(State::Fault, &evidence::of_token_failure(&visit.setup.profile, failure));
    match more_exact_remedy(visit, target, credential, failure) {
        Some(remedy) => Check { remedy: Some(remedy), ..judged },
        None => judged,
    }
}

/// What to do where the kind of failure says more than its cause.
fn more_exact_remedy(
    visit: &Visit<'_>,
    target: &Target,
    credential: &Credential,
    failure: &TokenFailure,
) -> Option<String> {
    let api_host = visit.setup.profile.api_url.as_deref().and_then(|url| url::Url::parse(url).ok());
    let is_api_host = api_host.is_some_and(|api| api.origin() == target.url().origin());
    Some(match failure.kind {
        TokenFailureKind::InvalidClient => format!(
            "check the client id and secret (`evergrant config check` says where they come from), that this is the right region, and that the provider accepts client authentication {}",
            credential.client_auth
        ),
        TokenFailureKind::UnauthorizedClient => format!(
            "enable the client and allow it the grant {} on the provider's OAuth client page, or choose another with EVERGRANT_GRANT",
            credential.grant
        ),
        TokenFailureKind::UnsupportedGrantType => {
            "choose a grant that the provider offers with EVERGRANT_GRANT".to_owned()
        }
        TokenFailureKind::Redirected => {
            "set EVERGRANT_TOKEN_URL to where it redirects; secrets follow no redirect".to_owned()
        }
        TokenFailureKind::RateLimited => {
            "wait, then share one token between all programs of this client: one gateway, or one store".to_owned()
        }
        TokenFailureKind::ServerError => "try again later, and look at the provider's status page".to_owned(),
        TokenFailureKind::TimedOut | TokenFailureKind::Lost => {
            "ask the provider why its token endpoint does not answer; EVERGRANT_TOKEN_TIMEOUT bounds one try".to_owned()
        }
        TokenFailureKind::Malformed | TokenFailureKind::Rejected if is_api_host => format!(
            "the token URL is on the API's host {}: set EVERGRANT_TOKEN_URL to the provider's login host",
            target.place()
        ),
        TokenFailureKind::Malformed | TokenFailureKind::Rejected => {
            "check EVERGRANT_TOKEN_URL: what answers there is no token endpoint for this client".to_owned()
        }
        TokenFailureKind::Unreachable
        | TokenFailureKind::RotationLost
        | TokenFailureKind::InvalidGrant
        | TokenFailureKind::InvalidScope => return None,
    })
}

/// RFC 6749 section 5.1: a scope that differs from the one asked for is named.
fn narrower_scope(check: Check, credential: &Credential, answer: &TokenAnswer) -> Check {
    let words = |text: &Option<String>| -> Vec<String> {
        text.as_deref().unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect()
    };
    let (asked, granted) = (words(&credential.scope), words(&answer.scope));
    let missing: Vec<_> = asked.iter().filter(|scope| !granted.contains(scope)).cloned().collect();
    if answer.scope.is_none() || missing.is_empty() {
        return check;
    }
    check.saw(format!("scopes asked for and not granted: {}", missing.join(" "))).warning(
        "allow the client these scopes on the provider's OAuth client page, or take them out of EVERGRANT_SCOPE",
    )
}

const NEXT_IN_USE: &str = "the client secret was refused and the next one was accepted: put it in the other's place";
/// An answer that takes longer is felt.
const SLOW: Span = Span::from_secs(2);
