//! Everything around the client: the provider, the network, this machine's clocks, the callers, and the queue of events.
//!
//! There is one time line, the provider's boot clock. What the client sees of time is derived from it in
//! [`Scene::clock`], so that a client can only be wrong about time in the ways that a real one can.

use std::collections::{BTreeMap, BTreeSet};

use evergrant_core::attempt::Replay;
use evergrant_core::time::{Boot, Now, Span, Wall};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::{CallRecord, Event};
use crate::api::body_hash;
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
    refused_for: Option<Refusal>,
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
    wall_minus_boot: Span,
}

impl Scene {
    pub(super) fn new(scenario: Scenario, seed: u64) -> Self {
        let zero = ZERO;
        let wall = Wall::from_secs(1_792_567_591);
        let start = if scenario.load.cold { zero } else { zero + HEAD_START };
        let mut provider = Provider::new(scenario.config.clone().with_seed(seed), Now { boot: zero, wall });
        provider.schedule(scenario.events.clone(), start);
        let mut scene = Self {
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
            wall_minus_boot: Span::from_nanos(wall.as_nanos() - zero.as_nanos()),
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
        match event {
            LocalEvent::StepWall(by) => self.wall_minus_boot += by,
        }
    }

    /// Of the steady load only the next call is in the queue.
    pub(super) fn plan_next_call(&mut self) {
        let rate = self.scenario.load.calls_per_min;
        if rate > 0 && self.next_call < self.end - LAST_CALL {
            let at = self.next_call;
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

    /// The next event, at whose moment it then is.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        let ((at, _), event) = self.queue.pop_first()?;
        self.now = at;
        Some(event)
    }

    /// This machine's clocks.
    pub(super) fn clock(&self) -> Now {
        let wall = Wall::from_nanos((self.now - Boot::from_nanos(0) + self.wall_minus_boot).as_nanos());
        Now { boot: self.now, wall }
    }

    /// What a rival reads of time.
    pub(super) fn local_time(&self) -> LocalTime {
        LocalTime { wall: self.clock().wall }
    }

    /// A number in 0..1000.
    pub(super) fn luck(&mut self) -> u16 {
        u16::try_from(self.seed.below(1000)).unwrap_or(0)
    }

    /// A call begins; every fifth is a write.
    pub(super) fn begin_call(&mut self) -> CallId {
        let number = self.begun;
        self.begun += 1;
        let request = if number % 5 == 4 {
            Request::post("/api/v2/things", &format!("effect-{number}"), vec![b'x'; 100])
        } else {
            Request::get("/api/v2/things/list")
        };
        let replay = Replay::of(request.method.as_str(), false, true);
        let patience = evergrant_core::policy::Policy::default().patience;
        let started = self.now;
        let call = Call { started, request, replay, patience, is_first_of_token: false, refused_for: None };
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
        let arrives = self.now + self.way_there();
        self.at(arrives, Event::Arrive(call, self.now));
    }

    /// The request arrives; its answer is on its way back.
    pub(super) fn arrive(&mut self, call: CallId, sent: Boot) {
        let Some(this) = self.calls.get(&call) else { return };
        let request = this.request.clone();
        let (after, exchange) = self.serve(&request, sent);
        if let Some(this) = self.calls.get_mut(&call) {
            this.refused_for = exchange.refused_for;
        }
        self.at(after, Event::Answered(call, exchange));
    }

    /// The caller has what it gets.
    pub(super) fn end_call(&mut self, call: CallId, status: Option<u16>, verdict: Option<&'static str>) {
        let Some(this) = self.calls.remove(&call) else { return };
        self.records.push(CallRecord {
            started: this.started - self.start,
            ended: self.now - self.start,
            status,
            verdict,
            is_first_of_token: this.is_first_of_token,
            refused_for: this.refused_for.filter(|_| status == Some(401)),
        });
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
        let nothing =
            Exchange { sent, status: None, headers: HeaderMap::new(), body: Vec::new(), is_torn, refused_for };
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
        (self.now + reply.delay + self.way_back(), exchange)
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
