//! Who waits, and whose turn it is.
//!
//! Each caller has a lane, first come first served. Each request sent gives its lane the next tag, one [`UNIT`] divided
//! by the caller's weight after the last, and the waiting lane whose next tag is lowest is served next. So the next is
//! always who has had least for its weight in this window of the limit.
//!
//! With each window all lanes start level, at virtual time, which is the highest tag used; so does a caller that is
//! new. Nobody saves turns up from window to window, and an endless row of new callers never overtakes one that waits.
//! A lane that was not used for a whole window is dropped.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::rules::{CallerKey, PaceRules};
use super::status::CallerPace;
use crate::time::Boot;

/// A place in the queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TicketId(u64);

/// The lanes of all callers.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    lanes: BTreeMap<CallerKey, Lane>,
    tickets: BTreeMap<TicketId, Ticket>,
    deadlines: BTreeSet<(Boot, TicketId)>,
    virtual_time: u64,
    next_ticket: u64,
}

#[derive(Debug)]
struct Ticket {
    caller: CallerKey,
    deadline: Boot,
}

#[derive(Debug)]
struct Lane {
    weight: u32,
    /// Requests sent in this window.
    sent: u32,
    /// The tag last used.
    last: u64,
    waiting: VecDeque<TicketId>,
}

impl FairQueue {
    pub(super) fn len(&self) -> usize {
        self.tickets.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    pub(super) fn is_waiting(&self, caller: &CallerKey) -> bool {
        self.lanes.get(self.known(caller)).is_some_and(|lane| !lane.waiting.is_empty())
    }

    /// Is there no room for one more request of this caller?
    pub(super) fn is_full(&self, caller: &CallerKey, rules: &PaceRules) -> bool {
        let of_caller = self.lanes.get(self.known(caller)).map_or(0, |lane| lane.waiting.len());
        self.len() >= rules.queue || of_caller >= rules.queue_per_caller
    }

    /// Does one more request of this caller fit into its part of the burst, which is half of the budget?
    pub(super) fn is_within_share(&self, caller: &CallerKey, budget: u32, rules: &PaceRules) -> bool {
        let all = self.weights();
        match self.lanes.get(self.known(caller)) {
            Some(lane) => lane.is_within_share(budget, all),
            None => Lane::new(rules.weight(caller), 0).is_within_share(budget, all + u64::from(rules.weight(caller))),
        }
    }

    pub(super) fn push(&mut self, caller: &CallerKey, deadline: Boot, in_front: bool, rules: &PaceRules) -> TicketId {
        let id = TicketId(self.next_ticket);
        self.next_ticket += 1;
        let (caller, lane) = self.lane(caller, rules);
        if in_front {
            lane.waiting.push_front(id);
        } else {
            lane.waiting.push_back(id);
        }
        self.tickets.insert(id, Ticket { caller, deadline });
        self.deadlines.insert((deadline, id));
        id
    }

    /// Takes the next in turn out of the queue; with a budget, the next whose caller is within its share of the burst.
    pub(super) fn take_next(&mut self, within: Option<u32>) -> Option<(CallerKey, TicketId)> {
        let all = self.weights();
        let heads = self.lanes.values().filter(|lane| within.is_none_or(|budget| lane.is_within_share(budget, all)));
        let (_, id) = heads.filter_map(|lane| Some((lane.last + lane.step(), *lane.waiting.front()?))).min()?;
        Some((self.remove(id)?, id))
    }

    /// Takes out a ticket whose deadline has come.
    pub(super) fn take_overdue(&mut self, now: Boot) -> Option<TicketId> {
        let (_, id) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now)?;
        self.remove(id).map(|_| id)
    }

    pub(super) fn first_deadline(&self) -> Option<Boot> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Takes a ticket out, wherever it stands, and says whose it was.
    pub(super) fn remove(&mut self, id: TicketId) -> Option<CallerKey> {
        let Ticket { caller, deadline } = self.tickets.remove(&id)?;
        self.deadlines.remove(&(deadline, id));
        if let Some(lane) = self.lanes.get_mut(&caller) {
            lane.waiting.retain(|waiting| *waiting != id);
        }
        Some(caller)
    }

    /// A request is sent. Says under which name it counts.
    pub(super) fn note_pass(&mut self, caller: &CallerKey, rules: &PaceRules) -> CallerKey {
        let (caller, lane) = self.lane(caller, rules);
        lane.sent = lane.sent.saturating_add(1);
        lane.last += lane.step();
        let tag = lane.last;
        self.virtual_time = self.virtual_time.max(tag);
        caller
    }

    /// A request was not sent after all.
    pub(super) fn give_back(&mut self, caller: &CallerKey) {
        if let Some(lane) = self.lanes.get_mut(caller) {
            lane.sent = lane.sent.saturating_sub(1);
            lane.last = lane.last.saturating_sub(lane.step());
        }
    }

    /// A new window of the limit: all start level.
    pub(super) fn begin_window(&mut self) {
        let virtual_time = self.virtual_time;
        self.lanes.retain(|_, lane| lane.sent > 0 || !lane.waiting.is_empty());
        for lane in self.lanes.values_mut() {
            lane.sent = 0;
            lane.last = virtual_time;
        }
    }

    /// Nobody waits and nothing is limited: there is nothing to remember.
    pub(super) fn forget_callers(&mut self) {
        self.lanes.clear();
    }

    pub(super) fn callers(&self) -> BTreeMap<String, CallerPace> {
        let mut lanes: Vec<_> = self.lanes.iter().collect();
        lanes.sort_by_key(|(_, lane)| std::cmp::Reverse((lane.sent, lane.waiting.len())));
        lanes.truncate(CALLERS_SHOWN);
        let shown = |(caller, lane): (&CallerKey, &Lane)| {
            (caller.to_string(), CallerPace { weight: lane.weight, sent: lane.sent, waiting: lane.waiting.len() })
        };
        lanes.into_iter().map(shown).collect()
    }

    fn lane(&mut self, caller: &CallerKey, rules: &PaceRules) -> (CallerKey, &mut Lane) {
        let caller = self.known(caller).clone();
        let virtual_time = self.virtual_time;
        let weight = rules.weight(&caller);
        let lane = self.lanes.entry(caller.clone()).or_insert_with(|| Lane::new(weight, virtual_time));
        (caller, lane)
    }

    /// The caller itself, or all others together if there is no room for one more.
    fn known<'a>(&self, caller: &'a CallerKey) -> &'a CallerKey {
        let has_room = self.lanes.len() < MOST_LANES || self.lanes.contains_key(caller);
        if has_room { caller } else { &CallerKey::Others }
    }

    fn weights(&self) -> u64 {
        self.lanes.values().map(|lane| u64::from(lane.weight)).sum()
    }
}

impl Lane {
    fn new(weight: u32, virtual_time: u64) -> Self {
        Self { weight, sent: 0, last: virtual_time, waiting: VecDeque::new() }
    }

    /// How far apart the tags of this lane are.
    fn step(&self) -> u64 {
        UNIT / u64::from(self.weight)
    }

    fn is_within_share(&self, budget: u32, all: u64) -> bool {
        (u64::from(self.sent) + 1) * 2 * all <= u64::from(budget) * u64::from(self.weight)
    }
}

/// The distance of two tags at weight 1; dividing it by any weight leaves an error below a thousandth.
const UNIT: u64 = 1_000_000;
const MOST_LANES: usize = 500;
const CALLERS_SHOWN: usize = 20;
