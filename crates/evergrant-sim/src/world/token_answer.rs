//! Token requests as every client here sends them, and what comes of them.

use evergrant_core::time::Boot;
use evergrant_core::wire::{
    TokenAnswer, TokenFailure, TokenFailureKind, parse_http_date, parse_retry_after, parse_token_answer,
};
use http::header::{DATE, RETRY_AFTER};

use super::scene::{Exchange, Scene};
use super::{Event, TOKEN_TIMEOUT};
use crate::config::{CLIENT_ID, CLIENT_SECRET};
use crate::provider::Request;
use crate::scenario::Grant;

impl Scene {
    /// A token request leaves.
    pub(super) fn send_token_request(&mut self, request: u64) {
        self.provider.ledger_mut().token.enter();
        self.send_token_request_again(request);
    }

    /// The same request leaves once more.
    pub(super) fn send_token_request_again(&mut self, request: u64) {
        self.write(|| format!("token request {request} sent"));
        let sent = self.clock().boot;
        if self.is_lost() {
            let nothing = Exchange { is_torn: true, ..Exchange::nothing(sent) };
            return self.at_local(sent + TOKEN_TIMEOUT, Event::TokenAnswered(request, nothing));
        }
        let arrives = self.now + self.way_there();
        self.at(arrives, Event::TokenArrive(request, sent));
    }

    /// The token request that was sent with this refresh token, if the grant has any, arrives.
    pub(super) fn serve_token_request(&mut self, request: u64, refresh_token: &str, sent: Boot) {
        let form = match self.scenario.grant {
            Grant::ClientCredentials => vec![("grant_type", "client_credentials")],
            Grant::RefreshToken => vec![("grant_type", "refresh_token"), ("refresh_token", refresh_token)],
        };
        let asked = Request::token(&form).basic(CLIENT_ID, CLIENT_SECRET);
        let (after, exchange) = self.serve(&asked, sent);
        self.write(|| format!("token request {request} meets {:?}", exchange.status));
        let timeout = self.to_true(sent + TOKEN_TIMEOUT);
        if after > timeout {
            let nothing = Exchange { status: None, is_torn: true, ..exchange };
            return self.at(timeout, Event::TokenAnswered(request, nothing));
        }
        self.at(after, Event::TokenAnswered(request, exchange));
    }
}

/// The token in an answer, or why there is none.
pub(super) fn token_result(exchange: &Exchange) -> Result<TokenAnswer, TokenFailure> {
    let Some(status) = exchange.status else {
        let kind = if exchange.is_torn { TokenFailureKind::TimedOut } else { TokenFailureKind::Lost };
        return Err(TokenFailure::of(kind));
    };
    parse_token_answer(status, &exchange.body).map_err(|mut failure| {
        let header = |name| exchange.headers.get(name).and_then(|value| value.to_str().ok());
        let answered = header(DATE).and_then(parse_http_date);
        failure.retry_after = header(RETRY_AFTER).and_then(parse_retry_after).map(|at| at.counted_from(answered));
        failure
    })
}
