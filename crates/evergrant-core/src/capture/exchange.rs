//! One request of a capture and its answer, reduced to what a verdict needs.
//!
//! Nothing secret is left in it: credentials are [`Credential`], token answers are [`Minted`], texts of servers went
//! through the cleaning of [`crate::wire`], and of a URL only host and route template remain. What an answer refuses is
//! read at once, while its body is at hand.

use super::credential::{Credential, TokenFacts, TokenMark};
use crate::attempt::{Refusal, Route};
use crate::profile::{Profile, Region};
use crate::time::{Server, Span, Wall};
use crate::wire::{JwtClaims, RateSample, RetryAfter, TokenFailure};

/// One request and its answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Exchange {
    /// When it was sent, by the clock of the machine that captured it.
    pub sent: Option<Wall>,
    /// When its answer had arrived, by the same clock.
    pub received: Option<Wall>,
    /// The `Date` of the answer: the server's clock.
    pub date: Option<Server>,
    /// Did the answer come out of a cache, so that its `Date` may be old?
    pub is_cached: bool,
    /// Where it went; nothing if the capture does not show the request.
    pub route: Option<Route>,
    /// Whose credentials it carried.
    pub credential: Credential,
    /// The status of the answer.
    pub status: u16,
    /// Whose facts apply: the host and the body of the answer tell.
    pub profile: Profile,
    /// What the answer refuses, if anything.
    pub refusal: Option<Refusal>,
    /// How long the server asked to wait.
    pub retry_after: Option<RetryAfter>,
    /// What the answer says about a rate limit.
    pub rate: Option<RateSample>,
    /// To which host the answer redirects.
    pub redirects_to: Option<String>,
    /// If the token endpoint was asked: what with, and what came of it.
    pub mint: Option<Mint>,
}

impl Exchange {
    /// The host that answered.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.route.as_ref().map(|route| route.host.as_str()).filter(|host| !host.is_empty())
    }

    /// The `Date` of an answer that no cache has kept.
    #[must_use]
    pub fn fresh_date(&self) -> Option<Server> {
        self.date.filter(|_| !self.is_cached)
    }

    /// The provider's region in which the host is, if it is a host of one.
    #[must_use]
    pub fn region(&self) -> Option<Region> {
        Region::of_url(self.host()?)
    }

    /// Did the server refuse it, in a way that has to do with credentials or limits?
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.mint.as_ref().map_or_else(|| self.refusal.is_some(), |mint| mint.outcome.is_err())
    }

    /// Does the answer show that the API took the token?
    ///
    /// The same answers prove a token that [`crate::keeper`] counts as proof.
    #[must_use]
    pub fn is_proof(&self) -> bool {
        self.mint.is_none() && (matches!(self.status, 200..=299 | 304 | 404 | 409 | 422))
    }
}

/// A request to the token endpoint.
#[derive(Clone, PartialEq, Debug)]
pub struct Mint {
    /// The grant type, if the capture shows the request's body.
    pub grant: Option<String>,
    /// Whether two requests come from the same client.
    pub client: Option<TokenMark>,
    /// Whether two requests use the same refresh token.
    pub refresh_token: Option<TokenMark>,
    /// The dates of a signed assertion that was sent, unverified.
    pub assertion: Option<JwtClaims>,
    /// What came of it.
    pub outcome: Result<Minted, TokenFailure>,
}

/// A token that the token endpoint issued.
#[derive(Clone, PartialEq, Debug)]
pub struct Minted {
    /// The access token; nothing if the capture's writer has blotted it out.
    pub token: Option<TokenFacts>,
    /// How long it lives.
    pub expires_in: Option<Span>,
    /// The refresh token that came with it.
    pub refresh_token: Option<TokenMark>,
}
