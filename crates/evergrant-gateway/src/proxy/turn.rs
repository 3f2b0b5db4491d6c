//! A request's turn under the provider's rate limit.
//!
//! The way of a call stands in [`Call::keep_authorized`]; here is what it does when a limit holds it: wait out a 429
//! and begin again with a token of that time, or tell the caller how long there is still to wait. Waiting for its turn
//! and waiting for tokens share one deadline.

use evergrant::clock::boot;
use evergrant::{Exchange, Sendable};
use evergrant_core::attempt::Route;
use evergrant_core::pace::{Aftermath, Refused};
use evergrant_core::time::{Boot, Span};
use http::header::RETRY_AFTER;
use http::{Response, StatusCode};

use super::reply::{Refusal, header_value, whole_seconds};
use super::{AtHand, Call};
use crate::pace::Pass;
use crate::problem::Problem;

impl Call {
    /// Waits for the right to send the request. A caller with a login of its own has a token and a limit of its own,
    /// which it keeps to itself.
    pub(super) async fn take_turn(&self, deadline: Boot) -> Result<Pass, Problem> {
        if self.caller.grant.is_some() {
            return Ok(Pass::UNCOUNTED);
        }
        self.site.pace.enter(&self.key, deadline).await.map_err(|refused| self.limited(&refused))
    }

    /// The right to send the request again at once, after a 401.
    pub(super) fn take_turn_at_once(&self) -> Pass {
        if self.caller.grant.is_some() { Pass::UNCOUNTED } else { self.site.pace.enter_at_once(&self.key) }
    }

    /// Tells the pace about an answer.
    pub(super) fn hear<B>(&self, pass: Pass, response: &Response<B>) -> Aftermath {
        if self.caller.grant.is_some() {
            return Aftermath::HandOn;
        }
        self.site.pace.hear(pass, response.status(), response.headers())
    }

    /// Waits out a 429 with all the others, and takes a token anew: what to send then, and how. `None` if the caller is
    /// to have the refusal, which says by then how long there is still to wait.
    pub(super) async fn wait_out(
        &self,
        after: Aftermath,
        refusal: &mut Refusal,
        deadline: Boot,
    ) -> Option<(AtHand, (Pass, Exchange, Sendable))> {
        let body = refusal.at_hand.filter(|_| after != Aftermath::HandOn)?;
        match self.begin_again(after, deadline).await {
            Ok(begun) => Some((body, begun)),
            Err(wait) => {
                // The provider's 429 says more than one of ours, but the time is another by now.
                refusal.head.headers.insert(RETRY_AFTER, whole_seconds(wait).into());
                None
            }
        }
    }

    async fn begin_again(&self, after: Aftermath, deadline: Boot) -> Result<(Pass, Exchange, Sendable), Span> {
        let again = self.site.pace.enter_again(&self.key, after, deadline).await;
        let mut pass = again.map_err(|refused| refused.retry_after)?;
        let mut exchange = self.source().exchange(self.traits(deadline));
        let token = exchange.begin().await.map_err(|error| error.retry_after.unwrap_or(Span::ZERO))?;
        pass.mark_sent();
        Ok((pass, exchange, token))
    }

    /// Until when the caller is kept waiting for its turn and for a token.
    pub(super) fn deadline(&self) -> Boot {
        boot() + Span::from_duration(self.site.config.timeouts.token_wait)
    }

    /// The answer to a request that the provider's rate limit leaves no room for.
    fn limited(&self, refused: &Refused) -> Problem {
        let route = Route::new(self.site.config.upstream.host(), self.method.as_str(), self.path());
        let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate limited", refused.to_string());
        problem.retry_after = Some(whole_seconds(refused.retry_after));
        let verdict = self.site.source.verdict_on_rate_limit(route);
        self.span.note_verdict(verdict.cause.name());
        problem.verdict = header_value(&verdict);
        problem
    }
}
