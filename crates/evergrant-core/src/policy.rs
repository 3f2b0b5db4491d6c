//! The numbers that decide when, with the reason for each.
//!
//! A policy is data: operators set few of these, tests set all of them, and no other file of the core holds a number of
//! seconds. Everything that waits or retries takes its bound from here.
//!
//! Slack is how early a refresh starts. It is the length of a token-endpoint outage that no caller notices, so it grows
//! with the lifetime; but a provider that hands out five-second tokens still gets two thirds of each one used.

use crate::time::Span;

/// When tokens are refreshed, how long anything waits, and how often anything is tried.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    /// How early a refresh starts, if the operator says so; at most a third of the lifetime is honoured.
    pub slack: Option<Span>,
    /// How long a new token may be unknown to some nodes of the provider, if the operator says so; else learned.
    pub settle: Option<Span>,
    /// How much the local boot clock and the server's clock may drift apart.
    pub drift_ppm: i64,
    /// When a token of unknown lifetime is refreshed: below the shortest lifetime in common use, five minutes.
    pub unknown_lifetime_refresh: Span,
    /// How long a caller without a deadline of its own waits for a token.
    pub patience: Span,
    /// How long a caller waits when no token ever came and the failures look like a wrong token URL.
    pub cold_patience: Span,
    /// Mints allowed in [`Policy::BUDGET_WINDOW`], if the operator says so.
    pub mint_budget: Option<u32>,
    /// From this skew on a person should know of it; it changes nothing else.
    pub skew_warn: Span,
    /// A token unused for longer may have been ended by the provider: probe it, or replace it, before use.
    pub idle_limit: Option<Span>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            slack: None,
            settle: None,
            drift_ppm: 200,
            unknown_lifetime_refresh: Span::from_secs(240),
            patience: Span::from_secs(30),
            cold_patience: Span::from_secs(5),
            mint_budget: None,
            skew_warn: Span::from_secs(10),
            idle_limit: None,
        }
    }
}

impl Policy {
    /// The settle time before anything was learned: no provider we know of takes longer to spread a token.
    pub const FIRST_SETTLE: Span = Span::from_secs(10);
    /// How much longer than settle a refused new token is tried again.
    pub const SETTLE_GRACE: Span = Span::from_secs(2);
    /// How far the clocks of the nodes behind one name may be apart.
    pub const NODES_DISAGREE_BY: Span = Span::from_secs(1);
    /// The window of the mint budget.
    pub const BUDGET_WINDOW: Span = Span::from_secs(600);
    /// How many mints of the budget only scheduled refreshes may use.
    pub const BUDGET_RESERVE: usize = 2;
    /// How long to look for a sign of life of a refused token before it is given up.
    pub const PROOF_WAIT: Span = Span::from_millis(250);
    /// A proof older than this does not vouch for a request that cannot be repeated.
    pub const PROOF_FRESH: Span = Span::from_secs(10);
    /// Refusals without a success between them that show a proven token to be dead, not slow to spread: if one of five
    /// nodes knew it, so many in a row would be a chance of one in two hundred.
    pub const REFUSALS_OF_A_PROVEN_TOKEN: u32 = 24;
    /// The least time over which those refusals must be spread.
    pub const REFUSALS_SPAN: Span = Span::from_millis(500);
    /// How many generations one request is sent with, at most: the previous, the active and the candidate token, which
    /// a step of the server's clock or a revocation ends together, and the one that is minted because of that.
    pub const GENERATIONS_PER_REQUEST: usize = 4;
    /// How often a request is sent again sooner than planned with a new token that refused it, because others succeed
    /// with that token; with all its tokens together, or a route that refuses every token would be asked too often.
    pub const EARLY_RETRIES: u32 = 8;
    /// How long a route that refuses good tokens is remembered.
    pub const ROUTE_MEMORY: Span = Span::from_secs(600);

    /// The refresh lead for a token of this life.
    #[must_use]
    pub fn slack_for(&self, life: Span) -> Span {
        let wanted = self.slack.unwrap_or_else(|| {
            let most = Span::from_secs(3600).max(life.scaled(2, 100));
            life.scaled(20, 100).clamp(Span::from_secs(60), most)
        });
        wanted.clamp(Span::ZERO, life.scaled(1, 3))
    }

    /// How long before the end callers begin to wait: time for one refresh, at most half of the slack.
    #[must_use]
    pub fn hard_lead(&self, slack: Span, refresh_p99: Span) -> Span {
        Span::from_secs(10).max(refresh_p99.scaled(2, 1)).min(slack.scaled(1, 2))
    }

    /// How far the start of a refresh may be moved earlier to keep replicas apart.
    #[must_use]
    pub fn jitter_room(&self, life: Span, slack: Span) -> Span {
        life.scaled(1, 10).min(slack.scaled(1, 2))
    }

    /// Mints allowed in [`Policy::BUDGET_WINDOW`] for tokens of this lifetime.
    ///
    /// Three times what the schedule needs: enough for every fault we know, too little to evict live tokens in a loop.
    #[must_use]
    pub fn mint_budget_for(&self, lifetime: Option<Span>) -> usize {
        if let Some(budget) = self.mint_budget {
            return usize::try_from(budget).unwrap_or(usize::MAX);
        }
        let per_window = lifetime.map_or(0, |life| {
            let window = 3 * Self::BUDGET_WINDOW.as_nanos();
            window / life.as_nanos().max(1)
        });
        usize::try_from(per_window).unwrap_or(usize::MAX).clamp(10, 6000)
    }

    /// How long to wait after the `failures`-th transient failure in a row.
    ///
    /// `luck` in 0..=1000 spreads replicas. With `remaining` life in the serving token the wait is at most a quarter of
    /// it, so that several tries fit; without a token callers are waiting and the wait is at most fifteen seconds.
    #[must_use]
    pub fn backoff(&self, failures: u32, remaining: Option<Span>, luck: u16) -> Span {
        let doubled = Span::from_secs(1_i64 << failures.min(6));
        let cap = match remaining {
            Some(left) => Span::from_secs(60).min(left.scaled(1, 4)).max(Span::ZERO),
            None => Span::from_secs(15),
        };
        Span::from_secs(1) + doubled.min(cap).scaled(i64::from(luck.min(1000)), 1000)
    }

    /// How long after a permanent failure the endpoint is asked again: at 1, 2 and 5 minutes, then every 15.
    #[must_use]
    pub fn half_open_after(tries: u32) -> Span {
        Span::from_secs(match tries {
            0 => 60,
            1 => 60,
            2 => 180,
            _ => 900,
        })
    }

    /// How long to wait before the same new token is tried or probed again, for the `n`-th time.
    ///
    /// Counted from the first refusal these are 50, 100, 250, 500 ms, 1 s, and then every 2 s.
    #[must_use]
    pub fn propagation_retry(n: u32) -> Span {
        Span::from_millis(match n {
            0 | 1 => 50,
            2 => 150,
            3 => 250,
            4 => 500,
            _ => 2000,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_covers_three_lifetimes_worth_and_never_less_than_ten() {
        let policy = Policy::default();
        assert_eq!(policy.mint_budget_for(None), 10);
        assert_eq!(policy.mint_budget_for(Some(Span::from_secs(86_400))), 10);
        assert_eq!(policy.mint_budget_for(Some(Span::from_secs(5))), 360);
        assert_eq!(Policy { mint_budget: Some(3), ..policy }.mint_budget_for(Some(Span::from_secs(5))), 3);
    }

    #[test]
    fn backoff_grows_but_leaves_room_for_several_tries() {
        let policy = Policy::default();
        let longest = |n, left| policy.backoff(n, left, 1000).as_secs();
        assert_eq!([0, 1, 2, 3, 9].map(|n| longest(n, None)), [2, 3, 5, 9, 16]);
        assert_eq!(longest(9, Some(Span::from_secs(3600))), 61);
        assert_eq!(longest(9, Some(Span::from_secs(8))), 3);
        assert_eq!(policy.backoff(9, None, 0), Span::from_secs(1));
    }

    #[test]
    fn an_operator_cannot_ask_for_more_slack_than_a_third() {
        let policy = Policy { slack: Some(Span::from_secs(100)), ..Policy::default() };
        assert_eq!(policy.slack_for(Span::from_secs(30)), Span::from_secs(10));
        assert_eq!(policy.slack_for(Span::from_secs(3000)), Span::from_secs(100));
    }
}
