//! One request of a caller on its way through one or more sends.
//!
//! An [`Attempt`] remembers what was sent with which generation and when, and what was refused, so that the keeper can
//! decide about a 401 from facts instead of guessing from "the current token". It lives with the caller; the keeper is
//! handed it for each decision.
//!
//! Whether a request may be sent again is decided in two places. [`Replay`] is what is known before sending: RFC 9110
//! section 15.5.2 lets a 401 mean that nothing was done, but gateways in front of an API break that promise, so methods
//! that are not idempotent need more. [`Refusal::was_before_execution`] is what the answer itself shows.
//!
//! Limits: at most [`Policy::GENERATIONS_PER_REQUEST`] generations per request, and never a send after the deadline.
//!
//! Source: RFC 9110 sections 9.2.2 and 15.5.2, RFC 6750 section 3.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::policy::Policy;
use crate::profile::{ErrorMeaning, Profile};
use crate::time::{Boot, Span};
use crate::token::Generation;
use crate::wire::{ApiError, Challenge, Complaint, bearer_error, is_web_page, parse_api_error};

/// What is known before sending about sending again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replay {
    /// The method is idempotent, or the request carries an Idempotency-Key: it may be repeated after any 401.
    Free,
    /// It may be repeated only if the 401 itself shows that nothing was executed.
    IfRefused,
    /// It cannot be repeated: its body is not kept.
    Never,
}

impl Replay {
    /// The class of a request with this method.
    #[must_use]
    pub fn of(method: &str, has_idempotency_key: bool, is_body_kept: bool) -> Self {
        if !is_body_kept {
            Self::Never
        } else if has_idempotency_key || matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE") {
            Self::Free
        } else {
            Self::IfRefused
        }
    }
}

/// Where a request went: the unit in which a refusal can be a matter of the route and not of the token.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Route {
    /// The host name of the API.
    pub host: String,
    /// The method.
    pub method: String,
    /// The path with identifiers replaced by `{id}`, without a query.
    pub template: String,
}

impl Route {
    /// The route of a request; the path may carry a query, which is dropped.
    #[must_use]
    pub fn new(host: &str, method: &str, path: &str) -> Self {
        Self { host: host.to_owned(), method: method.to_owned(), template: template(path) }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.template)
    }
}

/// A path with everything that looks like an identifier replaced, at most [`MAX_TEMPLATE`] bytes of it.
fn template(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut out = String::with_capacity(path.len().min(MAX_TEMPLATE));
    for (at, segment) in path.split('/').enumerate() {
        if out.len() + 1 + segment.len() > MAX_TEMPLATE {
            out.push('…');
            break;
        }
        if at > 0 {
            out.push('/');
        }
        out.push_str(if is_identifier(segment) { "{id}" } else { segment });
    }
    out
}

/// Numbers, UUIDs, long hexadecimal or mixed strings and anything encoded or addressed to a person.
fn is_identifier(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let is_number = digits > 0 && digits == segment.len();
    let is_version = segment.len() <= 4 && segment.starts_with('v');
    is_number || segment.contains(['%', '@', '=']) || (digits > 0 && segment.len() >= 8 && !is_version)
}

const MAX_TEMPLATE: usize = 200;

/// What an answer refuses: the token, or something that no other token would change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The token may be the reason.
    Token,
    /// The server saw no token although one was sent.
    NoTokenSeen,
    /// The token lacks a scope.
    Scope,
    /// The user or client lacks a permission.
    Permission,
    /// The caller's network address is not allowed.
    Address,
    /// A proxy between us and the server wants its own credentials.
    Proxy,
    /// The server wants a DPoP proof or a fresh nonce.
    DpopNonce,
    /// The server wants a token with further claims.
    Claims,
    /// The server wants fewer requests.
    Rate,
    /// The server could not read the credentials: there are two, or they are broken (RFC 6750 `invalid_request`).
    Unreadable,
    /// The server could not check the token in time. The token may be good.
    NotChecked,
    /// A token request: the answer is the token endpoint's own.
    TokenRequest,
    /// Nothing: the request was never sent, because there was no token to send it with.
    NeverSent,
    /// Another reason that is not the token.
    Other,
}

impl Subject {
    /// Can another token change the answer?
    #[must_use]
    pub fn is_token(self) -> bool {
        matches!(self, Self::Token | Self::NoTokenSeen)
    }
}

impl Subject {
    /// What an answer refuses, from its status, its challenges and its body.
    ///
    /// `None` for answers that refuse nothing that has to do with credentials.
    #[must_use]
    pub fn of(profile: &Profile, status: u16, challenges: &[Challenge], error: Option<&ApiError>) -> Option<Self> {
        match status {
            407 => Some(Self::Proxy),
            429 => Some(Self::Rate),
            401 => Some(Self::named(profile, status, challenges, error).unwrap_or(Self::Token)),
            403 => Some(Self::named(profile, status, challenges, error).unwrap_or(Self::Permission)),
            400 => (bearer_error(challenges) == Some("invalid_request")).then_some(Self::Unreadable),
            504 => Self::named(profile, status, &[], error).filter(|subject| *subject == Self::NotChecked),
            _ => None,
        }
    }

    /// What the answer names by itself, in a challenge or in its body.
    fn named(profile: &Profile, status: u16, challenges: &[Challenge], error: Option<&ApiError>) -> Option<Self> {
        let by_challenge = match bearer_error(challenges).or_else(|| challenges.iter().find_map(Challenge::error)) {
            Some("insufficient_scope") => Some(Self::Scope),
            Some("use_dpop_nonce" | "invalid_dpop_proof") => Some(Self::DpopNonce),
            Some("insufficient_claims" | "insufficient_user_authentication") => Some(Self::Claims),
            Some("invalid_token") if status == 401 => Some(Self::Token),
            _ => None,
        };
        let by_body = || {
            let error = error?;
            match profile.meaning(error) {
                Some(ErrorMeaning::MissingToken) => Some(Self::NoTokenSeen),
                Some(ErrorMeaning::IpNotAllowed) => Some(Self::Address),
                Some(ErrorMeaning::MissingPermission) => Some(Self::Permission),
                Some(ErrorMeaning::RateLimited) => Some(Self::Rate),
                Some(ErrorMeaning::AuthTimeout) => Some(Self::NotChecked),
                Some(ErrorMeaning::BadToken | ErrorMeaning::ExpiredToken) => Some(Self::Token),
                None => match error.code.as_deref()? {
                    "insufficient_scope" => Some(Self::Scope),
                    // No provider names a permission that it does not miss.
                    code if status == 403 && code.to_ascii_lowercase().contains("permission") => Some(Self::Permission),
                    _ => None,
                },
            }
        };
        by_challenge.or_else(by_body)
    }
}

/// One refusing answer, reduced to what decisions and verdicts need.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The status: mostly 401, 403, 407 or 429.
    pub status: u16,
    /// When its head arrived.
    pub received: Boot,
    /// What it refuses.
    pub subject: Subject,
    /// Does the answer name what it refuses, in a challenge or in its body? Else only its status tells.
    pub is_named: bool,
    /// Does it carry a Bearer challenge (RFC 6750 section 3)?
    pub has_bearer_challenge: bool,
    /// Is its body exactly what this provider answers before it executes anything?
    pub is_exact_auth_error: bool,
    /// The error code of the challenge or the body.
    pub error_code: Option<String>,
    /// The server's words: one short line without secrets.
    pub words: Option<String>,
    /// What the code or the words state to be wrong with the token.
    pub complaint: Option<Complaint>,
    /// The scope that the challenge asks for.
    pub scope_wanted: Option<String>,
    /// How long the answer asks to wait. Filled in by the caller, who has the headers.
    pub retry_after: Option<Span>,
    /// Is the body a page for people, which an API does not send, but what stands in front of one may?
    pub is_web_page: bool,
    /// The provider's name for this exchange, for its support.
    pub correlation_id: Option<String>,
    /// Where the request went.
    pub route: Route,
    /// Is the whole request body still at hand, and nothing of the answer handed on?
    pub can_send_again: bool,
}

impl Refusal {
    /// Reads a refusal from the head and the beginning of the body of an answer; `None` if the answer refuses nothing.
    ///
    /// What the caller knows beside, it sets: `correlation_id` if a header has one, `retry_after` and `can_send_again`.
    #[must_use]
    pub fn read(
        profile: &Profile,
        status: u16,
        challenges: &[Challenge],
        body: &[u8],
        route: Route,
        received: Boot,
    ) -> Option<Self> {
        let error = parse_api_error(body);
        let subject = Subject::of(profile, status, challenges, error.as_ref())?;
        let challenge = challenges.iter().find(|challenge| challenge.is_bearer() && challenge.error().is_some());
        let said = challenge.and_then(Challenge::error_description).map(str::to_owned);
        let words = said.or_else(|| error.as_ref()?.message.clone());
        let by_code = error.as_ref().and_then(|error| complaint_of(profile, error));
        Some(Self {
            is_named: Subject::named(profile, status, challenges, error.as_ref()).is_some(),
            has_bearer_challenge: challenges.iter().any(Challenge::is_bearer),
            is_exact_auth_error: error.as_ref().is_some_and(|error| profile.is_exact_auth_error(error)),
            complaint: by_code.or_else(|| Complaint::of_token(words.as_deref()?)),
            words,
            scope_wanted: challenge.and_then(|challenge| challenge.param("scope")).map(str::to_owned),
            is_web_page: is_web_page(body),
            correlation_id: error.as_ref().and_then(|error| error.correlation_id.clone()),
            error_code: bearer_error(challenges).map(str::to_owned).or_else(|| error.and_then(|error| error.code)),
            ..Self::of_status(status, subject, route, received)
        })
    }

    /// A refusal of which nothing else is known.
    #[must_use]
    pub fn of_status(status: u16, subject: Subject, route: Route, received: Boot) -> Self {
        Self {
            status,
            received,
            subject,
            is_named: false,
            has_bearer_challenge: false,
            is_exact_auth_error: false,
            error_code: None,
            words: None,
            complaint: None,
            scope_wanted: None,
            retry_after: None,
            is_web_page: false,
            correlation_id: None,
            route,
            can_send_again: false,
        }
    }

    /// Does the answer itself show that the request was not executed?
    #[must_use]
    pub fn was_before_execution(&self) -> bool {
        self.status == 401 && (self.has_bearer_challenge || self.is_exact_auth_error)
    }
}

/// What an error code states about the token, whatever the words say.
fn complaint_of(profile: &Profile, error: &ApiError) -> Option<Complaint> {
    match (profile.meaning(error), error.code.as_deref()) {
        (Some(ErrorMeaning::ExpiredToken), _) => Some(Complaint::Expired),
        (_, Some("invalid_audience")) => Some(Complaint::Audience),
        _ => None,
    }
}

/// What one generation met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Tried {
    generation: Generation,
    last_refused: Boot,
    /// How often it was tried again when that was planned.
    planned_retries: u32,
}

/// One request of a caller, through all its sends.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When the caller asked.
    pub started: Boot,
    /// After this nothing is sent or waited for.
    pub deadline: Boot,
    /// What is known before sending about sending again.
    pub replay: Replay,
    /// The generation it was last sent with.
    pub generation: Generation,
    /// When it was last sent.
    pub sent: Boot,
    /// The last answer that refused it.
    pub refusal: Option<Refusal>,
    /// How often any generation was tried again sooner than planned, because others succeeded with it.
    pub early_retries: u32,
    /// When the same new token is tried next.
    pub retry_at: Option<Boot>,
    tried: Vec<Tried>,
}

impl Attempt {
    /// An attempt that has not been sent yet.
    #[must_use]
    pub fn new(replay: Replay, started: Boot, patience: Span) -> Self {
        Self {
            started,
            deadline: started + patience,
            replay,
            generation: Generation::default(),
            sent: started,
            refusal: None,
            early_retries: 0,
            retry_at: None,
            tried: Vec::new(),
        }
    }

    /// Notes a send.
    pub fn mark_sent(&mut self, generation: Generation, now: Boot) {
        self.generation = generation;
        self.sent = now;
        self.retry_at = None;
    }

    /// Notes that the last send was refused.
    pub fn mark_refused(&mut self, refusal: Refusal) {
        let (generation, last_refused) = (self.generation, refusal.received);
        match self.tried.iter_mut().find(|tried| tried.generation == generation) {
            Some(tried) => tried.last_refused = last_refused,
            None => self.tried.push(Tried { generation, last_refused, planned_retries: 0 }),
        }
        self.refusal = Some(refusal);
    }

    /// When this generation last refused the request, if it did.
    #[must_use]
    pub fn refused_with(&self, generation: Generation) -> Option<Boot> {
        self.tried.iter().find(|tried| tried.generation == generation).map(|tried| tried.last_refused)
    }

    /// How often a generation that refused the request was tried again when that was planned. Each generation begins
    /// anew, and coming back to one does not.
    #[must_use]
    pub fn planned_retries(&self, generation: Generation) -> u32 {
        self.tried.iter().find(|tried| tried.generation == generation).map_or(0, |tried| tried.planned_retries)
    }

    /// Notes that a generation that refused the request is tried again: as planned, or sooner.
    pub fn mark_retry(&mut self, generation: Generation, is_early: bool) {
        if is_early {
            self.early_retries += 1;
        } else if let Some(tried) = self.tried.iter_mut().find(|tried| tried.generation == generation) {
            tried.planned_retries += 1;
        }
    }

    /// With how many generations the request was refused.
    #[must_use]
    pub fn generations_tried(&self) -> usize {
        self.tried.len()
    }

    /// May the request be sent with one more generation?
    #[must_use]
    pub fn may_try_another(&self) -> bool {
        self.tried.len() < Policy::GENERATIONS_PER_REQUEST
    }

    /// May the request be sent again after the refusal that it met?
    #[must_use]
    pub fn may_send_again(&self) -> bool {
        let Some(refusal) = &self.refusal else { return false };
        refusal.can_send_again
            && match self.replay {
                Replay::Free => true,
                Replay::IfRefused => refusal.was_before_execution(),
                Replay::Never => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(bearer: bool, exact: bool, kept: bool) -> Refusal {
        let route = Route::new("api.example.org", "GET", "/");
        Refusal {
            has_bearer_challenge: bearer,
            is_exact_auth_error: exact,
            can_send_again: kept,
            ..Refusal::of_status(401, Subject::Token, route, Boot::from_secs(1))
        }
    }

    fn refused(replay: Replay, refusal: Refusal) -> Attempt {
        let mut attempt = Attempt::new(replay, Boot::from_secs(0), Span::from_secs(30));
        attempt.mark_sent(Generation(1), Boot::from_secs(0));
        attempt.mark_refused(refusal);
        attempt
    }

    #[test]
    fn a_post_is_repeated_only_when_the_answer_shows_that_nothing_was_done() {
        assert!(!refused(Replay::IfRefused, refusal(false, false, true)).may_send_again());
        assert!(refused(Replay::IfRefused, refusal(true, false, true)).may_send_again());
        assert!(refused(Replay::IfRefused, refusal(false, true, true)).may_send_again());
        assert!(refused(Replay::Free, refusal(false, false, true)).may_send_again());
    }

    #[test]
    fn planned_retries_count_for_each_generation_and_early_ones_for_all() {
        let mut attempt = refused(Replay::Free, refusal(true, true, true));
        attempt.mark_retry(Generation(1), false);
        attempt.mark_retry(Generation(1), true);
        for generation in [Generation(2), Generation(1)] {
            attempt.mark_sent(generation, Boot::from_secs(1));
            attempt.mark_refused(refusal(true, true, true));
        }
        attempt.mark_retry(Generation(2), true);
        assert_eq!([1, 2].map(|generation| attempt.planned_retries(Generation(generation))), [1, 0]);
        assert_eq!(attempt.early_retries, 2);
    }

    #[test]
    fn routes_keep_words_and_replace_identifiers() {
        for (path, expected) in [
            ("/api/v2/users/me?expand=x&token=secret", "/api/v2/users/me"),
            ("/api/v2/users/3fa85f64-5717-4562-b3fc-2c963f66afa6", "/api/v2/users/{id}"),
            ("/api/v2/queues/17/members", "/api/v2/queues/{id}/members"),
            ("/api/v2/users/ada%40example.org", "/api/v2/users/{id}"),
            ("/", "/"),
            ("", ""),
        ] {
            assert_eq!(template(path), expected);
        }
        assert!(template(&"/word".repeat(1000)).len() <= MAX_TEMPLATE + '…'.len_utf8());
    }

    #[test]
    fn idempotent_methods_are_free_and_lost_bodies_never_are() {
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
            assert_eq!(Replay::of(method, false, true), Replay::Free);
            assert_eq!(Replay::of(method, true, false), Replay::Never);
        }
        for method in ["POST", "PATCH", "get", "PROPFIND"] {
            assert_eq!(Replay::of(method, false, true), Replay::IfRefused);
            assert_eq!(Replay::of(method, true, true), Replay::Free);
        }
    }

    proptest! {
        #[test]
        fn nothing_without_a_kept_body_is_ever_repeated(bearer: bool, exact: bool, key: bool, method in "[A-Z]{3,7}") {
            prop_assert!(!refused(Replay::of(&method, key, true), refusal(bearer, exact, false)).may_send_again());
            prop_assert!(!refused(Replay::of(&method, key, false), refusal(bearer, exact, true)).may_send_again());
        }

        #[test]
        fn only_a_shown_refusal_repeats_a_request_that_is_not_idempotent(bearer: bool, exact: bool) {
            let attempt = refused(Replay::of("POST", false, true), refusal(bearer, exact, true));
            prop_assert_eq!(attempt.may_send_again(), bearer || exact);
        }

        #[test]
        fn the_number_of_generations_is_bounded(generations in proptest::collection::vec(0_u64..9, 0..20)) {
            let mut attempt = Attempt::new(Replay::Free, Boot::from_secs(0), Span::from_secs(30));
            let mut sends = 0;
            for generation in generations {
                if attempt.refused_with(Generation(generation)).is_some() || attempt.may_try_another() {
                    attempt.mark_sent(Generation(generation), Boot::from_secs(1));
                    attempt.mark_refused(refusal(true, true, true));
                    sends += 1;
                }
            }
            prop_assert!(attempt.tried.len() <= Policy::GENERATIONS_PER_REQUEST);
            prop_assert!(sends >= attempt.tried.len());
        }
    }
}
