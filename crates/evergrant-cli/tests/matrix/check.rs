//! What must hold after every run, whatever the fault was.

use evergrant_core::time::Span;
use evergrant_sim::Ledger;
use evergrant_sim::scenario::Scenario;

use crate::load::{Call, Seen};

/// Everything there is to judge about a run.
pub(crate) struct Evidence<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) seen: &'a Seen,
    pub(crate) ledger: &'a Ledger,
    /// From the start of the gateway until the ledger was read.
    pub(crate) ran: Span,
}

impl Evidence<'_> {
    /// Every broken promise in words; empty if all were kept.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut demand = |holds: bool, words: String| {
            if !holds {
                broken.push(words);
            }
        };
        let visible = self.calls_that(Call::is_401);
        demand(visible.is_empty(), format!("{} visible 401s, {}", visible.len(), first(&visible)));
        let failed = self.calls_that(|call| !call.is_success() && !call.is_401() && !self.may_fail(call));
        demand(failed.is_empty(), format!("{} calls failed without need, {}", failed.len(), first(&failed)));
        let in_flight = self.ledger.token.max_in_flight;
        demand(in_flight <= 1, format!("{in_flight} token requests in flight at once"));
        let (requests, allowed) = (self.ledger.token.requests, self.allowed());
        demand(requests <= allowed, format!("{requests} token requests where {allowed} are enough"));
        let duplicated = self.ledger.duplicated_effects();
        demand(duplicated == 0, format!("{duplicated} side effects executed twice"));
        let wrong = self.calls_that(|call| call.is_success() && !self.is_executed(call));
        demand(wrong.is_empty(), format!("{} writes told but not executed so, {}", wrong.len(), first(&wrong)));
        let bound = self.scenario.forced.wait + self.busy();
        let late = self.calls_that(|call| !self.may_fail(call) && call.took() > bound);
        demand(late.is_empty(), format!("{} calls took longer than {bound}, {}", late.len(), first(&late)));
        broken
    }

    /// The run in one line.
    pub(crate) fn summary(&self) -> String {
        let mut waits: Vec<_> = self.seen.calls.iter().map(Call::took).collect();
        waits.sort_unstable();
        let at = |percent: usize| waits.get(waits.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default();
        format!(
            "{:32} {:4} calls, {} visible 401s of {:3}, {:2} failed, token requests {:2} of {:2}, p50 {}, p99 {}, \
             slowest {} (direct {})",
            self.scenario.name,
            self.seen.calls.len(),
            self.calls_that(Call::is_401).len(),
            self.ledger.refused(),
            self.calls_that(|call| !call.is_success() && !call.is_401()).len(),
            self.ledger.token.requests,
            self.allowed(),
            at(50),
            at(99),
            at(100),
            self.seen.slowest_direct,
        )
    }

    fn calls_that(&self, is_so: impl Fn(&Call) -> bool) -> Vec<&Call> {
        self.seen.calls.iter().filter(|call| is_so(call)).collect()
    }

    fn may_fail(&self, call: &Call) -> bool {
        self.scenario.may_fail(call.started, call.ended)
    }

    fn allowed(&self) -> u64 {
        self.scenario.mint_allowance(self.ran)
    }

    /// Was the side effect of a call executed once, with the body that the call sent?
    fn is_executed(&self, call: &Call) -> bool {
        call.effect.as_ref().is_none_or(|asked| {
            self.ledger.effects.get(&asked.id).is_some_and(|done| {
                (done.executions, done.body_len, &done.body_hash) == (1, asked.body_len, &asked.body_hash)
            })
        })
    }

    /// What a busy machine may add to a wait. A call through the gateway has twice the hops of a direct one, and a
    /// replayed call twice of that.
    fn busy(&self) -> Span {
        BUSY + self.seen.slowest_direct.scaled(4, 1)
    }
}

fn first(calls: &[&Call]) -> String {
    let words =
        |call: &&Call| format!("the first {} from {} to {}: {:?}", call.name, call.started, call.ended, call.end);
    calls.first().map_or_else(String::new, words)
}

/// What a machine that is not busy at all may add.
const BUSY: Span = Span::from_millis(250);
