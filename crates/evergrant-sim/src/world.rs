//! A real keeper against the simulated provider, in virtual time, on one thread, from one seed.
//!
//! The world is a queue of events ordered by time: calls begin, requests arrive, answers come back, timers fire. The
//! keeper is the one that ships; only its driver is replaced, by the few lines that turn its actions into events. A run
//! of twenty seconds with a hundred calls a second takes a fraction of a second and is the same every time, so a failing
//! seed is a bug report.
//!
//! The network takes one to three milliseconds each way, drawn from the seed. Every fifth call is a POST with a side
//! effect. [`Outcome`] holds what the callers saw; [`check`] holds what must never happen.

mod calls;
pub mod check;
mod exchange;

use std::collections::BTreeMap;

use evergrant_core::keeper::{Action, FlightId, Keeper, ProbeOutcome, is_proof};
use evergrant_core::policy::Policy;
use evergrant_core::profile::{Profile, Region};
use evergrant_core::time::{Boot, Now, Span, Wall};
use evergrant_core::token::Generation;

use crate::config::{REFRESH_TOKEN, Shape};
use crate::ledger::Ledger;
use crate::provider::{Provider, Request};
use crate::scenario::Scenario;
use crate::seed::Seed;

use calls::{Caller, CallerState};
use exchange::{Exchange, probe_request};

/// How one call of a caller ended.
#[derive(Clone, Debug)]
pub struct CallRecord {
    /// When it began, after the start.
    pub started: Span,
    /// When it ended, after the start.
    pub ended: Span,
    /// The status the caller saw; `None` if there was no token to send it with.
    pub status: Option<u16>,
    /// The verdict on a refusal that was passed on.
    pub verdict: Option<&'static str>,
}

/// What happened in a run.
#[derive(Debug)]
pub struct Outcome {
    /// Every call that ended.
    pub calls: Vec<CallRecord>,
    /// Calls that had not ended when the run did.
    pub unfinished: usize,
    /// What the provider wrote down.
    pub ledger: Ledger,
    /// How long the run was, with the time before the load.
    pub ran: Span,
    /// The keeper's own picture at the end.
    pub report: evergrant_core::keeper::Report,
}

impl Outcome {
    /// How long calls took, at this percentile.
    #[must_use]
    pub fn wait_at(&self, percent: usize) -> Span {
        let mut waits: Vec<_> = self.calls.iter().map(|call| call.ended - call.started).collect();
        waits.sort_unstable();
        waits.get(waits.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
    }

    /// The run in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{} calls, {} visible 401s of {}, {} token requests, p99 {}, longest {}",
            self.calls.len(),
            self.calls.iter().filter(|call| call.status == Some(401)).count(),
            self.ledger.refused(),
            self.ledger.token.requests,
            self.wait_at(99),
            self.wait_at(100),
        )
    }
}

/// Runs a scenario to its end.
#[must_use]
pub fn run(scenario: &Scenario, seed: u64) -> Outcome {
    let mut world = World::new(scenario.clone(), seed);
    world.run();
    world.outcome()
}

/// Something that happens at one moment.
enum Event {
    Call,
    Poll(usize),
    Arrive(usize),
    Answered(usize, Exchange),
    TokenArrive(FlightId),
    TokenAnswered(FlightId, Exchange),
    ProbeArrive(Generation, Request, Boot),
    ProbeAnswered(Generation, Exchange),
    Timer,
    Schedule,
}

struct World {
    scenario: Scenario,
    provider: Provider,
    keeper: Keeper,
    profile: Profile,
    seed: Seed,
    wall_minus_boot: Span,
    now: Boot,
    start: Boot,
    end: Boot,
    queue: BTreeMap<(Boot, u64), Event>,
    queued: u64,
    callers: Vec<Caller>,
    calls: Vec<CallRecord>,
    refresh_token: String,
    last_sample: Boot,
    timer_at: Option<Boot>,
    handled: u64,
}

impl World {
    fn new(scenario: Scenario, seed: u64) -> Self {
        let zero = Boot::from_secs(1_000);
        let wall = Wall::from_secs(1_792_567_591);
        let start = if scenario.load.cold { zero } else { zero + HEAD_START };
        let mut provider = Provider::new(scenario.config.clone().with_seed(seed), Now { boot: zero, wall });
        provider.schedule(scenario.events.clone(), start);
        let profile = match scenario.config.shape {
            Shape::Genesys => Profile::genesys(Region::EuCentral1),
            Shape::Rfc | Shape::RfcBare => Profile::oauth2(),
        };
        let end = start + scenario.duration;
        let mut world = Self {
            keeper: Keeper::new(profile.clone(), Policy::default(), seed),
            profile,
            seed: Seed::new(seed ^ 0x5eed),
            wall_minus_boot: Span::from_nanos(wall.as_nanos() - zero.as_nanos()),
            now: zero,
            start,
            end,
            queue: BTreeMap::new(),
            queued: 0,
            callers: Vec::new(),
            calls: Vec::new(),
            refresh_token: REFRESH_TOKEN.to_owned(),
            last_sample: zero,
            timer_at: Some(zero),
            handled: 0,
            scenario,
            provider,
        };
        world.plan_calls();
        world.at(zero, Event::Timer);
        world
    }

    fn plan_calls(&mut self) {
        let load = self.scenario.load.clone();
        if load.calls_per_sec > 0 {
            let every = Span::from_secs(1).scaled(1, i64::from(load.calls_per_sec));
            let mut at = self.start;
            while at < self.end - LAST_CALL {
                self.at(at, Event::Call);
                at = at + every;
            }
        }
        for burst in load.bursts {
            (0..burst.calls).for_each(|_| self.at(self.start + burst.after, Event::Call));
        }
    }

    fn at(&mut self, when: Boot, event: Event) {
        self.queued += 1;
        self.queue.insert((when.max(self.now), self.queued), event);
    }

    /// After one way through the network.
    fn soon(&mut self, event: Event) {
        let arrives = self.now + self.delay();
        self.at(arrives, event);
    }

    fn run(&mut self) {
        if let Some(next) = self.provider.next_event() {
            self.at(next, Event::Schedule);
        }
        while let Some(((at, _), event)) = self.queue.pop_first() {
            let has_ended = at > self.end && self.callers.iter().all(|caller| caller.state == CallerState::Done);
            if has_ended || at > self.end + AFTERMATH {
                break;
            }
            self.handled += 1;
            assert!(self.handled < EVENTS_AT_MOST, "the keeper keeps itself busy at {at:?}");
            self.now = at;
            self.provider.advance(at);
            self.handle(event);
            self.perform_actions();
        }
    }

    fn clock(&self) -> Now {
        let wall = Wall::from_nanos((self.now - Boot::from_nanos(0) + self.wall_minus_boot).as_nanos());
        Now { boot: self.now, wall }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Call => self.begin_call(),
            Event::Poll(caller) => {
                if self.callers[caller].poll_at == Some(self.now) {
                    self.poll(caller);
                }
            }
            Event::Arrive(caller) => self.arrive(caller),
            Event::Answered(caller, exchange) => self.answered(caller, &exchange),
            Event::TokenArrive(flight) => self.token_arrives(flight),
            Event::TokenAnswered(flight, exchange) => self.token_answered(flight, &exchange),
            Event::ProbeArrive(generation, request, sent) => {
                let (after, exchange) = self.serve(&request, sent);
                self.at(after, Event::ProbeAnswered(generation, exchange));
            }
            Event::ProbeAnswered(generation, exchange) => {
                let outcome = match exchange.status {
                    Some(401) => ProbeOutcome::Refused,
                    Some(status) if is_proof(status) => ProbeOutcome::Accepted,
                    Some(_) | None => ProbeOutcome::Nothing,
                };
                self.keeper.handle_probe(generation, exchange.sent, outcome, self.clock());
            }
            Event::Timer => {
                if self.timer_at.is_some_and(|at| at <= self.now) {
                    self.timer_at = None;
                    self.keeper.handle_timeout(self.clock());
                }
            }
            Event::Schedule => {
                if let Some(next) = self.provider.next_event() {
                    self.at(next, Event::Schedule);
                }
            }
        }
    }

    /// The driver of this world: actions become events.
    fn perform_actions(&mut self) {
        let mut has_woken = false;
        while let Some(action) = self.keeper.poll_action() {
            match action {
                Action::RequestToken { flight, .. } => {
                    self.provider.ledger_mut().token.enter();
                    self.soon(Event::TokenArrive(flight));
                }
                Action::Probe { token, probe } => {
                    let request = probe_request(&probe).bearer(token.access_token.expose());
                    let arrives = self.now + self.delay();
                    self.at(arrives, Event::ProbeArrive(token.generation, request, self.now));
                }
                Action::Wake => has_woken = true,
            }
        }
        if has_woken {
            for caller in 0..self.callers.len() {
                if matches!(self.callers[caller].state, CallerState::Acquiring | CallerState::Refused) {
                    self.poll_at(caller, self.now);
                }
            }
        }
        if let Some(timeout) = self.keeper.poll_timeout() {
            let next = timeout.max(self.now + TIMER_GRAIN);
            if self.timer_at.is_none_or(|at| next < at) {
                self.timer_at = Some(next);
                self.at(next, Event::Timer);
            }
        }
    }

    /// One way through the network.
    fn delay(&mut self) -> Span {
        Span::from_micros(i64::try_from(self.seed.below(2_000)).unwrap_or(0) + 1_000)
    }

    fn outcome(self) -> Outcome {
        let now = self.clock();
        Outcome {
            unfinished: self.callers.iter().filter(|caller| caller.state != CallerState::Done).count(),
            calls: self.calls,
            ledger: self.provider.ledger().clone(),
            ran: self.now - Boot::from_secs(1_000),
            report: self.keeper.report(now),
        }
    }
}

/// How long before the load the client has to get its first token.
const HEAD_START: Span = Span::from_secs(1);
/// No call begins so late that it cannot end.
const LAST_CALL: Span = Span::from_millis(100);
/// How long calls that wait may take after the end of the load.
const AFTERMATH: Span = Span::from_secs(40);
/// A run has some ten thousand events; one with a thousand times more goes round in circles.
const EVENTS_AT_MOST: u64 = 2_000_000;
const TIMER_GRAIN: Span = Span::from_millis(1);
const SAMPLE_EVERY: Span = Span::from_millis(200);
const TOKEN_TIMEOUT: Span = Span::from_secs(10);
