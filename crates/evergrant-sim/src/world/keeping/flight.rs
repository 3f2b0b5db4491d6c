//! Token requests, from the keeper's wish to the stored record, by the core that the library runs.
//!
//! What is done next is decided by the core's `Refresh`, as in the library. Here it is done at once, but for the request.

use evergrant_core::Secret;
use evergrant_core::keeper::{Committed, Ending, FlightId, Next, Reason, Refresh};
use evergrant_core::offset::Source;
use evergrant_core::policy::Policy;
use evergrant_core::time::{Boot, Now, Span};
use evergrant_core::token::{Issued, Token};
use evergrant_core::wire::{TokenAnswer, TokenFailure, TokenFailureKind};

use super::{Keeping, Minted, Mutant};
use crate::ledger::TokenOutcome;
use crate::record::{Record, Stamp};
use crate::world::scene::{Exchange, Scene};
use crate::world::token_answer::token_result;

/// One token request under way.
pub(super) struct Flying {
    refresh: Refresh,
    reason: Reason,
    refresh_token: String,
    has_been_sent: bool,
    pub(super) has_arrived: bool,
    /// Has the process that sent it died?
    pub(super) is_orphan: bool,
    is_twin: bool,
    /// What came in its place.
    next_refresh_token: Option<Secret>,
}

impl Keeping {
    pub(super) fn take_off(&mut self, flight: FlightId, reason: Reason, scene: &mut Scene) {
        let mut refresh = Refresh::new(flight, self.rotates, &self.keeper);
        let stored = self.record.stored(self.rotates, &Stamp::alone(scene.clock()));
        let next = refresh.handle_lease(stored, &mut self.keeper, scene.clock());
        let flying = Flying {
            refresh,
            reason,
            refresh_token: String::new(),
            has_been_sent: false,
            has_arrived: false,
            is_orphan: false,
            is_twin: false,
            next_refresh_token: None,
        };
        self.flown += 1;
        scene.write(|| format!("flight {} {}", self.flown, reason.name()));
        let request = self.flown;
        self.go_on(request, flying, next, scene);
        if self.is(Mutant::AsksTwice) {
            self.send_twin(request, scene);
        }
    }

    /// Does what the refresh says, until it has to be waited for or is over.
    fn go_on(&mut self, request: u64, mut flying: Flying, mut next: Next, scene: &mut Scene) {
        loop {
            let now = scene.clock();
            let here = Stamp::alone(now);
            next = match next {
                Next::Intend => {
                    if self.rotates {
                        self.record.intend(here);
                    }
                    let doubt = self.record.doubt(&here).filter(|_| self.rotates);
                    flying.refresh.handle_intent(Ok(doubt), &mut self.keeper, now)
                }
                Next::Send => return self.send_request(request, flying, scene),
                Next::LookAgain => {
                    let found = self.record.stored(self.rotates, &here);
                    flying.refresh.handle_looked_again(Some(found), &mut self.keeper, now)
                }
                Next::Withdraw => {
                    self.record.withdraw();
                    flying.refresh.handle_withdrawn(&mut self.keeper, now)
                }
                Next::Share(_) => flying.refresh.handle_unshared(),
                Next::Commit(_) => {
                    self.store(&flying, now);
                    flying.refresh.handle_commit(Committed::Ours, &mut self.keeper, now)
                }
                Next::End(ending) => return self.end(request, &flying, &ending, scene),
            };
        }
    }

    fn send_request(&mut self, request: u64, mut flying: Flying, scene: &mut Scene) {
        flying.refresh_token.clone_from(&self.newest_record().refresh_token);
        flying.has_arrived = false;
        let is_first = !std::mem::replace(&mut flying.has_been_sent, true);
        self.flying.insert(request, flying);
        if !is_first {
            if let Some(watch) = &mut self.watch {
                watch.token_failed(false, scene);
            }
            return scene.send_token_request_again(request);
        }
        if let Some(watch) = &mut self.watch {
            watch.token_sent(scene);
        }
        scene.send_token_request(request);
    }

    /// A mutant's second request, of which the keeper hears only if it fails.
    fn send_twin(&mut self, request: u64, scene: &mut Scene) {
        let Some(flying) = self.flying.get(&request) else { return };
        let refresh_token = flying.refresh_token.clone();
        let (refresh, reason, next_refresh_token) = (flying.refresh.clone(), flying.reason, None);
        let (has_been_sent, has_arrived, is_orphan, is_twin) = (false, false, false, true);
        let twin = Flying {
            refresh,
            reason,
            refresh_token,
            has_been_sent,
            has_arrived,
            is_orphan,
            is_twin,
            next_refresh_token,
        };
        self.flown += 1;
        self.send_request(self.flown, twin, scene);
    }

    /// A mutant that stores late still goes on with what it has.
    fn newest_record(&self) -> &Record {
        self.late_record.as_ref().map_or(&self.record, |(_, record)| record)
    }

    fn end(&mut self, request: u64, flying: &Flying, ending: &Ending, scene: &mut Scene) {
        if flying.has_been_sent {
            scene.provider.ledger_mut().token.leave();
        }
        scene.write(|| format!("flight {request} ends: {ending:?}"));
        if !matches!(ending, Ending::Failed(_)) {
            return;
        }
        if let Some(watch) = &mut self.watch {
            watch.token_failed(true, scene);
        }
        if self.is(Mutant::NeverBacksOff) {
            self.keeper.handle_credential_changed();
            self.keeper.handle_timeout(scene.clock());
        }
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
        if self.flying.get(&request).is_none_or(|flying| flying.is_orphan) {
            return;
        }
        self.sample(Source::AuthDate, exchange, scene);
        let Some(mut flying) = self.flying.remove(&request) else { return };
        match token_result(exchange) {
            Ok(mut answer) => {
                let issued = Issued { sent: exchange.sent, received: scene.clock().boot };
                let next = flying.refresh.handle_answer(&mut answer, issued, &self.keeper);
                scene.write(|| format!("flight {request} brings {next:?} for {:?}", answer.expires_in));
                self.watch_answer(&flying, &answer, issued, scene);
                self.has_failed = false;
                flying.next_refresh_token = answer.refresh_token;
                if flying.is_twin {
                    // What a mutant's second request brings is stored, and nobody is told.
                    self.store(&flying, scene.clock());
                    return self.end(request, &flying, &Ending::Unknown, scene);
                }
                self.go_on(request, flying, next, scene);
            }
            Err(failure) => self.land_without_token(request, flying, failure, scene),
        }
    }

    fn watch_answer(&mut self, flying: &Flying, answer: &TokenAnswer, issued: Issued, scene: &Scene) {
        let Some(watch) = &mut self.watch else { return };
        watch.token_got(answer.access_token.expose(), answer.expires_in, issued.sent, scene);
        if self.rotates {
            let next = answer.refresh_token.as_ref().map_or(flying.refresh_token.as_str(), |next| next.expose());
            watch.rotated(&flying.refresh_token, next);
        }
        if flying.reason == Reason::Refused {
            watch.minted_for_refusal(scene);
        }
    }

    fn land_without_token(&mut self, request: u64, mut flying: Flying, failure: TokenFailure, scene: &mut Scene) {
        scene.write(|| format!("flight {request} fails: {failure}"));
        if let Some(watch) = self.watch.as_mut().filter(|_| failure.kind == TokenFailureKind::InvalidGrant) {
            watch.grant_refused(&flying.refresh_token, scene);
        }
        if self.is(Mutant::GivesUp) && self.has_failed {
            // The flight stays in the air for ever, so no other starts.
            return self.end(request, &flying, &Ending::Unknown, scene);
        }
        self.has_failed = true;
        let next = flying.refresh.handle_failure(failure, &mut self.keeper, scene.clock());
        self.go_on(request, flying, next, scene);
    }

    /// Both tokens are stored before either is served.
    fn store(&mut self, flying: &Flying, now: Now) {
        let Some(minted) = flying.refresh.minted().cloned() else { return };
        let mut record = self.record.clone();
        record.commit(minted, flying.next_refresh_token.as_ref(), Stamp::alone(now));
        if self.is(Mutant::StoresLate) {
            self.late_record = Some((now.boot + LATE, record));
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
        self.keeper.handle_stored(self.record.stored(self.rotates, &Stamp::alone(now)), self.rotates, now);
    }
}

/// A stored token as if it never ended.
pub(super) fn token_of(kept: Minted) -> Token {
    Token::new(kept.generation, kept.access_token, kept.issued, None, &Policy::default(), Span::ZERO, 0)
}

/// How long after it is served a mutant stores a token.
const LATE: Span = Span::from_secs(60);
