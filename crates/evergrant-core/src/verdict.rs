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

use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;

mod facts;
mod remedy;
mod rules;

/// Why a request was refused. The names are stable: logs, headers, metrics and other languages use them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
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
    /// Every cause, in the order of the reference.
    pub const ALL: [Self; 26] = [
        Self::MissingToken,
        Self::TokenLostInTransit,
        Self::MalformedToken,
        Self::Expired,
        Self::NotYetValid,
        Self::Propagating,
        Self::Superseded,
        Self::RevokedByRefresh,
        Self::Evicted,
        Self::IdleTimeout,
        Self::Revoked,
        Self::ClientRejected,
        Self::RefreshTokenReused,
        Self::RotationLost,
        Self::LoginRequired,
        Self::WrongRegion,
        Self::WrongAudience,
        Self::InsufficientScope,
        Self::MissingPermission,
        Self::IpNotAllowed,
        Self::RouteSpecific,
        Self::CallerToken,
        Self::AssertionOutOfTime,
        Self::RateLimited,
        Self::ProxyAuth,
        Self::Unknown,
    ];

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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
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

impl Fault {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::ClientConfig => "client_config",
            Self::ThisClock => "this_clock",
            Self::ServerClock => "server_clock",
            Self::Provider => "provider",
            Self::Network => "network",
            Self::Unknown => "unknown",
        }
    }
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
    let (cause, confidence) = rules::cause(evidence).unwrap_or((Cause::Unknown, Confidence::Possible));
    let (fault, remedy) = remedy::for_cause(cause, evidence);
    Verdict {
        id: String::new(),
        cause,
        confidence,
        fault,
        evidence: facts::sentences(evidence),
        remedy,
        is_replay_unsafe: evidence.replay_unsafe,
    }
}
