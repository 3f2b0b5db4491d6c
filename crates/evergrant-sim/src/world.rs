//! A real keeper against the simulated provider, in virtual time, on one thread, from one seed.
//!
//! The world is a queue of events ordered by time: calls begin, requests arrive, answers come back, timers fire. The
//! keeper is the one that ships; only its driver is replaced, by the few lines that turn its actions into events. A run
//! of twenty seconds with a hundred calls a second takes a fraction of a second and is the same every time, so a failing
//! seed is a bug report.
//!
//! The network takes one to three milliseconds each way, drawn from the seed. Every fifth call is a POST with a side
//! effect. [`Outcome`] holds what the callers saw; [`check`] holds what must never happen.

pub mod check;

use std::collections::BTreeMap;

use evergrant_core::attempt::{Attempt, Refusal, Replay, Route, Subject};
use evergrant_core::keeper::{
    Acquire, Action, FlightId, FlightNext, Keeper, Minted, Need, ProbeOutcome, Step, is_proof,
};
use evergrant_core::offset::{Sample, Source};
use evergrant_core::policy::Policy;
use evergrant_core::profile::{Probe, ProbeMethod, Profile, Region};
use evergrant_core::time::{Boot, Now, Span, Wall};
use evergrant_core::token::{Generation, Issued};
use evergrant_core::wire::{
    TokenAnswer, TokenFailure, TokenFailureKind, bearer_error, parse_api_error, parse_challenges, parse_http_date,
    parse_retry_after, parse_token_answer,
};
use http::header::{DATE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method};

use crate::config::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, Shape};
use crate::ledger::Ledger;
use crate::provider::{Answer, Payload, Provider, Request};
use crate::scenario::{Grant, Scenario};
use crate::seed::Seed;

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
    /// The run in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut waits: Vec<_> = self.calls.iter().map(|call| call.ended - call.started).collect();
        waits.sort_unstable();
        let at = |percent: usize| waits.get(waits.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default();
        format!(
            "{} calls, {} visible 401s of {}, {} token requests, p99 {}, longest {}",
            self.calls.len(),
            self.calls.iter().filter(|call| call.status == Some(401)).count(),
            self.ledger.refused(),
            self.ledger.token.requests,
            at(99),
            at(100),
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

/// What a request met.
#[derive(Debug)]
struct Exchange {
    sent: Boot,
    status: Option<u16>,
    headers: HeaderMap,
    body: Vec<u8>,
    is_torn: bool,
}

struct Caller {
    started: Boot,
    attempt: Attempt,
    request: Request,
    state: CallerState,
    poll_at: Option<Boot>,
    is_counted: bool,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum CallerState {
    Acquiring,
    Sent,
    Refused,
    Done,
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

    fn begin_call(&mut self) {
        let number = self.callers.len();
        let is_write = number % 5 == 4;
        let request = if is_write {
            Request::post("/api/v2/things", &format!("effect-{number}"), vec![b'x'; 100])
        } else {
            Request::get("/api/v2/things/list")
        };
        let replay = Replay::of(request.method.as_str(), false, true);
        let attempt = Attempt::new(replay, self.now, Policy::default().patience);
        self.callers.push(Caller {
            started: self.now,
            attempt,
            request,
            state: CallerState::Acquiring,
            poll_at: None,
            is_counted: false,
        });
        self.poll(number);
    }

    /// A waiting call asks again at this moment, unless it does so earlier.
    fn poll_at(&mut self, caller: usize, at: Boot) {
        if self.callers[caller].poll_at.is_none_or(|known| at < known) {
            self.callers[caller].poll_at = Some(at);
            self.at(at, Event::Poll(caller));
        }
    }

    fn poll(&mut self, caller: usize) {
        self.callers[caller].poll_at = None;
        match self.callers[caller].state {
            CallerState::Acquiring => self.acquire(caller),
            CallerState::Refused => {
                let now = self.clock();
                let step = self.keeper.handle_attempt(&mut self.callers[caller].attempt, now);
                self.follow(caller, step);
            }
            CallerState::Sent | CallerState::Done => {}
        }
    }

    fn acquire(&mut self, caller: usize) {
        let now = self.clock();
        let this = &mut self.callers[caller];
        let need = self.keeper.need_of(this.attempt.replay);
        match self.keeper.handle_acquire(need, this.started, this.attempt.deadline, now) {
            Acquire::Ready(token) => {
                if need != Need::Usable {
                    this.is_counted = true;
                    self.keeper.handle_unrepeatable_begin();
                }
                this.attempt.mark_sent(token.generation, self.now);
                self.send(caller, token.access_token.expose());
            }
            Acquire::Wait(until) => self.poll_at(caller, until.max(self.now + TIMER_GRAIN)),
            Acquire::Failed(_) => self.end_call(caller, None, None),
        }
    }

    fn send(&mut self, caller: usize, token: &str) {
        let request = &mut self.callers[caller].request;
        request.headers.remove(http::header::AUTHORIZATION);
        *request = request.clone().bearer(token);
        self.callers[caller].state = CallerState::Sent;
        self.soon(Event::Arrive(caller));
    }

    fn arrive(&mut self, caller: usize) {
        let sent = self.callers[caller].attempt.sent;
        let request = self.callers[caller].request.clone();
        let (after, exchange) = self.serve(&request, sent);
        self.at(after, Event::Answered(caller, exchange));
    }

    /// The provider answers a request that has just arrived; when the answer arrives, and what it is.
    fn serve(&mut self, request: &Request, sent: Boot) -> (Boot, Exchange) {
        let reply = self.provider.handle(request, self.now);
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
        let exchange = match response {
            Some(response) => {
                let (head, body) = response.into_parts();
                let body = match body {
                    Payload::Bytes(bytes) => bytes.to_vec(),
                    Payload::Fill(_) | Payload::Events { .. } => Vec::new(),
                };
                Exchange { sent, status: Some(head.status.as_u16()), headers: head.headers, body, is_torn }
            }
            None => Exchange { sent, status: None, headers: HeaderMap::new(), body: Vec::new(), is_torn },
        };
        (self.now + reply.delay + self.delay(), exchange)
    }

    fn answered(&mut self, caller: usize, exchange: &Exchange) {
        let now = self.clock();
        if self.now - self.last_sample >= SAMPLE_EVERY {
            self.last_sample = self.now;
            self.sample(Source::ApiDate, exchange);
        }
        let status = exchange.status.unwrap_or(0);
        if let Some(refusal) = self.refusal(caller, exchange) {
            let step = self.keeper.handle_refusal(&mut self.callers[caller].attempt, refusal, now);
            self.callers[caller].state = CallerState::Refused;
            return self.follow(caller, step);
        }
        if is_proof(status) {
            let attempt = &self.callers[caller].attempt;
            self.keeper.handle_success(attempt.generation, attempt.sent, now);
            if self.callers[caller].request.method == Method::GET && self.keeper.wants_proving_path() {
                let path = self.callers[caller].request.path.clone();
                self.keeper.handle_proving_path(&path);
            }
        }
        self.end_call(caller, exchange.status, None);
    }

    fn follow(&mut self, caller: usize, step: Step) {
        match step {
            Step::Send(token) => self.send(caller, token.access_token.expose()),
            Step::Wait(until) => self.poll_at(caller, until.max(self.now + TIMER_GRAIN)),
            Step::Pass(verdict) => self.end_call(caller, Some(401), Some(verdict.cause.name())),
            Step::NoToken(_, verdict) => self.end_call(caller, None, Some(verdict.cause.name())),
        }
    }

    fn end_call(&mut self, caller: usize, status: Option<u16>, verdict: Option<&'static str>) {
        let this = &mut self.callers[caller];
        this.state = CallerState::Done;
        let (started, ended) = (this.started - self.start, self.now - self.start);
        self.calls.push(CallRecord { started, ended, status, verdict });
        if std::mem::take(&mut this.is_counted) {
            self.keeper.handle_unrepeatable_end();
            self.keeper.handle_timeout(self.clock());
        }
    }

    fn refusal(&self, caller: usize, exchange: &Exchange) -> Option<Refusal> {
        let status = exchange.status?;
        let fields = exchange.headers.get_all(WWW_AUTHENTICATE);
        let challenges = parse_challenges(fields.iter().map(HeaderValue::as_bytes));
        let error = parse_api_error(&exchange.body);
        let subject = Subject::of(&self.profile, status, &challenges, error.as_ref())?;
        let request = &self.callers[caller].request;
        Some(Refusal {
            status,
            received: self.now,
            subject,
            has_bearer_challenge: challenges.iter().any(evergrant_core::wire::Challenge::is_bearer),
            is_exact_auth_error: error.as_ref().is_some_and(|error| self.profile.is_exact_auth_error(error)),
            error_code: bearer_error(&challenges).map(str::to_owned).or_else(|| error.and_then(|error| error.code)),
            correlation_id: None,
            route: Route::new("api.sim", request.method.as_str(), &request.path),
            can_send_again: true,
        })
    }

    fn token_arrives(&mut self, flight: FlightId) {
        let form = match self.scenario.grant {
            Grant::ClientCredentials => vec![("grant_type", "client_credentials")],
            Grant::RefreshToken => {
                vec![("grant_type", "refresh_token"), ("refresh_token", self.refresh_token.as_str())]
            }
        };
        let request = Request::token(&form).basic(CLIENT_ID, CLIENT_SECRET);
        let sent = self.now;
        let (after, exchange) = self.serve(&request, sent);
        let timeout = sent + TOKEN_TIMEOUT;
        if after > timeout {
            let nothing = Exchange { status: None, is_torn: true, ..exchange };
            return self.at(timeout, Event::TokenAnswered(flight, nothing));
        }
        self.at(after, Event::TokenAnswered(flight, exchange));
    }

    fn token_answered(&mut self, flight: FlightId, exchange: &Exchange) {
        self.sample(Source::AuthDate, exchange);
        let now = self.clock();
        let issued = Issued { sent: exchange.sent, received: self.now };
        match token_result(exchange) {
            Ok(answer) => {
                if let Some(refresh) = &answer.refresh_token {
                    self.refresh_token = refresh.expose().to_owned();
                }
                let minted = Minted {
                    generation: self.keeper.newest_generation().next(),
                    access_token: answer.access_token,
                    issued,
                    lifetime: answer.expires_in,
                    is_renewable: true,
                };
                self.provider.ledger_mut().token.leave();
                self.keeper.handle_minted(flight, minted, now);
            }
            Err(failure) => match self.keeper.handle_flight_failed(flight, failure, now) {
                FlightNext::AskAgain => self.soon(Event::TokenArrive(flight)),
                FlightNext::Over => self.provider.ledger_mut().token.leave(),
            },
        }
    }

    fn sample(&mut self, source: Source, exchange: &Exchange) {
        let date = exchange.headers.get(DATE).and_then(|date| parse_http_date(date.to_str().ok()?));
        if let Some(server) = date {
            let resolution = Span::from_secs(1);
            let sample = Sample { sent: exchange.sent, received: self.now, server, resolution, bounds_above: true };
            let _ = self.keeper.handle_clock_sample(source, sample, self.clock());
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

fn token_result(exchange: &Exchange) -> Result<TokenAnswer, TokenFailure> {
    let Some(status) = exchange.status else {
        let kind = if exchange.is_torn { TokenFailureKind::TimedOut } else { TokenFailureKind::Lost };
        return Err(TokenFailure::of(kind));
    };
    parse_token_answer(status, &exchange.body).map_err(|mut failure| {
        let after = exchange.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        failure.retry_after = after.and_then(parse_retry_after);
        failure
    })
}

fn probe_request(probe: &Probe) -> Request {
    let method = match probe.method {
        ProbeMethod::Head => Method::HEAD,
        ProbeMethod::Get => Method::GET,
    };
    Request::new(method, &probe.path)
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
