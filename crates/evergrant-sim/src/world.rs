//! A client against the simulated provider, in virtual time, on one thread, from one seed.
//!
//! The world is a queue of events ordered by time: calls begin, requests arrive, answers come back, timers fire. The
//! provider, the network and the callers are the same for every client; which client it is, is a [`Strategy`]. Evergrant
//! is the keeper that ships; only its driver is replaced, by the few lines that turn its actions into events. A run of
//! twenty seconds with a hundred calls a second takes a fraction of a second and is the same every time, so a failing
//! seed is a bug report.
//!
//! Every fifth call is a POST with a side effect. [`Outcome`] holds what the callers saw; [`check`] holds what must never
//! happen.

pub mod check;
mod keeping;
mod machine;
mod mutant;
mod reference;
mod rival;
mod scene;
mod token_answer;
mod watch;

use evergrant_core::Secret;
use evergrant_core::time::{Boot, Span};
use evergrant_core::token::Generation;

use crate::ledger::Ledger;
use crate::provider::Request;
use crate::scenario::{LocalEvent, Scenario};
use crate::strategy::Strategy;
use crate::tokens::Refusal;

use check::Broken;
use keeping::Keeping;
pub use mutant::Mutant;
use rival::Rival;
use scene::{CallId, Exchange, Scene, ZERO};
use watch::Watch;

/// How one call of a caller ended.
#[derive(Clone, Debug)]
pub struct CallRecord {
    /// When it began, after the start.
    pub started: Span,
    /// When it ended, after the start.
    pub ended: Span,
    /// Until when its caller waits.
    pub deadline: Span,
    /// The status the caller saw; `None` if there was none: no token to send it with, or no answer.
    pub status: Option<u16>,
    /// The verdict on a refusal that was passed on.
    pub verdict: Option<&'static str>,
    /// Did its connection break?
    pub is_cut: bool,
    /// May it be sent again after a 401 of this provider?
    pub can_repeat: bool,
    /// Did the machine stand still meanwhile?
    pub was_frozen: bool,
    /// Was it the first request that carried some token?
    pub is_first_of_token: bool,
    /// Why the provider refused a call that ended with a 401.
    pub refused_for: Option<Refusal>,
    /// With how many tokens it was refused.
    pub tokens_refused: usize,
    /// Was the token that it was last refused with ended before any answer had shown that it works?
    pub is_stillborn: bool,
    /// Did another node still take the token that was refused because its life was over?
    pub is_over_for_some: bool,
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
    /// The keeper's own picture at the end, if the client was Evergrant.
    pub report: Option<evergrant_core::keeper::Report>,
    /// What a watched run noted of broken promises while it went on.
    pub noted: Vec<Broken>,
    /// When the token endpoint was out of order as far as a watched client could know, after the start.
    pub outages: Vec<(Span, Span)>,
    /// When the grant of a watched client was lost by an answer that never came.
    pub grant_lost: Option<Span>,
    /// When a watched client got its tokens.
    pub mints: Vec<Span>,
    /// The log of a watched run: a line for everything that happened.
    pub log: Option<String>,
    /// Every secret that there was in a watched run.
    pub secrets: Vec<Secret>,
}

impl Outcome {
    /// How long calls took, at this percentile.
    #[must_use]
    pub fn wait_at(&self, percent: usize) -> Span {
        let mut waits: Vec<_> = self.calls.iter().map(|call| call.ended - call.started).collect();
        waits.sort_unstable();
        waits.get(waits.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
    }

    /// How many callers saw a 401.
    #[must_use]
    pub fn visible_401(&self) -> usize {
        self.calls.iter().filter(|call| call.status == Some(401)).count()
    }

    /// How many calls ended with no answer at all.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.calls.iter().filter(|call| call.status.is_none()).count()
    }

    /// Of the tokens that were used at all, the part whose first request ended with a visible 401.
    #[must_use]
    pub fn failed_firsts(&self) -> f64 {
        let firsts = || self.calls.iter().filter(|call| call.is_first_of_token);
        let failed = firsts().filter(|call| call.status == Some(401)).count();
        failed as f64 / firsts().count().max(1) as f64
    }

    /// The run in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{} calls, {} visible 401s of {}, {} token requests, p99 {}, longest {}",
            self.calls.len(),
            self.visible_401(),
            self.ledger.refused(),
            self.ledger.token.requests,
            self.wait_at(99),
            self.wait_at(100),
        )
    }
}

/// Runs a scenario to its end, with the keeper that ships.
#[must_use]
pub fn run(scenario: &Scenario, seed: u64) -> Outcome {
    run_with(Strategy::Evergrant, scenario, seed)
}

/// Runs a scenario to its end, with this client.
#[must_use]
pub fn run_with(strategy: Strategy, scenario: &Scenario, seed: u64) -> Outcome {
    let client: Box<dyn Client> = match strategy.rules() {
        None => Box::new(Keeping::new(scenario, seed)),
        Some(rules) => Box::new(Rival::new(rules, scenario)),
    };
    World { scene: Scene::new(scenario.clone(), seed), client, handled: 0 }.run()
}

/// Runs a scenario with the keeper that ships, or with a broken one, under the watch of [`check`].
///
/// With `keeps_log` the outcome has a line for everything that happened.
#[must_use]
pub fn run_watched(scenario: &Scenario, seed: u64, mutant: Option<Mutant>, keeps_log: bool) -> Outcome {
    let mut scene = Scene::new(scenario.clone(), seed);
    if keeps_log {
        scene.keep_log();
    }
    let client = Box::new(Keeping::new(scenario, seed).watched(mutant));
    World { scene, client, handled: 0 }.run()
}

/// Something that happens at one moment.
enum Event {
    /// A call of a burst begins.
    Call,
    /// A call of the steady load begins.
    SteadyCall,
    /// A call that waits looks again.
    Poll(CallId),
    /// A request arrives at the API; when it was sent.
    Arrive(CallId, Boot),
    Answered(CallId, Exchange),
    TokenArrive(u64, Boot),
    TokenAnswered(u64, Exchange),
    ProbeArrive(Generation, Box<Request>, Boot),
    ProbeAnswered(Generation, Exchange),
    Timer,
    /// The provider has an event of its own.
    Schedule,
    /// Something happens to the client's machine.
    Mishap(LocalEvent),
    /// The machine wakes.
    Wake,
    /// The process starts again.
    Restart,
}

impl Event {
    /// Does it need the client's machine to run?
    fn is_local(&self) -> bool {
        match self {
            Self::Arrive(..) | Self::TokenArrive(..) | Self::ProbeArrive(..) | Self::Schedule => false,
            Self::Call
            | Self::SteadyCall
            | Self::Poll(_)
            | Self::Answered(..)
            | Self::TokenAnswered(..)
            | Self::ProbeAnswered(..)
            | Self::Timer
            | Self::Mishap(_)
            | Self::Wake
            | Self::Restart => true,
        }
    }
}

/// What keeps tokens: the thing that is compared.
trait Client {
    /// The process starts.
    fn start(&mut self, scene: &mut Scene);
    /// A call wants to be sent.
    fn begin(&mut self, call: CallId, scene: &mut Scene);
    /// A call that waits looks again.
    fn poll(&mut self, call: CallId, scene: &mut Scene);
    /// A call was answered.
    fn answered(&mut self, call: CallId, exchange: Exchange, scene: &mut Scene);
    /// A token request arrives at the provider.
    fn token_arrives(&mut self, request: u64, sent: Boot, scene: &mut Scene);
    /// A token request was answered.
    fn token_answered(&mut self, request: u64, exchange: Exchange, scene: &mut Scene);
    /// A probe was answered.
    fn probe_answered(&mut self, _generation: Generation, _exchange: &Exchange, _scene: &mut Scene) {}
    /// The timer fires.
    fn timer(&mut self, scene: &mut Scene);
    /// An event was handled; what the client wants done is begun.
    fn settle(&mut self, _scene: &mut Scene) {}
    /// The machine has slept.
    fn woke(&mut self, _scene: &mut Scene) {}
    /// The process is killed.
    fn crash(&mut self, scene: &mut Scene);
    /// It starts again.
    fn restart(&mut self, scene: &mut Scene);
    /// The keeper's picture of itself.
    fn report(&self, _scene: &Scene) -> Option<evergrant_core::keeper::Report> {
        None
    }
    /// What the watch over the run saw.
    fn finish(&mut self, _scene: &mut Scene) -> Option<Watch> {
        None
    }
}

struct World {
    scene: Scene,
    client: Box<dyn Client>,
    handled: u64,
}

impl World {
    fn run(mut self) -> Outcome {
        self.client.start(&mut self.scene);
        while let Some(event) = self.scene.next_event() {
            let (at, end) = (self.scene.now, self.scene.end);
            if (at > end && self.scene.calls.is_empty()) || at > end + AFTERMATH {
                break;
            }
            self.handled += 1;
            assert!(self.handled < self.events_at_most(), "the client keeps itself busy at {at:?}");
            self.scene.provider.advance(at);
            self.handle(event);
            self.client.settle(&mut self.scene);
        }
        self.outcome()
    }

    fn handle(&mut self, event: Event) {
        let (client, scene) = (&mut self.client, &mut self.scene);
        match event {
            Event::Call => {
                let call = scene.begin_call();
                client.begin(call, scene);
            }
            Event::SteadyCall => {
                scene.plan_next_call();
                let call = scene.begin_call();
                client.begin(call, scene);
            }
            Event::Poll(call) => client.poll(call, scene),
            Event::Arrive(call, sent) => scene.arrive(call, sent),
            Event::Answered(call, exchange) => client.answered(call, exchange, scene),
            Event::TokenArrive(request, sent) => client.token_arrives(request, sent, scene),
            Event::TokenAnswered(request, exchange) => client.token_answered(request, exchange, scene),
            Event::ProbeArrive(generation, request, sent) => {
                let (after, exchange) = scene.serve(&request, sent);
                scene.at(after, Event::ProbeAnswered(generation, exchange));
            }
            Event::ProbeAnswered(generation, exchange) => client.probe_answered(generation, &exchange, scene),
            Event::Timer => client.timer(scene),
            Event::Schedule => scene.plan_provider(),
            Event::Mishap(event) => {
                scene.mishap(event);
                match event {
                    LocalEvent::Crash(down) => {
                        client.crash(scene);
                        scene.drop_calls();
                        scene.at(scene.now + down, Event::Restart);
                    }
                    LocalEvent::Suspend(lasts) => scene.at(scene.now + lasts, Event::Wake),
                    LocalEvent::PauseVm(_) | LocalEvent::StepWall(_) | LocalEvent::SlewWall(_) => {}
                }
            }
            Event::Wake => client.woke(scene),
            Event::Restart => client.restart(scene),
        }
    }

    /// A run has some tens of events for each call; one with a thousand times more goes round in circles.
    fn events_at_most(&self) -> u64 {
        let secs = u64::try_from(self.scene.scenario.duration.as_secs()).unwrap_or(0);
        let calls = secs * u64::from(self.scene.scenario.load.calls_per_min) / 60;
        2_000_000 + 1_000 * (calls + secs)
    }

    fn outcome(mut self) -> Outcome {
        let watch = self.client.finish(&mut self.scene);
        let start = self.scene.start;
        let is_watched = watch.is_some();
        let Watch { broken, outages, grant_lost, mints, .. } = watch.unwrap_or_default();
        Outcome {
            unfinished: self.scene.calls.len(),
            report: self.client.report(&self.scene),
            ledger: self.scene.provider.ledger().clone(),
            ran: self.scene.now - ZERO,
            noted: broken,
            outages: outages.into_iter().map(|(from, to)| (from - start, to - start)).collect(),
            grant_lost: grant_lost.map(|at| at - start),
            mints: mints.into_iter().map(|at| at - start).collect(),
            log: self.scene.take_log(),
            secrets: if is_watched { self.scene.provider.secrets() } else { Vec::new() },
            calls: self.scene.records,
        }
    }
}

/// How long calls that wait may take after the end of the load.
const AFTERMATH: Span = Span::from_secs(40);
/// No timer is finer.
const TIMER_GRAIN: Span = Span::from_millis(1);
/// How long a client waits for the answer to one token request.
const TOKEN_TIMEOUT: Span = Span::from_secs(10);
