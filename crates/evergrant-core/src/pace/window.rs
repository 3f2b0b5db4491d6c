//! One window of a provider's limit: how much of it is used, and when it ends.
//!
//! **Used** is the larger of two counts: the requests sent by us in this window, and the highest count that an answer
//! of this window named plus what was sent since and may not be in it. The first is exact for us, the second knows of
//! others with the same token.
//!
//! **The end** is an interval, not a point. An answer with `reset: 12` was written between the sending of its request
//! and its arrival, and 12 may have been rounded either way: the end is 11 s after the one at the earliest and 13 s
//! after the other at the latest. The answers of a window narrow the interval. Its early end is what the budget is
//! spread towards and where scouts begin; at its late end the next window has begun without doubt. A provider always
//! rounds in the same way, so each window that was seen to end says more about it ([`Rounding`]) and narrows the next.
//!
//! **The next window** shows itself in an answer that places the end later than the latest possible, or that counts
//! fewer requests than before and has a later end: short windows overlap within the second of rounding.

use super::rules::RateLimit;
use super::{Boot, PassId, Span};
use crate::wire::RateSample;

/// Who may send, and when that changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gate {
    /// Everyone, in turn.
    Open,
    /// Callers within their share of the burst; from this moment on the next in turn.
    Burst(Boot),
    /// Nobody before this moment.
    Closed(Boot),
    /// Nobody before an answer comes, or this moment.
    Awaiting(Boot),
}

/// What an answer says, with what is known about the answer.
#[derive(Debug)]
pub(super) struct News {
    pub(super) pass: PassId,
    pub(super) sent: Boot,
    pub(super) received: Boot,
    pub(super) sample: RateSample,
}

/// Which window an answer speaks of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fit {
    /// This one.
    This,
    /// The one after; it has become this one.
    Next,
    /// One that is over.
    Past,
}

/// How far a provider's seconds may be rounded up: somewhere between these two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounding {
    least: Span,
    most: Span,
}

impl Rounding {
    pub(super) const UNKNOWN: Self = Self { least: Span::ZERO, most: SECOND };

    /// Between which moments the window of an answer ends.
    fn ends(self, news: &News) -> (Boot, Boot) {
        (news.sent + news.sample.reset - self.most, news.received + news.sample.reset + SECOND - self.least)
    }

    /// A window whose answers named an end between `first_named` and `last_named` has ended between `after` and `by`.
    fn learn(&mut self, last_named: Boot, first_named: Boot, after: Boot, by: Boot) {
        let least = self.least.max(last_named - by);
        let most = self.most.min(first_named + SECOND - after);
        // A count that lags contradicts itself: begin anew.
        *self = if least + LATE_TIMER <= most { Self { least, most } } else { Self::UNKNOWN };
    }
}

/// One window.
#[derive(Debug)]
pub(super) struct Window {
    allowed: u32,
    length: Span,
    rounding: Rounding,
    /// The last and the first end that an answer named, taken literally.
    last_named: Boot,
    first_named: Boot,
    /// When the last request was sent whose answer spoke of this window.
    last_sent: Boot,
    /// It ends no earlier than this.
    earliest: Boot,
    /// And no later than this.
    latest: Boot,
    /// The highest count of an answer.
    seen: u32,
    /// The pass of that answer: what was sent from there on may not be in the count.
    seen_by: PassId,
    /// Requests that we sent.
    ours: u32,
    /// The first pass of this window.
    first: PassId,
    /// Has an answer spoken of it?
    is_confirmed: bool,
    /// When the last request beyond the burst was due.
    paced: Boot,
    scout: Option<PassId>,
    next_scout: Boot,
}

impl Window {
    /// A window that should have begun, though no answer says so.
    pub(super) fn assumed(limit: RateLimit, rounding: Rounding, on_their_way: u32, next: PassId, now: Boot) -> Self {
        let ends = now + limit.window;
        Self {
            allowed: limit.allowed,
            length: limit.window,
            rounding,
            last_named: Boot::from_nanos(i64::MIN),
            first_named: Boot::FAR,
            last_sent: now,
            earliest: ends,
            latest: ends + limit.window.scaled(1, 20).min(SECOND),
            seen: 0,
            seen_by: next,
            ours: on_their_way,
            first: next,
            is_confirmed: false,
            paced: now,
            scout: None,
            next_scout: now,
        }
    }

    /// The window that the first answer of all speaks of.
    pub(super) fn learned(news: &News, on_their_way: u32) -> Self {
        let limit = RateLimit { allowed: news.sample.allowed, window: news.sample.reset.max(SECOND) };
        let mut window =
            Self::assumed(limit, Rounding::UNKNOWN, on_their_way.saturating_add(1), PassId(0), news.received);
        window.adopt(news);
        window
    }

    pub(super) fn length(&self) -> Span {
        self.length
    }

    pub(super) fn rounding(&self) -> Rounding {
        self.rounding
    }

    /// What is spent freely: all but the reserve.
    pub(super) fn budget(&self) -> u32 {
        let reserve = self.allowed.div_ceil(RESERVE_PART).min(self.allowed - 1);
        self.allowed - reserve
    }

    pub(super) fn used(&self, unsettled: u32) -> u32 {
        self.ours.max(self.seen.saturating_add(unsettled))
    }

    pub(super) fn first_unsettled(&self) -> PassId {
        self.seen_by
    }

    pub(super) fn is_over(&self, now: Boot) -> bool {
        self.latest <= now
    }

    /// How long it still lasts, at least.
    pub(super) fn left(&self, now: Boot) -> Span {
        (self.earliest - now).max(Span::ZERO)
    }

    pub(super) fn gate(&self, unsettled: u32, now: Boot) -> Gate {
        let used = self.used(unsettled);
        if self.has_room(unsettled) {
            return match self.due(used) {
                due if now >= due => Gate::Open,
                due if self.has_burst(used, now) => Gate::Burst(due),
                due => Gate::Closed(due),
            };
        }
        if now < self.earliest {
            // What is on its way may be counted twice until it is answered.
            let is_firm = self.used(0) >= self.budget();
            if is_firm { Gate::Closed(self.earliest) } else { Gate::Awaiting(self.earliest) }
        } else if self.scout.is_some() {
            Gate::Awaiting(self.latest)
        } else if used >= self.allowed {
            Gate::Closed(self.latest)
        } else if now < self.next_scout {
            Gate::Closed(self.next_scout.min(self.latest))
        } else {
            Gate::Open
        }
    }

    pub(super) fn has_room(&self, unsettled: u32) -> bool {
        self.used(unsettled) < self.budget()
    }

    /// Is so much left that a caller may send without waiting for its turn? At least a quarter of an even spread stays.
    pub(super) fn has_burst(&self, used: u32, now: Boot) -> bool {
        let budget = i128::from(self.budget());
        let left = i128::from(self.budget().saturating_sub(used));
        4 * left * i128::from(self.length.as_nanos()) > budget * i128::from(self.left(now).as_nanos())
    }

    /// A request is sent.
    pub(super) fn handle_pass(&mut self, pass: PassId, is_burst: bool, unsettled: u32, now: Boot) {
        let used = self.used(unsettled);
        if used >= self.budget() && now >= self.earliest {
            self.scout = Some(pass);
        } else if !is_burst {
            // A timer that is late a little shall not slow the pace, a caller that was away shall not save it up.
            self.paced = self.due(used).clamp(now - LATE_TIMER, now);
        }
        self.ours = self.ours.saturating_add(1);
    }

    /// A request was not sent after all. Was it one of this window?
    pub(super) fn handle_unsent(&mut self, pass: PassId) -> bool {
        let is_of_this = pass >= self.first;
        if is_of_this {
            self.ours = self.ours.saturating_sub(1);
        }
        is_of_this
    }

    /// If it was the scout that is back, another may go; a while after `answered`, if it brought an answer.
    pub(super) fn handle_scout_back(&mut self, pass: PassId, answered: Option<Boot>) {
        if self.scout == Some(pass) {
            self.scout = None;
            // Those that are left are spread over the time in which the end may be.
            let left = i64::from(self.allowed.saturating_sub(self.used(0)));
            if let Some(at) = answered {
                self.next_scout = at + (self.latest - at).scaled(1, left + 1).max(SCOUT_PAUSE);
            }
        }
    }

    /// An answer speaks of a window.
    pub(super) fn handle_news(&mut self, news: &News, unsettled: u32) -> Fit {
        self.handle_scout_back(news.pass, Some(news.received));
        let fit = self.fit(news);
        match fit {
            Fit::Past => {}
            Fit::This if !self.is_confirmed => self.adopt(news),
            Fit::This => self.narrow(news),
            Fit::Next => {
                let between = (news.received + news.sample.reset) - self.middle();
                let limit = RateLimit {
                    allowed: news.sample.allowed,
                    window: news.sample.reset.max(self.length.min(between)).max(SECOND),
                };
                let mut rounding = self.rounding;
                rounding.learn(self.last_named, self.first_named, self.last_sent, news.received);
                // What is on its way may count here.
                *self = Self::assumed(limit, rounding, unsettled.saturating_add(1), news.pass, news.received);
                self.adopt(news);
            }
        }
        fit
    }

    fn fit(&self, news: &News) -> Fit {
        let (earliest, latest) = self.rounding.ends(news);
        if !self.is_confirmed {
            // An answer from before would end this window where it began.
            return if news.pass >= self.first { Fit::This } else { Fit::Past };
        }
        let is_later = news.received + news.sample.reset > self.middle() + self.length.scaled(1, 2);
        if earliest > self.latest || (is_later && news.sample.count <= self.seen && news.pass >= self.first) {
            Fit::Next
        } else if latest < self.earliest || news.pass < self.first {
            Fit::Past
        } else {
            Fit::This
        }
    }

    /// Takes an answer's word for everything.
    fn adopt(&mut self, news: &News) {
        (self.earliest, self.latest) = self.rounding.ends(news);
        self.is_confirmed = true;
        self.count(news);
    }

    /// Takes what an answer adds to what is known.
    fn narrow(&mut self, news: &News) {
        let (earliest, latest) = self.rounding.ends(news);
        self.earliest = self.earliest.max(earliest);
        self.latest = self.latest.min(latest).max(self.earliest);
        self.count(news);
    }

    fn count(&mut self, news: &News) {
        self.allowed = news.sample.allowed;
        self.length = self.length.max(news.sample.reset);
        self.last_named = self.last_named.max(news.sent + news.sample.reset);
        self.first_named = self.first_named.min(news.received + news.sample.reset);
        self.last_sent = self.last_sent.max(news.sent);
        if news.sample.count > self.seen {
            (self.seen, self.seen_by) = (news.sample.count, news.pass);
        }
    }

    /// When the next request beyond the burst is due: the rest of the budget is spread over the rest of the window.
    fn due(&self, used: u32) -> Boot {
        let left = self.budget().saturating_sub(used);
        self.paced + (self.earliest - self.paced).max(Span::ZERO).scaled(1, i64::from(left) + 1)
    }

    fn middle(&self) -> Boot {
        self.earliest + (self.latest - self.earliest).scaled(1, 2)
    }
}

/// Providers send whole seconds.
const SECOND: Span = Span::from_secs(1);
/// One part in so many is kept back.
const RESERVE_PART: u32 = 50;
/// How far apart scouts are at least.
const SCOUT_PAUSE: Span = Span::from_millis(50);
const LATE_TIMER: Span = Span::from_millis(20);
