//! A pacer among callers and a provider with a limit, in virtual time.

mod properties;
mod scenes;

use std::collections::BTreeMap;

use super::*;

/// A provider that counts requests in windows and refuses those beyond the limit.
struct Provider {
    allowed: u32,
    length: Span,
    rounds_up: bool,
    has_fields: bool,
    /// Does a window begin with its first request, or with the end of the one before?
    waits_for_first: bool,
    begun: Boot,
    count: u32,
    served: Vec<u32>,
    refused: u32,
}

impl Provider {
    fn new(allowed: u32, length: Span) -> Self {
        Self {
            allowed,
            length,
            rounds_up: true,
            has_fields: true,
            waits_for_first: false,
            begun: Boot::from_secs(100),
            count: 0,
            served: vec![0],
            refused: 0,
        }
    }

    fn answer(&mut self, now: Boot) -> Heard {
        if self.waits_for_first && now - self.begun >= self.length {
            self.turn_to(now);
        }
        while now - self.begun >= self.length {
            self.turn_to(self.begun + self.length);
        }
        self.count += 1;
        let left = (self.begun + self.length) - now;
        let up = if self.rounds_up { Span::from_nanos(999_999_999) } else { Span::ZERO };
        let reset = Span::from_secs((left + up).as_secs());
        let is_429 = self.count > self.allowed;
        if is_429 {
            self.refused += 1;
        } else {
            *self.served.last_mut().unwrap() += 1;
        }
        let sample = RateSample { count: self.count.min(self.allowed), allowed: self.allowed, reset };
        let retry_after = is_429.then(|| Span::from_secs((left + Span::from_nanos(999_999_999)).as_secs()));
        Heard { is_429, retry_after, sample: self.has_fields.then_some(sample) }
    }

    fn turn_to(&mut self, begun: Boot) {
        self.begun = begun;
        self.count = 0;
        self.served.push(0);
    }
}

/// A program with some connections, each of which asks again as soon as it has its answer and a rest.
#[derive(Clone, Debug)]
struct Program {
    key: CallerKey,
    connections: usize,
    rest: Span,
}

impl Program {
    fn eager(name: &str, connections: usize) -> Self {
        Self { key: CallerKey::Named(name.to_owned()), connections, rest: Span::ZERO }
    }
}

/// What is under way.
enum Event {
    Ask,
    Reach(Pass),
    Return(Pass, Heard),
    AskAgain,
}

struct World {
    pacer: Pacer,
    provider: Provider,
    programs: Vec<Program>,
    delay: Span,
    patience: Span,
    now: Boot,
    /// By time and number: which program, since when it waits, and what.
    events: BTreeMap<(Boot, u64), (usize, Boot, Event)>,
    number: u64,
    tickets: BTreeMap<TicketId, (usize, Boot)>,
    /// Good answers by program.
    done: Vec<u32>,
    /// 429s that a caller saw.
    visible: u32,
    longest_wait: Span,
    /// Provider's 429s to requests sent after the first answer was back.
    refused_late: u32,
    first_answer: Option<Boot>,
}

impl World {
    fn new(rules: PaceRules, provider: Provider, programs: Vec<Program>, delay: Span) -> Self {
        let now = Boot::from_secs(100) + Span::from_millis(137);
        let mut world = Self {
            pacer: Pacer::new(rules),
            done: vec![0; programs.len()],
            provider,
            programs,
            delay,
            patience: Span::from_secs(3_600),
            now,
            events: BTreeMap::new(),
            number: 0,
            tickets: BTreeMap::new(),
            visible: 0,
            longest_wait: Span::ZERO,
            refused_late: 0,
            first_answer: None,
        };
        for which in 0..world.programs.len() {
            for n in 0..world.programs[which].connections {
                world.later(Span::from_micros(i64::try_from(n * 10 + which).unwrap()), which, now, Event::Ask);
            }
        }
        world
    }

    fn later(&mut self, after: Span, which: usize, since: Boot, event: Event) {
        self.number += 1;
        self.events.insert((self.now + after, self.number), (which, since, event));
    }

    fn run(&mut self, length: Span) {
        let end = self.now + length;
        loop {
            let next = self.events.first_key_value().map(|((at, _), _)| *at);
            let timer = self.pacer.timeout(self.now);
            let at = [next, timer].into_iter().flatten().min().unwrap_or(end);
            if at > end {
                self.now = end;
                return;
            }
            let is_event = next.is_some_and(|next| next <= at.max(self.now));
            self.now = self.now.max(at);
            if is_event {
                let (_, (which, since, event)) = self.events.pop_first().unwrap();
                self.happen(which, since, event);
            }
            self.release();
        }
    }

    fn release(&mut self) {
        while let Some(release) = self.pacer.poll(self.now) {
            match release {
                Release::Admit(ticket, pass) => {
                    let (which, since) = self.tickets.remove(&ticket).expect("each ticket is released once");
                    self.send(which, since, pass);
                }
                Release::Refuse(ticket, refused) => {
                    let (which, _) = self.tickets.remove(&ticket).expect("each ticket is released once");
                    self.refuse(which, refused);
                }
            }
        }
        assert_eq!(self.pacer.status(self.now).waiting, self.tickets.len());
    }

    fn happen(&mut self, which: usize, since: Boot, event: Event) {
        let key = self.programs[which].key.clone();
        match event {
            Event::Ask => {
                let arrival = self.pacer.handle_arrival(&key, self.now + self.patience, self.now);
                self.arrive(which, self.now, arrival);
            }
            Event::AskAgain => {
                let arrival = self.pacer.handle_return(&key, since + self.patience, self.now);
                self.arrive(which, since, arrival);
            }
            Event::Reach(pass) => {
                let heard = self.provider.answer(self.now);
                if heard.is_429 && self.first_answer.is_some_and(|first| pass.sent > first) {
                    self.refused_late += 1;
                }
                self.later(self.delay, which, since, Event::Return(pass, heard));
            }
            Event::Return(pass, heard) => {
                _ = self.first_answer.get_or_insert(self.now);
                match self.pacer.handle_answer(pass, heard, self.now) {
                    Aftermath::HandOn => {
                        if heard.is_429 {
                            self.visible += 1;
                        } else {
                            self.done[which] += 1;
                        }
                        self.later(self.programs[which].rest, which, self.now, Event::Ask);
                    }
                    Aftermath::Again => self.later(Span::ZERO, which, since, Event::AskAgain),
                    Aftermath::AgainAt(at) => self.later(at - self.now, which, since, Event::AskAgain),
                }
            }
        }
    }

    fn arrive(&mut self, which: usize, since: Boot, arrival: Arrival) {
        match arrival {
            Arrival::Admit(pass) => self.send(which, since, pass),
            Arrival::Wait(ticket) => {
                self.tickets.insert(ticket, (which, since));
            }
            Arrival::Refuse(refused) => self.refuse(which, refused),
        }
    }

    fn send(&mut self, which: usize, since: Boot, pass: Pass) {
        self.longest_wait = self.longest_wait.max(self.now - since);
        self.later(self.delay, which, since, Event::Reach(pass));
    }

    fn refuse(&mut self, which: usize, refused: Refused) {
        assert!(refused.retry_after > Span::ZERO);
        self.visible += 1;
        self.later(refused.retry_after, which, self.now, Event::Ask);
    }
}
