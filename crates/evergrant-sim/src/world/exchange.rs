//! Requests and their answers: at the API, at the token endpoint, and probes.

use evergrant_core::keeper::{FlightId, FlightNext, Minted};
use evergrant_core::offset::{Sample, Source};
use evergrant_core::profile::{Probe, ProbeMethod};
use evergrant_core::time::{Boot, Span};
use evergrant_core::token::Issued;
use evergrant_core::wire::{
    TokenAnswer, TokenFailure, TokenFailureKind, parse_http_date, parse_retry_after, parse_token_answer,
};
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, Method};

use super::{Event, TOKEN_TIMEOUT, World};
use crate::config::{CLIENT_ID, CLIENT_SECRET};
use crate::provider::{Answer, Payload, Request};
use crate::scenario::Grant;

/// What a request met.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) sent: Boot,
    pub(super) status: Option<u16>,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) is_torn: bool,
}

impl World {
    /// The provider answers a request that has just arrived; when the answer arrives, and what it is.
    pub(super) fn serve(&mut self, request: &Request, sent: Boot) -> (Boot, Exchange) {
        let reply = self.provider.handle(request, self.now);
        let (response, is_torn) = match reply.answer {
            Answer::Response(response) => (Some(response), false),
            Answer::Torn { response, keep } => (
                Some(response.map(|body| match body {
                    Payload::Bytes(bytes) => Payload::Bytes(bytes.slice(..keep.min(bytes.len()))),
                    other @ (Payload::Fill(_) | Payload::Events { .. }) => other,
                })),
                true,
            ),
            Answer::Reset { .. } => (None, false),
        };
        let exchange = match response {
            Some(response) => {
                let (head, body) = response.into_parts();
                let body = match body {
                    Payload::Bytes(bytes) => bytes.to_vec(),
                    Payload::Fill(_) | Payload::Events { .. } => Vec::new(),
                };
                Exchange { sent, status: Some(head.status.as_u16()), headers: head.headers, body, is_torn }
            }
            None => Exchange { sent, status: None, headers: HeaderMap::new(), body: Vec::new(), is_torn },
        };
        (self.now + reply.delay + self.delay(), exchange)
    }

    pub(super) fn token_arrives(&mut self, flight: FlightId) {
        let form = match self.scenario.grant {
            Grant::ClientCredentials => vec![("grant_type", "client_credentials")],
            Grant::RefreshToken => {
                vec![("grant_type", "refresh_token"), ("refresh_token", self.refresh_token.as_str())]
            }
        };
        let request = Request::token(&form).basic(CLIENT_ID, CLIENT_SECRET);
        let sent = self.now;
        let (after, exchange) = self.serve(&request, sent);
        let timeout = sent + TOKEN_TIMEOUT;
        if after > timeout {
            let nothing = Exchange { status: None, is_torn: true, ..exchange };
            return self.at(timeout, Event::TokenAnswered(flight, nothing));
        }
        self.at(after, Event::TokenAnswered(flight, exchange));
    }

    pub(super) fn token_answered(&mut self, flight: FlightId, exchange: &Exchange) {
        self.sample(Source::AuthDate, exchange);
        let now = self.clock();
        let issued = Issued { sent: exchange.sent, received: self.now };
        match token_result(exchange) {
            Ok(answer) => {
                if let Some(refresh) = &answer.refresh_token {
                    self.refresh_token = refresh.expose().to_owned();
                }
                let minted = Minted {
                    generation: self.keeper.newest_generation().next(),
                    access_token: answer.access_token,
                    issued,
                    lifetime: answer.expires_in,
                    is_renewable: true,
                };
                self.provider.ledger_mut().token.leave();
                self.keeper.handle_minted(flight, minted, now);
            }
            Err(failure) => match self.keeper.handle_flight_failed(flight, failure, now) {
                FlightNext::AskAgain => self.soon(Event::TokenArrive(flight)),
                FlightNext::Over => self.provider.ledger_mut().token.leave(),
            },
        }
    }

    pub(super) fn sample(&mut self, source: Source, exchange: &Exchange) {
        let date = exchange.headers.get(DATE).and_then(|date| parse_http_date(date.to_str().ok()?));
        if let Some(server) = date {
            let resolution = Span::from_secs(1);
            let sample = Sample { sent: exchange.sent, received: self.now, server, resolution, bounds_above: true };
            let _ = self.keeper.handle_clock_sample(source, sample, self.clock());
        }
    }
}

fn token_result(exchange: &Exchange) -> Result<TokenAnswer, TokenFailure> {
    let Some(status) = exchange.status else {
        let kind = if exchange.is_torn { TokenFailureKind::TimedOut } else { TokenFailureKind::Lost };
        return Err(TokenFailure::of(kind));
    };
    parse_token_answer(status, &exchange.body).map_err(|mut failure| {
        let after = exchange.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        failure.retry_after = after.and_then(parse_retry_after);
        failure
    })
}

pub(super) fn probe_request(probe: &Probe) -> Request {
    let method = match probe.method {
        ProbeMethod::Head => Method::HEAD,
        ProbeMethod::Get => Method::GET,
    };
    Request::new(method, &probe.path)
}
