//! A keeper alone in virtual time: hand-made scenes, and properties over random ones.
//!
//! The simulator plays whole providers against the keeper. Here every event is chosen freely, also those that no
//! provider would show, and what must never happen is checked after each of them.

mod fleet;
mod judgement;
mod properties;
mod refresh;
mod scenes;

use crate::Secret;
use crate::attempt::{Attempt, Refusal, Replay, Route, Subject};
use crate::keeper::{Acquire, Action, FlightId, Keeper, Minted, Need, Step};
use crate::policy::Policy;
use crate::profile::Profile;
use crate::time::{Boot, Now, Span, Wall};
use crate::token::{Generation, Issued};
use crate::wire::{TokenFailure, TokenFailureKind};

/// A keeper, its clock, and what it asked for.
struct Stage {
    keeper: Keeper,
    at: Boot,
    flights: Vec<FlightId>,
    minted: u64,
    life: Span,
}

impl Stage {
    fn new(life: Span) -> Self {
        let keeper = Keeper::new(Profile::oauth2(), Policy::default(), 7);
        let mut stage = Self { keeper, at: Boot::from_secs(1_000), flights: Vec::new(), minted: 0, life };
        stage.tick();
        stage
    }

    /// With its first token.
    fn with_token(life: Span) -> Self {
        let mut stage = Self::new(life);
        stage.mint();
        stage
    }

    fn now(&self) -> Now {
        Now { boot: self.at, wall: Wall::from_nanos(self.at.as_nanos()) }
    }

    fn pass(&mut self, span: Span) {
        self.at = self.at + span;
        self.tick();
    }

    fn tick(&mut self) {
        let now = self.now();
        self.keeper.handle_timeout(now);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(action) = self.keeper.poll_action() {
            match action {
                Action::RequestToken { flight, .. } => self.flights.push(flight),
                Action::Probe { .. } | Action::Wake => {}
            }
        }
    }

    /// The token request in the air brings a token; `false` if there is none.
    fn mint(&mut self) -> bool {
        self.minted += 1;
        self.mint_as(format!("token-{}", self.minted))
    }

    /// It brings a token of this text.
    fn mint_as(&mut self, text: String) -> bool {
        let Some(flight) = self.flights.pop() else { return false };
        let minted = Minted {
            generation: self.keeper.newest_generation().next(),
            access_token: Secret::new(text),
            issued: Issued { sent: self.at - Span::from_millis(20), received: self.at },
            lifetime: Some(self.life),
            is_renewable: true,
        };
        let now = self.now();
        self.keeper.handle_minted(flight, minted, now);
        self.collect();
        true
    }

    fn fail(&mut self, kind: TokenFailureKind) {
        let Some(flight) = self.flights.pop() else { return };
        let now = self.now();
        let next = self.keeper.handle_flight_failed(flight, TokenFailure::of(kind), now);
        if next == super::FlightNext::AskAgain {
            self.flights.push(flight);
        }
        self.collect();
    }

    fn acquire(&mut self, need: Need, asked: Boot, deadline: Boot) -> Acquire {
        let now = self.now();
        let acquired = self.keeper.handle_acquire(need, asked, deadline, now);
        self.collect();
        acquired
    }

    /// A request that was sent with the token it was given.
    fn send(&mut self, replay: Replay) -> Option<Attempt> {
        let mut attempt = Attempt::new(replay, self.at, Span::from_secs(30));
        let need = self.keeper.need_of(replay);
        let Acquire::Ready(token) = self.acquire(need, attempt.started, attempt.deadline) else { return None };
        attempt.mark_sent(token.generation, self.at);
        Some(attempt)
    }

    fn refuse(&mut self, attempt: &mut Attempt, is_shown: bool, can_send_again: bool) -> Step {
        let refusal = Refusal {
            has_bearer_challenge: is_shown,
            can_send_again,
            ..Refusal::of_status(401, Subject::Token, Route::new("api.example", "GET", "/things"), self.at)
        };
        let now = self.now();
        let step = self.keeper.handle_refusal(attempt, refusal, now);
        self.collect();
        step
    }

    fn ask_again(&mut self, attempt: &mut Attempt) -> Step {
        let now = self.now();
        let step = self.keeper.handle_attempt(attempt, now);
        self.collect();
        step
    }

    fn succeed(&mut self, generation: Generation, sent: Boot) {
        let now = self.now();
        self.keeper.handle_success(generation, sent, now);
        self.collect();
    }
}
