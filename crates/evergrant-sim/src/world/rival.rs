//! A rival as a client: whatever its [`Rules`] say, around the same callers, network and provider.
//!
//! A rival knows what its original knows: this machine's calendar clock, a timer that stops in suspend, and the last
//! token answer. It fetches its first token when it starts, as scripts do.

use std::collections::BTreeMap;

use evergrant_core::time::{Boot, Span};
use evergrant_core::wire::{TokenAnswer, read_claims};

use super::scene::{CallId, Ending, Exchange, Scene};
use super::token_answer::token_result;
use super::{Client, Event, TIMER_GRAIN};
use crate::config::REFRESH_TOKEN;
use crate::scenario::{Grant, Scenario};
use crate::strategy::{After401, Claims, Flights, Held, LocalTime, OnFailure, Refused, Rules};

/// A client that follows its rules.
pub(super) struct Rival {
    rules: Rules,
    has_refresh_token: bool,
    refresh_token: String,
    held: Option<Held>,
    calls: BTreeMap<CallId, Progress>,
    flights: BTreeMap<u64, Vec<CallId>>,
    flown: u64,
    not_before: Option<Boot>,
    /// Has a panic ended the process?
    has_crashed: bool,
    /// Is it dead until it is started again?
    is_down: bool,
    /// When the timer fires, and how long the machine had slept when it was set.
    timer: Option<(Boot, Span)>,
}

/// What happened to a call so far.
#[derive(Default)]
struct Progress {
    /// When the token that it was last sent with came.
    token_received: Option<LocalTime>,
    refreshes: u32,
    retries: u32,
}

impl Rival {
    pub(super) fn new(rules: Rules, scenario: &Scenario) -> Self {
        Self {
            rules,
            has_refresh_token: scenario.grant == Grant::RefreshToken,
            refresh_token: REFRESH_TOKEN.to_owned(),
            held: None,
            calls: BTreeMap::new(),
            flights: BTreeMap::new(),
            flown: 0,
            not_before: None,
            has_crashed: false,
            is_down: false,
            timer: None,
        }
    }

    fn send(&mut self, call: CallId, scene: &mut Scene) {
        let (Some(held), Some(this)) = (&self.held, self.calls.get_mut(&call)) else {
            return self.end(call, Ending::NoToken, scene);
        };
        this.token_received = Some(held.received);
        scene.send(call, &held.text);
    }

    fn end(&mut self, call: CallId, ending: Ending, scene: &mut Scene) {
        self.calls.remove(&call);
        scene.end_call(call, ending);
    }

    /// The call needs a new token first.
    fn refresh_for(&mut self, call: CallId, scene: &mut Scene) {
        if self.has_crashed || self.not_before.is_some_and(|at| scene.now < at) {
            return self.end(call, Ending::NoToken, scene);
        }
        match self.rules.flights {
            Flights::PerCaller => self.launch(vec![call], scene),
            Flights::InTurn | Flights::Shared => match self.flights.values_mut().next() {
                Some(waiting) => waiting.push(call),
                None => self.launch(vec![call], scene),
            },
        }
    }

    fn launch(&mut self, waiting: Vec<CallId>, scene: &mut Scene) {
        self.flown += 1;
        self.flights.insert(self.flown, waiting);
        scene.send_token_request(self.flown);
    }

    fn take_in(&mut self, answer: TokenAnswer, scene: &mut Scene) {
        let text = answer.access_token.expose().to_owned();
        let claims = read_claims(&text).and_then(|claims| Some(Claims { iat: claims.iat?, exp: claims.exp? }));
        if let Some(refresh) = &answer.refresh_token {
            self.refresh_token = refresh.expose().to_owned();
        }
        let luck = scene.luck();
        let held = Held { text, received: scene.local_time(), expires_in: answer.expires_in, claims, luck };
        if let Some(after) = self.rules.refresh_after.and_then(|after| after(&held)) {
            self.wake_after(after.max(TIMER_GRAIN), scene);
        }
        self.held = Some(held);
    }

    fn wake_after(&mut self, after: Span, scene: &mut Scene) {
        self.timer = Some((scene.now + after, scene.slept()));
        scene.at(scene.now + after, Event::Timer);
    }

    /// The calls that waited for a token request that brought none.
    fn disappoint(&mut self, mut waiting: Vec<CallId>, scene: &mut Scene) {
        match self.rules.on_failure {
            OnFailure::CallersFail => {}
            OnFailure::Crash => self.has_crashed = true,
            OnFailure::FailFor(span) => self.not_before = Some(scene.now + span),
            OnFailure::TryAgainAfter(span) => self.wake_after(span, scene),
            OnFailure::OthersGoOn => {
                let others = waiting.split_off(waiting.len().min(1));
                others.into_iter().for_each(|call| self.send(call, scene));
            }
        }
        if self.has_crashed {
            let all: Vec<_> = self.calls.keys().copied().collect();
            return all.into_iter().for_each(|call| self.end(call, Ending::NoToken, scene));
        }
        let next = match self.rules.flights {
            Flights::InTurn => waiting.split_off(waiting.len().min(1)),
            Flights::PerCaller | Flights::Shared => Vec::new(),
        };
        waiting.into_iter().for_each(|call| self.end(call, Ending::NoToken, scene));
        if !next.is_empty() {
            self.launch(next, scene);
        }
    }
}

impl Client for Rival {
    fn start(&mut self, scene: &mut Scene) {
        self.launch(Vec::new(), scene);
    }

    fn begin(&mut self, call: CallId, scene: &mut Scene) {
        if self.is_down {
            return scene.drop_call(call);
        }
        self.calls.insert(call, Progress::default());
        let now = scene.local_time();
        let is_fresh = self.held.as_ref().is_some_and(|held| (self.rules.is_fresh)(held, now));
        if self.has_crashed {
            self.end(call, Ending::NoToken, scene);
        } else if is_fresh {
            self.send(call, scene);
        } else {
            self.refresh_for(call, scene);
        }
    }

    fn poll(&mut self, call: CallId, scene: &mut Scene) {
        if self.calls.contains_key(&call) {
            self.send(call, scene);
        }
    }

    fn answered(&mut self, call: CallId, exchange: Exchange, scene: &mut Scene) {
        let Some(this) = self.calls.get_mut(&call) else { return };
        let Some(status) = exchange.status else { return self.end(call, Ending::Cut, scene) };
        if status != 401 {
            return self.end(call, Ending::Answered(status, None), scene);
        }
        let now = scene.local_time();
        let refused = Refused {
            token_age: this.token_received.map_or(Span::ZERO, |received| now.wall - received.wall),
            refreshes: this.refreshes,
            retries: this.retries,
            has_refresh_token: self.has_refresh_token,
        };
        match (self.rules.after_401)(&refused) {
            After401::Raise => self.end(call, Ending::Answered(status, None), scene),
            After401::Refresh => {
                this.refreshes += 1;
                self.refresh_for(call, scene);
            }
            After401::SameTokenAfter(span) => {
                this.retries += 1;
                scene.at(scene.now + span, Event::Poll(call));
            }
        }
    }

    fn token_arrives(&mut self, request: u64, sent: Boot, scene: &mut Scene) {
        scene.serve_token_request(request, &self.refresh_token, sent);
    }

    fn token_answered(&mut self, request: u64, exchange: Exchange, scene: &mut Scene) {
        let Some(waiting) = self.flights.remove(&request) else { return };
        scene.provider.ledger_mut().token.leave();
        match token_result(&exchange) {
            Ok(answer) => {
                self.take_in(answer, scene);
                let pause = self.held.as_ref().map_or(Span::ZERO, |held| (self.rules.pause)(held));
                for call in waiting {
                    if pause > Span::ZERO {
                        scene.at(scene.now + pause, Event::Poll(call));
                    } else {
                        self.send(call, scene);
                    }
                }
            }
            Err(_) => self.disappoint(waiting, scene),
        }
    }

    fn timer(&mut self, scene: &mut Scene) {
        let Some((at, slept)) = self.timer.filter(|(at, _)| *at <= scene.now && !self.has_crashed) else { return };
        // Its clock stood still in suspend.
        let late = scene.slept() - slept;
        if scene.now < at + late {
            self.timer = Some((at + late, scene.slept()));
            return scene.at(at + late, Event::Timer);
        }
        self.timer = None;
        if self.flights.is_empty() {
            self.launch(Vec::new(), scene);
        }
    }

    /// A new process knows nothing: no client here has a store.
    fn crash(&mut self, scene: &mut Scene) {
        self.flights.keys().for_each(|_| scene.provider.ledger_mut().token.leave());
        self.flights.clear();
        self.calls.clear();
        (self.held, self.timer, self.not_before) = (None, None, None);
        self.is_down = true;
    }

    fn restart(&mut self, scene: &mut Scene) {
        if !self.is_down {
            return;
        }
        (self.is_down, self.has_crashed) = (false, false);
        self.start(scene);
    }
}
