//! Callers: from the first question for a token to the answer that the caller sees.
//!
//! These are the lines that the library's exchange has around the keeper, with events instead of waiting.

use evergrant_core::attempt::{Attempt, Refusal, Replay, Route};
use evergrant_core::keeper::{Acquire, Need, Step, is_proof};
use evergrant_core::offset::Source;
use evergrant_core::policy::Policy;
use evergrant_core::time::Boot;
use evergrant_core::wire::parse_challenges;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, Method};

use super::exchange::Exchange;
use super::{CallRecord, Event, SAMPLE_EVERY, TIMER_GRAIN, World};
use crate::provider::Request;

/// One call.
pub(super) struct Caller {
    pub(super) started: Boot,
    attempt: Attempt,
    request: Request,
    pub(super) state: CallerState,
    pub(super) poll_at: Option<Boot>,
    is_counted: bool,
}

#[derive(PartialEq, Eq, Clone, Copy)]
pub(super) enum CallerState {
    Acquiring,
    Sent,
    Refused,
    Done,
}

impl World {
    pub(super) fn begin_call(&mut self) {
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
    pub(super) fn poll_at(&mut self, caller: usize, at: Boot) {
        if self.callers[caller].poll_at.is_none_or(|known| at < known) {
            self.callers[caller].poll_at = Some(at);
            self.at(at, Event::Poll(caller));
        }
    }

    pub(super) fn poll(&mut self, caller: usize) {
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

    pub(super) fn arrive(&mut self, caller: usize) {
        let sent = self.callers[caller].attempt.sent;
        let request = self.callers[caller].request.clone();
        let (after, exchange) = self.serve(&request, sent);
        self.at(after, Event::Answered(caller, exchange));
    }

    pub(super) fn answered(&mut self, caller: usize, exchange: &Exchange) {
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
        let request = &self.callers[caller].request;
        let route = Route::new("api.sim", request.method.as_str(), &request.path);
        let refusal = Refusal::read(&self.profile, status, &challenges, &exchange.body, route, self.now)?;
        Some(Refusal { can_send_again: true, ..refusal })
    }
}
