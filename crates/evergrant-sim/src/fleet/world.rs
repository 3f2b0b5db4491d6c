//! The queue of events around the members of a fleet: the ways to store and provider, what fails, and the checks.

mod excuses;
mod promises;
mod troubles;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use evergrant_core::time::{Boot, Server, Span};
use evergrant_core::token::Issued;
use evergrant_core::wire::{TokenAnswer, TokenFailure, TokenFailureKind, parse_token_answer};

use super::member::{Alarm, Ask, Command, Entry, Member, Seen, Slip, Told, moment};
use super::store::{self, FleetStore};
use super::{BootClock, Fleet, Outcome, Trouble};
use crate::config::{CLIENT_ID, CLIENT_SECRET, Delay};
use crate::ledger::{Ledger, TokenOutcome};
use crate::provider::{Answer, Payload, Provider, Request};
use crate::record::Stamp;
use crate::scenario::Grant;
use crate::seed::Seed;

enum Event {
    Woken(usize, u64, Alarm),
    /// A command arrives that was sent then.
    Command(usize, u64, u64, Boot, Command),
    Told(usize, u64, u64, Option<Told>),
    Message(usize, u64),
    TokenArrives(usize, u64, u64, String, Boot),
    TokenAnswered(usize, u64, u64, Result<(TokenAnswer, Issued), TokenFailure>),
    Trouble(Trouble),
    Restart(usize),
}

struct Place {
    member: Option<Member>,
    life: u64,
    stopped_until: Boot,
    cut_until: Boot,
    bad_proxy_until: Boot,
    /// Did it find nothing in the store when it last looked, because the store had lost everything?
    found_it_emptied: bool,
}

/// A fleet under way.
pub(super) struct World<'a> {
    fleet: &'a Fleet,
    seed: Seed,
    now: Boot,
    queue: BTreeMap<(Boot, u64), Event>,
    planned: u64,
    places: Vec<Place>,
    store: FleetStore<Entry>,
    store_down_until: Boot,
    provider: Provider,
    /// Token requests that somebody waits for, by attempt.
    in_flight: BTreeSet<u64>,
    /// Until when a fault allows two requests at once.
    excused_until: Boot,
    /// Until when the store may not know what was stored.
    rewound_until: Boot,
    /// Has the store lost everything, and nobody has written anything since?
    is_emptied: bool,
    /// Who was told last that the token endpoint is out of order, and when, if no token was issued since.
    out_of_order: Option<(usize, Boot)>,
    /// Whoever sends the next token request is killed for so long.
    kills_next: Option<Span>,
    spent_and_stored: BTreeSet<String>,
    /// When each refresh token was spent for the first time.
    spent_at: BTreeMap<String, Boot>,
    committed: BTreeMap<u64, Boot>,
    adopted: BTreeSet<(usize, u64, u64)>,
    last_adoption: BTreeMap<u64, Boot>,
    outcome: Outcome,
    slip: Option<Slip>,
    /// What tells the luck of this fleet's members from that of another's.
    luck: u64,
    keeps_log: bool,
}

impl<'a> World<'a> {
    pub(super) fn new(fleet: &'a Fleet, seed: u64, slip: Option<Slip>, keeps_log: bool) -> Self {
        let provider = Provider::new(fleet.config.clone(), moment(START));
        let outcome = Outcome {
            broken: Vec::new(),
            ledger: Ledger::default(),
            commands: 0,
            adoptions: Vec::new(),
            issued: 0,
            commands_at: Vec::new(),
            refusals: Vec::new(),
            issues: Vec::new(),
            generations: Vec::new(),
            is_grant_lost: false,
            log: String::new(),
        };
        let place = || Place {
            member: None,
            life: 0,
            stopped_until: START,
            cut_until: START,
            bad_proxy_until: START,
            found_it_emptied: false,
        };
        let mut world = Self {
            fleet,
            seed: Seed::new(seed ^ 0x0f1e_e700),
            now: START,
            queue: BTreeMap::new(),
            planned: 0,
            places: (0..fleet.members).map(|_| place()).collect(),
            store: FleetStore::default(),
            store_down_until: START,
            provider,
            in_flight: BTreeSet::new(),
            excused_until: START,
            rewound_until: START,
            is_emptied: false,
            out_of_order: None,
            kills_next: None,
            spent_and_stored: BTreeSet::new(),
            spent_at: BTreeMap::new(),
            committed: BTreeMap::new(),
            adopted: BTreeSet::new(),
            last_adoption: BTreeMap::new(),
            outcome,
            slip,
            luck: seed,
            keeps_log,
        };
        world.provider.schedule(fleet.events.iter().cloned(), START);
        for (after, trouble) in &fleet.troubles {
            world.at(START + *after, Event::Trouble(*trouble));
        }
        for place in 0..fleet.members {
            let at = START + world.seed.delay(Delay::uniform(Span::ZERO, Span::from_secs(2)));
            world.at(at, Event::Restart(place));
        }
        world
    }

    pub(super) fn run(mut self) -> Outcome {
        let end = START + self.fleet.duration;
        let mut handled = 0_u64;
        while let Some(((at, _), event)) = self.queue.pop_first() {
            if at > end {
                break;
            }
            handled += 1;
            assert!(handled < 20_000_000, "the fleet keeps itself busy at {at:?}");
            self.now = at;
            self.provider.advance(at);
            self.handle(event);
        }
        self.now = end;
        self.check_end();
        self.outcome.issued = self.provider.ledger().token_requests_ended(TokenOutcome::Issued);
        let taken = |(generation, at): (&u64, &Boot)| {
            let last = self.last_adoption.get(generation).copied().unwrap_or(*at);
            (*at - START, last - START)
        };
        self.outcome.generations = self.committed.iter().map(taken).collect();
        self.outcome.ledger = self.provider.ledger().clone();
        self.outcome
    }

    fn at(&mut self, at: Boot, event: Event) {
        self.planned += 1;
        self.queue.insert((at, self.planned), event);
    }

    fn note(&mut self, words: impl FnOnce() -> String) {
        if self.keeps_log {
            let ms = (self.now - START).as_millis();
            // Writing to a string cannot fail.
            let _ = writeln!(self.outcome.log, "{ms} {}", words());
        }
    }

    fn handle(&mut self, event: Event) {
        if let Some((place, life)) = event.of_member() {
            let Place { life: now, stopped_until, .. } = self.places[place];
            if now != life {
                return self.forget(&event);
            }
            if stopped_until > self.now && event.is_local() {
                return self.at(stopped_until, event);
            }
        }
        match event {
            Event::Woken(place, life, alarm) => {
                if alarm == Alarm::Caller {
                    self.call(place, life);
                }
                self.with(place, |member, now| member.alarm(alarm, now));
            }
            Event::Command(place, life, number, sent, command) => self.command((place, life, number), sent, command),
            Event::Told(place, _, number, told) => self.with(place, |member, now| member.hear(number, told, now)),
            Event::Message(place, _) => self.with(place, Member::message),
            Event::TokenArrives(place, life, attempt, refresh_token, sent) => {
                self.serve_token(place, life, attempt, &refresh_token, sent);
            }
            Event::TokenAnswered(place, _, attempt, result) => {
                self.land(attempt);
                self.with(place, |member, now| member.answered(attempt, result, now));
            }
            Event::Trouble(trouble) => self.suffer(trouble),
            Event::Restart(place) => self.start(place),
        }
    }

    /// A process that is gone hears nothing.
    fn forget(&mut self, event: &Event) {
        if let Event::TokenAnswered(_, _, attempt, _) = event {
            self.land(*attempt);
        }
    }

    /// Nobody waits for this attempt any more.
    fn land(&mut self, attempt: u64) {
        if self.in_flight.remove(&attempt) {
            self.provider.ledger_mut().token.leave();
        }
    }

    fn with(&mut self, place: usize, act: impl FnOnce(&mut Member, Boot)) {
        let now = self.clock(place).local(self.now);
        let Some(member) = &mut self.places[place].member else { return };
        act(member, now);
        self.collect(place);
    }

    /// The machine that a member runs on, and its clock.
    fn machine(&self, place: usize) -> (usize, BootClock) {
        let machine = place % self.fleet.machines.len().max(1);
        (machine, self.fleet.machines.get(machine).copied().unwrap_or_default())
    }

    fn clock(&self, place: usize) -> BootClock {
        self.machine(place).1
    }

    /// What a member wants becomes events.
    fn collect(&mut self, place: usize) {
        let (life, clock) = (self.places[place].life, self.clock(place));
        let Some(member) = &mut self.places[place].member else { return };
        let asks = std::mem::take(&mut member.asks);
        let held = member.held_generation();
        if let Some(at) = self.committed.get(&held).copied().filter(|_| self.adopted.insert((place, life, held))) {
            self.outcome.adoptions.push(self.now - at);
            self.last_adoption.insert(held, self.now);
        }
        for ask in asks {
            match ask {
                Ask::At(at, alarm) => {
                    let at = clock.true_time(at).max(self.now);
                    self.at(at, Event::Woken(place, life, alarm));
                }
                Ask::Store(number, command) => self.send_to_store(place, life, number, command),
                Ask::Token { attempt, refresh_token, patience } => {
                    self.send_to_provider(place, life, attempt, refresh_token, patience);
                }
                Ask::GiveUp(attempt) => self.land(attempt),
            }
        }
    }

    fn send_to_store(&mut self, place: usize, life: u64, number: u64, command: Command) {
        let patience = self.fleet.ttl.scaled(1, 3).min(Span::from_secs(2));
        self.at(self.now + patience, Event::Told(place, life, number, None));
        if self.places[place].cut_until > self.now {
            return;
        }
        let arrives = self.now + self.seed.delay(self.fleet.to_store);
        self.at(arrives, Event::Command(place, life, number, self.now, command));
    }

    fn command(&mut self, (place, life, number): (usize, u64, u64), sent: Boot, command: Command) {
        let back = self.now + self.seed.delay(self.fleet.to_store);
        if self.store_down_until > self.now {
            return self.at(back, Event::Told(place, life, number, None));
        }
        self.outcome.commands += 1;
        let second = usize::try_from((self.now - START).as_secs()).unwrap_or(0);
        let seconds = &mut self.outcome.commands_at;
        seconds.resize(seconds.len().max(second + 1), 0);
        seconds[second] += 1;
        let (told, is_published) = self.obey(place, sent, command);
        self.is_emptied &= self.store.read().0 == 0;
        self.places[place].found_it_emptied = self.is_emptied;
        if is_published {
            self.publish();
        }
        if self.places[place].cut_until <= self.now {
            self.at(back, Event::Told(place, life, number, Some(told)));
        }
    }

    fn obey(&mut self, place: usize, sent: Boot, command: Command) -> (Told, bool) {
        let (ttl, now) = (self.fleet.ttl, self.now);
        let seen = Seen { time: Server::from_nanos(now.as_nanos()), sent: self.clock(place).local(sent) };
        let name = format!("m{place}");
        match command {
            Command::Acquire { owner, known } => {
                let acquired = self.store.acquire(&owner, &name, ttl, known, now);
                self.outcome.refusals.extend(matches!(acquired, store::Acquired::No { .. }).then(|| now - START));
                (Told::Acquired(acquired, seen), false)
            }
            Command::Heartbeat { owner, fence } => (Told::Beat(self.store.heartbeat(&owner, ttl, fence, now)), false),
            Command::Write { owner, fence, base, generation, entry, is_last } => {
                let before = self.store.read().1.map(|before| before.record.refresh_token);
                let written = self.store.write(&owner, ttl, (fence, base), generation, &entry, is_last, now);
                self.note(|| format!("m{place} writes g{generation} last {is_last}: {written:?}"));
                let is_news = written == store::Written::Yes(true);
                if is_news {
                    self.committed.entry(generation).or_insert(now);
                    self.spent_and_stored.extend(before.filter(|before| *before != entry.record.refresh_token));
                }
                let is_released = is_last && matches!(written, store::Written::Yes(_));
                (Told::Written(written), is_news || is_released)
            }
            Command::Release { owner } => {
                let is_released = self.store.release(&owner, &name, now);
                (Told::Done, is_released)
            }
            Command::Read => {
                let (generation, entry) = self.store.read();
                (Told::Read(generation, entry, seen), false)
            }
            Command::WriteBack { fence, generation, entry } => {
                let was_lost = self.store.write_back(ttl, fence, generation, &entry, now);
                if was_lost {
                    self.note(|| format!("m{place} writes g{generation} back"));
                }
                (Told::Done, was_lost)
            }
        }
    }

    fn publish(&mut self) {
        for place in 0..self.places.len() {
            let Place { life, cut_until, .. } = self.places[place];
            if cut_until > self.now || self.seed.happens(self.fleet.messages_lost_permille) {
                continue;
            }
            let arrives = self.now + self.seed.delay(self.fleet.to_store);
            self.at(arrives, Event::Message(place, life));
        }
    }

    fn send_to_provider(&mut self, place: usize, life: u64, attempt: u64, refresh_token: String, patience: Span) {
        self.in_flight.insert(attempt);
        self.provider.ledger_mut().token.enter();
        let in_flight = self.in_flight.len();
        self.note(|| format!("m{place} sends a token request, {in_flight} in flight"));
        if in_flight > 1 && self.excused_until < self.now {
            self.complain(format!("P3: {in_flight} token requests at once"));
        }
        if let Some((_, told)) = self.out_of_order.filter(|(told, at)| *told != place && *at <= self.now)
            && self.now < told + SHORTEST_BACK_OFF
            && self.excused_until < self.now
            && !self.is_in_doubt_since_before(told)
        {
            self.complain(format!("P3: m{place} asks although another member has just been told to wait"));
        }
        let timed_out = Err(TokenFailure::of(TokenFailureKind::TimedOut));
        self.at(self.now + patience, Event::TokenAnswered(place, life, attempt, timed_out));
        let arrives = self.now + self.seed.delay(self.fleet.to_provider);
        if self.places[place].bad_proxy_until > self.now {
            let failure = TokenFailure::of(TokenFailureKind::ServerError).with_status(503);
            self.out_of_order = Some((place, arrives));
            return self.at(arrives, Event::TokenAnswered(place, life, attempt, Err(failure)));
        }
        self.at(arrives, Event::TokenArrives(place, life, attempt, refresh_token, self.now));
        if let Some(lasts) = self.kills_next.take() {
            self.kill(place, lasts);
        }
    }

    /// A refresh token that may be spent has to be sent again within the grace, whatever the token endpoint said since.
    fn is_in_doubt_since_before(&self, at: Boot) -> bool {
        let (_, entry) = self.store.read();
        let intent = entry.and_then(|entry| entry.record.intended());
        intent.is_some_and(|Stamp { boot_id, at: then, .. }| self.clock(boot_id).true_time(then.boot) < at)
    }

    fn serve_token(&mut self, place: usize, life: u64, attempt: u64, refresh_token: &str, sent: Boot) {
        if self.spent_and_stored.contains(refresh_token) && self.rewound_until < self.now {
            self.complain("P5: a refresh token was sent although its successor is stored".to_owned());
        }
        let form = match self.fleet.grant {
            Grant::ClientCredentials => vec![("grant_type", "client_credentials")],
            Grant::RefreshToken => vec![("grant_type", "refresh_token"), ("refresh_token", refresh_token)],
        };
        let reply = self.provider.handle(&Request::token(&form).basic(CLIENT_ID, CLIENT_SECRET), self.now);
        let after = self.now + reply.delay + self.seed.delay(self.fleet.to_provider);
        let result = match reply.answer {
            Answer::Response(response) => {
                let body = match response.body() {
                    Payload::Bytes(bytes) => bytes.to_vec(),
                    Payload::Fill(_) | Payload::Events { .. } => Vec::new(),
                };
                parse_token_answer(response.status().as_u16(), &body)
            }
            Answer::Torn { .. } | Answer::Reset { .. } => Err(TokenFailure::of(TokenFailureKind::Lost)),
        };
        let outcome = self.provider.ledger().token.events.last().map(|event| event.outcome);
        let is_out_of_order = result.as_ref().is_err_and(|failure| failure.status == Some(503));
        self.out_of_order = is_out_of_order.then_some((place, after));
        if outcome == Some(TokenOutcome::Issued) {
            self.outcome.issues.push(self.now - START);
            self.spent_at.entry(refresh_token.to_owned()).or_insert(self.now);
        }
        self.note(|| format!("m{place} is answered {outcome:?}"));
        if outcome == Some(TokenOutcome::ReuseDetected) {
            if !self.is_newcomer_before_nothing(place, life) && !self.was_left_no_time(refresh_token) {
                self.complain("P5: the grant is lost".to_owned());
            }
            self.outcome.is_grant_lost = true;
        }
        let clock = self.clock(place);
        let issued = Issued { sent: clock.local(sent), received: clock.local(after) };
        let result = result.map(|answer| (answer, issued));
        self.at(after, Event::TokenAnswered(place, life, attempt, result));
    }

    fn start(&mut self, place: usize) {
        self.places[place].life += 1;
        self.places[place].found_it_emptied = false;
        let life = self.places[place].life;
        let number = u64::try_from(place).unwrap_or(0) * 1_000 + life;
        let machine = self.machine(place);
        let now = machine.1.local(self.now);
        let member = Member::new(format!("m{place}"), (number, self.luck), machine, self.fleet, self.slip, now);
        self.places[place].member = Some(member);
        self.note(|| format!("m{place} starts"));
        self.collect(place);
    }
}

impl Event {
    /// Which process it belongs to, in which of its lives.
    fn of_member(&self) -> Option<(usize, u64)> {
        match self {
            Self::Woken(place, life, _)
            | Self::Told(place, life, ..)
            | Self::Message(place, life)
            | Self::TokenAnswered(place, life, ..) => Some((*place, *life)),
            Self::Command(..) | Self::TokenArrives(..) | Self::Trouble(_) | Self::Restart(_) => None,
        }
    }

    /// Does it need the process to run?
    fn is_local(&self) -> bool {
        self.of_member().is_some()
    }
}

const START: Boot = Boot::from_secs(1_000);
/// The shortest wait after a failure, less what clocks and messages take.
const SHORTEST_BACK_OFF: Span = Span::from_millis(900);
