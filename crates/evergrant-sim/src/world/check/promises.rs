//! The promises of the guide, one checker each, over a run that is over.
//!
//! Some can be judged only while the run goes on; those are in the watch, and what it noted is added here.

use evergrant_core::policy::Policy;
use evergrant_core::time::Span;

use super::{Broken, Promise};
use crate::config::DateHeader;
use crate::faults::{ApiFault, Event};
use crate::scenario::Scenario;
use crate::tokens::Refusal;
use crate::world::{CallRecord, Outcome};

/// Every promise that a watched run broke.
#[must_use]
pub fn promises(scenario: &Scenario, outcome: &Outcome) -> Vec<Broken> {
    let run = Run { scenario, outcome };
    let checkers =
        [no_visible_401, failure_is_not_for_ever, no_double_effect, every_401_has_a_verdict, no_secret, bounded];
    let mut broken: Vec<_> = checkers.into_iter().filter_map(|check| check(&run)).collect();
    broken.extend(outcome.noted.iter().cloned());
    broken
}

struct Run<'a> {
    scenario: &'a Scenario,
    outcome: &'a Outcome,
}

impl Run<'_> {
    /// Was the token endpoint out of order at some moment of this call, as far as the client could know?
    fn is_in_outage(&self, call: &CallRecord) -> bool {
        self.outcome.outages.iter().any(|(from, to)| call.started <= *to && *from <= call.ended)
    }

    /// Was the grant lost by an answer that never came?
    fn has_lost_grant(&self, call: &CallRecord) -> bool {
        self.outcome.grant_lost.is_some_and(|at| at <= call.ended)
    }

    /// Had so many tokens been minted before that a brake may hold the next one back?
    fn is_budget_spent(&self, call: &CallRecord) -> bool {
        let allowed = Policy::default().mint_budget_for(Some(self.scenario.config.tokens.lifetime));
        let mints =
            self.outcome.mints.iter().filter(|at| **at <= call.ended && call.started - **at < Policy::BUDGET_WINDOW);
        mints.count() + Policy::BUDGET_RESERVE >= allowed
    }

    /// Did routes refuse good tokens then, or just before? A brake on refreshes may still hold.
    fn is_refused_by_route(&self, call: &CallRecord) -> bool {
        let events = &self.scenario.events;
        let is_refusal = |event: &Event| {
            let Event::ApiFault(rule) = event else { return false };
            matches!(rule.fault, ApiFault::AlwaysUnauthorized | ApiFault::IpNotAuthorized)
        };
        events.iter().enumerate().filter(|(_, at)| is_refusal(&at.event)).any(|(index, at)| {
            let ends = events[index..].iter().find(|at| matches!(at.event, Event::ClearApiFaults));
            at.after <= call.ended && ends.is_none_or(|ends| call.started <= ends.after + BRAKE)
        })
    }

    /// Was the provider's clock set forward in the life of a token that was at hand then?
    fn was_set_forward(&self, call: &CallRecord) -> bool {
        let is_step = |event: &Event| matches!(event, Event::StepServer(by) if *by > Span::ZERO);
        let mut steps = self.scenario.events.iter().filter(|at| is_step(&at.event));
        steps.any(|at| at.after <= call.ended && call.ended - at.after < self.scenario.config.tokens.lifetime)
    }

    fn is_out_of_time(&self, call: &CallRecord) -> bool {
        call.ended >= call.deadline
    }
}

/// P1. What may be sent again does not end with a 401, and nothing ends without an answer for want of a token, while the
/// provider can be reached, the credential is valid, the budget lasts and the caller waits.
fn no_visible_401(run: &Run<'_>) -> Option<Broken> {
    let excused = |call: &&CallRecord| {
        let is_about_route = matches!(call.refused_for, Some(Refusal::Route | Refusal::IpNotAuthorized));
        run.is_in_outage(call)
            || run.has_lost_grant(call)
            || run.is_budget_spent(call)
            || run.is_out_of_time(call)
            || is_about_route
            // Without a date nobody can know that the server's clock was set back behind the token's beginning.
            || (call.refused_for == Some(Refusal::NotYetValid) && run.scenario.config.date != DateHeader::Live)
            // Nor that it was set forward, and the token ended early at the one node that is ahead.
            || (call.is_over_for_some && run.was_set_forward(call) && run.scenario.config.date != DateHeader::Live)
            // So many and no more is what the rule of replays allows.
            || call.tokens_refused >= Policy::GENERATIONS_PER_REQUEST
            // A brake that a decision of its own explains: nobody can tell such a token from a mint that does not help.
            || call.is_stillborn
            || run.is_refused_by_route(call)
    };
    let failed = |call: &&CallRecord| match call.status {
        Some(401) => call.can_repeat,
        Some(_) => false,
        None => !call.is_cut,
    };
    let call = run.outcome.calls.iter().filter(failed).find(|call| !excused(call))?;
    Some(broken(Promise::NoVisible401, call.ended, format!("without need: {call:?}")))
}

/// P2, its second half. When nothing has failed for long enough, everything works again.
fn failure_is_not_for_ever(run: &Run<'_>) -> Option<Broken> {
    let recovered = crate::space::quiet_from(run.scenario) + RECOVERY;
    let is_late = |call: &&CallRecord| call.started > recovered && !call.is_cut;
    // Who is in a hurry may come at the wrong moment; it is the patient who must be served.
    let is_patient = |call: &&CallRecord| call.deadline - call.started >= Policy::default().patience;
    let fails = |call: &&CallRecord| !matches!(call.status, Some(200..=299)) && is_patient(call);
    let call = run.outcome.calls.iter().filter(is_late).find(fails)?;
    let is_used_up = call.tokens_refused >= Policy::GENERATIONS_PER_REQUEST || run.is_budget_spent(call);
    if run.has_lost_grant(call) || call.is_stillborn || is_used_up || (call.status == Some(401) && !call.can_repeat) {
        return None;
    }
    Some(broken(Promise::FailureHarmless, call.ended, format!("still fails: {call:?}")))
}

/// P4.
fn no_double_effect(run: &Run<'_>) -> Option<Broken> {
    let (id, _) = run.outcome.ledger.effects.iter().find(|(_, effect)| effect.executions > 1)?;
    Some(broken(Promise::NoDoubleEffect, run.outcome.ran, format!("`{id}` was executed twice")))
}

/// P6, its first half.
fn every_401_has_a_verdict(run: &Run<'_>) -> Option<Broken> {
    let call = run.outcome.calls.iter().find(|call| call.status == Some(401) && call.verdict.is_none())?;
    Some(broken(Promise::VerdictTrue, call.ended, format!("no verdict: {call:?}")))
}

/// P8. Nothing that the run wrote down holds a secret.
fn no_secret(run: &Run<'_>) -> Option<Broken> {
    let log = run.outcome.log.as_deref()?;
    let told = run.outcome.secrets.iter().any(|secret| log.contains(secret.expose()));
    told.then(|| broken(Promise::NoSecret, run.outcome.ran, "the log holds a secret".to_owned()))
}

/// P9. No call takes longer than its caller waits and the way to the provider takes.
fn bounded(run: &Run<'_>) -> Option<Broken> {
    if run.outcome.unfinished > 0 {
        let words = format!("{} calls never ended", run.outcome.unfinished);
        return Some(broken(Promise::Bounded, run.outcome.ran, words));
    }
    let is_late = |call: &&CallRecord| call.ended > call.deadline + LONGEST_EXCHANGE && !call.was_frozen;
    let call = run.outcome.calls.iter().find(is_late)?;
    Some(broken(Promise::Bounded, call.ended, format!("long after its deadline: {call:?}")))
}

fn broken(promise: Promise, after: Span, words: String) -> Broken {
    Broken { promise, after, words }
}

/// The longest wait of a keeper is a quarter of an hour; a circuit, a route and a budget forget sooner.
const RECOVERY: Span = Span::from_secs(1_500);
/// The longest that a brake lasts: a circuit stays open for five minutes, a route is remembered for ten.
const BRAKE: Span = Policy::ROUTE_MEMORY;
/// The slowest answer of the slowest API, over the slowest network.
const LONGEST_EXCHANGE: Span = Span::from_secs(15);
