//! What other processes have done: tokens that they minted, logins, and requests of theirs that nobody saw the end of.
//!
//! A token that another process has put into the store is as good as one of our own and ends whatever we were about to
//! do for one. Times of a token from another boot may be unknown. It is then a fallback: callers wait for the refresh
//! and get it only if that fails.
//!
//! A refresh token that a request has spent, or not, is *in doubt*. Within the provider's grace it may be sent again.
//! After it, sending it ends the grant wherever reuse is detected, so it is sent only when nothing is left to serve.
//!
//! A token endpoint that is out of order, or that limits its clients, is so for every process. Who has met such a failure
//! tells the others when to ask again, and they send nothing before: all together back off as one process does. It asks a
//! little later than they do itself: if it is alone in its trouble, another one is first the next time.
//!
//! Source: RFC 9700 section 4.14.2 (reuse detection).

use super::flight::{Failures, FlightId, Minted, Origin, SPREAD};
use super::{Keeper, Reason};
use crate::event::Event;
use crate::time::{Boot, Now};
use crate::token::{Generation, Instants, Issued, Token};
use crate::wire::TokenFailure;

/// A failure of the token endpoint that one process has met and that others keep to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SharedFailure {
    /// What it was.
    pub failure: TokenFailure,
    /// The how many-th in a row.
    pub streak: u32,
    /// When others ask.
    pub not_before: Boot,
}

impl Keeper {
    /// A flight found in the store that another process has minted already.
    pub fn handle_adopted(&mut self, flight: FlightId, adopted: Minted, now: Now) {
        let Some(reason) = self.land(flight) else { return };
        self.counters.adoptions += 1;
        self.has_minted = true;
        self.take_in(adopted, Origin::Adopted(reason), now);
    }

    /// The store holds this token at start.
    pub fn handle_restored(&mut self, restored: Minted, now: Now) {
        if restored.generation > self.newest {
            self.has_minted = true;
            self.take_in(restored, Origin::Restored, now);
        }
    }

    /// The store holds this token at start, and nobody knows how old it is: it is refreshed first and kept as a fallback.
    pub fn handle_stale(&mut self, stale: Minted, now: Now) {
        let generation = stale.generation;
        if generation <= self.newest {
            return;
        }
        // It was issued before now, so it is gone before a token issued now would be.
        let issued = Issued { sent: now.boot, received: now.boot };
        self.take_in(Minted { issued, ..stale }, Origin::Restored, now);
        if let Some(held) = self.slots.get_mut(generation) {
            let instants = Instants { soft: now.boot, hard: now.boot, dead: now.boot, ..held.token.instants };
            held.token = std::sync::Arc::new(Token { instants, ..Token::clone(&held.token) });
        }
    }

    /// Another process has published a token. A flight for one is over.
    pub fn handle_published(&mut self, published: Minted, now: Now) {
        if published.generation <= self.newest {
            return;
        }
        self.counters.adoptions += 1;
        self.has_minted = true;
        self.handle_credential_changed();
        self.take_in(published, Origin::Published, now);
    }

    /// A flight is over without a request: a token was published meanwhile.
    pub fn handle_overtaken(&mut self, flight: FlightId) {
        self.land(flight);
    }

    /// A process began a refresh, and nobody knows how it ended: it is asked for again at once, within the grace.
    pub fn handle_unfinished(&mut self, now: Now) {
        self.start_flight(Reason::Unfinished, now.boot);
    }

    /// The refresh token of this flight may be spent and its grace is over. `true`: send it all the same, there is
    /// nothing left to serve. `false`: the flight is over until then.
    pub fn handle_doubt(&mut self, flight: FlightId, now: Now) -> bool {
        let hard = self.slots.newest().map(|newest| newest.token.instants.hard).filter(|hard| now.boot < *hard);
        let Some(hard) = hard.filter(|hard| *hard != Boot::FAR) else { return true };
        if self.flight.take_if(|current| current.id() == flight).is_some() {
            self.failures.not_before = Some(hard);
            self.wake();
        }
        false
    }

    /// The last failure, if others should know of it.
    pub(super) fn failure_to_share(&self) -> Option<SharedFailure> {
        let Failures { last, not_before, streak, .. } = &self.failures;
        let failure = last.clone().filter(|failure| failure.kind.concerns_everybody())?;
        Some(SharedFailure { failure, streak: *streak, not_before: (*not_before)? })
    }

    /// Others keep to the failure that this process has met, and go before it.
    pub(super) fn step_back(&mut self, now: Now) {
        let Some(not_before) = self.failures.not_before else { return };
        let most = (not_before - now.boot).scaled(1, 4);
        let luck = self.luck(SPREAD, Generation(self.flights));
        self.failures.not_before = Some(not_before + most.scaled(1_000 + i64::from(luck), 2_000));
    }

    /// Another process has met this failure and nobody is to ask yet: the flight is over without a request.
    pub(super) fn handle_shared_failure(&mut self, flight: FlightId, shared: &SharedFailure, now: Now) {
        if self.flight.take_if(|current| current.id() == flight).is_none() {
            return;
        }
        let SharedFailure { failure, streak, not_before } = shared;
        self.failures.streak = self.failures.streak.max(*streak);
        self.failures.not_before = Some(*not_before);
        self.failures.last = Some(failure.clone());
        let retry_in_s = (*not_before - now.boot).as_secs_f64();
        self.events.note(Event::RefreshPostponed { failure: failure.kind.name(), retry_in_s }, now.boot);
        self.wake();
    }

    /// The store tells when this and other processes have minted.
    pub fn handle_known_mints(&mut self, mints: impl IntoIterator<Item = Boot>) {
        self.budget.handle_known(mints);
    }

    /// Does nothing help but a person, or another process that writes the store?
    #[must_use]
    pub fn is_waiting_for_a_person(&self) -> bool {
        !self.is_renewable || self.failures.is_permanent()
    }

    /// The grant cannot be renewed any more without a person: serve what there is until it is gone.
    pub fn handle_not_renewable(&mut self, flight: FlightId, now: Now) {
        if self.land(flight).is_some() {
            self.is_renewable = false;
            self.events.note(Event::LoginRequired, now.boot);
        }
    }

    /// The client's secret or the stored grant has changed: earlier failures say nothing any more.
    pub fn handle_credential_changed(&mut self) {
        self.failures = Failures::default();
        self.is_renewable = true;
        self.wake();
    }
}
