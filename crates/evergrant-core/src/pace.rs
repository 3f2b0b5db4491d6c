//! When a request may be sent under a provider's rate limit, and whose turn it is.
//!
//! One token has one limit, such as 300 requests a minute, however many programs share it. Left alone, the busiest
//! program uses the minute up and all the others get 429. A [`Pacer`] keeps the count of one token:
//!
//! - **It learns the limit** from the answers ([`RateSample`]): how many are allowed, how many are counted, when the
//!   window ends. Until an answer says so there is no limit and nothing is held. Requests on their way count as used.
//! - **It lets bursts through.** Half of a window's budget is shared out among the callers at once, by weight; within
//!   its part no caller waits. Beyond it, what is left of the budget is spread over what is left of the window.
//! - **It is fair.** Of those who wait, who has had least for its weight in this window goes first. A caller with eight
//!   connections gets no more than one with a single connection, and new callers cannot push an old one back for ever.
//! - **A 429 is everybody's.** Until its `Retry-After` is over nothing is sent. Then one request goes first, and the
//!   others follow as answers come in. A 429 whose own fields say that at most half of the token's budget is used is
//!   about something else, such as a limit of one route: it holds only the request that got it.
//! - **It keeps a reserve** of 2 %, because others may hold the same token and counts arrive late.
//!
//! The end of a window is known to about a second only, since providers send whole seconds. When the budget is used up,
//! the pacer sends one scout from the reserve at the earliest end possible, and the next only after its answer: a
//! count that has started again proves the new window, and the reserve makes sure that a scout too early gets no 429.
//!
//! Everything is bounded: the queue, each caller's part of it, the callers known, every wait by its caller's deadline.
//! As everywhere in the core, `now` is an argument and nothing here waits: whoever embeds a pacer asks [`Pacer::poll`]
//! whenever something was told to it, and at [`Pacer::timeout`].
//!
//! Sources: RFC 6585 section 4 (429), RFC 9110 section 10.2.3 (`Retry-After`); the order of the queue is a form of
//! Golestani, "A self-clocked fair queueing scheme for broadband applications", INFOCOM 1994.

mod queue;
mod rules;
mod status;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeSet;
use std::fmt;

use crate::time::{Boot, Span};
use crate::wire::RateSample;

use queue::FairQueue;
pub use queue::TicketId;
pub use rules::{CallerKey, PaceRules, RateLimit, WhenLimited};
pub use status::{CallerPace, PaceCounts, PaceStatus};
use window::{Gate, Rounding, Window};

/// Decides when the requests of one token are sent.
#[derive(Debug)]
pub struct Pacer {
    rules: PaceRules,
    /// What a window allows, as far as is known.
    limit: Option<RateLimit>,
    window: Option<Window>,
    /// What is known about the provider's seconds.
    rounding: Rounding,
    block: Option<Block>,
    queue: FairQueue,
    in_flight: BTreeSet<PassId>,
    next_pass: PassId,
    /// Answers without rate fields since the last one with them.
    unlabelled: u32,
    /// 429s in a row.
    strikes: u32,
    counts: PaceCounts,
}

/// The number of a request that may be sent; they count up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
struct PassId(u64);

/// The right to send one request. It has to be given back, by one of the three `handle` functions that take it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a pass counts as a request on its way until it is given back"]
pub struct Pass {
    id: PassId,
    caller: CallerKey,
    sent: Boot,
}

/// What happens to a request that arrives.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is sent now.
    Admit(Pass),
    /// It waits; [`Pacer::poll`] will name its ticket.
    Wait(TicketId),
    /// It is not sent.
    Refuse(Refused),
}

/// The end of a wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Release {
    /// The request is sent now.
    Admit(TicketId, Pass),
    /// Its time is over.
    Refuse(TicketId, Refused),
}

/// Why a request is not sent, and when trying again makes sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Why.
    pub why: WhyRefused,
    /// How long to wait.
    pub retry_after: Span,
}

/// Why a request is not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhyRefused {
    /// The provider wants fewer requests, and the request cannot or may not wait for that to end.
    Limited,
    /// Too many requests wait already.
    QueueFull,
    /// Its turn did not come within its time.
    TooLate,
}

/// What an answer says that concerns the pace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    /// Is it a 429?
    pub is_429: bool,
    /// How long it asks to wait.
    pub retry_after: Option<Span>,
    /// What it says about the limit.
    pub sample: Option<RateSample>,
}

/// What to do with an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aftermath {
    /// Hand it on.
    HandOn,
    /// A 429 that all callers wait out: the request may ask for another pass.
    Again,
    /// A 429 that is about this request only: it may ask for another pass from this moment on.
    AgainAt(Boot),
}

/// The time after a 429.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// Until then nothing is sent.
    until: Boot,
    /// From then on so many of the later passes may be on their way at once.
    width: u32,
    /// The first pass after the 429.
    first: PassId,
}

impl Pacer {
    /// A pacer that knows nothing of the provider yet.
    #[must_use]
    pub fn new(rules: PaceRules) -> Self {
        Self {
            limit: rules.fixed,
            queue: FairQueue::default(),
            window: None,
            rounding: Rounding::UNKNOWN,
            block: None,
            in_flight: BTreeSet::new(),
            next_pass: PassId(1),
            unlabelled: 0,
            strikes: 0,
            counts: PaceCounts::default(),
            rules,
        }
    }

    /// Is there nothing to keep: no limit known, nobody waiting, no 429 to wait out? Then requests need not be told.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.limit.is_none() && self.block.is_none() && self.queue.is_empty()
    }

    /// A caller wants to send a request and can wait for it until `deadline`.
    pub fn handle_arrival(&mut self, caller: &CallerKey, deadline: Boot, now: Boot) -> Arrival {
        self.advance(now);
        let gate = self.gate(now);
        if self.answers() {
            return match gate {
                Gate::Open | Gate::Burst(_) => Arrival::Admit(self.admit(caller, now)),
                Gate::Closed(until) | Gate::Awaiting(until) => self.refuse(WhyRefused::Limited, until - now),
            };
        }
        let goes = match gate {
            Gate::Open => self.queue.is_empty() || self.may_burst(caller, now),
            Gate::Burst(_) => self.may_burst(caller, now),
            Gate::Closed(_) | Gate::Awaiting(_) => false,
        };
        if goes && !self.queue.is_waiting(caller) {
            return Arrival::Admit(self.admit(caller, now));
        }
        if self.queue.is_full(caller, &self.rules) {
            return self.refuse(WhyRefused::QueueFull, self.wait_in_line(now));
        }
        self.wait(caller, deadline, false, now)
    }

    /// A request that got a 429 wants to be sent again. It had its place before, so no bound of the queue stops it,
    /// and it stands in front of its caller's others.
    pub fn handle_return(&mut self, caller: &CallerKey, deadline: Boot, now: Boot) -> Arrival {
        self.advance(now);
        self.wait(caller, deadline, true, now)
    }

    /// A request is sent whatever the pace, as a replay is that has waited once: it is only counted.
    pub fn handle_unasked(&mut self, caller: &CallerKey, now: Boot) -> Pass {
        self.advance(now);
        self.admit(caller, now)
    }

    /// An answer has come.
    pub fn handle_answer(&mut self, pass: Pass, heard: Heard, now: Boot) -> Aftermath {
        self.in_flight.remove(&pass.id);
        self.advance(now);
        self.learn(&pass, heard.sample, now);
        if !heard.is_429 {
            self.widen(&pass);
            return Aftermath::HandOn;
        }
        self.counts.upstream_429 += 1;
        let is_elsewhere = heard.sample.is_some_and(|sample| sample.count <= sample.allowed / 2);
        if is_elsewhere {
            let wait = heard.retry_after.unwrap_or(FIRST_BACKOFF).max(SHORTEST_WAIT);
            return if self.answers() { Aftermath::HandOn } else { Aftermath::AgainAt(now + wait) };
        }
        self.block(&pass, heard, now);
        if self.answers() { Aftermath::HandOn } else { Aftermath::Again }
    }

    /// A request was sent and no answer will come.
    pub fn handle_no_answer(&mut self, pass: Pass) {
        self.in_flight.remove(&pass.id);
        if let Some(window) = &mut self.window {
            window.handle_scout_back(pass.id, None);
        }
    }

    /// A request that had its pass was not sent after all.
    pub fn handle_unsent(&mut self, pass: Pass) {
        if let Some(window) = &mut self.window
            && window.handle_unsent(pass.id)
        {
            self.queue.give_back(&pass.caller);
        }
        self.handle_no_answer(pass);
    }

    /// A caller stopped waiting.
    pub fn handle_cancel(&mut self, ticket: TicketId) {
        self.queue.remove(ticket);
    }

    /// The next wait that ends now. To be asked until there is none.
    pub fn poll(&mut self, now: Boot) -> Option<Release> {
        self.advance(now);
        if let Some(ticket) = self.queue.take_overdue(now) {
            let retry_after = self.wait_in_line(now);
            let Arrival::Refuse(refused) = self.refuse(WhyRefused::TooLate, retry_after) else { return None };
            return Some(Release::Refuse(ticket, refused));
        }
        let (caller, ticket) = match self.gate(now) {
            Gate::Open => self.queue.take_next(None),
            Gate::Burst(_) => self.queue.take_next(self.budget()),
            Gate::Closed(_) | Gate::Awaiting(_) => None,
        }?;
        Some(Release::Admit(ticket, self.admit(&caller, now)))
    }

    /// When to ask [`Pacer::poll`] again, though nothing may have happened by then.
    #[must_use]
    pub fn timeout(&self, now: Boot) -> Option<Boot> {
        let deadline = self.queue.first_deadline()?;
        Some(match self.gate(now) {
            Gate::Open => now,
            Gate::Burst(at) | Gate::Closed(at) | Gate::Awaiting(at) => deadline.min(at),
        })
    }

    /// What is known and what happened, for people.
    #[must_use]
    pub fn status(&self, now: Boot) -> PaceStatus {
        let window = self.window.as_ref().filter(|window| !window.is_over(now));
        PaceStatus {
            when_limited: self.rules.when_limited,
            allowed: self.limit.map(|limit| limit.allowed),
            used: self.limit.map(|_| window.map_or(0, |window| window.used(self.unsettled()))),
            reset_in_s: window.map(|window| window.left(now).as_secs_f64()),
            blocked_for_s: self.blocked_until(now).map(|until| (until - now).as_secs_f64()),
            waiting: self.queue.len(),
            counts: self.counts,
            callers: self.queue.callers(),
        }
    }

    /// Applies what time alone changes.
    fn advance(&mut self, now: Boot) {
        if self.block.is_some_and(|block| block.until + RAMP_PATIENCE <= now) {
            self.block = None;
        }
        if self.is_quiet() {
            self.queue.forget_callers();
        }
        if let Some(limit) = self.limit
            && self.window.as_ref().is_none_or(|window| window.is_over(now))
        {
            self.window = Some(Window::assumed(limit, self.rounding, self.unsettled(), self.next_pass, now));
            self.queue.begin_window();
        }
    }

    fn gate(&self, now: Boot) -> Gate {
        if let Some(until) = self.blocked_until(now) {
            return Gate::Closed(until);
        }
        if let Some(block) = self.block
            && self.in_flight.range(block.first..).count() >= usize::try_from(block.width).unwrap_or(usize::MAX)
        {
            return Gate::Awaiting(block.until + RAMP_PATIENCE);
        }
        let Some(window) = &self.window else { return Gate::Open };
        match window.gate(self.unsettled(), now) {
            // Nothing is spread out among callers that do not wait.
            Gate::Burst(_) | Gate::Closed(_) if self.answers() && window.has_room(self.unsettled()) => Gate::Open,
            gate @ (Gate::Open | Gate::Burst(_) | Gate::Closed(_) | Gate::Awaiting(_)) => gate,
        }
    }

    fn answers(&self) -> bool {
        self.rules.when_limited == WhenLimited::Answer
    }

    fn blocked_until(&self, now: Boot) -> Option<Boot> {
        self.block.map(|block| block.until).filter(|until| now < *until)
    }

    fn budget(&self) -> Option<u32> {
        self.window.as_ref().map(Window::budget)
    }

    /// Requests on their way that the highest count seen in this window may not hold yet.
    fn unsettled(&self) -> u32 {
        let first = self.window.as_ref().map_or(PassId(0), Window::first_unsettled);
        u32::try_from(self.in_flight.range(first..).count()).unwrap_or(u32::MAX)
    }

    /// May this caller send without waiting for its turn?
    fn may_burst(&self, caller: &CallerKey, now: Boot) -> bool {
        self.window.as_ref().is_none_or(|window| {
            window.has_burst(window.used(self.unsettled()), now)
                && self.queue.is_within_share(caller, window.budget(), &self.rules)
        })
    }

    fn admit(&mut self, caller: &CallerKey, now: Boot) -> Pass {
        let id = self.next_pass;
        self.next_pass = PassId(id.0 + 1);
        let (is_burst, unsettled) = (self.may_burst(caller, now), self.unsettled());
        if let Some(window) = &mut self.window {
            window.handle_pass(id, is_burst, unsettled, now);
        }
        let caller = self.queue.note_pass(caller, &self.rules);
        self.in_flight.insert(id);
        Pass { id, caller, sent: now }
    }

    fn wait(&mut self, caller: &CallerKey, deadline: Boot, in_front: bool, now: Boot) -> Arrival {
        // A wait that cannot end in time helps nobody.
        if let Gate::Closed(until) = self.gate(now)
            && until > deadline
        {
            return self.refuse(WhyRefused::Limited, until - now);
        }
        self.counts.waited_total += 1;
        Arrival::Wait(self.queue.push(caller, deadline, in_front, &self.rules))
    }

    fn refuse(&mut self, why: WhyRefused, retry_after: Span) -> Arrival {
        self.counts.answered_429 += 1;
        Arrival::Refuse(Refused { why, retry_after: retry_after.max(SHORTEST_WAIT) })
    }

    /// How long a request would wait behind all the others, roughly.
    fn wait_in_line(&self, now: Boot) -> Span {
        let opens = match self.gate(now) {
            Gate::Open => Span::ZERO,
            Gate::Burst(at) | Gate::Closed(at) | Gate::Awaiting(at) => at - now,
        };
        let per_request = self.limit.map_or(Span::ZERO, |limit| limit.window.scaled(1, i64::from(limit.allowed)));
        opens + per_request.scaled(i64::try_from(self.queue.len()).unwrap_or(i64::MAX), 1)
    }

    /// Reads the provider's count.
    fn learn(&mut self, pass: &Pass, sample: Option<RateSample>, now: Boot) {
        let Some(sample) = sample else {
            self.unlabelled += 1;
            if self.unlabelled > UNLABELLED_MOST && self.limit != self.rules.fixed {
                (self.limit, self.window) = (self.rules.fixed, None);
            }
            if let Some(window) = &mut self.window {
                window.handle_scout_back(pass.id, Some(now));
            }
            return;
        };
        self.unlabelled = 0;
        let news = window::News { pass: pass.id, sent: pass.sent, received: now, sample };
        let unsettled = self.unsettled();
        let window = match &mut self.window {
            Some(window) => {
                if window.handle_news(&news, unsettled) == window::Fit::Next {
                    self.queue.begin_window();
                    self.queue.note_pass(&pass.caller, &self.rules);
                }
                window
            }
            None => self.window.insert(Window::learned(&news, unsettled)),
        };
        self.rounding = window.rounding();
        self.limit = Some(RateLimit { allowed: sample.allowed, window: window.length() });
    }

    /// After a 429 each good answer lets one more request out at a time, so that the number doubles with each round.
    fn widen(&mut self, pass: &Pass) {
        self.strikes = 0;
        if let Some(block) = &mut self.block
            && pass.id >= block.first
        {
            block.width += 1;
            if block.width > WIDE_ENOUGH || self.queue.is_empty() {
                self.block = None;
            }
        }
    }

    fn block(&mut self, pass: &Pass, heard: Heard, now: Boot) {
        self.strikes += 1;
        if heard.sample.is_none() && self.limit != self.rules.fixed {
            // The count that was believed is wrong, and nothing better is said.
            self.window = None;
        }
        let ends = self.window.as_ref().filter(|_| heard.sample.is_some()).map(|window| window.left(now));
        let backoff = FIRST_BACKOFF.scaled(1 << (self.strikes - 1).min(6), 1);
        let wait = heard.retry_after.or(ends).unwrap_or(backoff).max(SHORTEST_WAIT);
        let until = now + wait;
        // Who does not wait needs nobody to go first.
        let width = if self.answers() { WIDE_ENOUGH } else { 1 };
        match &mut self.block {
            // One of several that were on their way together, and all of them say the same.
            Some(block) if pass.id < block.first => block.until = block.until.max(until),
            Some(_) | None => self.block = Some(Block { until, width, first: self.next_pass }),
        }
    }
}

impl Pass {
    /// Who sends the request.
    #[must_use]
    pub fn caller(&self) -> &CallerKey {
        &self.caller
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wait = self.retry_after;
        match self.why {
            WhyRefused::Limited => write!(f, "the provider's rate limit is used up for another {wait}"),
            WhyRefused::QueueFull => write!(f, "too many requests wait for the provider's rate limit, {wait} to go"),
            WhyRefused::TooLate => write!(f, "its turn under the provider's rate limit is still {wait} away"),
        }
    }
}

/// What a 429 without `Retry-After` asks for, doubling up to 64 times as much.
const FIRST_BACKOFF: Span = Span::from_secs(1);
/// A `Retry-After: 0` is no wait at all, and would be an invitation to spin.
const SHORTEST_WAIT: Span = Span::from_millis(100);
/// How long after a block one answer that does not come holds the others.
const RAMP_PATIENCE: Span = Span::from_secs(5);
/// So many requests at a time after a 429 are as good as no bound.
const WIDE_ENOUGH: u32 = 64;
/// So many answers in a row without rate fields say that the provider has stopped sending them.
const UNLABELLED_MOST: u32 = 64;
