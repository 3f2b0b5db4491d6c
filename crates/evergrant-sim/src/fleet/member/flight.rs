//! A member's refresh: from the wait for the lease to its end, as the core says, with commands that take their time.

use evergrant_core::Secret;
use evergrant_core::keeper::{Claim, Committed, Ending, FlightId, Heart, Keeper, Next, Pause, Refresh, takeover};
use evergrant_core::time::{Boot, Now, Span};
use evergrant_core::token::Issued;
use evergrant_core::wire::{TokenAnswer, TokenFailure, TokenFailureKind};

use super::{Alarm, Ask, Command, Entry, Member, Purpose, Slip, Told, empty, moment};
use crate::fleet::store::{Acquired, Written};
use crate::record::Record;

pub(super) struct Lease {
    owner: String,
    fence: u64,
    base: u64,
    heart: Heart,
    beat_sent: Boot,
}

/// One refresh under way.
pub(super) struct Flight {
    pub(super) number: u64,
    pub(super) refresh: Refresh,
    pub(super) claim: Claim,
    pub(super) waits: bool,
    pub(super) turn: Span,
    pub(super) owner: String,
    pub(super) lease: Option<Lease>,
    record: Record,
    /// What came in place of the refresh token.
    next_refresh_token: Option<Secret>,
    /// The token request that is waited for.
    pub(super) attempt: Option<u64>,
    entry: u64,
    commits: usize,
    commit_since: Boot,
}

impl Member {
    pub(super) fn begin(&mut self, id: FlightId, now: Boot) {
        let refresh = Refresh::new(id, self.rotates, &self.keeper);
        self.numbers += 1;
        let number = self.numbers;
        let record = self.held.clone().unwrap_or_else(empty);
        self.flight = Some(Flight {
            number,
            refresh,
            claim: Claim::new(now + LEASE_WAIT, now),
            waits: false,
            turn: Span::ZERO,
            owner: format!("{number} {}", self.name),
            lease: None,
            record,
            next_refresh_token: None,
            attempt: None,
            entry: 0,
            commits: 0,
            commit_since: now,
        });
        self.try_acquire();
    }

    fn try_acquire(&mut self) {
        let Some(flight) = &mut self.flight else { return };
        flight.waits = false;
        let held = self.held.as_ref().map_or(0, |held| held.generation.0);
        let (owner, known) = (flight.owner.clone(), (self.known.0, self.known.1.max(held)));
        self.send(Purpose::Acquire, Command::Acquire { owner, known });
    }

    pub(super) fn acquired(&mut self, acquired: Acquired<Entry>, now: Boot) {
        let Some(flight) = &mut self.flight else { return };
        let acquired = match acquired {
            Acquired::No { fence, .. } if self.slip == Some(Slip::IgnoresTheLease) => {
                Acquired::Yes { fence, entry: None }
            }
            other @ (Acquired::Yes { .. } | Acquired::No { .. } | Acquired::Behind) => other,
        };
        let pause = match acquired {
            Acquired::Yes { fence, entry } => {
                let generation = entry.as_ref().map_or(0, |entry| entry.record.generation.0);
                self.known = (self.known.0.max(fence), self.known.1.max(generation));
                self.is_store_down = false;
                let stored = entry.map_or_else(empty, |entry| entry.record);
                let held = self.held.clone().filter(|held| held.generation > stored.generation);
                flight.record = held.unwrap_or(stored);
                let heart = Heart::new(self.ttl, now);
                self.asks.push(Ask::At(heart.next_beat(), Alarm::Beat(flight.number)));
                flight.lease =
                    Some(Lease { owner: flight.owner.clone(), fence, base: generation, heart, beat_sent: now });
                return self.lease_begins(now);
            }
            Acquired::No { fence, left, waiting, .. } => {
                let rank = takeover::rank(waiting.iter().map(String::as_str), &self.name, fence);
                let turn = if self.rules.takes_turns { takeover::turn(rank, self.ttl) } else { Span::ZERO };
                flight.claim.handle_busy(left, turn, now)
            }
            Acquired::Behind => {
                let pause = flight.claim.handle_behind(now);
                self.write_back();
                pause
            }
        };
        let Some(flight) = &mut self.flight else { return };
        match pause {
            Pause::GiveUp { .. } => self.without_store(now),
            Pause::Wait { look, turn, ends } => {
                (flight.waits, flight.turn) = (true, turn);
                self.asks.push(Ask::At(now + look, Alarm::Wait(flight.number, !ends)));
            }
        }
    }

    /// An older copy than the newest known would bring back a refresh token that is spent.
    pub(super) fn write_back(&mut self) {
        let Some(held) = self.held.clone().filter(|held| held.generation.0 >= self.known.1) else { return };
        if self.slip == Some(Slip::RepairsNothing) {
            return;
        }
        self.numbers += 1;
        let (generation, entry) = (held.generation.0, Entry { id: self.numbers, record: held });
        self.send(Purpose::Nothing, Command::WriteBack { fence: self.known.0, generation, entry });
    }

    /// Client credentials go on without the store; a refresh token is not spent without it.
    pub(super) fn without_store(&mut self, now: Boot) {
        self.is_store_down = true;
        let Some(flight) = &mut self.flight else { return };
        let owner = flight.owner.clone();
        if self.rotates {
            let failure = TokenFailure::of(TokenFailureKind::Unreachable);
            flight.refresh.handle_no_lease(failure, &mut self.keeper, moment(now));
            self.flight = None;
        } else {
            flight.record = self.held.clone().unwrap_or_else(empty);
            self.lease_begins(now);
        }
        // It may have been acquired for all that is known.
        self.send(Purpose::Nothing, Command::Release { owner });
    }

    fn lease_begins(&mut self, now: Boot) {
        let Some(flight) = &self.flight else { return };
        let stored = flight.record.stored(self.rotates, &self.here(now));
        self.step(now, |refresh, keeper, now| refresh.handle_lease(stored, keeper, now));
    }

    /// The refresh says what to do, and it is done until something has to be waited for.
    pub(super) fn step(&mut self, now: Boot, go: impl FnOnce(&mut Refresh, &mut Keeper, Now) -> Next) {
        let here = self.here(now);
        let Some(flight) = &mut self.flight else { return };
        let mut next = go(&mut flight.refresh, &mut self.keeper, moment(now));
        loop {
            let Some(flight) = &mut self.flight else { return };
            next = match next {
                Next::Intend if self.rotates && flight.lease.is_some() => {
                    flight.record.intend(here);
                    return self.write(Purpose::Intent, false);
                }
                Next::Intend => flight.refresh.handle_intent(Ok(None), &mut self.keeper, moment(now)),
                Next::Send => return self.request(),
                Next::LookAgain => return self.send(Purpose::LookAgain, Command::Read),
                Next::Withdraw => {
                    let had = flight.record.withdraw();
                    if had && flight.lease.is_some() {
                        return self.write(Purpose::Withdraw, false);
                    }
                    flight.refresh.handle_withdrawn(&mut self.keeper, moment(now))
                }
                Next::Share(failure) => {
                    flight.record.fail(failure, here);
                    if flight.lease.is_some() && self.slip != Some(Slip::KeepsFailures) {
                        return self.write(Purpose::Share, false);
                    }
                    flight.refresh.handle_unshared()
                }
                Next::Commit(_) => {
                    if let Some(minted) = flight.refresh.minted().cloned() {
                        flight.record.commit(minted, flight.next_refresh_token.as_ref(), here);
                        flight.commit_since = now;
                    }
                    if flight.lease.is_some() && self.slip != Some(Slip::StoresNothing) {
                        return self.write(Purpose::Commit, true);
                    }
                    let record = flight.record.clone();
                    let next = flight.refresh.handle_commit(Committed::Ours, &mut self.keeper, moment(now));
                    self.held = Some(record);
                    next
                }
                Next::End(ending) => return self.end(&ending),
            };
        }
    }

    pub(super) fn write(&mut self, purpose: Purpose, is_last: bool) {
        let Some(flight) = &mut self.flight else { return };
        let Some(lease) = &flight.lease else { return };
        // The same record is sealed once.
        if purpose != Purpose::Commit || flight.commits == 0 {
            self.numbers += 1;
            flight.entry = self.numbers;
        }
        flight.commits += usize::from(purpose == Purpose::Commit);
        let entry = Entry { id: flight.entry, record: flight.record.clone() };
        let (owner, fence, base) = (lease.owner.clone(), lease.fence, lease.base);
        let generation = flight.record.generation.0;
        self.send(purpose, Command::Write { owner, fence, base, generation, entry, is_last });
    }

    pub(super) fn intended(&mut self, told: Option<Told>, now: Boot) {
        let here = self.here(now);
        let Some(flight) = &mut self.flight else { return };
        let intent = match told {
            Some(Told::Written(Written::Yes(_))) => Ok(flight.record.doubt(&here)),
            _ => Err(TokenFailure::of(TokenFailureKind::Unreachable)),
        };
        self.step(now, |refresh, keeper, now| refresh.handle_intent(intent, keeper, now));
    }

    fn request(&mut self) {
        let Some(flight) = &mut self.flight else { return };
        self.numbers += 1;
        flight.attempt = Some(self.numbers);
        let patience = match flight.lease {
            Some(_) if self.slip == Some(Slip::NeverBeats) => TOKEN_TIMEOUT,
            Some(_) => TOKEN_TIMEOUT.min(self.ttl.scaled(1, 2)),
            None => TOKEN_TIMEOUT,
        };
        let refresh_token = flight.record.refresh_token.clone();
        self.asks.push(Ask::Token { attempt: self.numbers, refresh_token, patience });
    }

    /// The token endpoint has answered, or has not in time.
    pub(in crate::fleet) fn answered(
        &mut self,
        attempt: u64,
        result: Result<(TokenAnswer, Issued), TokenFailure>,
        now: Boot,
    ) {
        let Some(flight) = self.flight.as_mut().filter(|flight| flight.attempt == Some(attempt)) else { return };
        flight.attempt = None;
        match result {
            Ok((mut answer, issued)) => {
                let next = flight.refresh.handle_answer(&mut answer, issued, &self.keeper);
                flight.next_refresh_token = answer.refresh_token;
                self.step(now, |_, _, _| next);
            }
            Err(failure) => self.step(now, |refresh, keeper, now| refresh.handle_failure(failure, keeper, now)),
        }
        self.settle(now);
    }

    pub(super) fn looked_again(&mut self, told: Option<Told>, now: Boot) {
        let found = match told {
            Some(Told::Read(_, entry, _)) => entry.map(|entry| entry.record),
            _ => None,
        };
        let known = found.as_ref().map(|record| record.stored(self.rotates, &self.here(now)));
        let Some(flight) = &mut self.flight else { return };
        let next = flight.refresh.handle_looked_again(known, &mut self.keeper, moment(now));
        if let Some(found) = found.filter(|_| matches!(next, Next::Intend | Next::End(Ending::Adopted(_)))) {
            flight.record = found;
        }
        self.step(now, |_, _, _| next);
    }

    pub(super) fn committed(&mut self, told: Option<Told>, now: Boot) {
        let Some(flight) = &mut self.flight else { return };
        match told {
            Some(Told::Written(Written::Yes(_))) => {
                flight.lease = None;
                let record = flight.record.clone();
                self.known.1 = self.known.1.max(record.generation.0);
                self.held = Some(record);
                self.step(now, |refresh, keeper, now| refresh.handle_commit(Committed::Ours, keeper, now));
            }
            Some(Told::Written(Written::Superseded(_) | Written::Taken(_))) => {
                self.send(Purpose::Compare, Command::Read);
            }
            _ => self.commit_again(now),
        }
    }

    /// Somebody else was first, it seems.
    pub(super) fn compared(&mut self, told: Option<Told>, now: Boot) {
        let here = self.here(now);
        let Some(flight) = &mut self.flight else { return };
        if let Some(Told::Read(generation, Some(Entry { record, .. }), _)) = told
            && generation >= flight.record.generation.0
        {
            flight.record = record.clone();
            let stored = record.stored(self.rotates, &here);
            self.held = Some(record);
            return self
                .step(now, |refresh, keeper, now| refresh.handle_commit(Committed::Theirs(stored), keeper, now));
        }
        self.commit_again(now);
    }

    fn commit_again(&mut self, now: Boot) {
        let Some(flight) = &mut self.flight else { return };
        let wait = COMMIT_RETRIES.get(flight.commits).copied();
        match wait.filter(|_| now < flight.commit_since + COMMIT_PATIENCE) {
            Some(wait) => self.asks.push(Ask::At(now + wait, Alarm::Commit(flight.number))),
            None => {
                self.is_store_down = true;
                self.held = Some(flight.record.clone());
                self.step(now, |refresh, keeper, now| refresh.handle_commit(Committed::Ours, keeper, now));
            }
        }
    }

    fn end(&mut self, ending: &Ending) {
        let Some(flight) = self.flight.take() else { return };
        if let Ending::Adopted(_) = ending {
            self.keep_if_newer(&flight.record);
        }
        if flight.attempt.is_some() || flight.lease.is_some() || flight.waits {
            self.send(Purpose::Nothing, Command::Release { owner: flight.owner });
        }
    }

    pub(super) fn beaten(&mut self, told: Option<Told>, now: Boot) {
        let Some(flight) = &mut self.flight else { return };
        let Some(lease) = &mut flight.lease else { return };
        match told {
            Some(Told::Beat(true)) => lease.heart.handle_confirmed(lease.beat_sent),
            Some(_) => return self.lose_lease(now),
            None => lease.heart.handle_missed(now),
        }
        self.asks.push(Ask::At(lease.heart.next_beat(), Alarm::Beat(flight.number)));
    }

    /// A request that is on its way is given up, and what becomes of it is no longer ours to store.
    fn lose_lease(&mut self, now: Boot) {
        let Some(flight) = &mut self.flight else { return };
        let Some(attempt) = flight.attempt.take() else { return };
        self.asks.push(Ask::GiveUp(attempt));
        let failure = TokenFailure::of(TokenFailureKind::TimedOut);
        self.step(now, |refresh, keeper, now| refresh.handle_failure(failure, keeper, now));
    }

    pub(super) fn wait_is_over(&mut self, number: u64, is_turn: bool, now: Boot) {
        let Some(flight) = self.flight.as_mut().filter(|flight| flight.number == number && flight.lease.is_none())
        else {
            return;
        };
        if !is_turn {
            if !std::mem::take(&mut flight.waits) {
                return;
            }
            let turn = flight.turn.min(flight.claim.rest(now));
            if turn > Span::ZERO {
                return self.asks.push(Ask::At(now + turn, Alarm::Wait(number, true)));
            }
        }
        if !self.asked.values().any(|purpose| *purpose == Purpose::Acquire) {
            self.try_acquire();
        }
    }

    pub(super) fn beat(&mut self, number: u64, now: Boot) {
        let Some(flight) = self.flight.as_mut().filter(|flight| flight.number == number) else { return };
        let Some(lease) = &mut flight.lease else { return };
        if self.slip == Some(Slip::NeverBeats) {
            return;
        }
        if lease.heart.is_lost(now) {
            return self.lose_lease(now);
        }
        if now >= lease.heart.next_beat() {
            let (owner, fence) = (lease.owner.clone(), lease.fence);
            lease.beat_sent = now;
            self.send(Purpose::Beat, Command::Heartbeat { owner, fence });
        }
    }
}

/// Two tries of a token request and a moment for the store.
const LEASE_WAIT: Span = Span::from_secs(22);
const TOKEN_TIMEOUT: Span = Span::from_secs(10);
const COMMIT_PATIENCE: Span = Span::from_secs(3);
const COMMIT_RETRIES: [Span; 4] = [Span::ZERO, Span::from_millis(100), Span::from_millis(500), Span::from_secs(1)];
