//! Access tokens: issue, propagation, expiry, revocation, eviction, idleness.
//!
//! The book holds every token that was issued and judges a presented one at one node. A token is good there if
//!
//! - the node has learnt of it (its propagation delay since issue has passed),
//! - nothing ended it: revocation, a newer token, the cap, idleness; an end holds at all nodes at once,
//! - the node's clock shows less than the issuer's stamp plus the lifetime. Drift, offsets and steps of the provider's
//!   clocks therefore move the moment of death, and a step back of the clock revives an expired token, as in reality,
//! - and for a JWT, the node's clock lies within its `nbf` and `exp`, which are whole seconds rounded down.
//!
//! Texts never leave this module but to the wire: elsewhere a token is its generation, a number from 1 up.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use evergrant_core::time::{Boot, Server, Span};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::config::{ExpiresIn, TokenConfig, TokenFormat};
use crate::seed::Seed;

/// Why a token was refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No bearer token in the request.
    MissingToken,
    /// No token of this provider has this text.
    UnknownToken,
    /// The node has not learnt of the token yet.
    Propagating,
    /// The node's clock has not reached the token's `nbf`.
    NotYetValid,
    /// The node's clock has passed the token's end.
    Expired,
    /// Ended by command or by its scheduled revocation.
    Revoked,
    /// Ended because its client minted a newer one.
    RevokedByRefresh,
    /// Ended because its client had too many.
    Evicted,
    /// Ended because it was not used for too long.
    Idle,
    /// This route refuses every token.
    Route,
    /// The caller's address is not on the allow-list.
    IpNotAuthorized,
}

impl Refusal {
    /// Will this token be refused from now on, whoever asks?
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Expired | Self::Revoked | Self::RevokedByRefresh | Self::Evicted | Self::Idle => true,
            Self::MissingToken
            | Self::UnknownToken
            | Self::Propagating
            | Self::NotYetValid
            | Self::Route
            | Self::IpNotAuthorized => false,
        }
    }
}

/// A number for each token in the order of issue, from 1.
pub type Generation = u64;

/// One issued access token.
pub(crate) struct Token {
    text: String,
    pub(crate) client: usize,
    pub(crate) scope: Option<String>,
    pub(crate) lifetime: Span,
    stamp: Server,
    claims: Option<Claims>,
    known_at: Vec<Boot>,
    revoke_at: Option<Boot>,
    uses_left: Option<u32>,
    last_used: Boot,
    ended: Option<Refusal>,
}

/// The times of a JWT in whole seconds.
#[derive(Clone, Copy)]
struct Claims {
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// What the issuer knows when it makes a token.
pub(crate) struct Issue<'a> {
    pub(crate) client: usize,
    pub(crate) client_id: &'a str,
    pub(crate) scope: Option<String>,
    pub(crate) config: &'a TokenConfig,
    /// The issuer's clock.
    pub(crate) stamp: Server,
    /// For each node, the delay until it knows the token.
    pub(crate) delays: Vec<Span>,
}

/// All tokens of a provider.
#[derive(Default)]
pub(crate) struct TokenBook {
    tokens: BTreeMap<Generation, Token>,
    by_text: BTreeMap<String, Generation>,
    issued: Generation,
}

impl TokenBook {
    /// Issues a token and ends those that it displaces.
    pub(crate) fn issue(&mut self, issue: Issue<'_>, seed: &mut Seed, now: Boot) -> Generation {
        let config = issue.config;
        if config.revoke_old {
            self.end_all(Refusal::RevokedByRefresh, Some(issue.client), now);
        }
        if let Some(cap) = config.cap {
            self.evict_down_to(cap.max(1) - 1, issue.client, issue.stamp, now);
        }
        let claims = (config.format == TokenFormat::Jwt).then(|| claims(config, issue.stamp));
        let text = match claims {
            Some(claims) => jwt(claims, issue.client_id, issue.scope.as_deref(), seed),
            None => seed.text(8),
        };
        self.issued += 1;
        self.by_text.insert(text.clone(), self.issued);
        let part = |permille: u16| now + config.lifetime.scaled(i64::from(permille), 1000);
        let token = Token {
            text,
            client: issue.client,
            scope: issue.scope,
            lifetime: config.lifetime,
            stamp: issue.stamp,
            claims,
            known_at: issue.delays.into_iter().map(|delay| now + delay).collect(),
            revoke_at: config.revoke_at_permille.map(part),
            uses_left: config.max_uses,
            last_used: now,
            ended: None,
        };
        self.tokens.insert(self.issued, token);
        self.forget_the_oldest_dead(now);
        self.issued
    }

    /// Judges a presented token at a node; using a good one resets its idle timer.
    pub(crate) fn present(&mut self, text: &str, at: &Node, now: Boot) -> (Option<Generation>, Result<(), Refusal>) {
        let Some(&generation) = self.by_text.get(text) else {
            return (None, Err(Refusal::UnknownToken));
        };
        let Some(token) = self.tokens.get_mut(&generation) else {
            return (None, Err(Refusal::UnknownToken));
        };
        (Some(generation), token.present(at, now))
    }

    /// The place of a text in the order of issue.
    pub(crate) fn generation_of(&self, text: &str) -> Option<Generation> {
        self.by_text.get(text).copied()
    }

    /// When the life of the token is over, by the issuer's clock.
    pub(crate) fn ends(&self, text: &str) -> Option<Server> {
        let token = self.tokens.get(&self.generation_of(text)?)?;
        Some(token.stamp + token.lifetime)
    }

    /// When the token begins to be valid, if it is a JWT, by the issuer's clock.
    pub(crate) fn begins(&self, text: &str) -> Option<Server> {
        let claims = self.tokens.get(&self.generation_of(text)?)?.claims?;
        Some(Server::from_secs(claims.nbf))
    }

    /// Would the token be accepted? Nothing changes by the question.
    pub(crate) fn would_accept(&self, text: &str, at: &Node, now: Boot) -> bool {
        let token = self.by_text.get(text).and_then(|generation| self.tokens.get(generation));
        token.is_some_and(|token| token.judge(at, now).is_ok())
    }

    /// The token of a generation, while it is remembered.
    pub(crate) fn token(&self, generation: Generation) -> Option<&Token> {
        self.tokens.get(&generation)
    }

    /// Ends every live token, of one client if given.
    pub(crate) fn end_all(&mut self, why: Refusal, client: Option<usize>, now: Boot) {
        for token in self.tokens.values_mut().filter(|token| client.is_none_or(|client| token.client == client)) {
            token.end(why, now);
        }
    }

    /// Ends one token.
    pub(crate) fn end(&mut self, generation: Generation, why: Refusal, now: Boot) {
        if let Some(token) = self.tokens.get_mut(&generation) {
            token.end(why, now);
        }
    }

    /// Ends the oldest live token of each client.
    pub(crate) fn end_oldest(&mut self, why: Refusal, issuer_clock: Server, now: Boot) {
        let mut oldest: BTreeMap<usize, Generation> = BTreeMap::new();
        for (&generation, token) in &self.tokens {
            if token.is_live(issuer_clock, now) {
                oldest.entry(token.client).or_insert(generation);
            }
        }
        for generation in oldest.into_values() {
            self.end(generation, why, now);
        }
    }

    /// The texts of all remembered tokens, for tests that search outputs for them.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.by_text.keys().map(String::as_str)
    }

    fn evict_down_to(&mut self, keep: usize, client: usize, issuer_clock: Server, now: Boot) {
        let is_ours = |token: &Token| token.client == client && token.is_live(issuer_clock, now);
        let live: Vec<Generation> =
            self.tokens.iter().filter_map(|(&generation, token)| is_ours(token).then_some(generation)).collect();
        for &generation in live.iter().take(live.len().saturating_sub(keep)) {
            self.end(generation, Refusal::Evicted, now);
        }
    }

    fn forget_the_oldest_dead(&mut self, now: Boot) {
        while self.tokens.len() > REMEMBERED_TOKENS {
            let dead = self.tokens.iter().find(|(_, token)| token.ended(now).is_some());
            let Some(generation) =
                dead.map(|(&generation, _)| generation).or_else(|| self.tokens.keys().next().copied())
            else {
                return;
            };
            if let Some(token) = self.tokens.remove(&generation) {
                self.by_text.remove(&token.text);
            }
        }
    }
}

/// A resource node at one moment: which it is, what its clock shows, and its limits.
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) clock: Server,
    pub(crate) idle_timeout: Option<Span>,
}

impl Token {
    /// The text, for the wire.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What a token answer's `expires_in` says now; `None`: leave it out.
    pub(crate) fn expires_in(&self, says: ExpiresIn, issuer_clock: Server) -> Option<serde_json::Value> {
        let left = (self.stamp + self.lifetime - issuer_clock).as_secs().max(0);
        match says {
            ExpiresIn::Whole => Some(json!(left)),
            ExpiresIn::MinusOne => Some(json!((left - 1).max(0))),
            ExpiresIn::Text => Some(json!(left.to_string())),
            ExpiresIn::Missing => None,
            ExpiresIn::Says(number) => Some(json!(number)),
        }
    }

    /// Could it be good at some node, by the issuer's clock?
    fn is_live(&self, issuer_clock: Server, now: Boot) -> bool {
        self.ended(now).is_none() && issuer_clock < self.stamp + self.lifetime
    }

    fn present(&mut self, at: &Node, now: Boot) -> Result<(), Refusal> {
        if at.idle_timeout.is_some_and(|limit| now - self.last_used >= limit) {
            self.end(Refusal::Idle, now);
        }
        if self.uses_left == Some(0) {
            self.end(Refusal::Revoked, now);
        }
        self.judge(at, now)?;
        self.last_used = now;
        self.uses_left = self.uses_left.map(|left| left.saturating_sub(1));
        Ok(())
    }

    fn judge(&self, at: &Node, now: Boot) -> Result<(), Refusal> {
        if let Some(why) = self.ended(now) {
            return Err(why);
        }
        if at.idle_timeout.is_some_and(|limit| now - self.last_used >= limit) {
            return Err(Refusal::Idle);
        }
        let expired = match self.claims {
            Some(claims) => at.clock.as_unix_secs() >= claims.exp,
            None => at.clock >= self.stamp + self.lifetime,
        };
        if expired {
            return Err(Refusal::Expired);
        }
        if self.known_at.get(at.index).is_some_and(|&known| now < known) {
            return Err(Refusal::Propagating);
        }
        if self.claims.is_some_and(|claims| at.clock.as_unix_secs() < claims.nbf) {
            return Err(Refusal::NotYetValid);
        }
        Ok(())
    }

    /// What ended it, the scheduled revocation included.
    fn ended(&self, now: Boot) -> Option<Refusal> {
        let revoked = self.revoke_at.is_some_and(|at| at <= now).then_some(Refusal::Revoked);
        self.ended.or(revoked)
    }

    fn end(&mut self, why: Refusal, now: Boot) {
        if self.ended(now).is_none() {
            self.ended = Some(why);
        }
    }
}

fn claims(config: &TokenConfig, stamp: Server) -> Claims {
    let iat = stamp.as_unix_secs();
    Claims { iat, nbf: iat + config.not_before.as_secs(), exp: iat + config.lifetime.as_secs() }
}

/// Text in the form of a signed JWT (RFC 9068); the signature is random.
fn jwt(claims: Claims, client_id: &str, scope: Option<&str>, seed: &mut Seed) -> String {
    let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": "sim-1"});
    let payload = json!({
        "iss": "https://login.sim.example", "aud": "https://api.sim.example", "sub": client_id, "client_id": client_id,
        "scope": scope, "jti": seed.text(2), "iat": claims.iat, "nbf": claims.nbf, "exp": claims.exp,
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(&header), part(&payload), seed.text(8))
}

/// How many tokens the book remembers, dead ones first to be forgotten.
const REMEMBERED_TOKENS: usize = 16_384;

#[cfg(test)]
mod tests;
