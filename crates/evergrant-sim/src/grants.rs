//! The token endpoint: client authentication, grants, rotation of refresh tokens.
//!
//! Order of a request: a fault that strikes before acting; the form (RFC 6749 section 3.2); client authentication
//! (section 2.3.1); the mint limit; the grant; then a fault that spoils the answer. A token is issued the moment the
//! request arrives, also when its answer is slow or lost.
//!
//! What a refresh token is still good for is in [`rotation`](crate::rotation).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evergrant_core::time::{Boot, Span};
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{Method, Response, StatusCode};
use serde_json::json;

use crate::config::{ClientAuth, Shape};
use crate::faults::TokenFault;
use crate::ledger::{TokenEvent, TokenOutcome};
use crate::provider::{Answer, Payload, Provider, Reply, Request};
use crate::rotation::Use;
use crate::shape::{self, TokenError};
use crate::tokens::{Generation, Refusal};

/// A granted request: the token, and the refresh token to hand out with it.
struct Granted {
    generation: Generation,
    refresh_token: Option<String>,
    outcome: TokenOutcome,
}

/// A refused one.
struct Refused {
    error: TokenError,
    outcome: TokenOutcome,
}

impl Provider {
    /// Answers a request at the token endpoint.
    pub(crate) fn token_request(&mut self, request: &Request, now: Boot) -> Reply {
        let delay = self.seed.delay(self.config.latency.token);
        let fault = self.config.faults.draw_token(&mut self.seed);
        if let Some(fault) = fault.clone().filter(|fault| !fault.acts()) {
            let event =
                TokenEvent { at: now, outcome: TokenOutcome::NotReached, fault: Some(fault.clone()), generation: None };
            self.ledger.note_token_request(event, false);
            return fault_before(&fault, delay);
        }
        let (mut response, outcome, generation) = match self.decide(request, now) {
            Ok(granted) => {
                let with_token = fault != Some(TokenFault::MissingToken);
                let response = self.token_response(&granted, with_token, now);
                (response, granted.outcome, Some(granted.generation))
            }
            Err(refused) => (shape::token_error(self.config.shape, refused.error), refused.outcome, None),
        };
        if self.config.shape == Shape::Genesys {
            shape::set(&mut response, shape::CORRELATION_ID, &self.seed.uuid());
        }
        let delivered = generation.is_some() && fault.as_ref().is_none_or(TokenFault::delivers);
        self.ledger.note_token_request(TokenEvent { at: now, outcome, fault: fault.clone(), generation }, delivered);
        fault_after(fault.as_ref(), delay, response)
    }

    fn decide(&mut self, request: &Request, now: Boot) -> Result<Granted, Refused> {
        let form = read_form(request)?;
        let client = self.authenticate(request, &form, now)?;
        let scope = self.allowed_scope(client, form.get("scope").map(String::as_str))?;
        match form.get("grant_type").map(String::as_str) {
            Some("client_credentials") => {
                if !self.config.clients[client].client_credentials {
                    return Err(refused(TokenError::UnauthorizedClient));
                }
                self.take_mint(client, now)?;
                let generation = self.mint(client, scope, now);
                Ok(Granted { generation, refresh_token: None, outcome: TokenOutcome::Issued })
            }
            Some("refresh_token") => {
                let Some(text) = form.get("refresh_token") else {
                    return Err(refused(TokenError::InvalidRequest("refresh_token is missing")));
                };
                self.redeem(client, text, scope, now)
            }
            Some("authorization_code") => {
                if !self.spend_code(client, &form, now) {
                    return Err(refused(TokenError::InvalidGrant));
                }
                let generation = self.mint(client, scope, now);
                // As Genesys Cloud: only a client that showed its secret can renew what it got.
                let shows_secret = request.headers.contains_key(AUTHORIZATION) || form.contains_key("client_secret");
                let refresh_token = shows_secret.then(|| self.refresh.begin(client, generation, &mut self.seed));
                Ok(Granted { generation, refresh_token, outcome: TokenOutcome::Issued })
            }
            Some(JWT_BEARER) => {
                if !self.accepts_assertion(&form, now) {
                    return Err(refused(TokenError::InvalidGrant));
                }
                self.take_mint(client, now)?;
                let generation = self.mint(client, scope, now);
                Ok(Granted { generation, refresh_token: None, outcome: TokenOutcome::Issued })
            }
            Some(_) => Err(refused(TokenError::UnsupportedGrantType)),
            None => Err(refused(TokenError::InvalidRequest("grant_type is missing"))),
        }
    }

    fn authenticate(
        &mut self,
        request: &Request,
        form: &BTreeMap<String, String>,
        now: Boot,
    ) -> Result<usize, Refused> {
        if form.contains_key("client_assertion") {
            let wrong = || refused(TokenError::InvalidClient { known: true, basic: false });
            return self.client_of_assertion(form, now).ok_or_else(wrong);
        }
        let basic = basic_credentials(request);
        let posted = form.get("client_id").cloned().zip(form.get("client_secret").cloned());
        if basic.is_some() && posted.is_some() {
            return Err(refused(TokenError::InvalidRequest("more than one way of client authentication")));
        }
        let is_basic = basic.is_some();
        // A public client has no secret to show; its code's verifier stands for it (RFC 7636).
        if basic.is_none() && posted.is_none() && form.contains_key("code_verifier") {
            let named = form.get("client_id").and_then(|id| self.config.clients.iter().position(|one| one.id == *id));
            return named.ok_or_else(|| refused(TokenError::InvalidClient { known: false, basic: false }));
        }
        let allowed = match self.config.client_auth {
            ClientAuth::Any => basic.or(posted),
            ClientAuth::Basic => basic,
            ClientAuth::Post => posted,
        };
        let Some((id, secret)) = allowed else {
            return Err(refused(TokenError::InvalidClient { known: true, basic: is_basic }));
        };
        let Some(client) = self.config.clients.iter().position(|client| client.id == id) else {
            return Err(refused(TokenError::InvalidClient { known: false, basic: is_basic }));
        };
        if self.config.clients[client].secret == secret {
            Ok(client)
        } else {
            Err(refused(TokenError::InvalidClient { known: true, basic: is_basic }))
        }
    }

    fn allowed_scope(&self, client: usize, asked: Option<&str>) -> Result<Option<String>, Refused> {
        let allowed = &self.config.clients[client].scopes;
        match asked {
            None if allowed.is_empty() => Ok(None),
            None => Ok(Some(allowed.join(" "))),
            Some(asked) => {
                let fits = |scope: &str| allowed.is_empty() || allowed.iter().any(|allowed| allowed == scope);
                let all_fit = asked.split_ascii_whitespace().all(fits);
                if all_fit { Ok(Some(asked.to_owned())) } else { Err(refused(TokenError::InvalidScope)) }
            }
        }
    }

    /// Counts one mint against the limit.
    fn take_mint(&mut self, client: usize, now: Boot) -> Result<(), Refused> {
        let Some(limit) = self.config.mint_limit else {
            return Ok(());
        };
        let mints = &mut self.mints[client];
        while mints.front().is_some_and(|&mint| now - mint >= limit.window) {
            mints.pop_front();
        }
        if mints.len() < limit.count {
            mints.push_back(now);
            return Ok(());
        }
        // Mints of others do not ask, so more than the limit may have to leave the window.
        let last_to_leave = mints.len() - limit.count.max(1).min(mints.len());
        let room_at = mints.get(last_to_leave).map_or(now, |&mint| mint + limit.window);
        let secs = (room_at - now + Span::from_nanos(999_999_999)).as_secs();
        // A date is whole seconds rounded down, so one more second keeps it from being early.
        let until = self.clock.read(now) + Span::from_secs(secs + 1);
        Err(refused(TokenError::RateLimited { answer: limit.answer, until, secs }))
    }

    fn redeem(&mut self, client: usize, text: &str, scope: Option<String>, now: Boot) -> Result<Granted, Refused> {
        let rotation = self.config.rotation.clone();
        match self.refresh.look(text, client, &rotation, now) {
            Use::Unknown => Err(refused(TokenError::InvalidGrant)),
            Use::Reuse => {
                if rotation.reuse_detection {
                    let ended = self.refresh.revoke_family_of(text);
                    ended.into_iter().for_each(|generation| self.tokens.end(generation, Refusal::Revoked, now));
                    return Err(Refused { error: TokenError::InvalidGrant, outcome: TokenOutcome::ReuseDetected });
                }
                Err(refused(TokenError::InvalidGrant))
            }
            Use::SamePair { generation, successor } => {
                Ok(Granted { generation, refresh_token: Some(successor), outcome: TokenOutcome::IssuedAgain })
            }
            Use::First | Use::NewPair => {
                self.take_mint(client, now)?;
                let generation = self.mint(client, scope, now);
                let refresh_token = self.refresh.spend(text, generation, &rotation, &mut self.seed, now);
                Ok(Granted { generation, refresh_token, outcome: TokenOutcome::Issued })
            }
        }
    }

    fn token_response(&self, granted: &Granted, with_token: bool, now: Boot) -> Response<Payload> {
        let Some(token) = self.tokens.token(granted.generation) else {
            return shape::bare(StatusCode::INTERNAL_SERVER_ERROR);
        };
        let kind = if self.config.shape == Shape::Genesys { "bearer" } else { "Bearer" };
        let mut body = json!({"token_type": kind});
        if with_token {
            body["access_token"] = json!(token.text());
        }
        if let Some(expires_in) = token.expires_in(self.config.tokens.expires_in, self.clock.read(now)) {
            body["expires_in"] = expires_in;
        }
        if let Some(refresh_token) = &granted.refresh_token {
            body["refresh_token"] = json!(refresh_token);
        }
        if let Some(scope) = &token.scope {
            body["scope"] = json!(scope);
        }
        shape::json_response(StatusCode::OK, &body)
    }
}

/// RFC 7523 section 2.1.
pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

fn read_form(request: &Request) -> Result<BTreeMap<String, String>, Refused> {
    let bad = |why| refused(TokenError::InvalidRequest(why));
    if request.method != Method::POST {
        return Err(bad("the token endpoint takes POST"));
    }
    let media_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if !media_type.starts_with("application/x-www-form-urlencoded") {
        return Err(bad("the body must be a form"));
    }
    let mut form = BTreeMap::new();
    for (key, value) in form_urlencoded::parse(&request.body) {
        if form.insert(key.into_owned(), value.into_owned()).is_some() {
            return Err(bad("a parameter is repeated"));
        }
    }
    Ok(form)
}

fn basic_credentials(request: &Request) -> Option<(String, String)> {
    let value = request.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

fn form_decoded(text: &str) -> String {
    let whole = text.replace('=', "%3D").replace('&', "%26");
    form_urlencoded::parse(whole.as_bytes()).next().map(|(key, _)| key.into_owned()).unwrap_or_default()
}

fn refused(error: TokenError) -> Refused {
    let outcome = match error {
        TokenError::InvalidClient { .. } => TokenOutcome::InvalidClient,
        TokenError::InvalidGrant => TokenOutcome::InvalidGrant,
        TokenError::InvalidScope => TokenOutcome::InvalidScope,
        TokenError::InvalidRequest(_) => TokenOutcome::InvalidRequest,
        TokenError::UnauthorizedClient => TokenOutcome::UnauthorizedClient,
        TokenError::UnsupportedGrantType => TokenOutcome::UnsupportedGrantType,
        TokenError::RateLimited { .. } => TokenOutcome::RateLimited,
    };
    Refused { error, outcome }
}

/// The answer when the request was not looked at.
fn fault_before(fault: &TokenFault, delay: Span) -> Reply {
    let page = |status| shape::response(status, "text/html", "<html><body>Sorry.</body></html>".into());
    let answer = match fault {
        TokenFault::Reset => Answer::Reset { acted: false },
        TokenFault::Hang(span) => return Reply { delay: *span, answer: Answer::Reset { acted: false } },
        TokenFault::Status(status, retry_after) => {
            let mut response = page(StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE));
            if let Some(secs) = retry_after {
                shape::set(&mut response, RETRY_AFTER, &secs.to_string());
            }
            Answer::Response(response)
        }
        TokenFault::NotJson => Answer::Response(page(StatusCode::OK)),
        TokenFault::Redirect(location) => {
            let mut response = page(StatusCode::FOUND);
            shape::set(&mut response, LOCATION, location);
            Answer::Response(response)
        }
        TokenFault::Slow(_) | TokenFault::Lost | TokenFault::Torn | TokenFault::Empty | TokenFault::MissingToken => {
            unreachable!("a fault that acts is applied after acting")
        }
    };
    Reply { delay, answer }
}

/// The answer after the request was decided, spoiled if a fault says so.
fn fault_after(fault: Option<&TokenFault>, delay: Span, response: Response<Payload>) -> Reply {
    let answer = match fault {
        Some(TokenFault::Lost) => Answer::Reset { acted: true },
        Some(TokenFault::Torn) => torn(response),
        Some(TokenFault::Empty) => Answer::Response(shape::bare(StatusCode::OK)),
        Some(TokenFault::Slow(span)) => return Reply { delay: delay + *span, answer: Answer::Response(response) },
        Some(
            TokenFault::MissingToken
            | TokenFault::Reset
            | TokenFault::Hang(_)
            | TokenFault::Status(..)
            | TokenFault::NotJson
            | TokenFault::Redirect(_),
        )
        | None => Answer::Response(response),
    };
    Reply { delay, answer }
}

/// The answer cut in the middle of its body.
pub(crate) fn torn(response: Response<Payload>) -> Answer {
    let len = match response.body() {
        Payload::Bytes(bytes) => bytes.len(),
        Payload::Fill(_) | Payload::Events { .. } => return Answer::Reset { acted: true },
    };
    Answer::Torn { response, keep: len / 2 }
}

#[cfg(test)]
mod tests;
