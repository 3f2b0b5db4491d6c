//! The real keeper as a client: the lines that the library's driver and exchange have around it, with events instead of
//! waiting.
//!
//! Calls are here; token requests and what the store has to do with them are in `flight`. A process that is killed loses
//! the keeper and everybody who waited, and starts again with what the store holds. Where a [`Mutant`] is set, one of these
//! lines goes wrong on purpose.

mod flight;

use std::collections::BTreeMap;

use evergrant_core::attempt::{Attempt, Refusal, Replay, Route};
use evergrant_core::keeper::{Acquire, Action, Keeper, Minted, Need, ProbeOutcome, Report, Step, is_proof};
use evergrant_core::offset::{Sample, Source};
use evergrant_core::policy::Policy;
use evergrant_core::profile::{Probe, ProbeMethod, Profile, Region};
use evergrant_core::time::{Boot, Server, Span};
use evergrant_core::token::{Generation, Token};
use evergrant_core::verdict::{Confidence, Verdict};
use evergrant_core::wire::{parse_challenges, parse_http_date};
use http::header::{DATE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method};

use super::mutant::Mutant;
use super::scene::{CallId, Ending, Exchange, Scene, ZERO};
use super::watch::Watch;
use super::{Client, Event, TIMER_GRAIN};
use crate::config::{REFRESH_TOKEN, Shape};
use crate::provider::Request;
use crate::record::Record;
use crate::scenario::{Grant, Scenario};
use flight::Flying;

/// The keeper and what its driver has to remember.
pub(super) struct Keeping {
    keeper: Keeper,
    profile: Profile,
    seed: u64,
    lives: u64,
    is_down: bool,
    rotates: bool,
    attempts: BTreeMap<CallId, Attempting>,
    flying: BTreeMap<u64, Flying>,
    flown: u64,
    record: Record,
    late_record: Option<(Boot, Record)>,
    last_sample: Boot,
    last_date: Option<Server>,
    timer_at: Option<Boot>,
    has_failed: bool,
    watch: Option<Watch>,
    mutant: Option<Mutant>,
}

/// A call from the first question for a token to the answer that the caller sees.
struct Attempting {
    attempt: Attempt,
    state: CallState,
    poll_at: Option<Boot>,
    is_counted: bool,
    token: Option<String>,
    status: u16,
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
            seed,
            lives: 1,
            is_down: false,
            rotates: scenario.grant == Grant::RefreshToken,
            attempts: BTreeMap::new(),
            flying: BTreeMap::new(),
            flown: 0,
            record: Record::new(REFRESH_TOKEN),
            late_record: None,
            last_sample: ZERO,
            last_date: None,
            timer_at: None,
            has_failed: false,
            watch: None,
            mutant: None,
        }
    }

    /// The same under a watch, with a slip if one is given.
    pub(super) fn watched(mut self, mutant: Option<Mutant>) -> Self {
        self.watch = Some(Watch::default());
        self.mutant = mutant;
        self.keeper = self.fresh_keeper();
        self
    }

    fn fresh_keeper(&self) -> Keeper {
        let settle = self.is(Mutant::NeverSettles).then_some(Span::ZERO);
        let policy = Policy { settle, ..Policy::default() };
        Keeper::new(self.profile.clone(), policy, self.seed.wrapping_mul(self.lives))
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn acquire(&mut self, call: CallId, scene: &mut Scene) {
        let now = scene.clock();
        let Some(this) = self.attempts.get_mut(&call) else { return };
        let need = self.keeper.need_of(this.attempt.replay);
        let mut answer = self.keeper.handle_acquire(need, this.attempt.started, this.attempt.deadline, now);
        let started = this.attempt.started;
        if self.has_failed && self.is(Mutant::FailsWithTheRefresh) {
            return self.end_without_token(call, started, scene);
        }
        if self.is(Mutant::ServesForEver)
            && let Some(kept) = self.record.restored()
        {
            answer = Acquire::Ready(std::sync::Arc::new(flight::token_of(kept)));
        }
        match answer {
            Acquire::Ready(token) => {
                let Some(this) = self.attempts.get_mut(&call) else { return };
                if need != Need::Usable {
                    this.is_counted = true;
                    self.keeper.handle_unrepeatable_begin();
                }
                this.attempt.mark_sent(token.generation, now.boot);
                self.send(call, &token, scene);
            }
            Acquire::Wait(until) => self.poll_at(call, until.max(now.boot + TIMER_GRAIN), scene),
            Acquire::Failed(_) => self.end_without_token(call, started, scene),
        }
    }

    fn send(&mut self, call: CallId, token: &Token, scene: &mut Scene) {
        if let Some(this) = self.attempts.get_mut(&call) {
            this.state = CallState::Sent;
            this.token = self.watch.is_some().then(|| token.access_token.expose().to_owned());
        }
        if let Some(watch) = &mut self.watch {
            watch.granted(call, token, scene);
        }
        if self.is(Mutant::LogsTokens) {
            scene.write(|| format!("sent with {}", token.access_token.expose()));
        }
        scene.send(call, token.access_token.expose());
    }

    fn follow(&mut self, call: CallId, step: Step, scene: &mut Scene) {
        match step {
            Step::Send(token) => self.send(call, &token, scene),
            Step::Wait(until) if !self.is(Mutant::PassesOn401) => {
                self.poll_at(call, until.max(scene.clock().boot + TIMER_GRAIN), scene);
            }
            Step::Wait(_) => self.end_call(call, Ending::Answered(401, Some("unknown")), scene),
            Step::Pass(verdict) => self.pass(call, *verdict, scene),
            Step::NoToken(_, verdict) => {
                scene.write(|| format!("call {call} has no token: {}", verdict.cause.name()));
                let started = self.attempts.get(&call).map_or_else(|| scene.clock().boot, |this| this.attempt.started);
                self.end_without_token(call, started, scene);
            }
        }
    }

    fn pass(&mut self, call: CallId, mut verdict: Verdict, scene: &mut Scene) {
        let status = self.attempts.get(&call).map_or(401, |this| this.status);
        if self.is(Mutant::IsAlwaysCertain) {
            verdict.confidence = Confidence::Certain;
        }
        let truth = scene.calls.get(&call).and_then(|call| call.refused_for).filter(|_| status == 401);
        let token = self.attempts.get(&call).and_then(|this| this.token.as_deref());
        if let Some(watch) = &mut self.watch {
            watch.judged(&verdict, token, truth, scene);
        }
        scene.write(|| format!("verdict on {truth:?}: {verdict:?}"));
        self.end_call(call, Ending::Answered(status, Some(verdict.cause.name())), scene);
    }

    /// A waiting call asks again at this moment of the boot clock, unless it does so earlier.
    fn poll_at(&mut self, call: CallId, at: Boot, scene: &mut Scene) {
        if let Some(this) = self.attempts.get_mut(&call)
            && this.poll_at.is_none_or(|known| at < known)
        {
            this.poll_at = Some(at);
            scene.at_local(at, Event::Poll(call));
        }
    }

    fn end_without_token(&mut self, call: CallId, started: Boot, scene: &mut Scene) {
        if let Some(watch) = &mut self.watch {
            watch.no_token(call, started, scene);
        }
        self.end_call(call, Ending::NoToken, scene);
    }

    fn end_call(&mut self, call: CallId, ending: Ending, scene: &mut Scene) {
        scene.end_call(call, ending);
        if self.attempts.remove(&call).is_some_and(|this| this.is_counted) {
            self.keeper.handle_unrepeatable_end();
            self.keeper.handle_timeout(scene.clock());
        }
    }

    fn refusal(&self, call: CallId, exchange: &Exchange, scene: &Scene) -> Option<Refusal> {
        let status = exchange.status?;
        let fields = exchange.headers.get_all(WWW_AUTHENTICATE);
        let challenges = parse_challenges(fields.iter().map(HeaderValue::as_bytes));
        let call = scene.calls.get(&call)?;
        let route = Route::new("api.sim", call.request.method.as_str(), &call.request.path);
        let refusal = Refusal::read(&self.profile, status, &challenges, &exchange.body, route, scene.clock().boot)?;
        Some(Refusal { can_send_again: call.replay != Replay::Never, ..refusal })
    }

    fn sample(&mut self, source: Source, exchange: &Exchange, scene: &Scene) {
        let date = exchange.headers.get(DATE).and_then(|date| parse_http_date(date.to_str().ok()?));
        let now = scene.clock();
        let Some(mut server) = date else { return };
        let before = self.last_date.replace(server);
        if self.is(Mutant::ReadsOldDates) {
            server = before.unwrap_or(server);
        }
        let resolution = Span::from_secs(1);
        let sample = Sample { sent: exchange.sent, received: now.boot, server, resolution, bounds_above: true };
        let _ = self.keeper.handle_clock_sample(source, sample, now);
        if let Some(watch) = &mut self.watch {
            watch.read(source, &self.keeper.clocks().reading(source, now.boot), scene);
        }
    }

    /// The driver: actions become events. Were waiters woken?
    fn perform_actions(&mut self, scene: &mut Scene) -> bool {
        let mut has_woken = false;
        while let Some(action) = self.keeper.poll_action() {
            match action {
                Action::RequestToken { flight, reason } => self.take_off(flight, reason, scene),
                Action::Probe { token, probe } => {
                    scene.write(|| format!("probe of {}", token.generation));
                    let request = Box::new(probe_request(&probe).bearer(token.access_token.expose()));
                    let sent = scene.clock().boot;
                    if scene.is_lost() {
                        scene.at(
                            scene.now + PROBE_LOST,
                            Event::ProbeAnswered(token.generation, Exchange::nothing(sent)),
                        );
                    } else {
                        let arrives = scene.now + scene.way_there();
                        scene.at(arrives, Event::ProbeArrive(token.generation, request, sent));
                    }
                }
                Action::Wake => has_woken = true,
            }
        }
        has_woken
    }
}

impl Client for Keeping {
    fn start(&mut self, scene: &mut Scene) {
        self.timer_at = Some(scene.clock().boot);
        scene.at(scene.now, Event::Timer);
    }

    fn begin(&mut self, call: CallId, scene: &mut Scene) {
        if self.is_down {
            return scene.drop_call(call);
        }
        let Some(begun) = scene.calls.get(&call) else { return };
        let attempt = Attempt::new(begun.replay, scene.clock().boot, begun.patience);
        let (state, poll_at, token) = (CallState::Acquiring, None, None);
        self.attempts.insert(call, Attempting { attempt, state, poll_at, is_counted: false, token, status: 0 });
        self.acquire(call, scene);
    }

    fn poll(&mut self, call: CallId, scene: &mut Scene) {
        let now = scene.clock();
        let Some(this) = self.attempts.get_mut(&call) else { return };
        let Some(at) = this.poll_at else { return };
        if now.boot < at {
            // The boot clock stood still, or an earlier question was planned before.
            return scene.at_local(at, Event::Poll(call));
        }
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
        let Some(status) = exchange.status else {
            let is_write = scene.calls.get(&call).is_some_and(|call| call.request.method == Method::POST);
            if is_write && self.is(Mutant::RepeatsLostWrites) {
                return self.acquire(call, scene);
            }
            return self.end_call(call, Ending::Cut, scene);
        };
        this.status = status;
        if let Some(watch) = &mut self.watch
            && (status == 401 || is_proof(status))
        {
            watch.answered(this.attempt.generation, this.token.as_deref(), status == 401, scene);
        }
        if let Some(refusal) = refusal {
            this.state = CallState::Refused;
            let step = self.keeper.handle_refusal(&mut this.attempt, refusal, now);
            return self.follow(call, step, scene);
        }
        if is_proof(status) {
            scene.note_proof(call);
            self.keeper.handle_success(this.attempt.generation, this.attempt.sent, now);
            if self.keeper.wants_proving_path()
                && let Some(call) = scene.calls.get(&call).filter(|call| call.request.method == Method::GET)
            {
                self.keeper.handle_proving_path(&call.request.path);
            }
        }
        self.end_call(call, Ending::Answered(status, None), scene);
    }

    fn token_arrives(&mut self, request: u64, sent: Boot, scene: &mut Scene) {
        self.arrive_at_token_endpoint(request, sent, scene);
    }

    fn token_answered(&mut self, request: u64, exchange: Exchange, scene: &mut Scene) {
        self.land(request, &exchange, scene);
    }

    fn probe_answered(&mut self, generation: Generation, exchange: &Exchange, scene: &mut Scene) {
        let outcome = match exchange.status {
            Some(401) => ProbeOutcome::Refused,
            Some(status) if is_proof(status) => ProbeOutcome::Accepted,
            Some(_) | None => ProbeOutcome::Nothing,
        };
        if let Some(watch) = &mut self.watch {
            watch.answered(generation, None, outcome == ProbeOutcome::Refused, scene);
        }
        self.keeper.handle_probe(generation, exchange.sent, outcome, scene.clock());
    }

    fn timer(&mut self, scene: &mut Scene) {
        let Some(at) = self.timer_at else { return };
        if scene.clock().boot < at {
            // The boot clock stood still, or the timer was set earlier meanwhile and fired.
            return scene.at_local(at, Event::Timer);
        }
        self.timer_at = None;
        self.keeper.handle_timeout(scene.clock());
    }

    fn settle(&mut self, scene: &mut Scene) {
        if self.is_down {
            return;
        }
        self.store_what_is_due(scene);
        if self.perform_actions(scene) {
            let waits = |this: &Attempting| this.state != CallState::Sent;
            let waiting: Vec<_> = self.attempts.iter().filter(|(_, this)| waits(this)).map(|(call, _)| *call).collect();
            waiting.into_iter().for_each(|call| self.poll_at(call, scene.clock().boot, scene));
        }
        if let Some(timeout) = self.keeper.poll_timeout() {
            let next = timeout.max(scene.clock().boot + TIMER_GRAIN);
            if self.timer_at.is_none_or(|at| next < at) {
                self.timer_at = Some(next);
                scene.at_local(next, Event::Timer);
            }
        }
    }

    fn woke(&mut self, scene: &mut Scene) {
        if !self.is_down {
            self.keeper.handle_suspend(scene.clock());
        }
    }

    fn crash(&mut self, scene: &mut Scene) {
        for flying in self.flying.values_mut().filter(|flying| !flying.is_orphan) {
            flying.is_orphan = true;
            scene.provider.ledger_mut().token.leave();
        }
        self.flying.retain(|_, flying| !flying.has_arrived);
        if let Some(watch) = &mut self.watch {
            watch.crashed(scene);
        }
        self.attempts.clear();
        self.late_record = None;
        (self.timer_at, self.has_failed, self.is_down) = (None, false, true);
    }

    fn restart(&mut self, scene: &mut Scene) {
        if !self.is_down {
            return;
        }
        self.lives += 1;
        self.is_down = false;
        self.keeper = self.fresh_keeper();
        self.restore(scene);
        self.start(scene);
    }

    fn report(&self, scene: &Scene) -> Option<Report> {
        Some(self.keeper.report(scene.clock()))
    }

    fn finish(&mut self, scene: &mut Scene) -> Option<Watch> {
        let report = self.keeper.report(scene.clock());
        scene.write(|| format!("{report:?}\n{:?}", self.keeper.events()));
        let mut watch = self.watch.take()?;
        watch.finish(scene);
        Some(watch)
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
/// When it shows that a probe has no answer.
const PROBE_LOST: Span = Span::from_secs(2);
