//! A token and the four instants at which it stops being good enough.
//!
//! The lifetime is counted on the boot clock from the moment the token request was *sent*: the server cannot have
//! started to count earlier, so [`Instants::dead`] is never late, however slow the answer was and whatever either
//! calendar clock says. [`Instants::gone`] counts from the moment the answer arrived: after it the token is certainly
//! expired. Between the two a 401 is expected and proves nothing.
//!
//! ```text
//! sent ---------------------------- soft ------ hard ---- dead - gone
//!        callers get the token      | refresh  | callers | last  |
//!                                   | behind   | wait    | resort| never served
//! ```
//!
//! [`Instants::soft`] lies one slack before `dead`: the slack is the token-endpoint outage that callers do not notice.
//! [`Instants::hard`] leaves just enough time for one refresh. `soft <= hard <= dead <= gone` always holds, for
//! lifetimes from a second to years.
//!
//! The instants assume that both clocks tick within `drift_ppm` of each other. A server whose clock jumps forward ends
//! the lifetime early; [`Instants::moved_earlier`] is for that. An opaque token has no dates to be skewed by: a JWT
//! has, and its `exp` may shorten the lifetime, never lengthen it, see [`Token::shorten_by_claims`].
//!
//! Source: RFC 6749 section 5.1 (`expires_in`), RFC 7519 section 4.1 (`exp`, `nbf`, `iat`).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Secret;
use crate::policy::Policy;
use crate::time::{Boot, OffsetInterval, Span};
use crate::wire::{JwtClaims, read_claims};

/// Which token: every commit of a new token counts one up. Orders tokens; the text of a token only tests equality.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}", self.0)
    }
}

/// When a token was asked for and when it arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Issued {
    /// Just before the token request was sent: the server cannot have issued the token earlier.
    pub sent: Boot,
    /// When the answer arrived: the server cannot have issued the token later.
    pub received: Boot,
}

/// The instants of a token's life. Unknown ones are [`Boot::FAR`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instants {
    /// From here on a refresh runs behind the callers' backs.
    pub soft: Boot,
    /// From here on callers wait for that refresh.
    pub hard: Boot,
    /// The earliest instant at which the token can stop working.
    pub dead: Boot,
    /// The latest instant at which the token can still work.
    pub gone: Boot,
}

impl Instants {
    /// The instants of a token of this lifetime; `jitter` in 0..=1000 moves `soft` earlier, at most as far as policy lets it.
    #[must_use]
    pub fn new(issued: Issued, lifetime: Option<Span>, policy: &Policy, refresh_p99: Span, jitter: u16) -> Self {
        let Some(lifetime) = lifetime else {
            let soft = issued.sent + policy.unknown_lifetime_refresh;
            return Self { soft, hard: Boot::FAR, dead: Boot::FAR, gone: Boot::FAR };
        };
        let drift = lifetime.drift(policy.drift_ppm);
        let dead = issued.sent + (lifetime - drift).max(Span::ZERO);
        let gone = issued.received.max(issued.sent) + lifetime + drift;
        Self::before(issued.sent, dead, gone, policy, refresh_p99, jitter)
    }

    /// The instants of a token that dies at `dead` and was sent for at `sent`.
    fn before(sent: Boot, dead: Boot, gone: Boot, policy: &Policy, refresh_p99: Span, jitter: u16) -> Self {
        let life = (dead - sent).max(Span::ZERO);
        let slack = policy.slack_for(life);
        let hard = dead - policy.hard_lead(slack, refresh_p99);
        let soft = dead - slack - policy.jitter_room(life, slack).scaled(i64::from(jitter.min(1000)), 1000);
        Self { soft: soft.min(hard), hard, dead, gone: gone.max(dead) }
    }

    /// The same life, ending earlier by `by`: the provider's clock jumped ahead.
    #[must_use]
    pub fn moved_earlier(self, by: Span) -> Self {
        let moved = |at: Boot| if at == Boot::FAR { at } else { at - by };
        Self { soft: moved(self.soft), hard: moved(self.hard), dead: moved(self.dead), gone: moved(self.gone) }
    }

    /// Is it known when the token ends?
    #[must_use]
    pub fn is_end_known(self) -> bool {
        self.dead != Boot::FAR
    }
}

/// An access token with what the keeper knows of its life.
#[derive(Clone, Debug)]
pub struct Token {
    /// Its place in the order of tokens.
    pub generation: Generation,
    /// The text that goes on the wire.
    pub access_token: Secret,
    /// When it was asked for and arrived.
    pub issued: Issued,
    /// What the server said of its lifetime, if it said anything usable.
    pub lifetime: Option<Span>,
    /// Its claims if it is a JWT; hints only, the signature is not looked at here.
    pub claims: Option<JwtClaims>,
    /// When it stops being good enough.
    pub instants: Instants,
}

impl Token {
    /// A token that a token endpoint has just issued.
    #[must_use]
    pub fn new(
        generation: Generation,
        access_token: Secret,
        issued: Issued,
        lifetime: Option<Span>,
        policy: &Policy,
        refresh_p99: Span,
        jitter: u16,
    ) -> Self {
        let instants = Instants::new(issued, lifetime, policy, refresh_p99, jitter);
        let claims = read_claims(access_token.expose());
        Self { generation, access_token, issued, lifetime, claims, instants }
    }

    /// Lets a JWT's `exp` end the life earlier, by the clock of the host that checks it.
    ///
    /// Only an offset that is two-sided, undisturbed and narrower than [`CLAIMS_NEED_OFFSET_WITHIN`] may do so, and
    /// never to before three quarters of the promised lifetime: a wrong clock must not make tokens that are born dead,
    /// nor short ones be renewed more than 2.5 times in their life. Returns
    /// `false`, and changes nothing, if the token's own `iat` contradicts the offset: then the claims or the clock are
    /// wrong and neither is used.
    pub fn shorten_by_claims(
        &mut self,
        theta: OffsetInterval,
        policy: &Policy,
        refresh_p99: Span,
        jitter: u16,
    ) -> bool {
        let Some(claims) = &self.claims else { return true };
        if let Some(iat) = claims.iat {
            let earliest = self.issued.sent + theta.lo - IAT_RESOLUTION;
            let latest = self.issued.received + theta.hi;
            if iat < earliest || iat > latest {
                return false;
            }
        }
        let Some(exp) = claims.exp else { return true };
        let by_claims = exp - theta.hi;
        let promised = self.instants;
        if by_claims < promised.dead {
            let floor = match self.lifetime {
                Some(lifetime) => self.issued.sent + lifetime.scaled(3, 4),
                None => self.issued.sent,
            };
            let gone = (exp - theta.lo).min(promised.gone);
            let dead = by_claims.max(floor);
            self.instants = Instants::before(self.issued.sent, dead, gone, policy, refresh_p99, jitter);
        }
        true
    }

    /// May the token be put on a request at all at this moment?
    #[must_use]
    pub fn is_usable_at(&self, now: Boot) -> bool {
        now < self.instants.gone
    }

    /// Time since the token was asked for.
    #[must_use]
    pub fn age(&self, now: Boot) -> Span {
        now - self.issued.sent
    }

    /// Time until the earliest instant at which the token can stop working; `None` if that is unknown.
    #[must_use]
    pub fn remaining(&self, now: Boot) -> Option<Span> {
        self.instants.is_end_known().then(|| self.instants.dead - now)
    }
}

/// Offsets known less exactly than this say nothing about claims in whole seconds.
pub const CLAIMS_NEED_OFFSET_WITHIN: Span = Span::from_secs(5);
/// `iat` is in whole seconds, rounded down.
const IAT_RESOLUTION: Span = Span::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Server;
    use proptest::prelude::*;

    fn issued(sent: i64, received: i64) -> Issued {
        Issued { sent: Boot::from_secs(sent), received: Boot::from_secs(received) }
    }

    fn life(secs: i64) -> Instants {
        Instants::new(issued(1000, 1001), Some(Span::from_secs(secs)), &Policy::default(), Span::ZERO, 0)
    }

    #[test]
    fn lifetimes_have_the_documented_instants() {
        // (lifetime, slack, hard lead), all in milliseconds, before the drift allowance of 200 ppm.
        for (secs, slack, lead) in [
            (1, 333, 166),
            (3, 1_000, 500),
            (30, 10_000, 5_000),
            (300, 60_000, 10_000),
            (3_600, 720_000, 10_000),
            (86_400, 3_600_000, 10_000),
            (400 * 86_400, 691_200_000, 10_000),
        ] {
            let instants = life(secs);
            let near = |span: Span, millis: i64| (span.as_millis() - millis).abs() <= 1 + millis / 1000;
            assert!(near(instants.dead - instants.soft, slack), "{secs} s: slack {:?}", instants.dead - instants.soft);
            assert!(near(instants.dead - instants.hard, lead), "{secs} s: lead {:?}", instants.dead - instants.hard);
        }
    }

    #[test]
    fn a_missing_lifetime_is_refreshed_at_four_minutes_and_never_declared_dead() {
        let instants = Instants::new(issued(1000, 1001), None, &Policy::default(), Span::ZERO, 1000);
        assert_eq!(instants.soft, Boot::from_secs(1000 + 240));
        assert!(!instants.is_end_known());
        assert_eq!(instants.moved_earlier(Span::from_secs(5)).dead, Boot::FAR);
    }

    #[test]
    fn a_token_is_served_until_gone_and_not_after() {
        let token = Token::new(
            Generation(1),
            "t".into(),
            issued(0, 1),
            Some(Span::from_secs(60)),
            &Policy::default(),
            Span::ZERO,
            0,
        );
        assert!(token.is_usable_at(token.instants.gone - Span::from_nanos(1)));
        assert!(!token.is_usable_at(token.instants.gone));
    }

    /// `{"alg":"none"}.{"iat":1000000,"exp":1000060}.` at a server that is exactly one million seconds ahead.
    fn jwt(lifetime: i64) -> Token {
        let text = "eyJhbGciOiJub25lIn0.eyJpYXQiOjEwMDAwMDAsImV4cCI6MTAwMDA2MH0.x";
        Token::new(
            Generation(1),
            text.into(),
            issued(0, 0),
            Some(Span::from_secs(lifetime)),
            &Policy::default(),
            Span::ZERO,
            0,
        )
    }

    fn exactly(offset_secs: i64) -> OffsetInterval {
        let theta = Server::from_secs(offset_secs) - Boot::from_secs(0);
        OffsetInterval { lo: theta, hi: theta }
    }

    #[test]
    fn claims_shorten_a_life_by_a_quarter_at_most_and_never_lengthen_it() {
        let exact = exactly(1_000_000);
        let mut token = jwt(80);
        assert!(token.shorten_by_claims(exact, &Policy::default(), Span::ZERO, 0));
        assert_eq!(token.instants.dead, Boot::from_secs(60));
        let mut token = jwt(600);
        assert!(token.shorten_by_claims(exact, &Policy::default(), Span::ZERO, 0));
        assert_eq!(token.instants.dead, Boot::from_secs(450));
        let (mut token, promised) = (jwt(30), jwt(30).instants);
        assert!(token.shorten_by_claims(exact, &Policy::default(), Span::ZERO, 0));
        assert_eq!(token.instants, promised);
    }

    #[test]
    fn claims_that_contradict_the_offset_are_ignored() {
        let promised = jwt(80).instants;
        let mut token = jwt(80);
        assert!(!token.shorten_by_claims(exactly(1_000_100), &Policy::default(), Span::ZERO, 0));
        assert_eq!(token.instants, promised);
    }

    proptest! {
        #[test]
        fn instants_are_always_in_order(
            secs in 1_i64..400 * 86_400, delay in 0_i64..60, p99_ms in 0_i64..120_000, jitter in 0_u16..=1000,
            slack in proptest::option::of(0_i64..1_000_000),
        ) {
            let policy = Policy { slack: slack.map(Span::from_secs), ..Policy::default() };
            let issued = issued(1000, 1000 + delay);
            let at = Instants::new(issued, Some(Span::from_secs(secs)), &policy, Span::from_millis(p99_ms), jitter);
            prop_assert!(issued.sent <= at.soft, "soft {:?} before the request", at.soft);
            prop_assert!(at.soft <= at.hard && at.hard <= at.dead && at.dead <= at.gone, "{at:?}");
            prop_assert!(at.dead < issued.sent + Span::from_secs(secs));
            prop_assert!(at.gone > issued.received + Span::from_secs(secs));
            let half_used = at.soft - issued.sent;
            prop_assert!(half_used >= (at.dead - issued.sent).scaled(1, 2), "refreshed in the first half: {at:?}");
        }
    }
}
