//! Everything around the client: the provider, the network, this machine's clocks, the callers, and the queue of events.
//!
//! There is one time line, the provider's boot clock. What the client sees of time is derived from it in
//! [`Scene::clock`], so that a client can only be wrong about time in the ways that a real one can.

use std::collections::{BTreeMap, BTreeSet};

use evergrant_core::attempt::Replay;
use evergrant_core::policy::Policy;
use evergrant_core::time::{Boot, Now, Span, Wall};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::machine::Machine;
use super::{CallRecord, Event};
use crate::api::body_hash;
use crate::config::{Delay, Shape};
use crate::faults::Event as FaultEvent;
use crate::provider::{Answer, Payload, Provider, Request};
use crate::scenario::{LocalEvent, Scenario};
use crate::seed::Seed;
use crate::strategy::LocalTime;
use crate::tokens::Refusal;

/// Names one call of a run.
pub(super) type CallId = usize;

/// A call under way.
pub(super) struct Call {
    pub(super) started: Boot,
    pub(super) request: Request,
    pub(super) replay: Replay,
    pub(super) patience: Span,
    /// Was it the first request that carried some token?
    is_first_of_token: bool,
    pub(super) refused_for: Option<Refusal>,
    /// The tokens that it was refused with.
    refused: BTreeSet<String>,
    /// Did another node take the token when it was last refused?
    is_taken_elsewhere: bool,
}

impl Call {
    /// The token that it was last sent with.
    fn token(&self) -> Option<&str> {
        self.request.headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
    }
}

/// How a call ends for its caller.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    /// With an answer, and the verdict on it if it is a refusal.
    Answered(u16, Option<&'static str>),
    /// Without a token to send it with.
    NoToken,
    /// With a connection that broke.
    Cut,
}

/// What a request met.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) sent: Boot,
    pub(super) status: Option<u16>,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) is_torn: bool,
    /// Why the token was refused, as only the provider knows.
    pub(super) refused_for: Option<Refusal>,
}

impl Exchange {
    /// No answer.
    pub(super) fn nothing(sent: Boot) -> Self {
        Self { sent, status: None, headers: HeaderMap::new(), body: Vec::new(), is_torn: false, refused_for: None }
    }
}

/// The surroundings of one client.
pub(super) struct Scene {
    pub(super) scenario: Scenario,
    pub(super) provider: Provider,
    pub(super) seed: Seed,
    pub(super) now: Boot,
    pub(super) start: Boot,
    pub(super) end: Boot,
    /// The calls that have not ended.
    pub(super) calls: BTreeMap<CallId, Call>,
    pub(super) records: Vec<CallRecord>,
    queue: BTreeMap<(Boot, u64), Event>,
    queued: u64,
    begun: CallId,
    next_call: Boot,
    seen_tokens: BTreeSet<String>,
    proven_tokens: BTreeSet<String>,
    machine: Machine,
    /// When a clock of the provider jumps, as this machine sees it.
    jumps: Vec<Boot>,
    log: Option<String>,
}

impl Scene {
    pub(super) fn new(scenario: Scenario, seed: u64) -> Self {
        let zero = ZERO;
        let wall = Wall::from_secs(1_792_567_591);
        let start = if scenario.load.cold { zero } else { zero + HEAD_START };
        let mut provider = Provider::new(scenario.config.clone().with_seed(seed), Now { boot: zero, wall });
        provider.schedule(scenario.events.clone(), start);
        let is_jump = |event: &FaultEvent| matches!(event, FaultEvent::StepServer(_) | FaultEvent::StepNode(..));
        let jumps = scenario.events.iter().filter(|at| is_jump(&at.event)).map(|at| start + at.after);
        let mut scene = Self {
            jumps: jumps.collect(),
            provider,
            seed: Seed::new(seed ^ 0x5eed),
            now: zero,
            start,
            end: start + scenario.duration,
            calls: BTreeMap::new(),
            records: Vec::new(),
            queue: BTreeMap::new(),
            queued: 0,
            begun: 0,
            next_call: start,
            seen_tokens: BTreeSet::new(),
            proven_tokens: BTreeSet::new(),
            machine: Machine::new(Now { boot: zero, wall }),
            log: None,
            scenario,
        };
        scene.plan();
        scene
    }

    fn plan(&mut self) {
        for burst in self.scenario.load.bursts.clone() {
            (0..burst.calls).for_each(|_| self.at(self.start + burst.after, Event::Call));
        }
        for mishap in self.scenario.mishaps.clone() {
            self.at(self.start + mishap.after, Event::Mishap(mishap.event));
        }
        self.plan_next_call();
        self.plan_provider();
    }

    /// Something happens to this machine.
    pub(super) fn mishap(&mut self, event: LocalEvent) {
        self.write(|| format!("{event:?}"));
        if let LocalEvent::PauseVm(lasts) = event {
            self.jumps.push(self.now + lasts);
        }
        self.machine.suffer(event, self.now);
    }

    /// Keeps a log of everything that happens.
    pub(super) fn keep_log(&mut self) {
        self.log = Some(String::new());
    }

    /// One line of the log.
    pub(super) fn write(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            let at = (self.now - self.start).as_nanos();
            log.push_str(&format!("{at} {}\n", line()));
        }
    }

    /// The log so far.
    pub(super) fn take_log(&mut self) -> Option<String> {
        self.log.take()
    }

    /// When a clock of the provider last jumped.
    pub(super) fn last_jump(&self) -> Option<Boot> {
        self.jumps.iter().copied().filter(|at| *at <= self.now).max()
    }

    /// Of the steady load only the next call is in the queue.
    pub(super) fn plan_next_call(&mut self) {
        let rate = self.scenario.load.calls_per_min;
        if rate > 0 && self.next_call < self.end - LAST_CALL {
            // Calls that a sleeping machine would have made are not made up for.
            let at = self.next_call.max(self.now);
            self.next_call = at + Span::from_secs(60).scaled(1, i64::from(rate));
            self.at(at, Event::SteadyCall);
        }
    }

    /// The provider's next scheduled event is looked at when it is due.
    pub(super) fn plan_provider(&mut self) {
        if let Some(next) = self.provider.next_event() {
            self.at(next, Event::Schedule);
        }
    }

    pub(super) fn at(&mut self, when: Boot, event: Event) {
        self.queued += 1;
        self.queue.insert((when.max(self.now), self.queued), event);
    }

    /// A moment of this machine's boot clock on the run's time line.
    pub(super) fn to_true(&self, local: Boot) -> Boot {
        self.machine.to_true(local)
    }

    /// Something that happens at a moment of this machine's boot clock.
    pub(super) fn at_local(&mut self, when: Boot, event: Event) {
        self.at(self.machine.to_true(when), event);
    }

    /// The next event, at whose moment it then is. On a machine that sleeps nothing happens until it wakes.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        loop {
            let ((at, _), event) = self.queue.pop_first()?;
            self.now = at;
            match self.machine.frozen_until(at).filter(|_| event.is_local()) {
                Some(until) => self.at(until, event),
                None => return Some(event),
            }
        }
    }

    /// This machine's clocks.
    pub(super) fn clock(&self) -> Now {
        self.machine.clock(self.now)
    }

    /// What a rival reads of time.
    pub(super) fn local_time(&self) -> LocalTime {
        LocalTime { wall: self.clock().wall }
    }

    /// A number in 0..1000.
    pub(super) fn luck(&mut self) -> u16 {
        u16::try_from(self.seed.below(1000)).unwrap_or(0)
    }

    /// How long this machine has slept so far; a timer of most programs does not count it.
    pub(super) fn slept(&self) -> Span {
        self.machine.slept()
    }

    /// A call begins; every fifth is a write.
    pub(super) fn begin_call(&mut self) -> CallId {
        let number = self.begun;
        self.begun += 1;
        let load = &self.scenario.load;
        let (uploads, hurried) = (load.uploads_permille, load.hurried_permille);
        let is_upload = uploads > 0 && self.seed.happens(uploads);
        let is_hurried = hurried > 0 && self.seed.happens(hurried);
        let request = if is_upload || number % 5 == 4 {
            Request::post("/api/v2/things", &format!("effect-{number}"), vec![b'x'; 100])
        } else {
            Request::get("/api/v2/things/list")
        };
        let replay = Replay::of(request.method.as_str(), false, !is_upload);
        let patience = match is_hurried {
            true => self.seed.delay(HURRY),
            false => Policy::default().patience,
        };
        let started = self.now;
        self.write(|| format!("call {number} {} {replay:?}", request.method));
        let call = Call {
            started,
            request,
            replay,
            patience,
            is_first_of_token: false,
            refused_for: None,
            refused: BTreeSet::new(),
            is_taken_elsewhere: false,
        };
        self.calls.insert(number, call);
        number
    }

    /// The request of a call leaves with this token and arrives after one way through the network.
    pub(super) fn send(&mut self, call: CallId, token: &str) {
        let is_first = self.is_first_use(token);
        let Some(this) = self.calls.get_mut(&call) else { return };
        this.is_first_of_token |= is_first;
        if let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}")) {
            this.request.headers.insert(AUTHORIZATION, value);
        }
        self.write(|| format!("call {call} sent with {}", body_hash(token.as_bytes())));
        let sent = self.clock().boot;
        if self.is_lost() {
            let after = self.now + self.seed.delay(UNTIL_BROKEN);
            return self.at(after, Event::Answered(call, Exchange::nothing(sent)));
        }
        let arrives = self.now + self.way_there();
        self.at(arrives, Event::Arrive(call, sent));
    }

    /// The request arrives; its answer is on its way back.
    pub(super) fn arrive(&mut self, call: CallId, sent: Boot) {
        let Some(this) = self.calls.get(&call) else { return };
        let request = this.request.clone();
        let (after, exchange) = self.serve(&request, sent);
        self.write(|| format!("call {call} meets {:?} {:?}", exchange.status, exchange.refused_for));
        if let Some(this) = self.calls.get_mut(&call) {
            this.refused_for = exchange.refused_for;
            if exchange.refused_for.is_some() {
                let token = this.token().map(str::to_owned);
                this.is_taken_elsewhere =
                    token.as_deref().is_some_and(|token| self.provider.works_somewhere(token, self.now));
                this.refused.extend(token);
            }
        }
        self.at(after, Event::Answered(call, exchange));
    }

    /// The caller has what it gets.
    pub(super) fn end_call(&mut self, call: CallId, ending: Ending) {
        let Some(this) = self.calls.remove(&call) else { return };
        self.write(|| format!("call {call} ends {ending:?}"));
        let can_repeat = match this.replay {
            Replay::Free => true,
            Replay::IfRefused => self.scenario.config.shape != Shape::RfcBare,
            Replay::Never => false,
        };
        let (status, verdict) = match ending {
            Ending::Answered(status, verdict) => (Some(status), verdict),
            Ending::NoToken | Ending::Cut => (None, None),
        };
        let started = this.started - self.start;
        self.records.push(CallRecord {
            started,
            ended: self.now - self.start,
            deadline: started + this.patience,
            status,
            verdict,
            is_cut: matches!(ending, Ending::Cut),
            can_repeat,
            was_frozen: self.machine.froze_since(this.started),
            is_first_of_token: this.is_first_of_token,
            refused_for: this.refused_for.filter(|_| status == Some(401)),
            tokens_refused: this.refused.len(),
            is_stillborn: this.refused_for.is_some_and(Refusal::is_final)
                && this.token().is_some_and(|token| !self.proven_tokens.contains(&body_hash(token.as_bytes()))),
            is_over_for_some: this.refused_for == Some(Refusal::Expired) && this.is_taken_elsewhere,
        });
    }

    /// An answer to this call shows the client that its token works.
    pub(super) fn note_proof(&mut self, call: CallId) {
        let token = self.calls.get(&call).and_then(Call::token).map(|token| body_hash(token.as_bytes()));
        self.proven_tokens.extend(token);
    }

    /// Nobody makes the call: the process is not there.
    pub(super) fn drop_call(&mut self, call: CallId) {
        self.calls.remove(&call);
    }

    /// The process that made the calls is gone, and with it everybody who waited.
    pub(super) fn drop_calls(&mut self) {
        self.calls.clear();
    }

    /// The provider answers a request that has just arrived; when the answer arrives, and what it is.
    pub(super) fn serve(&mut self, request: &Request, sent: Boot) -> (Boot, Exchange) {
        let reply = self.provider.handle(request, self.now);
        let refused_for = self.provider.last_refusal();
        let (response, is_torn) = match reply.answer {
            Answer::Response(response) => (Some(response), false),
            Answer::Torn { response, keep } => (
                Some(response.map(|body| match body {
                    Payload::Bytes(bytes) => Payload::Bytes(bytes.slice(..keep.min(bytes.len()))),
                    other @ (Payload::Fill(_) | Payload::Events { .. }) => other,
                })),
                true,
            ),
            Answer::Reset { .. } => (None, false),
        };
        let nothing = Exchange { is_torn, refused_for, ..Exchange::nothing(sent) };
        let exchange = match response {
            Some(response) => {
                let (head, body) = response.into_parts();
                let body = match body {
                    Payload::Bytes(bytes) => bytes.to_vec(),
                    Payload::Fill(_) | Payload::Events { .. } => Vec::new(),
                };
                Exchange { status: Some(head.status.as_u16()), headers: head.headers, body, ..nothing }
            }
            None => nothing,
        };
        let exchange = match self.is_lost() {
            true => Exchange { refused_for, ..Exchange::nothing(sent) },
            false => exchange,
        };
        (self.now + reply.delay + self.way_back(), exchange)
    }

    /// Does the network lose what is sent now?
    pub(super) fn is_lost(&mut self) -> bool {
        let permille = self.scenario.network.lost_permille;
        permille > 0 && self.seed.happens(permille)
    }

    /// One way through the network, to the provider.
    pub(super) fn way_there(&mut self) -> Span {
        self.seed.delay(self.scenario.network.there)
    }

    fn way_back(&mut self) -> Span {
        self.seed.delay(self.scenario.network.back)
    }

    /// Is this the first request with this token? The tokens themselves are not kept.
    fn is_first_use(&mut self, token: &str) -> bool {
        self.seen_tokens.insert(body_hash(token.as_bytes()))
    }
}

/// When the provider starts.
pub(super) const ZERO: Boot = Boot::from_secs(1_000);
/// How long before the load the client has to get its first token.
const HEAD_START: Span = Span::from_secs(1);
/// No call begins so late that it cannot end.
const LAST_CALL: Span = Span::from_millis(100);
/// How long callers in a hurry wait.
const HURRY: Delay = Delay::uniform(Span::from_millis(500), Span::from_secs(5));
/// When it shows that a connection is broken.
const UNTIL_BROKEN: Delay = Delay::uniform(Span::from_millis(20), Span::from_secs(5));
