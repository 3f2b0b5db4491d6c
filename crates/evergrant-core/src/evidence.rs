//! What is known about one refused request, as numbers and facts without any judgement.
//!
//! Evidence is a plain value, so that a verdict can be reached from a live system, a saved capture or a hand-made test
//! case by the same function. Every field that is not known says so; nothing is defaulted to a likely value. Evidence
//! holds no secret and no query string: tokens appear as generations and shapes, paths as route templates.
//!
//! There are four ways to begin, and the rest is struct update syntax:
//!
//! - [`Evidence::of_refusal`]: an API's answer that was read by [`Refusal::read`];
//! - [`Evidence::of_token_request`]: a token endpoint's own answer;
//! - [`Evidence::of_no_token`]: a request that was never sent;
//! - [`Evidence::of_answer`]: a status and a subject, and nothing else.
//!
//! Times are spans relative to the answer. A live system takes them from the boot clock, a capture from its own dates:
//! [`ClaimTimes::at`] wants the server's time of the answer, which its `Date` field bounds to a second.

use serde::{Deserialize, Serialize};

use crate::attempt::{Refusal, Subject};
use crate::profile::Region;
use crate::time::{Server, Span};
use crate::token::Generation;
use crate::wire::{Complaint, JwtClaims, TokenFailure, TokenFailureKind, TokenForm, TokenShape};

/// Whose credentials the refused request carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carried {
    /// A token of this keeper.
    Ours,
    /// A token that no keeper holds, as in a capture or in a program that looks after its own.
    Unmanaged,
    /// An Authorization header that a gateway's caller brought.
    Callers,
    /// A gateway's handle that the gateway does not know. The request was not sent on.
    UnknownHandle,
    /// None.
    Nothing,
    /// Not known: a capture may leave the field out.
    NotShown,
}

impl Carried {
    /// Is it a token whose life can be judged?
    #[must_use]
    pub fn is_token(self) -> bool {
        matches!(self, Self::Ours | Self::Unmanaged | Self::NotShown)
    }
}

/// What a JWT's dates say, against the server's clock: positive while still ahead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClaimTimes {
    /// At least and at most this long until `exp`.
    pub to_exp: Option<(Span, Span)>,
    /// At least and at most this long until `nbf` or, without it, `iat`.
    pub to_nbf: Option<(Span, Span)>,
}

impl ClaimTimes {
    /// The dates of a token at a moment when the server's clock stood between `earliest` and `latest`.
    #[must_use]
    pub fn at(claims: &JwtClaims, (earliest, latest): (Server, Server)) -> Self {
        let until = |date: Server| (date - latest, date - earliest);
        Self { to_exp: claims.exp.map(until), to_nbf: claims.nbf.or(claims.iat).map(until) }
    }
}

/// For whom a JWT is meant, and who was asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Audience {
    /// The `aud` of the token; never empty.
    pub names: Vec<String>,
    /// What this API calls itself: the audience or resource that the configuration asks tokens for.
    pub wanted: Option<String>,
    /// The host that the token was sent to.
    pub host: Option<String>,
}

/// In which of a provider's regions things happened, as far as hosts tell.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Regions {
    /// Where the token was issued, or asked for.
    pub token: Option<Region>,
    /// Where it was sent.
    pub api: Option<Region>,
    /// Where the same client or token was seen to be accepted.
    pub accepted: Option<Region>,
}

impl Regions {
    /// Of a token endpoint's and an API's URL or host.
    #[must_use]
    pub fn of(token_url: Option<&str>, api_url: Option<&str>) -> Self {
        let region = |url: Option<&str>| Region::of_url(url?);
        Self { token: region(token_url), api: region(api_url), accepted: None }
    }
}

/// What is known of the refresh token that a token request spent.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SpentRefreshToken {
    /// How long ago it had been sent in an earlier token request; absent if it was not.
    pub sent_before: Option<Span>,
    /// Which process sent it then.
    pub sent_by: Option<String>,
    /// Did a successor come of that earlier request?
    pub has_successor: bool,
}

/// A token request that brought no token, reduced to what verdicts need.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FailedTokenRequest {
    /// What went wrong.
    pub kind: TokenFailureKind,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// The `error` of the answer.
    pub code: Option<String>,
    /// What was said: one short line without secrets.
    pub words: Option<String>,
    /// What the words state to be wrong.
    pub complaint: Option<Complaint>,
}

impl FailedTokenRequest {
    /// A failure of which nothing else is known.
    #[must_use]
    pub fn of(kind: TokenFailureKind) -> Self {
        Self { kind, status: None, code: None, words: None, complaint: None }
    }
}

impl From<&TokenFailure> for FailedTokenRequest {
    fn from(failure: &TokenFailure) -> Self {
        Self {
            kind: failure.kind,
            status: failure.status,
            code: failure.code.clone(),
            words: failure.description.clone(),
            complaint: failure.description.as_deref().and_then(Complaint::of_grant),
        }
    }
}

/// When a signed assertion is valid, against the server's clock: positive while still ahead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AssertionTimes {
    /// At least and at most this long until it begins to be valid.
    pub to_start: Option<(Span, Span)>,
    /// At least and at most this long until it ends.
    pub to_end: Option<(Span, Span)>,
    /// Did this machine's clock date it? Otherwise somebody else's did.
    pub is_dated_here: bool,
}

/// Everything known about one refused request.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The status of the answer.
    pub status: u16,
    /// What the answer itself says it refuses.
    pub subject: Subject,
    /// Does the answer name that, in a challenge or in its body? Else only its status tells.
    pub is_named: bool,
    /// The error code of the challenge or the body.
    pub error_code: Option<String>,
    /// The server's words: one short line without secrets.
    pub words: Option<String>,
    /// What the code or the words state to be wrong with the token.
    pub complaint: Option<Complaint>,
    /// The scope that the challenge asks for.
    pub scope_wanted: Option<String>,
    /// How long the server asks to wait.
    pub retry_after: Option<Span>,
    /// Is the body a page for people, which an API does not send?
    pub is_web_page: bool,
    /// Did the request follow a redirect to another origin, where clients drop their credentials?
    pub is_redirected: bool,
    /// The provider's name for the exchange.
    pub correlation_id: Option<String>,
    /// Method and path template.
    pub route: String,
    /// Whose credentials it carried.
    pub carried: Carried,
    /// What the text of the token looks like.
    pub shape: Option<TokenShape>,
    /// The generation it carried.
    pub generation: Option<Generation>,
    /// The newest generation known when the answer was judged.
    pub newest: Option<Generation>,
    /// How old the newest token was then.
    pub newest_age: Option<Span>,
    /// How old the carried token was when the answer arrived.
    pub age: Option<Span>,
    /// Time from the answer to the earliest instant at which the token could stop working; negative once past.
    pub to_dead: Option<Span>,
    /// Time from the answer to the latest instant at which the token could still work; negative once past.
    pub to_gone: Option<Span>,
    /// A JWT's dates by the server's clock.
    pub claims: Option<ClaimTimes>,
    /// For whom a JWT is meant.
    pub audience: Option<Audience>,
    /// What kind of token it is; no clock of ours can have ended an opaque one.
    pub form: Option<TokenForm>,
    /// Where token and request were at home.
    pub regions: Regions,
    /// Did the token work before?
    pub worked_before: bool,
    /// Did a request with the same token succeed that was sent after this answer had arrived?
    pub works_since: bool,
    /// Did one of those go to the same route?
    pub works_here_since: bool,
    /// Did a newer token work where this one was refused?
    pub newer_works: bool,
    /// How often the token was refused since it last worked.
    pub refusals: u32,
    /// How long a new token may be unknown to some nodes.
    pub settle: Span,
    /// Does this provider end the old token when a new one is issued, as far as was learned?
    pub revokes_old: bool,
    /// Tokens minted in the last ten minutes, and not longer ago than they live.
    pub recent_mints: usize,
    /// How long the token had not been used.
    pub idle: Option<Span>,
    /// After how long without use the provider ends a token, if known.
    pub idle_limit: Option<Span>,
    /// Is that the limit in force? Else it is the shortest that can be set.
    pub is_idle_limit_exact: bool,
    /// How far the provider's clock was seen to jump ahead during the token's life.
    pub server_jump: Option<Span>,
    /// At least and at most this far is this machine's calendar clock ahead of the server's.
    pub local_minus_server: Option<(Span, Span)>,
    /// Is a route known to refuse tokens that work elsewhere?
    pub is_known_route: bool,
    /// Why the token endpoint gives no new token, if it does not.
    pub token_failure: Option<FailedTokenRequest>,
    /// Is there nothing left to renew the token with?
    pub has_no_grant: bool,
    /// What is known of the refresh token that was spent last.
    pub refresh_token: Option<SpentRefreshToken>,
    /// When the assertion of a token request is valid.
    pub assertion: Option<AssertionTimes>,
    /// Was the request not repeated because it may not be?
    pub replay_unsafe: bool,
}

impl Evidence {
    /// Evidence of nothing but an answer with this status and subject.
    #[must_use]
    pub fn of_answer(status: u16, subject: Subject, carried: Carried) -> Self {
        Self {
            status,
            subject,
            is_named: false,
            error_code: None,
            words: None,
            complaint: None,
            scope_wanted: None,
            retry_after: None,
            is_web_page: false,
            is_redirected: false,
            correlation_id: None,
            route: String::new(),
            carried,
            shape: None,
            generation: None,
            newest: None,
            newest_age: None,
            age: None,
            to_dead: None,
            to_gone: None,
            claims: None,
            audience: None,
            form: None,
            regions: Regions::default(),
            worked_before: false,
            works_since: false,
            works_here_since: false,
            newer_works: false,
            refusals: 0,
            settle: Span::ZERO,
            revokes_old: false,
            recent_mints: 0,
            idle: None,
            idle_limit: None,
            is_idle_limit_exact: false,
            server_jump: None,
            local_minus_server: None,
            is_known_route: false,
            token_failure: None,
            has_no_grant: false,
            refresh_token: None,
            assertion: None,
            replay_unsafe: false,
        }
    }

    /// Evidence of an API's answer, and nothing about the token.
    #[must_use]
    pub fn of_refusal(refusal: &Refusal, carried: Carried) -> Self {
        Self {
            is_named: refusal.is_named,
            error_code: refusal.error_code.clone(),
            words: refusal.words.clone(),
            complaint: refusal.complaint,
            scope_wanted: refusal.scope_wanted.clone(),
            retry_after: refusal.retry_after,
            is_web_page: refusal.is_web_page,
            correlation_id: refusal.correlation_id.clone(),
            route: refusal.route.to_string(),
            ..Self::of_answer(refusal.status, refusal.subject, carried)
        }
    }

    /// Evidence of a token endpoint's own answer, as when the refused request is a token request.
    #[must_use]
    pub fn of_token_request(failure: &TokenFailure) -> Self {
        let status = failure.status.unwrap_or(0);
        let subject = if status == 407 { Subject::Proxy } else { Subject::TokenRequest };
        Self {
            is_named: failure.code.is_some(),
            token_failure: Some(failure.into()),
            ..Self::of_answer(status, subject, Carried::Nothing)
        }
    }

    /// Evidence of a request that was never sent, with what the token endpoint said last.
    #[must_use]
    pub fn of_no_token(failure: Option<&TokenFailure>) -> Self {
        let token_failure = failure.map(FailedTokenRequest::from);
        Self { token_failure, ..Self::of_answer(503, Subject::NeverSent, Carried::Nothing) }
    }

    /// The same evidence with the shape of the token that was sent.
    #[must_use]
    pub fn with_shape(self, shape: TokenShape) -> Self {
        Self { form: Some(shape.form), shape: Some(shape), ..self }
    }

    /// The same evidence with the claims of the JWT that was sent to `host` and answered when the server's clock stood
    /// between two instants; without them, its dates cannot be compared with anything.
    #[must_use]
    pub fn with_claims(self, claims: &JwtClaims, host: Option<&str>, server: Option<(Server, Server)>) -> Self {
        let audience = Audience { names: claims.aud.clone(), wanted: None, host: host.map(str::to_owned) };
        Self {
            form: Some(TokenForm::Jwt),
            claims: server.map(|server| ClaimTimes::at(claims, server)),
            audience: (!audience.names.is_empty()).then_some(audience),
            ..self
        }
    }

    /// Is the carried token younger than the time a new token needs to become known everywhere?
    #[must_use]
    pub fn is_younger_than_settle(&self) -> bool {
        self.age.is_some_and(|age| age < self.settle)
    }

    /// Had the carried token reached the earliest instant at which it can stop working?
    #[must_use]
    pub fn is_past_dead(&self) -> bool {
        self.to_dead.is_some_and(|left| left <= Span::ZERO)
    }

    /// Had it passed the latest instant at which it can still work?
    #[must_use]
    pub fn is_past_gone(&self) -> bool {
        self.to_gone.is_some_and(|left| left <= Span::ZERO)
    }
}
