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
        let (made, held_back) = (self.seen.calls.len(), self.seen.held_back);
        demand(held_back < made, format!("the machine is too busy: {held_back} calls held back, {made} made"));
        demand(self.scenario.struck(self.ledger), format!("the fault did not strike: {:?}", self.ledger.api));
        broken
    }

    /// The run in one line.
    pub(crate) fn summary(&self) -> String {
        let mut waits: Vec<_> = self.seen.calls.iter().map(Call::took).collect();
        waits.sort_unstable();
        let at = |percent: usize| waits.get(waits.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default();
        format!(
            "{:32} {:4} calls, {} visible 401s of {:3}, {:2} failed, token requests {:2} of {:2}, p50 {}, p99 {}, \
             slowest {}, pulse {}, {} held back",
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
            self.seen.slowest_pulse,
            self.seen.held_back,
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

    /// What a busy machine may add to a wait. A pulse has the hops of one call through the gateway; a replayed call has
    /// them several times, and a probe and a token request between them.
    fn busy(&self) -> Span {
        BUSY + self.seen.slowest_pulse.scaled(4, 1)
    }
}

fn first(calls: &[&Call]) -> String {
    let words =
        |call: &&Call| format!("the first {} from {} to {}: {:?}", call.name, call.started, call.ended, call.end);
    calls.first().map_or_else(String::new, words)
}

/// What a machine that is not busy at all may add.
const BUSY: Span = Span::from_millis(250);

/// The judge itself: a run with one broken promise is found out, and one without is not.
#[cfg(test)]
mod tests {
    use evergrant_sim::Scenario;
    use evergrant_sim::ledger::Effect as Done;

    use super::*;
    use crate::load::Effect;

    fn call(end: Result<(u16, String), String>, took: Span) -> Call {
        let effect = Effect { id: "a".to_owned(), body_len: 1, body_hash: "h".to_owned() };
        Call { name: "POST 1".to_owned(), started: Span::ZERO, ended: took, end, effect: Some(effect) }
    }

    fn ledger(executions: u64, body_hash: &str) -> Ledger {
        let mut ledger = Ledger::default();
        let effect = Done { executions, body_len: 1, body_hash: body_hash.to_owned() };
        ledger.effects.insert("a".to_owned(), effect);
        ledger
    }

    fn broken(call: Call, ledger: &Ledger) -> Vec<String> {
        let seen = Seen { calls: vec![call], held_back: 0, slowest_pulse: Span::ZERO };
        let scenario = Scenario::named("no_fault").unwrap();
        Evidence { scenario: &scenario, seen: &seen, ledger, ran: Span::from_secs(4) }.broken()
    }

    fn fine() -> Call {
        call(Ok((200, String::new())), Span::from_secs(1))
    }

    #[track_caller]
    fn assert_found(broken: &[String], words: &str) {
        assert!(broken.len() == 1 && broken[0].contains(words), "{broken:?}");
    }

    #[test]
    fn a_run_without_a_blemish_passes() {
        assert!(broken(fine(), &ledger(1, "h")).is_empty());
    }

    #[test]
    fn each_broken_promise_is_found() {
        let second = Span::from_secs(1);
        assert_found(&broken(call(Ok((401, String::new())), second), &ledger(0, "")), "visible 401s");
        assert_found(&broken(call(Ok((503, String::new())), second), &ledger(0, "")), "failed without need");
        assert_found(&broken(call(Err("reset".to_owned()), second), &ledger(1, "h")), "failed without need");
        assert_found(&broken(call(Ok((200, String::new())), Span::from_secs(3)), &ledger(1, "h")), "took longer");
        assert_found(&broken(fine(), &ledger(1, "other")), "told but not executed");
        assert_found(&broken(fine(), &Ledger::default()), "told but not executed");
        let twice = broken(fine(), &ledger(2, "h"));
        assert!(twice.iter().any(|words| words.contains("executed twice")), "{twice:?}");
    }

    #[test]
    fn too_many_token_requests_are_found() {
        let mut many = ledger(1, "h");
        many.token.requests = 4;
        assert_found(&broken(fine(), &many), "4 token requests where 3 are enough");
        many.token.requests = 3;
        many.token.max_in_flight = 2;
        assert_found(&broken(fine(), &many), "in flight at once");
    }
}
