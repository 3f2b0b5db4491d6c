//! What a caller of a member must get, and what all of them must have in the end.
//!
//! Callers are held to it only where nothing has failed for long enough; the end of a world is always such a time.

use evergrant_core::keeper::{Acquire, Need};
use evergrant_core::time::Span;

use super::super::member::{Alarm, moment};
use super::{Event, START, World};

impl World<'_> {
    pub(super) fn call(&mut self, place: usize, life: u64) {
        let (true_now, now) = (self.now, self.clock(place).local(self.now));
        let pause = self.seed.delay(self.fleet.call_every);
        self.at(true_now + pause, Event::Woken(place, life, Alarm::Caller));
        let is_spared = self.fleet.troubles.is_empty() && self.fleet.events.is_empty();
        let calm_from = if is_spared { FIRST_TOKEN } else { self.fleet.quiet_from + RECOVERY };
        let is_calm = true_now > START + calm_from && !self.outcome.is_grant_lost;
        let Some(member) = &mut self.places[place].member else { return };
        let since = member.waits_since.unwrap_or(now);
        let acquired = member.keeper.handle_acquire(Need::Usable, since, since + PATIENCE, moment(now));
        member.waits_since = None;
        let complaint = match acquired {
            Acquire::Ready(token) => {
                let works = self.provider.works_somewhere(token.access_token.expose(), true_now);
                (!works).then(|| "P1: a token that works nowhere is served".to_owned())
            }
            Acquire::Wait(_) => {
                member.waits_since = Some(since);
                (now > since + PATIENCE).then(|| "P2: a caller waits for longer than it has patience".to_owned())
            }
            Acquire::Failed(error) => Some(format!("P2: no token: {error}")),
        };
        if let Some(complaint) = complaint.filter(|_| is_calm) {
            self.complain(format!("{complaint} (m{place})"));
        }
    }

    pub(super) fn complain(&mut self, words: String) {
        self.note(|| words.clone());
        if self.outcome.broken.len() < MOST_COMPLAINTS {
            self.outcome.broken.push(format!("at {:.3} s: {words}", (self.now - START).as_secs_f64()));
        }
    }

    pub(super) fn check_end(&mut self) {
        if self.outcome.is_grant_lost {
            return;
        }
        let (stored, _) = self.store.read();
        let alive = self.places.iter().filter_map(|place| place.member.as_ref());
        let behind: Vec<_> = alive
            .filter(|member| member.keeper.newest_generation().0 < stored)
            .map(|member| format!("{} has {}", member.name, member.keeper.newest_generation()))
            .collect();
        let since = self.committed.get(&stored).map_or(Span::ZERO, |at| self.now - *at);
        if !behind.is_empty() && since > Span::from_secs(40) {
            self.complain(format!("P2: g{stored} is stored, and {}", behind.join(", ")));
        }
        let alive = self.places.iter().filter_map(|place| place.member.as_ref());
        let ahead: Vec<_> =
            alive.filter(|member| member.held_generation() > stored).map(|member| &member.name).collect();
        if !ahead.is_empty() {
            let words = format!("P5: g{stored} is stored, and {ahead:?} hold more");
            self.complain(words);
        }
        if self.places.iter().any(|place| place.member.is_none()) {
            self.complain("a member never came back".to_owned());
        }
    }
}

/// How long after the last fault everything must work again: the longest wait after failures, and a lease.
const RECOVERY: Span = Span::from_secs(20 * 60);
/// By then everybody has started and has a token.
const FIRST_TOKEN: Span = Span::from_secs(60);
const PATIENCE: Span = Span::from_secs(30);
const MOST_COMPLAINTS: usize = 20;
