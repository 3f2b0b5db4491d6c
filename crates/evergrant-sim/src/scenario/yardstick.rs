//! Is every scenario fair? A short client passes them all in virtual time.
//!
//! The yardstick refreshes when a third of a token's life is left, keeps the older token while it lives, asks again
//! every 50 ms while all its tokens are refused, and refreshes when that has lasted half a second, unless its newest
//! token has not worked yet and may still be on its way to the nodes. It is far from good, and needs no luck: what it
//! cannot pass within [`Forced`](super::Forced), a scenario forbids by mistake.

use evergrant_core::time::{Boot, Now, Span, Wall};
use serde_json::Value;

use super::{Grant, Scenario};
use crate::config::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN};
use crate::ledger::Ledger;
use crate::provider::{Answer, Payload, Provider, Request};

struct Held {
    text: String,
    soft: Boot,
    dead: Boot,
    proven: bool,
}

struct Flight {
    sent: Boot,
    arrives: Boot,
    body: Option<Value>,
}

struct Yardstick {
    scenario: Scenario,
    provider: Provider,
    start: Boot,
    now: Boot,
    held: Vec<Held>,
    refresh_token: String,
    flight: Option<Flight>,
    next_try: Boot,
    failures: u32,
    refused_since: Option<Boot>,
    waiting: Vec<Boot>,
    complaints: Vec<String>,
}

const STEP: Span = Span::from_millis(10);

impl Yardstick {
    /// Runs a scenario whose client has had `head_start` to get its first token.
    fn run(scenario: Scenario, head_start: Span) -> (Ledger, Vec<String>) {
        let zero = Boot::from_secs(1_000);
        let now = Now { boot: zero, wall: Wall::from_secs(1_792_567_591) };
        let mut provider = Provider::new(scenario.config.clone(), now);
        let head_start = if scenario.load.cold { Span::ZERO } else { head_start };
        let start = zero + head_start;
        provider.schedule(scenario.events.clone(), start);
        let mut this = Self {
            scenario,
            provider,
            start,
            now: zero,
            held: Vec::new(),
            refresh_token: REFRESH_TOKEN.to_owned(),
            flight: None,
            next_try: zero,
            failures: 0,
            refused_since: None,
            waiting: Vec::new(),
            complaints: Vec::new(),
        };
        let end = start + this.scenario.duration;
        while this.now < end {
            this.land();
            this.take_off();
            this.call();
            this.now = this.now + STEP;
        }
        (this.provider.ledger().clone(), this.complaints)
    }

    fn land(&mut self) {
        let Some(flight) = self.flight.take_if(|flight| flight.arrives <= self.now) else {
            return;
        };
        let token = flight.body.as_ref().and_then(|body| body["access_token"].as_str().map(str::to_owned));
        let Some(text) = token else {
            self.failures += 1;
            // The first failure is tried again at once: its answer may have been lost.
            self.next_try = self.now + Span::from_millis(if self.failures == 1 { 0 } else { 1_500 });
            return;
        };
        let body = flight.body.unwrap_or_default();
        let life = Span::from_secs(body["expires_in"].as_i64().unwrap_or(240));
        self.held.push(Held { text, soft: flight.sent + life.scaled(2, 3), dead: flight.sent + life, proven: false });
        if let Some(next) = body["refresh_token"].as_str() {
            self.refresh_token = next.to_owned();
        }
        (self.failures, self.refused_since) = (0, None);
    }

    fn take_off(&mut self) {
        let newest_is_fresh = self.held.last().is_some_and(|held| self.now < held.soft);
        let is_proven = self.held.last().is_some_and(|held| held.proven);
        let is_refused =
            is_proven && self.refused_since.is_some_and(|since| self.now - since >= Span::from_millis(500));
        if self.flight.is_some() || self.now < self.next_try || (newest_is_fresh && !is_refused) {
            return;
        }
        let form = match self.scenario.grant {
            Grant::ClientCredentials => vec![("grant_type", "client_credentials")],
            Grant::RefreshToken => {
                vec![("grant_type", "refresh_token"), ("refresh_token", self.refresh_token.as_str())]
            }
        };
        let request = Request::token(&form).basic(CLIENT_ID, CLIENT_SECRET);
        let reply = self.provider.handle(&request, self.now);
        let body = match reply.answer {
            Answer::Response(response) => match response.body() {
                Payload::Bytes(bytes) => serde_json::from_slice(bytes).ok(),
                Payload::Fill(_) | Payload::Events { .. } => None,
            },
            Answer::Torn { .. } | Answer::Reset { .. } => None,
        };
        let timeout = Span::from_secs(10);
        let body = body.filter(|_| reply.delay < timeout);
        self.flight = Some(Flight { sent: self.now, arrives: self.now + reply.delay.min(timeout), body });
    }

    fn call(&mut self) {
        let since_start = self.now - self.start;
        let load = &self.scenario.load;
        if since_start >= Span::ZERO {
            if load.calls_per_min > 0 && since_start.as_millis() % 50 == 0 {
                self.waiting.push(self.now);
            }
            let bursts =
                load.bursts.iter().filter(|burst| since_start <= burst.after && burst.after < since_start + STEP);
            for burst in bursts {
                self.waiting.extend((0..burst.calls).map(|_| self.now));
            }
        }
        if (self.now - self.start).as_millis() % 50 == 0 {
            let waiting = std::mem::take(&mut self.waiting);
            self.waiting = waiting.into_iter().filter(|&started| !self.attempt(started)).collect();
        }
    }

    /// Tries a call with every token held, newest first. Is it done with, well or badly?
    fn attempt(&mut self, started: Boot) -> bool {
        self.held.retain(|held| self.now < held.dead);
        for held in self.held.iter_mut().rev() {
            let reply = self.provider.handle(&Request::get("/api/v2/users").bearer(&held.text), self.now);
            if matches!(&reply.answer, Answer::Response(response) if response.status().is_success()) {
                held.proven = true;
                self.refused_since = None;
                return true;
            }
        }
        if !self.held.is_empty() {
            self.refused_since.get_or_insert(self.now);
        }
        let waited = self.now - started;
        if waited <= self.scenario.forced.wait {
            return false;
        }
        if !self.scenario.may_fail(started - self.start, self.now - self.start) {
            self.complaints.push(format!("a call at {:?} failed after {waited}", started - self.start));
        }
        true
    }
}

#[test]
fn every_scenario_can_be_passed() {
    let mut unfair = Vec::new();
    for scenario in Scenario::all() {
        for head_start_ms in [100, 900] {
            let name = scenario.name;
            let head_start = Span::from_millis(head_start_ms);
            let ran = scenario.duration + head_start;
            let allowance = scenario.mint_allowance(ran);
            let (ledger, complaints) = Yardstick::run(scenario.clone(), head_start);
            let of = format!("{name} after {head_start}");
            unfair.extend(complaints.iter().map(|complaint| format!("{of}: {complaint}")).take(2));
            if ledger.token.requests > allowance {
                unfair.push(format!("{of}: {} token requests of {allowance}", ledger.token.requests));
            }
            if ledger.api.succeeded <= 50 || !scenario.struck(&ledger) {
                unfair.push(format!("{of}: the load or the fault did not strike"));
            }
        }
    }
    assert!(unfair.is_empty(), "{unfair:#?}");
}
