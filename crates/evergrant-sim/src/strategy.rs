//! The ways to keep a token that are compared: Evergrant, and what people use today.
//!
//! A rival is a small set of `Rules`, read from its published source or documentation; each file names it. The rules
//! say what the rival decides: whether a token is sent as it is, what follows a 401, who shares a token request, what a
//! failed one leads to. Callers, network, provider and faults are the same for all of them, so a difference in the result
//! is a difference of the rules.
//!
//! Limits: a rule set has the decisions of its original and not its code. Where the original needs something that a run
//! does not have, such as the claims of a JWT, its rule says what it does without. A rival is neither improved nor
//! worsened: what its authors got right is there as well. `google_auth` and `genesys_python` are held against their
//! originals by the command's tests against foreign programs.

mod envoy;
mod fixed_buffer;
mod genesys_go;
mod genesys_python;
mod google_auth;
mod iat_skew;
mod nango;
mod octokit;
mod rules;
mod sleep_after_refresh;
mod smithy;
mod snippet;
mod wait_for_skew;
mod x_oauth2;

pub(crate) use rules::{After401, Claims, Flights, Held, LocalTime, OnFailure, Refused, Rules};

/// A client of a simulated run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Strategy {
    /// The keeper that ships.
    Evergrant,
    /// Refresh after a 401 and try once more.
    Snippet,
    /// The same, with a sleep of one second after the refresh.
    SleepAfterRefresh,
    /// Refresh a minute before the end, by this machine's calendar clock.
    FixedBuffer,
    /// The skew from a JWT's `iat`, and its `exp` corrected by it.
    IatSkew,
    /// Sleep until the token's `iat` has come, then trust its `exp`.
    WaitForSkew,
    /// golang.org/x/oauth2.
    XOauth2,
    /// google-auth for Python.
    GoogleAuth,
    /// smithy-rs, the identity cache of the AWS SDK for Rust.
    Smithy,
    /// Envoy's credential injector.
    Envoy,
    /// GitHub's octokit/auth-app.
    Octokit,
    /// The Genesys Cloud SDK for Python.
    GenesysPython,
    /// The Genesys Cloud SDK for Go with automatic token refresh.
    GenesysGo,
    /// Nango.
    Nango,
}

impl Strategy {
    /// All of them, Evergrant first.
    pub const ALL: [Self; 14] = [
        Self::Evergrant,
        Self::Snippet,
        Self::SleepAfterRefresh,
        Self::FixedBuffer,
        Self::IatSkew,
        Self::WaitForSkew,
        Self::XOauth2,
        Self::GoogleAuth,
        Self::Smithy,
        Self::Envoy,
        Self::Octokit,
        Self::GenesysPython,
        Self::GenesysGo,
        Self::Nango,
    ];

    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Evergrant => "evergrant",
            Self::Snippet => "snippet",
            Self::SleepAfterRefresh => "sleep_after_refresh",
            Self::FixedBuffer => "fixed_buffer",
            Self::IatSkew => "iat_skew",
            Self::WaitForSkew => "wait_for_skew",
            Self::XOauth2 => "x_oauth2",
            Self::GoogleAuth => "google_auth",
            Self::Smithy => "smithy",
            Self::Envoy => "envoy",
            Self::Octokit => "octokit",
            Self::GenesysPython => "genesys_python",
            Self::GenesysGo => "genesys_go",
            Self::Nango => "nango",
        }
    }

    /// The strategy of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.name() == name)
    }

    /// What it does, in one line.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Evergrant => "the keeper that ships",
            Self::Snippet => "refresh after a 401, no lock, one retry at once",
            Self::SleepAfterRefresh => "refresh after a 401, sleep one second, one retry",
            Self::FixedBuffer => "refresh 60 s before the end by this machine's clock; a 401 is raised",
            Self::IatSkew => "expiry from the JWT's exp, corrected by now minus iat; a 401 is raised",
            Self::WaitForSkew => "sleep until iat has come, then trust exp; a 401 is raised",
            Self::XOauth2 => "refresh 10 s before the end, in turn; a 401 is raised",
            Self::GoogleAuth => "refresh 225 s before the end, no lock; two refreshes after a 401",
            Self::Smithy => "refresh 5 to 10 s before the end, in turn; a 401 is raised",
            Self::Envoy => "refresh at half of the life by a timer; a 401 is passed on",
            Self::Octokit => "cached for 59 minutes; a 401 within 5 s of a new token is tried again",
            Self::GenesysPython => "refresh after a 401 if there is a refresh token, by recursion",
            Self::GenesysGo => "refresh 60 s before the end by a timer; one failure ends the process",
            Self::Nango => "refresh 15 min before the end, one at a time; a failure is an error for 30 s",
        }
    }

    /// The rules of a rival; none for Evergrant.
    pub(crate) fn rules(self) -> Option<Rules> {
        Some(match self {
            Self::Evergrant => return None,
            Self::Snippet => snippet::RULES,
            Self::SleepAfterRefresh => sleep_after_refresh::RULES,
            Self::FixedBuffer => fixed_buffer::RULES,
            Self::IatSkew => iat_skew::RULES,
            Self::WaitForSkew => wait_for_skew::RULES,
            Self::XOauth2 => x_oauth2::RULES,
            Self::GoogleAuth => google_auth::RULES,
            Self::Smithy => smithy::RULES,
            Self::Envoy => envoy::RULES,
            Self::Octokit => octokit::RULES,
            Self::GenesysPython => genesys_python::RULES,
            Self::GenesysGo => genesys_go::RULES,
            Self::Nango => nango::RULES,
        })
    }
}

#[cfg(test)]
mod tests;
