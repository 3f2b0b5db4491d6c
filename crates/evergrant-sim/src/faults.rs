//! What goes wrong, as data.
//!
//! A fault is chosen per request: rules are tried in order and the first that applies wins. Whether the provider acted
//! before its answer was spoiled is the difference that matters to a client: a lost answer may have spent a refresh
//! token or executed a request, a refused connection has not. Each kind says which it is.
//!
//! Events change a provider while it runs. A schedule is a list of [`At`], relative to the provider's start.

use evergrant_core::time::Span;
use serde::{Deserialize, Serialize};

use crate::config::{DateHeader, Delay, ExpiresIn, MintLimit};
use crate::seed::Seed;

/// The rules in force.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// For the token endpoint.
    pub token: Vec<TokenRule>,
    /// For the API.
    pub api: Vec<ApiRule>,
}

impl Faults {
    /// The fault for a token request that arrives now, if any.
    pub(crate) fn draw_token(&mut self, seed: &mut Seed) -> Option<TokenFault> {
        // Looking at a rule spends one of its times, so this is a loop that stops at the first that applies.
        for rule in &mut self.token {
            if rule.chance.draw(seed) {
                return Some(rule.fault.clone());
            }
        }
        None
    }

    /// The fault for an API request to `path` that arrives now, if any.
    pub(crate) fn draw_api(&mut self, path: &str, seed: &mut Seed) -> Option<ApiFault> {
        let here = |rule: &&mut ApiRule| rule.route.as_deref().is_none_or(|route| path.starts_with(route));
        for rule in self.api.iter_mut().filter(here) {
            if rule.chance.draw(seed) {
                return Some(rule.fault.clone());
            }
        }
        None
    }
}

/// How often a rule applies.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chance {
    /// In this many of a thousand requests.
    pub permille: u16,
    /// At most this many times.
    pub times: Option<u32>,
}

impl Chance {
    /// Every time.
    pub const ALWAYS: Self = Self { permille: 1000, times: None };

    /// The next `times` times.
    #[must_use]
    pub const fn next(times: u32) -> Self {
        Self { permille: 1000, times: Some(times) }
    }

    /// In this many of a thousand requests.
    #[must_use]
    pub const fn permille(permille: u16) -> Self {
        Self { permille, times: None }
    }

    fn draw(&mut self, seed: &mut Seed) -> bool {
        if self.times == Some(0) || !seed.happens(self.permille) {
            return false;
        }
        self.times = self.times.map(|left| left - 1);
        true
    }
}

/// A fault of the token endpoint and how often it strikes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRule {
    /// What happens.
    pub fault: TokenFault,
    /// How often.
    pub chance: Chance,
}

/// What can go wrong with a token request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenFault {
    /// Before acting: the connection is reset.
    Reset,
    /// Before acting: no answer for this long, then a reset.
    Hang(Span),
    /// Before acting: this status with an HTML page, and `Retry-After` in seconds if given.
    Status(u16, Option<u32>),
    /// Before acting: 200 with a page of some proxy instead of JSON.
    NotJson,
    /// Before acting: 302 to this location.
    Redirect(String),
    /// After acting: the answer comes this much later.
    Slow(Span),
    /// After acting: the connection is reset instead of an answer.
    Lost,
    /// After acting: the head of the answer, half of its body, and the end of the connection.
    Torn,
    /// After acting: 200 with an empty body.
    Empty,
    /// After acting: the answer without its `access_token`.
    MissingToken,
}

impl TokenFault {
    /// Did the provider act on the request before this fault struck?
    #[must_use]
    pub const fn acts(&self) -> bool {
        match self {
            Self::Reset | Self::Hang(_) | Self::Status(..) | Self::NotJson | Self::Redirect(_) => false,
            Self::Slow(_) | Self::Lost | Self::Torn | Self::Empty | Self::MissingToken => true,
        }
    }

    /// Can the client still read a token from the answer?
    #[must_use]
    pub const fn delivers(&self) -> bool {
        matches!(self, Self::Slow(_))
    }
}

/// A fault of the API, where and how often it strikes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiRule {
    /// What happens.
    pub fault: ApiFault,
    /// Only on paths that start with this.
    pub route: Option<String>,
    /// How often.
    pub chance: Chance,
}

/// What can go wrong with an API request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiFault {
    /// Before looking at the token: the connection is reset.
    Reset,
    /// Before looking at the token: this 5xx status.
    Status(u16),
    /// Before looking at the token: 504 `authentication.request.timeout`, the provider's own check was too slow.
    AuthenticationTimeout,
    /// Before looking at the token: 401, whatever the token is.
    AlwaysUnauthorized,
    /// Before looking at the token: this machine's address is not on the allow-list.
    IpNotAuthorized,
    /// With a good token: 403, a permission is missing.
    MissingPermission,
    /// With a good token: 403, the scope does not reach.
    InsufficientScope,
    /// With a good token: 429 with this many seconds of `Retry-After`.
    TooManyRequests(u32),
    /// After executing: the answer comes this much later.
    Slow(Span),
    /// After executing: the connection is reset instead of an answer.
    Lost,
    /// After executing: the head of the answer, half of its body, and the end of the connection.
    Torn,
    /// After executing: 500 all the same.
    FailedAfterExecuting,
}

/// An event and its time after the provider's start.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct At {
    /// How long after the start.
    pub after: Span,
    /// What happens then.
    pub event: Event,
}

impl At {
    /// The event at this many milliseconds after the start.
    #[must_use]
    pub const fn millis(after: i64, event: Event) -> Self {
        Self { after: Span::from_millis(after), event }
    }
}

/// A change of the provider while it runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The issuer's clock, and with it every node's, is set forward; negative: back.
    StepServer(Span),
    /// One node's clock is set forward; negative: back.
    StepNode(usize, Span),
    /// The issuer's clock gains this many microseconds each second from now on.
    SetDrift(i64),
    /// Every live access token ends.
    RevokeAll,
    /// The oldest live access token of each client ends.
    RevokeOldest,
    /// Every refresh token ends.
    RevokeRefreshTokens,
    /// Another holder of the first client's secret mints this many tokens, which may evict ours.
    OutsideMints(u32),
    /// Nodes learn of tokens issued from now on with this delay.
    SetPropagation(Delay),
    /// Tokens issued from now on live this long.
    SetLifetime(Span),
    /// Answers from now on say this about it.
    SetExpiresIn(ExpiresIn),
    /// New tokens end the older ones of their client, or no longer.
    SetRevokeOld(bool),
    /// The mint limit changes.
    SetMintLimit(Option<MintLimit>),
    /// The `Date` field changes its ways.
    SetDate(DateHeader),
    /// The first client's secret changes.
    SetClientSecret(String),
    /// The token endpoint gets this rule, before the others.
    TokenFault(TokenRule),
    /// The token endpoint works again.
    ClearTokenFaults,
    /// The API gets this rule, before the others.
    ApiFault(ApiRule),
    /// The API works again.
    ClearApiFaults,
}

impl Event {
    /// The token endpoint fails in this way every time, until cleared.
    #[must_use]
    pub const fn token(fault: TokenFault) -> Self {
        Self::TokenFault(TokenRule { fault, chance: Chance::ALWAYS })
    }

    /// The API fails in this way on every route every time, until cleared.
    #[must_use]
    pub const fn api(fault: ApiFault) -> Self {
        Self::ApiFault(ApiRule { fault, route: None, chance: Chance::ALWAYS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_with_a_count_strikes_that_often() {
        let rule = TokenRule { fault: TokenFault::Reset, chance: Chance::next(2) };
        let mut faults = Faults { token: vec![rule], api: Vec::new() };
        let mut seed = Seed::new(1);
        let drawn: Vec<bool> = (0..4).map(|_| faults.draw_token(&mut seed).is_some()).collect();
        assert_eq!(drawn, [true, true, false, false]);
    }

    #[test]
    fn a_rule_with_a_route_leaves_other_routes_alone() {
        let rule = ApiRule {
            fault: ApiFault::MissingPermission,
            route: Some("/api/v2/users".to_owned()),
            chance: Chance::ALWAYS,
        };
        let mut faults = Faults { token: Vec::new(), api: vec![rule] };
        let mut seed = Seed::new(1);
        assert_eq!(faults.draw_api("/api/v2/users/me", &mut seed), Some(ApiFault::MissingPermission));
        assert_eq!(faults.draw_api("/api/v2/queues", &mut seed), None);
    }

    #[test]
    fn a_chance_is_about_as_frequent_as_it_says() {
        let rule = TokenRule { fault: TokenFault::Reset, chance: Chance::permille(300) };
        let mut faults = Faults { token: vec![rule], api: Vec::new() };
        let mut seed = Seed::new(5);
        let struck = (0..10_000).filter(|_| faults.draw_token(&mut seed).is_some()).count();
        assert!((2_700..3_300).contains(&struck), "{struck}");
    }
}
