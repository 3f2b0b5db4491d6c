//! What happens to members and store, and for how long each of it excuses what must otherwise never be.

use evergrant_core::time::{Boot, Span};

use super::{Event, World};
use crate::config::Delay;
use crate::fleet::Trouble;
use crate::scenario::Grant;

impl World<'_> {
    pub(super) fn suffer(&mut self, trouble: Trouble) {
        self.note(|| format!("{trouble:?}"));
        let (now, ttl) = (self.now, self.fleet.ttl);
        match trouble {
            Trouble::Stop(place, lasts) => {
                self.places[place].stopped_until = now + lasts;
                if lasts > ttl.scaled(1, 3) {
                    self.excuse(lasts + ttl);
                }
            }
            Trouble::Crash(place, lasts) => self.kill(place, lasts),
            Trouble::KilledWhileAsking(lasts) => self.kills_next = Some(lasts),
            Trouble::Cut(place, lasts) => {
                self.places[place].cut_until = now + lasts;
                self.excuse_without_store(lasts);
            }
            Trouble::BadProxy(place, lasts) => self.places[place].bad_proxy_until = now + lasts,
            Trouble::StoreDown(lasts) => {
                self.store_down_until = now + lasts;
                self.reconnect(now + lasts);
                self.excuse_without_store(lasts);
            }
            Trouble::StoreEmptied => {
                self.store.lose_everything();
                self.is_emptied = true;
                self.reconnect(now);
                self.rewind();
            }
            Trouble::Failover(lag) => {
                self.store.fall_back_to(now - lag);
                self.reconnect(now);
                self.rewind();
            }
        }
    }

    pub(super) fn kill(&mut self, place: usize, lasts: Span) {
        self.places[place].life += 1;
        self.places[place].member = None;
        self.note(|| format!("m{place} is killed"));
        self.at(self.now + lasts, Event::Restart(place));
    }

    /// The connections broke. Whoever has a new one looks, because it may have missed something.
    fn reconnect(&mut self, from: Boot) {
        for place in 0..self.places.len() {
            let at = from + self.seed.delay(RECONNECT);
            self.at(at, Event::Message(place, self.places[place].life));
        }
    }

    fn excuse(&mut self, lasts: Span) {
        self.excused_until = self.excused_until.max(self.now + lasts);
    }

    /// Client credentials are spent without a lease while there is none to be had.
    fn excuse_without_store(&mut self, lasts: Span) {
        if self.fleet.grant == Grant::ClientCredentials {
            self.excuse(lasts + self.fleet.ttl.scaled(2, 1));
        }
    }

    /// The store has lost writes: a lease may be held twice, and a refresh token that was spent may be sent again.
    fn rewind(&mut self) {
        let lasts = self.fleet.ttl.scaled(3, 1);
        self.excuse(lasts);
        self.rewound_until = self.now + lasts;
    }
}

/// When a connection that broke is there again.
const RECONNECT: Delay = Delay::uniform(Span::from_millis(50), Span::from_secs(1));
