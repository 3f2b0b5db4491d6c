//! One token request whose assertion fits the server's clock.
//!
//! Before the first answer of a server nothing is known of its clock, so one HEAD request asks for its `Date`. Even so
//! the clock may have stepped since. A refusal is therefore first a question of time: if the `Date` of that very answer
//! lies outside the dates of the assertion, it is signed anew by that `Date` and sent once more. If it does not, the
//! refusal is about something else and stands.
//!
//! An assertion that was made elsewhere is sent once; nobody here can date it.

use evergrant_core::wire::{TokenFailure, TokenFailureKind};

use super::signer::LIFETIME;
use super::time::{Occasion, ServerTime};
use crate::clock;
use crate::grant::{Credential, GrantError, TokenRequest};
use crate::transport::{TokenEndpoint, TokenExchange};

/// Sends the request that `make` makes for an occasion, and tells every exchange to `heard`.
pub(crate) async fn ask(
    endpoint: &TokenEndpoint,
    credential: &Credential,
    known: Option<ServerTime>,
    make: impl Fn(&Occasion<'_>) -> Result<TokenRequest, GrantError>,
    heard: impl Fn(&TokenExchange),
) -> Result<TokenExchange, TokenFailure> {
    let token_url = endpoint.target().url().as_str();
    let request = |time| {
        let unsent =
            |error: GrantError| TokenFailure::of(TokenFailureKind::Unreachable).with_description(&error.to_string());
        make(&Occasion { token_url, time }).map_err(unsent)
    };
    let time = time(endpoint, credential, known).await;
    let exchange = endpoint.request(&request(time)?, None).await;
    heard(&exchange);
    let Some(shown) = shown_by_refusal(credential, &exchange).filter(|shown| shown.refuses(time, LIFETIME)) else {
        return Ok(exchange);
    };
    tracing::info!("the server's clock refused the dates of an assertion; it is signed anew");
    let exchange = endpoint.request(&request(shown)?, None).await;
    heard(&exchange);
    Ok(exchange)
}

/// What the server's clock shows. If nothing is known of it and something is to be signed, the server is asked.
pub(crate) async fn time(endpoint: &TokenEndpoint, credential: &Credential, known: Option<ServerTime>) -> ServerTime {
    let time = match known {
        None if credential.signs() => endpoint
            .ask_head()
            .await
            .and_then(|(sent, head, received)| ServerTime::by_answer(&head, sent, received, clock::boot())),
        known => known,
    };
    time.unwrap_or_else(|| ServerTime::by_wall(clock::now()))
}

/// What the server's clock shows, by an answer that refuses what an assertion proves.
fn shown_by_refusal(credential: &Credential, exchange: &TokenExchange) -> Option<ServerTime> {
    let failure = exchange.result.as_ref().err()?;
    let may_be_its_dates = matches!(
        failure.kind,
        TokenFailureKind::InvalidClient | TokenFailureKind::InvalidGrant | TokenFailureKind::UnauthorizedClient
    );
    let head = exchange.head.as_ref().filter(|_| may_be_its_dates && credential.signs())?;
    ServerTime::by_answer(head, exchange.sent, exchange.received, clock::boot())
}
