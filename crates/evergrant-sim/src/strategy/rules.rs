//! What a rival decides, as data.

use evergrant_core::time::{Server, Span, Wall};

/// What a rival reads of this machine's clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalTime {
    /// The calendar clock.
    pub(crate) wall: Wall,
}

/// The last token answer.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// The token.
    pub(crate) text: String,
    /// When its answer came.
    pub(crate) received: LocalTime,
    /// What the answer says about its life.
    pub(crate) expires_in: Option<Span>,
    /// Its dates, if it is a JWT.
    pub(crate) claims: Option<Claims>,
    /// In 0..1000, drawn once for each token, for rules with a jitter.
    pub(crate) luck: u16,
}

/// A JWT's dates, by the server's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claims {
    pub(crate) iat: Server,
    pub(crate) exp: Server,
}

impl Held {
    /// Has it more than `margin` left, counted by the calendar clock from the moment its answer came?
    ///
    /// An answer that names no life is taken to last, as most libraries do.
    pub(crate) fn lasts(&self, margin: Span, now: LocalTime) -> bool {
        self.expires_in.is_none_or(|life| now.wall < self.received.wall + life - margin)
    }
}

impl Claims {
    /// A server's date read as if this machine's clock were right, which is what most code does with it.
    pub(crate) fn as_wall(at: Server) -> Wall {
        Wall::from_nanos(at.as_nanos())
    }
}

/// A call that was answered with a 401.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    /// The time since its token came.
    pub(crate) token_age: Span,
    /// How often the call has already asked for a new token.
    pub(crate) refreshes: u32,
    /// How often it was already sent again with the same token.
    pub(crate) retries: u32,
    /// Is there a refresh token?
    pub(crate) has_refresh_token: bool,
}

/// What follows a 401.
#[derive(Clone, Copy, Debug)]
pub(crate) enum After401 {
    /// The caller gets it.
    Raise,
    /// A new token, and the call again.
    Refresh,
    /// The call again with the same token, after this long.
    SameTokenAfter(Span),
}

/// Who shares a token request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flights {
    /// Nobody: each caller that needs one sends its own.
    PerCaller,
    /// A mutex: all get the token, but after a failure the next in line asks again.
    InTurn,
    /// All who wait get the same result.
    Shared,
}

/// What a failed token request leads to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OnFailure {
    /// The callers that waited for it fail.
    CallersFail,
    /// They fail, and so does everybody who needs a token in this time.
    FailFor(Span),
    /// The timer tries again after this long.
    TryAgainAfter(Span),
    /// The first caller fails; the others go on with the token that they have.
    OthersGoOn,
    /// The process ends.
    Crash,
}

/// A rival.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// Is the token sent as it is?
    pub(crate) is_fresh: fn(&Held, LocalTime) -> bool,
    /// What follows a 401?
    pub(crate) after_401: fn(&Refused) -> After401,
    /// How long the call that fetched a token waits before it uses it.
    pub(crate) pause: fn(&Held) -> Span,
    /// When a timer fetches the next token, counted from when this one came.
    pub(crate) refresh_after: Option<fn(&Held) -> Option<Span>>,
    /// Who shares a token request?
    pub(crate) flights: Flights,
    /// What a failed one leads to.
    pub(crate) on_failure: OnFailure,
}

impl Rules {
    /// A token is used as it is, a 401 is the caller's, and nothing is shared.
    pub(super) const NAIVE: Self = Self {
        is_fresh: |_, _| true,
        after_401: |_| After401::Raise,
        pause: |_| Span::ZERO,
        refresh_after: None,
        flights: Flights::PerCaller,
        on_failure: OnFailure::CallersFail,
    };
}
