//! The store of a fleet, as a model: what the scripts in Redis do, each in one step, and how Redis fails.
//!
//! There is one credential. Its record has a fence, which counts acquisitions, and a generation; beside it lie the lease
//! with its time to live and the list of those who wait. The model is held against a real Redis that runs the library's own
//! scripts (`crates/evergrant/src/store/redis/scripts/model.rs`), so it must not be cleverer than they are.
//!
//! A failover loses the last writes: what the replica had not received yet. An emptied Redis has lost everything.

use std::collections::BTreeMap;

use evergrant_core::time::{Boot, Span};

/// The keys of one credential.
#[derive(Clone, Debug)]
pub struct FleetStore<T> {
    kept: Keys<T>,
    /// What the keys were after each change, oldest first, as far as a replica may lag.
    history: Vec<(Boot, Keys<T>)>,
}

#[derive(Clone, Debug)]
struct Keys<T> {
    fence: u64,
    generation: u64,
    entry: Option<T>,
    /// The time to live that the last acquisition asked for.
    ttl: Option<Span>,
    lease: Option<(String, Boot)>,
    waiting: BTreeMap<String, Boot>,
    waiting_ends: Boot,
}

/// What `ACQUIRE` answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Acquired<T> {
    /// The lease is the caller's.
    Yes {
        /// The number of this acquisition.
        fence: u64,
        /// The record, if there is one.
        entry: Option<T>,
    },
    /// It is somebody else's.
    No {
        /// Whose.
        holder: String,
        /// The number of its acquisition.
        fence: u64,
        /// For how long, unless it is renewed.
        left: Span,
        /// Who waits, the caller included, those first who have asked longest ago.
        waiting: Vec<String>,
    },
    /// The record is older than what the caller has seen.
    Behind,
}

/// What `WRITE` answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// The record is there; `true` if that is news.
    Yes(bool),
    /// A newer generation is.
    Superseded(u64),
    /// Somebody else has acquired since.
    Taken(u64),
}

impl<T: Clone + PartialEq> Default for FleetStore<T> {
    fn default() -> Self {
        Self { kept: Keys::default(), history: Vec::new() }
    }
}

impl<T> Default for Keys<T> {
    fn default() -> Self {
        Self {
            fence: 0,
            generation: 0,
            entry: None,
            ttl: None,
            lease: None,
            waiting: BTreeMap::new(),
            waiting_ends: Boot::from_nanos(0),
        }
    }
}

impl<T: Clone + PartialEq> FleetStore<T> {
    /// Tries to acquire the lease for an owner, whose name among those who wait is `member`.
    pub fn acquire(&mut self, owner: &str, member: &str, ttl: Span, known: (u64, u64), now: Boot) -> Acquired<T> {
        self.forget(now);
        let (known_fence, known_generation) = known;
        let kept = &mut self.kept;
        if kept.generation < known_generation {
            return Acquired::Behind;
        }
        if let Some((holder, until)) = kept.lease.clone().filter(|(holder, _)| holder != owner) {
            kept.waiting.retain(|_, since| *since > now - ttl.scaled(2, 1) && *since <= now);
            kept.waiting.insert(member.to_owned(), now);
            kept.waiting_ends = now + ttl.scaled(2, 1);
            let mut waiting: Vec<_> = kept.waiting.iter().map(|(member, since)| (*since, member.clone())).collect();
            waiting.sort();
            let most = kept.ttl.unwrap_or(ttl);
            let left = (until - now).min(most);
            kept.lease = Some((holder.clone(), now + left));
            let fence = kept.fence;
            return Acquired::No { holder, fence, left, waiting: waiting.into_iter().map(|(_, name)| name).collect() };
        }
        kept.fence = kept.fence.max(known_fence) + 1;
        kept.lease = Some((owner.to_owned(), now + ttl));
        kept.ttl = Some(ttl);
        kept.waiting.remove(member);
        let acquired = Acquired::Yes { fence: kept.fence, entry: kept.entry.clone() };
        self.note(now);
        acquired
    }

    /// Renews the lease of an owner; `false` if it is no longer its own.
    pub fn heartbeat(&mut self, owner: &str, ttl: Span, fence: u64, now: Boot) -> bool {
        self.forget(now);
        if self.is_others(owner) || self.kept.fence > fence {
            return false;
        }
        self.kept.lease = Some((owner.to_owned(), now + ttl));
        self.kept.fence = self.kept.fence.max(fence);
        self.note(now);
        true
    }

    /// Writes the record; the last write gives the lease back.
    #[expect(clippy::too_many_arguments, reason = "they are the arguments of the script")]
    pub fn write(
        &mut self,
        owner: &str,
        ttl: Span,
        (fence, base): (u64, u64),
        generation: u64,
        entry: &T,
        is_last: bool,
        now: Boot,
    ) -> Written {
        self.forget(now);
        let mut is_news = false;
        let is_repeated = self.kept.entry.as_ref() == Some(entry);
        let is_late = self.is_others(owner) || self.kept.fence > fence;
        if is_late && !(is_repeated && is_last) {
            return Written::Taken(self.kept.generation);
        }
        if !is_repeated {
            if self.kept.generation > base {
                return Written::Superseded(self.kept.generation);
            }
            is_news = generation > self.kept.generation;
            (self.kept.fence, self.kept.generation, self.kept.entry) = (fence, generation, Some(entry.clone()));
        }
        if !is_last {
            self.kept.lease = Some((owner.to_owned(), now + ttl));
        } else if self.kept.lease.as_ref().is_some_and(|(holder, _)| holder == owner || holder == RECOVERING) {
            self.kept.lease = None;
        }
        self.note(now);
        Written::Yes(is_news)
    }

    /// Gives the lease of an owner back, and takes its member off the list of those who wait.
    pub fn release(&mut self, owner: &str, member: &str, now: Boot) -> bool {
        self.forget(now);
        self.kept.waiting.remove(member);
        let is_ours = self.kept.lease.as_ref().is_some_and(|(holder, _)| holder == owner);
        if is_ours {
            self.kept.lease = None;
            self.note(now);
        }
        is_ours
    }

    /// The generation and the record.
    #[must_use]
    pub fn read(&self) -> (u64, Option<T>) {
        (self.kept.generation, self.kept.entry.clone())
    }

    /// Restores what the store has lost; `true` if it did.
    pub fn write_back(&mut self, ttl: Span, fence: u64, generation: u64, entry: &T, now: Boot) -> bool {
        self.forget(now);
        let is_held = self.kept.lease.as_ref().is_some_and(|(holder, _)| holder != RECOVERING);
        if self.kept.generation >= generation || is_held {
            return false;
        }
        self.kept.fence = self.kept.fence.max(fence);
        (self.kept.generation, self.kept.entry) = (generation, Some(entry.clone()));
        self.kept.lease = Some((RECOVERING.to_owned(), now + ttl));
        self.note(now);
        true
    }

    /// Everything is gone.
    pub fn lose_everything(&mut self) {
        *self = Self::default();
    }

    /// A replica takes over that had not received what was written since then.
    pub fn fall_back_to(&mut self, then: Boot) {
        let newest = self.history.iter().rposition(|(at, _)| *at <= then);
        self.kept = newest.map_or_else(Keys::default, |newest| self.history[newest].1.clone());
        self.history.clear();
    }

    fn is_others(&self, owner: &str) -> bool {
        self.kept.lease.as_ref().is_some_and(|(holder, _)| holder != owner && holder != RECOVERING)
    }

    /// What had a time to live that is over.
    fn forget(&mut self, now: Boot) {
        self.kept.lease.take_if(|(_, until)| *until <= now);
        if self.kept.waiting_ends <= now {
            self.kept.waiting.clear();
        }
    }

    fn note(&mut self, now: Boot) {
        let old = self.history.iter().rposition(|(at, _)| *at <= now - LONGEST_LAG).unwrap_or(0);
        self.history.drain(..old);
        self.history.push((now, self.kept.clone()));
    }
}

/// The holder while a member repairs the store.
const RECOVERING: &str = "recovering";
/// Further back no replica is.
const LONGEST_LAG: Span = Span::from_secs(5);
