//! The real keeper as a client: the lines that the library's driver and exchange have around it, with events instead of
//! waiting.

use std::collections::BTreeMap;

use evergrant_core::attempt::{Attempt, Refusal, Route};
use evergrant_core::keeper::{
    Acquire, Action, FlightId, FlightNext, Keeper, Minted, Need, ProbeOutcome, Report, Step, is_proof,
};
use evergrant_core::offset::{Sample, Source};
use evergrant_core::policy::Policy;
use evergrant_core::profile::{Probe, ProbeMethod, Profile, Region};
use evergrant_core::time::{Boot, Span};
use evergrant_core::token::{Generation, Issued};
use evergrant_core::wire::{parse_challenges, parse_http_date};
use http::header::{DATE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method};

use super::scene::{CallId, Exchange, Scene, ZERO};
use super::token_answer::token_result;
use super::{Client, Event, TIMER_GRAIN};
use crate::config::{REFRESH_TOKEN, Shape};
use crate::provider::Request;
use crate::scenario::Scenario;

/// The keeper and what its driver has to remember.
pub(super) struct Keeping {
    keeper: Keeper,
    profile: Profile,
    attempts: BTreeMap<CallId, Attempting>,
    flights: BTreeMap<u64, FlightId>,
    flown: u64,
    refresh_token: String,
    last_sample: Boot,
    timer_at: Option<Boot>,
}

/// A call from the first question for a token to the answer that the caller sees.
struct Attempting {
    attempt: Attempt,
    state: CallState,
    poll_at: Option<Boot>,
    is_counted: bool,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum CallState {
    Acquiring,
    Sent,
    Refused,
}

impl Keeping {
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        let profile = match scenario.config.shape {
            Shape::Genesys => Profile::genesys(Region::EuCentral1),
            Shape::Rfc | Shape::RfcBare => Profile::oauth2(),
        };
        Self {
            keeper: Keeper::new(profile.clone(), Policy::default(), seed),
            profile,
            attempts: BTreeMap::new(),
            flights: BTreeMap::new(),
            flown: 0,
            refresh_token: REFRESH_TOKEN.to_owned(),
            last_sample: ZERO,
            timer_at: None,
        }
    }

    fn acquire(&mut self, call: CallId, scene: &mut Scene) {
        let now = scene.clock();
        let Some(this) = self.attempts.get_mut(&call) else { return };
        let need = self.keeper.need_of(this.attempt.replay);
        match self.keeper.handle_acquire(need, this.attempt.started, this.attempt.deadline, now) {
            Acquire::Ready(token) => {
                if need != Need::Usable {
                    this.is_counted = true;
                    self.keeper.handle_unrepeatable_begin();
                }
                this.attempt.mark_sent(token.generation, now.boot);
                this.state = CallState::Sent;
                scene.send(call, token.access_token.expose());
            }
            Acquire::Wait(until) => self.poll_at(call, until.max(now.boot + TIMER_GRAIN), scene),
            Acquire::Failed(_) => self.end_call(call, None, None, scene),
        }
    }

    fn follow(&mut self, call: CallId, step: Step, scene: &mut Scene) {
        match step {
            Step::Send(token) => {
                if let Some(this) = self.attempts.get_mut(&call) {
                    this.state = CallState::Sent;
                }
                scene.send(call, token.access_token.expose());
            }
            Step::Wait(until) => self.poll_at(call, until.max(scene.now + TIMER_GRAIN), scene),
            Step::Pass(verdict) => self.end_call(call, Some(401), Some(verdict.cause.name()), scene),
            Step::NoToken(_, verdict) => self.end_call(call, None, Some(verdict.cause.name()), scene),
        }
    }

    /// A waiting call asks again at this moment, unless it does so earlier.
    fn poll_at(&mut self, call: CallId, at: Boot, scene: &mut Scene) {
        if let Some(this) = self.attempts.get_mut(&call)
            && this.poll_at.is_none_or(|known| at < known)
        {
            this.poll_at = Some(at);
            scene.at(at, Event::Poll(call));
        }
    }

    fn end_call(&mut self, call: CallId, status: Option<u16>, verdict: Option<&'static str>, scene: &mut Scene) {
        scene.end_call(call, status, verdict);
        if self.attempts.remove(&call).is_some_and(|this| this.is_counted) {
            self.keeper.handle_unrepeatable_end();
            self.keeper.handle_timeout(scene.clock());
        }
    }

    fn refusal(&self, call: CallId, exchange: &Exchange, scene: &Scene) -> Option<Refusal> {
        let status = exchange.status?;
        let fields = exchange.headers.get_all(WWW_AUTHENTICATE);
        let challenges = parse_challenges(fields.iter().map(HeaderValue::as_bytes));
        let request = &scene.calls.get(&call)?.request;
        let route = Route::new("api.sim", request.method.as_str(), &request.path);
        let refusal = Refusal::read(&self.profile, status, &challenges, &exchange.body, route, scene.clock().boot)?;
        Some(Refusal { can_send_again: true, ..refusal })
    }

    fn sample(&mut self, source: Source, exchange: &Exchange, scene: &Scene) {
        let date = exchange.headers.get(DATE).and_then(|date| parse_http_date(date.to_str().ok()?));
        let now = scene.clock();
        if let Some(server) = date {
            let resolution = Span::from_secs(1);
            let sample = Sample { sent: exchange.sent, received: now.boot, server, resolution, bounds_above: true };
            let _ = self.keeper.handle_clock_sample(source, sample, now);
        }
    }

    /// The driver: actions become events. Were waiters woken?
    fn perform_actions(&mut self, scene: &mut Scene) -> bool {
        let mut has_woken = false;
        while let Some(action) = self.keeper.poll_action() {
            match action {
                Action::RequestToken { flight, .. } => {
                    self.flown += 1;
                    self.flights.insert(self.flown, flight);
                    scene.send_token_request(self.flown);
                }
                Action::Probe { token, probe } => {
                    let request = Box::new(probe_request(&probe).bearer(token.access_token.expose()));
                    let arrives = scene.now + scene.way_there();
                    scene.at(arrives, Event::ProbeArrive(token.generation, request, scene.clock().boot));
                }
                Action::Wake => has_woken = true,
            }
        }
        has_woken
    }
}

impl Client for Keeping {
    fn start(&mut self, scene: &mut Scene) {
        self.timer_at = Some(scene.now);
        scene.at(scene.now, Event::Timer);
    }

    fn begin(&mut self, call: CallId, scene: &mut Scene) {
        let Some(begun) = scene.calls.get(&call) else { return };
        let attempt = Attempt::new(begun.replay, scene.clock().boot, begun.patience);
        let this = Attempting { attempt, state: CallState::Acquiring, poll_at: None, is_counted: false };
        self.attempts.insert(call, this);
        self.acquire(call, scene);
    }

    fn poll(&mut self, call: CallId, scene: &mut Scene) {
        let now = scene.clock();
        let Some(this) = self.attempts.get_mut(&call).filter(|this| this.poll_at == Some(now.boot)) else { return };
        this.poll_at = None;
        match this.state {
            CallState::Acquiring => self.acquire(call, scene),
            CallState::Refused => {
                let step = self.keeper.handle_attempt(&mut this.attempt, now);
                self.follow(call, step, scene);
            }
            CallState::Sent => {}
        }
    }

    fn answered(&mut self, call: CallId, exchange: Exchange, scene: &mut Scene) {
        let now = scene.clock();
        if now.boot - self.last_sample >= SAMPLE_EVERY {
            self.last_sample = now.boot;
            self.sample(Source::ApiDate, &exchange, scene);
        }
        let refusal = self.refusal(call, &exchange, scene);
        let Some(this) = self.attempts.get_mut(&call) else { return };
        if let Some(refusal) = refusal {
            this.state = CallState::Refused;
            let step = self.keeper.handle_refusal(&mut this.attempt, refusal, now);
            return self.follow(call, step, scene);
        }
        if is_proof(exchange.status.unwrap_or(0)) {
            self.keeper.handle_success(this.attempt.generation, this.attempt.sent, now);
            if self.keeper.wants_proving_path()
                && let Some(call) = scene.calls.get(&call).filter(|call| call.request.method == Method::GET)
            {
                self.keeper.handle_proving_path(&call.request.path);
            }
        }
        self.end_call(call, exchange.status, None, scene);
    }

    fn token_arrives(&mut self, request: u64, sent: Boot, scene: &mut Scene) {
        scene.serve_token_request(request, &self.refresh_token, sent);
    }

    fn token_answered(&mut self, request: u64, exchange: Exchange, scene: &mut Scene) {
        self.sample(Source::AuthDate, &exchange, scene);
        let Some(flight) = self.flights.get(&request).copied() else { return };
        let now = scene.clock();
        match token_result(&exchange) {
            Ok(answer) => {
                if let Some(refresh) = &answer.refresh_token {
                    self.refresh_token = refresh.expose().to_owned();
                }
                let minted = Minted {
                    generation: self.keeper.newest_generation().next(),
                    access_token: answer.access_token,
                    issued: Issued { sent: exchange.sent, received: now.boot },
                    lifetime: answer.expires_in,
                    is_renewable: true,
                };
                scene.provider.ledger_mut().token.leave();
                self.flights.remove(&request);
                self.keeper.handle_minted(flight, minted, now);
            }
            Err(failure) => match self.keeper.handle_flight_failed(flight, failure, now) {
                FlightNext::AskAgain => {
                    let arrives = scene.now + scene.way_there();
                    scene.at(arrives, Event::TokenArrive(request, scene.now));
                }
                FlightNext::Over => {
                    self.flights.remove(&request);
                    scene.provider.ledger_mut().token.leave();
                }
            },
        }
    }

    fn probe_answered(&mut self, generation: Generation, exchange: &Exchange, scene: &mut Scene) {
        let outcome = match exchange.status {
            Some(401) => ProbeOutcome::Refused,
            Some(status) if is_proof(status) => ProbeOutcome::Accepted,
            Some(_) | None => ProbeOutcome::Nothing,
        };
        self.keeper.handle_probe(generation, exchange.sent, outcome, scene.clock());
    }

    fn timer(&mut self, scene: &mut Scene) {
        if self.timer_at.is_some_and(|at| at <= scene.now) {
            self.timer_at = None;
            self.keeper.handle_timeout(scene.clock());
        }
    }

    fn settle(&mut self, scene: &mut Scene) {
        if self.perform_actions(scene) {
            let waits = |this: &Attempting| this.state != CallState::Sent;
            let waiting: Vec<_> = self.attempts.iter().filter(|(_, this)| waits(this)).map(|(call, _)| *call).collect();
            waiting.into_iter().for_each(|call| self.poll_at(call, scene.now, scene));
        }
        if let Some(timeout) = self.keeper.poll_timeout() {
            let next = timeout.max(scene.now + TIMER_GRAIN);
            if self.timer_at.is_none_or(|at| next < at) {
                self.timer_at = Some(next);
                scene.at(next, Event::Timer);
            }
        }
    }

    fn report(&self, scene: &Scene) -> Option<Report> {
        Some(self.keeper.report(scene.clock()))
    }
}

fn probe_request(probe: &Probe) -> Request {
    let method = match probe.method {
        ProbeMethod::Head => Method::HEAD,
        ProbeMethod::Get => Method::GET,
    };
    Request::new(method, &probe.path)
}

const SAMPLE_EVERY: Span = Span::from_millis(200);
