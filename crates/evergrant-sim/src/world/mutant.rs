//! Clients that are broken on purpose, each in one way, to show that the promise it breaks is really watched.
//!
//! A mutant is the real keeper with a slip in its driver or a wrong policy: what it is told, what is done of what it
//! asks for, or what its answers are taken for. None is a change of the keeper itself, so they stay true when it changes.

use super::check::Promise;

/// One slip.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// A 401 that the keeper wants to wait or try again for is passed on.
    PassesOn401,
    /// New tokens are taken to be known everywhere at once.
    NeverSettles,
    /// Nobody gets a token while the last refresh has failed.
    FailsWithTheRefresh,
    /// After a permanent error the token endpoint is never asked again.
    GivesUp,
    /// Every token request is sent twice.
    AsksTwice,
    /// A write whose answer is lost is sent again.
    RepeatsLostWrites,
    /// Tokens are stored a minute after they are served.
    StoresLate,
    /// Every verdict is called certain.
    IsAlwaysCertain,
    /// Dates are those of the answer before, as from a cache that does not say so.
    ReadsOldDates,
    /// A log line holds the token.
    LogsTokens,
    /// A failed token request is forgotten at once.
    NeverBacksOff,
    /// A token is handed out past its end.
    ServesForEver,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::PassesOn401,
        Self::NeverSettles,
        Self::FailsWithTheRefresh,
        Self::GivesUp,
        Self::AsksTwice,
        Self::RepeatsLostWrites,
        Self::StoresLate,
        Self::IsAlwaysCertain,
        Self::ReadsOldDates,
        Self::LogsTokens,
        Self::NeverBacksOff,
        Self::ServesForEver,
    ];

    /// The promise that it breaks.
    #[must_use]
    pub const fn breaks(self) -> Promise {
        match self {
            Self::PassesOn401 | Self::NeverSettles => Promise::NoVisible401,
            Self::FailsWithTheRefresh | Self::GivesUp => Promise::FailureHarmless,
            Self::AsksTwice => Promise::OneFlight,
            Self::RepeatsLostWrites => Promise::NoDoubleEffect,
            Self::StoresLate => Promise::RotationKept,
            Self::IsAlwaysCertain => Promise::VerdictTrue,
            Self::ReadsOldDates => Promise::OffsetTrue,
            Self::LogsTokens => Promise::NoSecret,
            Self::NeverBacksOff => Promise::Bounded,
            Self::ServesForEver => Promise::NeverKnownDead,
        }
    }
}
