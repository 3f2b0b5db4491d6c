//! What is known about one refused request, as numbers and facts without any judgement.
//!
//! Evidence is a plain value, so that a verdict can be reached from a live system, a saved capture or a hand-made test
//! case by the same function. Every field that is not known says so; nothing is defaulted to a likely value. Evidence
//! holds no secret and no query string: tokens appear as generations, paths as route templates.

use serde::{Serialize, Serializer};

use crate::attempt::Subject;
use crate::time::Span;
use crate::token::Generation;
use crate::wire::TokenFailureKind;

/// Whose credentials the refused request carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Carried {
    /// A token of this keeper.
    Ours,
    /// An Authorization header that the caller brought.
    Callers,
    /// A gateway's handle that the gateway does not know. The request was not sent on.
    UnknownHandle,
    /// None.
    Nothing,
}

/// What the tokens of a JWT-issuing provider say, against the server's clock: positive while still ahead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct ClaimTimes {
    /// At least and at most this long until `exp`.
    pub to_exp: Option<(Span, Span)>,
    /// At least and at most this long until `nbf` or, without it, `iat`.
    pub to_nbf: Option<(Span, Span)>,
}

/// Writes a failure's kind by its stable name.
fn kind_name<S: Serializer>(kind: &Option<TokenFailureKind>, serializer: S) -> Result<S::Ok, S::Error> {
    kind.map(TokenFailureKind::name).serialize(serializer)
}

/// Everything known about one refused request.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Evidence {
    /// The status of the answer.
    pub status: u16,
    /// What the answer itself says it refuses.
    pub subject: Subject,
    /// The error code of the challenge or the body.
    pub error_code: Option<String>,
    /// The provider's name for the exchange.
    pub correlation_id: Option<String>,
    /// Method and path template.
    pub route: String,
    /// Whose credentials it carried.
    pub carried: Carried,
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
    /// A JWT's dates by the server's clock.
    pub claims: Option<ClaimTimes>,
    /// Can the token not be read, so that no clock of ours can have ended it?
    pub is_opaque: bool,
    /// Did the token work before?
    pub worked_before: bool,
    /// Did a request with the same token succeed that was sent after this answer had arrived?
    pub works_since: bool,
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
    /// How far the provider's clock was seen to jump ahead during the token's life.
    pub server_jump: Option<Span>,
    /// At least and at most this far is this machine's calendar clock ahead of the server's.
    pub local_minus_server: Option<(Span, Span)>,
    /// Is a route known to refuse tokens that work elsewhere?
    pub is_known_route: bool,
    /// Why the token endpoint gives no new token, if it does not.
    #[serde(serialize_with = "kind_name")]
    pub token_failure: Option<TokenFailureKind>,
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
            error_code: None,
            correlation_id: None,
            route: String::new(),
            carried,
            generation: None,
            newest: None,
            newest_age: None,
            age: None,
            to_dead: None,
            claims: None,
            is_opaque: true,
            worked_before: false,
            works_since: false,
            newer_works: false,
            refusals: 0,
            settle: Span::ZERO,
            revokes_old: false,
            recent_mints: 0,
            idle: None,
            idle_limit: None,
            server_jump: None,
            local_minus_server: None,
            is_known_route: false,
            token_failure: None,
            replay_unsafe: false,
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
}
