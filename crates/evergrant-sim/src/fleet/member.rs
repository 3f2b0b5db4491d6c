//! One process of a fleet: the real keeper, the real refresh, and the lines that the library has around them.
//!
//! It asks the store and the provider by [`Ask`]s and hears of what came of them; a process that is stopped hears late, one
//! that was killed not at all.

mod flight;

use std::collections::BTreeMap;

use evergrant_core::keeper::{Action, Keeper, Need, Refresh};
use evergrant_core::profile::Profile;
use evergrant_core::time::{Boot, Now, OffsetInterval, Server, Span, Wall};

use super::store::{Acquired, Written};
use super::{BootClock, Fleet, Jitter, Rules};
use crate::record::{Record, Stamp};
use crate::scenario::Grant;
use crate::seed::Seed;
use flight::Flight;

/// A slip that a member makes on purpose, so that the checks of a fleet can be seen to find it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slip {
    /// It goes on as if it held the lease.
    IgnoresTheLease,
    /// It never renews its lease, and asks for as long as it likes.
    NeverBeats,
    /// It serves a token and stores it nowhere.
    StoresNothing,
    /// It hears of nothing that others store.
    IsDeaf,
    /// It leaves the store as it is when that has lost something.
    RepairsNothing,
    /// It tells nobody what the token endpoint answered.
    KeepsFailures,
    /// It takes what another machine's boot clock showed for what its own did.
    TakesForeignTimes,
}

/// A record as the store has it: equal if it is the same writing of the same record.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) record: Record,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// What a member sends to the store.
pub(super) enum Command {
    Acquire { owner: String, known: (u64, u64) },
    Heartbeat { owner: String, fence: u64 },
    Write { owner: String, fence: u64, base: u64, generation: u64, entry: Entry, is_last: bool },
    Release { owner: String },
    Read,
    WriteBack { fence: u64, generation: u64, entry: Entry },
}

/// What the store answers.
pub(super) enum Told {
    Acquired(Acquired<Entry>, Seen),
    Beat(bool),
    Written(Written),
    Read(u64, Option<Entry>, Seen),
    Done,
}

/// The store's clock in an answer, and when it was asked for by the clock of whoever asked.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) time: Server,
    pub(super) sent: Boot,
}

/// What a member wants from the world.
pub(super) enum Ask {
    /// This command, for this purpose; a number tells its answer.
    Store(u64, Command),
    /// A token request of this flight with this refresh token; given up after so long.
    Token { attempt: u64, refresh_token: String, patience: Span },
    /// Nobody waits for the answer to this attempt any more.
    GiveUp(u64),
    /// To be woken at this moment.
    At(Boot, Alarm),
}

/// Why a member is woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Alarm {
    Timer,
    Poll,
    /// The wait of this flight for the lease is over; `true` when it was its turn.
    Wait(u64, bool),
    Beat(u64),
    /// A commit of this flight is tried again.
    Commit(u64),
    /// A caller wants a token.
    Caller,
}

/// What a command was sent for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Restore,
    Acquire,
    Beat,
    Intent,
    Withdraw,
    Share,
    LookAgain,
    Commit,
    Compare,
    News,
    Nothing,
}

/// A process of the fleet.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) keeper: Keeper,
    /// The machine that it runs on, and its clock.
    machine: (usize, BootClock),
    /// How the store's clock stood to it when it was read last.
    store_clock: Option<OffsetInterval>,
    ttl: Span,
    rotates: bool,
    rules: Rules,
    /// What is drawn at each look, where that is the rule.
    draws: Seed,
    slip: Option<Slip>,
    held: Option<Record>,
    known: (u64, u64),
    flight: Option<Flight>,
    asked: BTreeMap<u64, Purpose>,
    numbers: u64,
    timer_at: Option<Boot>,
    is_store_down: bool,
    pub(super) asks: Vec<Ask>,
    /// When the caller that waits began to.
    pub(super) waits_since: Option<Boot>,
}

impl Member {
    /// A process that starts now and reads the store first.
    pub(super) fn new(
        name: String,
        (number, luck): (u64, u64),
        machine: (usize, BootClock),
        fleet: &Fleet,
        slip: Option<Slip>,
        now: Boot,
    ) -> Self {
        let luck = luck.wrapping_mul(1_000_003);
        let rules = fleet.rules;
        let keeper = Keeper::new(Profile::oauth2(), rules.policy(fleet.config.tokens.lifetime), luck ^ number);
        let keeper = if rules.jitter == Jitter::OfReplica { keeper } else { keeper.shared(luck) };
        let mut member = Self {
            name,
            keeper,
            machine,
            store_clock: None,
            ttl: fleet.ttl,
            rotates: fleet.grant == Grant::RefreshToken,
            rules,
            draws: Seed::new(luck ^ number),
            slip,
            held: None,
            known: (0, 0),
            flight: None,
            asked: BTreeMap::new(),
            numbers: number << 20,
            timer_at: None,
            is_store_down: false,
            asks: Vec::new(),
            waits_since: None,
        };
        member.send(Purpose::Restore, Command::Read);
        member.asks.push(Ask::At(now + POLL, Alarm::Poll));
        member.asks.push(Ask::At(now + FIRST_CALL, Alarm::Caller));
        member
    }

    fn send(&mut self, purpose: Purpose, command: Command) {
        self.numbers += 1;
        self.asked.insert(self.numbers, purpose);
        self.asks.push(Ask::Store(self.numbers, command));
    }

    /// The store has answered, or has not in time.
    pub(super) fn hear(&mut self, number: u64, told: Option<Told>, now: Boot) {
        let Some(purpose) = self.asked.remove(&number) else { return };
        if let Some(Told::Acquired(_, seen) | Told::Read(_, _, seen)) = told {
            self.store_clock = OffsetInterval::new(seen.time - now, seen.time - seen.sent);
        }
        match (purpose, told) {
            (Purpose::Restore, told) => self.restore(told, now),
            (Purpose::Acquire, Some(Told::Acquired(acquired, _))) => self.acquired(acquired, now),
            (Purpose::Acquire, _) => self.without_store(now),
            (Purpose::Beat, told) => self.beaten(told, now),
            (Purpose::Intent, told) => self.intended(told, now),
            (Purpose::Withdraw, _) => self.step(now, |refresh, keeper, now| refresh.handle_withdrawn(keeper, now)),
            (Purpose::Share, Some(Told::Written(Written::Yes(_)))) => self.step(now, Refresh::handle_shared),
            (Purpose::Share, _) => self.step(now, |refresh, _, _| refresh.handle_unshared()),
            (Purpose::LookAgain, told) => self.looked_again(told, now),
            (Purpose::Commit, told) => self.committed(told, now),
            (Purpose::Compare, told) => self.compared(told, now),
            (Purpose::News, told) => self.news(told, now),
            (Purpose::Nothing, _) => {}
        }
        self.settle(now);
    }

    fn restore(&mut self, told: Option<Told>, now: Boot) {
        match told {
            Some(Told::Read(generation, entry, _)) => {
                self.known.1 = self.known.1.max(generation);
                if let Some(Entry { record, .. }) = entry {
                    let stored = record.stored(self.rotates, &self.here(now));
                    self.keep_if_newer(&record);
                    self.keeper.handle_stored(stored, self.rotates, moment(now));
                }
            }
            _ => self.is_store_down = true,
        }
        self.keeper.handle_timeout(moment(now));
    }

    /// Something was published.
    pub(super) fn message(&mut self, now: Boot) {
        if self.slip == Some(Slip::IsDeaf) {
            return;
        }
        if let Some(flight) = self.flight.as_mut().filter(|flight| flight.waits) {
            let turn = flight.turn.min(flight.claim.rest(now));
            flight.waits = false;
            self.asks.push(Ask::At(now + turn, Alarm::Wait(flight.number, true)));
        }
        self.send(Purpose::News, Command::Read);
        self.settle(now);
    }

    fn news(&mut self, told: Option<Told>, now: Boot) {
        let Some(Told::Read(generation, entry, _)) = told else {
            self.is_store_down = true;
            return;
        };
        if std::mem::take(&mut self.is_store_down) {
            self.keeper.handle_credential_changed();
        }
        self.known.1 = self.known.1.max(generation);
        if let Some(Entry { record, .. }) =
            entry.filter(|entry| entry.record.generation > self.keeper.newest_generation())
        {
            let stored = record.stored(self.rotates, &self.here(now));
            self.keep_if_newer(&record);
            self.keeper.handle_news(stored, moment(now));
        } else if self.held.as_ref().is_some_and(|held| held.generation.0 > generation) {
            self.write_back();
        }
    }

    /// Draws once more how early the refresh begins, and asks for it if that is now.
    fn draw_anew(&mut self, now: Boot) {
        let luck = i64::try_from(self.draws.below(1_001)).unwrap_or(0);
        let held = self.held.as_ref().and_then(Record::restored);
        if let Some(lifetime) = held.and_then(|held| held.lifetime) {
            // The answer is nobody's: the flight that it starts is what was wanted.
            let _ = self.keeper.handle_acquire(Need::Lasting(Rules::lead(lifetime, luck)), now, Boot::FAR, moment(now));
        }
    }

    fn keep_if_newer(&mut self, record: &Record) {
        if self.held.as_ref().is_none_or(|held| held.generation < record.generation) {
            self.held = Some(record.clone());
        }
    }

    pub(super) fn alarm(&mut self, alarm: Alarm, now: Boot) {
        match alarm {
            Alarm::Timer => {
                self.timer_at = None;
                self.keeper.handle_timeout(moment(now));
            }
            Alarm::Poll => {
                if self.slip != Some(Slip::IsDeaf) {
                    self.send(Purpose::News, Command::Read);
                }
                if self.rules.jitter == Jitter::OfLook {
                    self.draw_anew(now);
                }
                let is_urgent = self.is_store_down || self.keeper.is_waiting_for_a_person();
                self.asks.push(Ask::At(now + if is_urgent { WAITING_POLL } else { POLL }, Alarm::Poll));
            }
            Alarm::Wait(number, is_turn) => self.wait_is_over(number, is_turn, now),
            Alarm::Beat(number) => self.beat(number, now),
            Alarm::Commit(number) => {
                if self.flight.as_ref().is_some_and(|flight| flight.number == number) {
                    self.write(Purpose::Commit, true);
                }
            }
            Alarm::Caller => {}
        }
        self.settle(now);
    }

    /// What the keeper wants is begun.
    pub(super) fn settle(&mut self, now: Boot) {
        while let Some(action) = self.keeper.poll_action() {
            if let Action::RequestToken { flight, .. } = action {
                self.begin(flight, now);
            }
        }
        let is_waiting = |flight: &Flight| flight.lease.is_none() && flight.attempt.is_none();
        if let Some(flight) =
            self.flight.take_if(|flight| is_waiting(flight) && flight.refresh.is_overtaken(&self.keeper))
        {
            flight.refresh.handle_overtaken(&mut self.keeper);
            self.send(Purpose::Nothing, Command::Release { owner: flight.owner });
        }
        if let Some(timeout) = self.keeper.poll_timeout() {
            let next = timeout.max(now + Span::from_millis(1));
            if self.timer_at.is_none_or(|at| next < at) {
                self.timer_at = Some(next);
                self.asks.push(Ask::At(next, Alarm::Timer));
            }
        }
    }

    /// This moment, as it is written into a record.
    fn here(&self, now: Boot) -> Stamp {
        let (machine, clock) = self.machine;
        let boot_id = if self.slip == Some(Slip::TakesForeignTimes) { 0 } else { machine };
        let true_time = clock.true_time(now);
        Stamp { boot_id, at: Now { boot: now, ..moment(true_time) }, store: self.store_clock }
    }

    /// The generation that it holds in its store's terms.
    pub(super) fn held_generation(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.generation.0)
    }
}

fn empty() -> Record {
    Record::new(crate::config::REFRESH_TOKEN)
}

pub(super) fn moment(now: Boot) -> Now {
    Now { boot: now, wall: Wall::from_nanos(now.as_nanos()) }
}

const POLL: Span = Span::from_secs(30);
const WAITING_POLL: Span = Span::from_secs(2);
const FIRST_CALL: Span = Span::from_secs(1);
