//! Token requests, from the keeper's wish to the stored record, as the library's flight has them.
//!
//! A grant whose refresh token rotates writes its intent before the request and both new tokens together before either is
//! served. A process that finds an intent asks again within the grace, and later only when nothing is left to serve.

use evergrant_core::keeper::{FlightId, FlightNext, Minted, Reason};
use evergrant_core::offset::Source;
use evergrant_core::policy::Policy;
use evergrant_core::time::{Boot, Span};
use evergrant_core::token::{Issued, Token};
use evergrant_core::wire::{TokenFailure, TokenFailureKind};

use super::{Keeping, Mutant};
use crate::ledger::TokenOutcome;
use crate::world::scene::{Exchange, Scene};
use crate::world::token_answer::token_result;

/// One token request under way.
pub(super) struct Flying {
    flight: FlightId,
    reason: Reason,
    refresh_token: String,
    was_in_doubt: bool,
    pub(super) has_arrived: bool,
    /// Has the process that sent it died?
    pub(super) is_orphan: bool,
    is_twin: bool,
}

impl Keeping {
    pub(super) fn take_off(&mut self, flight: FlightId, reason: Reason, scene: &mut Scene) {
        let now = scene.clock();
        let was_in_doubt = self.rotates && self.record.intent.is_some();
        if self.rotates && self.record.is_doubt_old(now.boot) && !self.keeper.handle_doubt(flight, now) {
            scene.write(|| "the refresh token is in doubt and not sent".to_owned());
            return;
        }
        if self.rotates {
            self.record.intend(now.boot);
        }
        self.launch(flight, reason, was_in_doubt, false, scene);
        if self.is(Mutant::AsksTwice) {
            self.launch(flight, reason, was_in_doubt, true, scene);
        }
    }

    fn launch(&mut self, flight: FlightId, reason: Reason, was_in_doubt: bool, is_twin: bool, scene: &mut Scene) {
        self.flown += 1;
        // A mutant that stores late still goes on with what it has.
        let record = self.late_record.as_ref().map_or(&self.record, |(_, record)| record);
        let refresh_token = record.refresh_token.clone();
        scene.write(|| format!("flight {} {}", self.flown, reason.name()));
        let (has_arrived, is_orphan) = (false, false);
        let flying = Flying { flight, reason, refresh_token, was_in_doubt, has_arrived, is_orphan, is_twin };
        self.flying.insert(self.flown, flying);
        if let Some(watch) = &mut self.watch {
            watch.token_sent(scene);
        }
        scene.send_token_request(self.flown);
    }

    /// The request arrives, whatever has become of its sender.
    pub(super) fn arrive_at_token_endpoint(&mut self, request: u64, sent: Boot, scene: &mut Scene) {
        let Some(flying) = self.flying.get_mut(&request) else { return };
        flying.has_arrived = true;
        let refresh_token = flying.refresh_token.clone();
        if flying.is_orphan {
            self.flying.remove(&request);
        }
        if let Some(watch) = self.watch.as_mut().filter(|_| self.rotates) {
            watch.refresh_token_used(&refresh_token, scene);
        }
        scene.serve_token_request(request, &refresh_token, sent);
        let issued = [TokenOutcome::Issued, TokenOutcome::IssuedAgain];
        let has_spent =
            scene.provider.ledger().token.events.last().is_some_and(|event| issued.contains(&event.outcome));
        if let Some(watch) = self.watch.as_mut().filter(|_| self.rotates && has_spent) {
            watch.refresh_token_spent(&refresh_token);
        }
    }

    pub(super) fn land(&mut self, request: u64, exchange: &Exchange, scene: &mut Scene) {
        let Some(flying) = self.flying.get(&request).filter(|flying| !flying.is_orphan) else { return };
        let (flight, reason, is_twin) = (flying.flight, flying.reason, flying.is_twin);
        let (was_in_doubt, refresh_token) = (flying.was_in_doubt, flying.refresh_token.clone());
        self.sample(Source::AuthDate, exchange, scene);
        let now = scene.clock();
        match token_result(exchange) {
            Ok(answer) => {
                let generation = self.keeper.newest_generation().max(self.record.generation).next();
                let minted = Minted {
                    generation,
                    access_token: answer.access_token,
                    issued: Issued { sent: exchange.sent, received: now.boot },
                    lifetime: answer.expires_in,
                    is_renewable: true,
                };
                scene.write(|| format!("flight {request} brings {generation} for {:?}", answer.expires_in));
                if let Some(watch) = &mut self.watch {
                    let text = minted.access_token.expose();
                    watch.token_got(text, answer.expires_in, exchange.sent, scene);
                    if self.rotates {
                        let next = answer.refresh_token.as_ref().map_or(refresh_token.as_str(), |next| next.expose());
                        watch.rotated(&refresh_token, next);
                    }
                    if reason == Reason::Refused {
                        watch.minted_for_refusal(scene);
                    }
                }
                self.store(minted.clone(), answer.refresh_token.as_ref(), now.boot);
                self.leave(request, scene);
                self.has_failed = false;
                if !is_twin {
                    self.keeper.handle_minted(flight, minted, now);
                }
            }
            Err(failure) => self.land_without_token(request, failure, was_in_doubt, &refresh_token, scene),
        }
    }

    fn land_without_token(
        &mut self,
        request: u64,
        failure: TokenFailure,
        was_in_doubt: bool,
        refresh_token: &str,
        scene: &mut Scene,
    ) {
        let Some(flight) = self.flying.get(&request).map(|flying| flying.flight) else { return };
        scene.write(|| format!("flight {request} fails: {failure}"));
        if !was_in_doubt && !failure.refresh_token_may_be_spent() {
            self.record.intent = None;
        }
        if let Some(watch) = self.watch.as_mut().filter(|_| failure.kind == TokenFailureKind::InvalidGrant) {
            watch.grant_refused(refresh_token, scene);
        }
        if self.is(Mutant::GivesUp) && self.has_failed {
            // The flight stays in the air for ever, so no other starts.
            return self.leave(request, scene);
        }
        self.has_failed = true;
        let next = self.keeper.handle_flight_failed(flight, failure, scene.clock());
        if let Some(watch) = &mut self.watch {
            watch.token_failed(next == FlightNext::Over, scene);
        }
        match next {
            FlightNext::AskAgain => {
                if let Some(flying) = self.flying.get_mut(&request) {
                    flying.has_arrived = false;
                }
                scene.send_token_request_again(request);
            }
            FlightNext::Over => {
                self.leave(request, scene);
                if self.is(Mutant::NeverBacksOff) {
                    self.keeper.handle_credential_changed();
                    self.keeper.handle_timeout(scene.clock());
                }
            }
        }
    }

    /// Both tokens are stored before either is served.
    fn store(&mut self, minted: Minted, refresh_token: Option<&evergrant_core::Secret>, now: Boot) {
        let mut record = self.record.clone();
        record.commit(minted, refresh_token);
        if self.is(Mutant::StoresLate) {
            self.late_record = Some((now + LATE, record));
        } else {
            self.record = record;
        }
    }

    /// A mutant's record that comes late.
    pub(super) fn store_what_is_due(&mut self, scene: &Scene) {
        let now = scene.clock().boot;
        if let Some((_, record)) = self.late_record.take_if(|(at, _)| *at <= now) {
            self.record = record;
        }
    }

    /// What the store holds is taken over, as the library does at its start.
    pub(super) fn restore(&mut self, scene: &Scene) {
        let now = scene.clock();
        self.keeper.handle_known_mints(self.record.mints.iter().copied());
        if let Some(restored) = self.record.restored() {
            self.keeper.handle_restored(restored, now);
        }
        if self.rotates && self.record.intent.is_some() && !self.record.is_doubt_old(now.boot) {
            self.keeper.handle_unfinished(now);
        }
    }

    fn leave(&mut self, request: u64, scene: &mut Scene) {
        self.flying.remove(&request);
        scene.provider.ledger_mut().token.leave();
    }
}

/// A stored token as if it never ended.
pub(super) fn token_of(kept: Minted) -> Token {
    Token::new(kept.generation, kept.access_token, kept.issued, None, &Policy::default(), Span::ZERO, 0)
}

/// How long after it is served a mutant stores a token.
const LATE: Span = Span::from_secs(60);
