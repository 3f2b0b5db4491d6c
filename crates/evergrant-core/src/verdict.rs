//! Why a request was refused, how sure that is, whose fault it is and what to do.
//!
//! A 401 says "no" and hides the reason on purpose. What a client saw around it usually tells the reason apart:
//! whether the same token worked before, works now elsewhere, was replaced, had reached its end, was only just issued.
//! [`diagnose`] is a pure function over [`Evidence`], so that every rule can be tried from a table; it cannot see the
//! keeper and cannot be told what the keeper would like to hear.
//!
//! The rules are asked in order, the most direct proof first. [`Confidence::Certain`] needs direct proof: the server
//! said so, or the clocks leave no other reading. A likely cause whose rival cannot be told apart is `possible`, and if
//! nothing fits the cause is [`Cause::Unknown`]: a guess is never dressed as a fact.
//!
//! Limits: for an opaque token no rule blames a clock of this machine, because nothing in such a token can be compared
//! with it. Source: RFC 6750 section 3.1 (error codes), RFC 9110 sections 11.6 and 15.5.

use std::fmt;

use serde::Serialize;

use crate::attempt::Subject;
use crate::evidence::{Carried, Evidence};
use crate::time::Span;
use crate::wire::{Complaint, TokenFailureKind};

mod remedy;
#[cfg(test)]
mod tests;

/// Why a request was refused. The names are stable: logs, headers, metrics and other languages use them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The request carried no token.
    MissingToken,
    /// A token was sent and the server says that it saw none.
    TokenLostInTransit,
    /// The text of the token cannot be a token.
    MalformedToken,
    /// The token had reached the end of its life.
    Expired,
    /// The token is not valid yet by the clock of the host that checks it.
    NotYetValid,
    /// The token is so new that some nodes do not know it yet.
    Propagating,
    /// A newer token had replaced it while the request was under way.
    Superseded,
    /// The provider ended it when its successor was issued.
    RevokedByRefresh,
    /// The provider ended it because the client holds too many tokens.
    Evicted,
    /// The provider ended it because it was not used for too long.
    IdleTimeout,
    /// Somebody ended it early.
    Revoked,
    /// The token endpoint refuses the client's credentials.
    ClientRejected,
    /// A refresh token was used twice.
    RefreshTokenReused,
    /// A rotated refresh token was lost between the provider and the store.
    RotationLost,
    /// A person has to log in again.
    LoginRequired,
    /// The token belongs to another region of the provider.
    WrongRegion,
    /// The token is meant for another resource server.
    WrongAudience,
    /// The token lacks a scope.
    InsufficientScope,
    /// The client or user lacks a permission.
    MissingPermission,
    /// The caller's network address is not on the provider's allow list.
    IpNotAllowed,
    /// This route refuses a token that works elsewhere.
    RouteSpecific,
    /// The caller's own Authorization header was refused.
    CallerToken,
    /// A signed assertion was outside its validity by the server's clock.
    AssertionOutOfTime,
    /// The provider wants fewer requests.
    RateLimited,
    /// A proxy on the way wants credentials.
    ProxyAuth,
    /// The evidence fits no known cause.
    Unknown,
}

impl Cause {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MissingToken => "missing_token",
            Self::TokenLostInTransit => "token_lost_in_transit",
            Self::MalformedToken => "malformed_token",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Propagating => "propagating",
            Self::Superseded => "superseded",
            Self::RevokedByRefresh => "revoked_by_refresh",
            Self::Evicted => "evicted",
            Self::IdleTimeout => "idle_timeout",
            Self::Revoked => "revoked",
            Self::ClientRejected => "client_rejected",
            Self::RefreshTokenReused => "refresh_token_reused",
            Self::RotationLost => "rotation_lost",
            Self::LoginRequired => "login_required",
            Self::WrongRegion => "wrong_region",
            Self::WrongAudience => "wrong_audience",
            Self::InsufficientScope => "insufficient_scope",
            Self::MissingPermission => "missing_permission",
            Self::IpNotAllowed => "ip_not_allowed",
            Self::RouteSpecific => "route_specific",
            Self::CallerToken => "caller_token",
            Self::AssertionOutOfTime => "assertion_out_of_time",
            Self::RateLimited => "rate_limited",
            Self::ProxyAuth => "proxy_auth",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How sure a verdict is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// One of several causes that fit.
    Possible,
    /// The evidence points here; another cause is not excluded.
    Likely,
    /// Direct proof.
    Certain,
}

impl Confidence {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }
}

/// Who can change it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The program that sent the request.
    Caller,
    /// The configuration of this client.
    ClientConfig,
    /// The clock of this machine.
    ThisClock,
    /// The clock of a server.
    ServerClock,
    /// The provider.
    Provider,
    /// Something between this machine and the provider.
    Network,
    /// Not known.
    Unknown,
}

/// Why a request was refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Verdict {
    /// A name for this verdict, to find it again in logs.
    pub id: String,
    /// Why.
    pub cause: Cause,
    /// How sure that is.
    pub confidence: Confidence,
    /// Who can change it.
    pub fault: Fault,
    /// The facts that led here, with their numbers.
    pub evidence: Vec<String>,
    /// What to do.
    pub remedy: &'static str,
    /// Was the request not sent again because it may have been executed? Also a sentence of the evidence.
    #[serde(skip)]
    pub is_replay_unsafe: bool,
}

impl Verdict {
    /// The value of the `evergrant-verdict` header: `cause; confidence; id`, and `; replay=unsafe` if that is why the
    /// caller sees the refusal at all.
    #[must_use]
    pub fn header(&self) -> String {
        let replay = if self.is_replay_unsafe { "; replay=unsafe" } else { "" };
        format!("{}; {}; {}{replay}", self.cause.name(), self.confidence.name(), self.id)
    }
}

/// What the evidence shows; the caller gives the verdict its `id`.
#[must_use]
pub fn diagnose(evidence: &Evidence) -> Verdict {
    let (cause, confidence) = shown_by_having_no_token(evidence)
        .or_else(|| said_by_the_answer(evidence))
        .or_else(|| shown_by_clocks(evidence))
        .or_else(|| shown_by_other_requests(evidence))
        .or_else(|| shown_by_the_token_endpoint(evidence))
        .unwrap_or((Cause::Unknown, Confidence::Possible));
    let (fault, remedy) = remedy::for_cause(cause, evidence);
    Verdict {
        id: String::new(),
        cause,
        confidence,
        fault,
        evidence: facts(evidence),
        remedy,
        is_replay_unsafe: evidence.replay_unsafe,
    }
}

/// A request that was never sent: what the token endpoint said is direct proof, and silence proves nothing.
fn shown_by_having_no_token(evidence: &Evidence) -> Option<(Cause, Confidence)> {
    if evidence.subject != Subject::NeverSent {
        return None;
    }
    let cause = shown_by_the_token_endpoint(evidence).map(|(cause, _)| (cause, Confidence::Certain));
    Some(cause.unwrap_or((Cause::Unknown, Confidence::Possible)))
}

/// Causes that the answer names itself, or that follow from what was sent.
fn said_by_the_answer(evidence: &Evidence) -> Option<(Cause, Confidence)> {
    use Confidence::{Certain, Likely};
    match evidence.subject {
        Subject::Proxy => return Some((Cause::ProxyAuth, Certain)),
        Subject::Rate => return Some((Cause::RateLimited, Certain)),
        Subject::Scope | Subject::Claims => return Some((Cause::InsufficientScope, Certain)),
        Subject::Permission => return Some((Cause::MissingPermission, Certain)),
        Subject::Address => return Some((Cause::IpNotAllowed, Certain)),
        Subject::Unreadable => return Some((Cause::MalformedToken, Likely)),
        Subject::Token
        | Subject::NoTokenSeen
        | Subject::DpopNonce
        | Subject::NotChecked
        | Subject::TokenRequest
        | Subject::NeverSent
        | Subject::Other => {}
    }
    match (evidence.carried, evidence.subject) {
        (Carried::Callers | Carried::UnknownHandle, _) => Some((Cause::CallerToken, Certain)),
        (Carried::Nothing, _) => Some((Cause::MissingToken, Certain)),
        (_, Subject::NoTokenSeen) => Some((Cause::TokenLostInTransit, Likely)),
        // The server wants another kind of proof. Nothing is known about the token, so no cause below may be guessed.
        (_, Subject::DpopNonce) => Some((Cause::Unknown, Confidence::Possible)),
        _ => match evidence.complaint {
            Some(Complaint::Expired) => Some((Cause::Expired, Certain)),
            Some(Complaint::Audience) => Some((Cause::WrongAudience, Certain)),
            _ => None,
        },
    }
}

/// Causes that follow from the token's own life, on clocks that can be compared.
fn shown_by_clocks(evidence: &Evidence) -> Option<(Cause, Confidence)> {
    use Confidence::{Certain, Likely, Possible};
    if let Some(claims) = evidence.claims {
        if claims.to_exp.is_some_and(|(_, latest)| latest < Span::ZERO) {
            return Some((Cause::Expired, Certain));
        }
        if claims.to_nbf.is_some_and(|(earliest, _)| earliest > Span::ZERO) {
            return Some((Cause::NotYetValid, Certain));
        }
    }
    if evidence.is_past_dead() {
        return Some((Cause::Expired, Certain));
    }
    if let (Some(jump), Some(left)) = (evidence.server_jump, evidence.to_dead)
        && jump >= left
    {
        return Some((Cause::Expired, Likely));
    }
    let ahead_at_most = evidence.claims.and_then(|claims| claims.to_nbf).map(|(_, latest)| latest);
    if ahead_at_most.is_some_and(|latest| latest > Span::ZERO) && !evidence.worked_before {
        return Some((Cause::NotYetValid, Possible));
    }
    None
}

/// Causes that follow from what happened to other requests and other tokens.
fn shown_by_other_requests(evidence: &Evidence) -> Option<(Cause, Confidence)> {
    use Confidence::{Certain, Likely, Possible};
    if evidence.is_known_route || (evidence.works_since && !evidence.is_younger_than_settle()) {
        return Some((Cause::RouteSpecific, if evidence.works_since { Certain } else { Likely }));
    }
    if evidence.is_younger_than_settle() && (!evidence.worked_before || evidence.works_since) {
        return Some((Cause::Propagating, if evidence.works_since { Certain } else { Likely }));
    }
    let has_successor = evidence.newest > evidence.generation;
    if has_successor {
        return Some(if evidence.revokes_old {
            (Cause::RevokedByRefresh, Likely)
        } else if evidence.newer_works {
            (Cause::Superseded, Likely)
        } else {
            (Cause::Superseded, Possible)
        });
    }
    if !evidence.worked_before {
        return None;
    }
    if let (Some(idle), Some(limit)) = (evidence.idle, evidence.idle_limit)
        && idle >= limit
    {
        return Some((Cause::IdleTimeout, Likely));
    }
    // A token that worked and then stopped, long before its end: somebody ended it. Who did cannot be seen from here:
    // the provider evicts the oldest of too many in the same words.
    Some(if evidence.recent_mints >= MINTS_THAT_EVICT { (Cause::Evicted, Possible) } else { (Cause::Revoked, Likely) })
}

/// Causes that the token endpoint names when it is asked for another token.
fn shown_by_the_token_endpoint(evidence: &Evidence) -> Option<(Cause, Confidence)> {
    match evidence.token_failure? {
        TokenFailureKind::InvalidClient | TokenFailureKind::UnauthorizedClient => {
            Some((Cause::ClientRejected, Confidence::Likely))
        }
        TokenFailureKind::InvalidGrant => Some((Cause::LoginRequired, Confidence::Likely)),
        TokenFailureKind::InvalidScope => Some((Cause::InsufficientScope, Confidence::Likely)),
        TokenFailureKind::RateLimited => Some((Cause::RateLimited, Confidence::Possible)),
        TokenFailureKind::UnsupportedGrantType
        | TokenFailureKind::ServerError
        | TokenFailureKind::Malformed
        | TokenFailureKind::Lost
        | TokenFailureKind::Unreachable
        | TokenFailureKind::TimedOut
        | TokenFailureKind::Redirected
        | TokenFailureKind::Rejected => None,
    }
}

/// Ten tokens of one user are what a Genesys organisation is known to keep alive.
const MINTS_THAT_EVICT: usize = 10;

/// The facts in sentences, with their numbers.
fn facts(evidence: &Evidence) -> Vec<String> {
    let mut facts = vec![match (evidence.subject, evidence.token_failure) {
        (Subject::NeverSent, Some(failure)) => format!("there is no token to send: {}", failure.name()),
        (Subject::NeverSent, None) => "there is no token to send".to_owned(),
        _ => format!("{} answered {}", evidence.route, evidence.status),
    }];
    let mut add = |fact: String| facts.push(fact);
    if let Some(code) = &evidence.error_code {
        add(format!("the answer names the error {code}"));
    }
    if let (Some(generation), Some(age)) = (evidence.generation, evidence.age) {
        add(format!("it carried the token {generation}, {age} old"));
    }
    match evidence.to_dead {
        Some(left) if left > Span::ZERO => add(format!("by its lifetime the token had {left} left")),
        Some(left) => add(format!("the lifetime of the token had ended {} before", left.abs())),
        None => {}
    }
    if evidence.newest > evidence.generation
        && let (Some(newest), Some(age)) = (evidence.newest, evidence.newest_age)
    {
        let works = if evidence.newer_works { ", and it works" } else { "" };
        add(format!("the newer token {newest} was {age} old{works}"));
    }
    if evidence.works_since {
        add("the same token was accepted by a request that was sent later".to_owned());
    } else if evidence.worked_before {
        add(format!("the token worked before and was refused {} times since", evidence.refusals.max(1)));
    }
    if let Some(idle) = evidence.idle.filter(|idle| *idle > Span::from_secs(60)) {
        add(format!("the token had not been used for {idle}"));
    }
    if let Some(jump) = evidence.server_jump {
        add(format!("the provider's clock jumped {jump} ahead during the life of the token"));
    }
    if evidence.is_opaque && evidence.carried == Carried::Ours && evidence.subject.is_token() {
        add("the token is opaque: a wrong clock on this machine cannot have ended it".to_owned());
    }
    if evidence.replay_unsafe {
        add("replay=unsafe: the request may have been executed, so it was not sent again".to_owned());
    }
    if let Some(id) = &evidence.correlation_id {
        add(format!("the provider calls this exchange {id}"));
    }
    facts
}
