//! When nobody can be blamed for the loss of a grant.
//!
//! A member finds out that a grant is lost when the provider takes its refresh token for a stolen one. Two courses of events
//! lead there whatever the members do. Each excuse is read from what happened to the fleet, never from what its members think,
//! and `tests/fleet.rs` bounds how often one is needed.

use evergrant_core::time::{Boot, Span};

use super::super::Trouble;
use super::{START, World};
use crate::faults::{Event, TokenFault};

impl World<'_> {
    /// Whoever starts with a refresh token of its own and finds a store that has just lost everything cannot know that this
    /// token was spent long ago; only the repair by another member can tell it, and may come too late.
    pub(super) fn is_newcomer_before_nothing(&self, place: usize, life: u64) -> bool {
        let has_had_a_record = self.adopted.range((place, life, 0)..=(place, life, u64::MAX)).next().is_some();
        self.places[place].found_it_emptied && !has_had_a_record
    }

    /// The answer that brought the successor was lost, and from then on until the provider would no longer repeat it the token
    /// endpoint was out of order, or the store out of reach, without which no refresh token is spent.
    pub(super) fn was_left_no_time(&self, refresh_token: &str) -> bool {
        let Some(spent) = self.spent_at.get(refresh_token).copied() else { return false };
        let mut hindered: Vec<_> = self.outages().chain(self.store_outages()).collect();
        hindered.sort();
        let until = hindered
            .into_iter()
            .fold(spent + FIRST_GIVEN_UP, |until, (from, to)| if from <= until { until.max(to) } else { until });
        until > spent + self.fleet.config.rotation.grace - BETWEEN_TRIES
    }

    /// From when until when the token endpoint answers nothing but that it is out of order.
    fn outages(&self) -> impl Iterator<Item = (Boot, Boot)> {
        let events = &self.fleet.events;
        let began = events.iter().filter_map(|event| {
            let Event::TokenFault(rule) = &event.event else { return None };
            let is_outage = rule.chance.times.is_none() && rule.fault == TokenFault::Status(503, None);
            is_outage.then_some(START + event.after)
        });
        let ended = events.iter().filter(|event| matches!(event.event, Event::ClearTokenFaults));
        began.zip(ended.map(|event| START + event.after))
    }

    /// From when until when the store answers nobody.
    fn store_outages(&self) -> impl Iterator<Item = (Boot, Boot)> {
        self.fleet.troubles.iter().filter_map(|(after, trouble)| {
            let Trouble::StoreDown(lasts) = trouble else { return None };
            Some((START + *after, START + *after + *lasts))
        })
    }
}

/// By then whoever asked has given the answer up, and another try has begun: one try lasts half a lease.
const FIRST_GIVEN_UP: Span = Span::from_secs(5);
/// The longest time between two tries while the grant is in doubt, and what the slowest answer takes.
const BETWEEN_TRIES: Span = Span::from_secs(5);
