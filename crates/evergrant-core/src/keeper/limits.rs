//! The two brakes on token requests: a budget for all of them, and a circuit for those that a 401 asks for.
//!
//! A provider keeps only so many tokens of one client alive and ends the oldest beyond that. A client that mints on
//! every 401 therefore creates the 401s that it mints for. The budget bounds mints over a window and keeps a reserve
//! for scheduled refreshes; the circuit stops 401-driven mints when new tokens do not help.

use std::collections::{BTreeMap, VecDeque};

use crate::attempt::Route;
use crate::policy::Policy;
use crate::time::{Boot, Span};

/// Mints within the last [`Policy::BUDGET_WINDOW`].
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Our own, by when they were asked for.
    own: VecDeque<Boot>,
    /// Those that the store told of last, ours among them. Mints of another machine are mapped through a clock, each time
    /// a little otherwise, so a newer list takes the place of the older one.
    stored: Vec<Boot>,
}

impl Budget {
    /// A mint counts from when it was asked for. The store knows it by that moment too, so it is not counted twice.
    pub(super) fn handle_mint(&mut self, sent: Boot, now: Boot) {
        self.own.push_back(sent);
        self.forget_before(now);
    }

    /// Mints of other processes with the same credential count as well.
    pub(super) fn handle_known(&mut self, mints: impl IntoIterator<Item = Boot>) {
        self.stored = mints.into_iter().collect();
    }

    /// Mints in the window that are not older than a token lives: so many of ours can be alive at once.
    pub(super) fn alive(&mut self, lifetime: Option<Span>, now: Boot) -> usize {
        self.forget_before(now);
        let is_alive = |mint: &&Boot| lifetime.is_none_or(|life| now - **mint < life);
        self.within_window(now).iter().filter(is_alive).count()
    }

    /// When the next mint is allowed; now, if it is allowed now.
    pub(super) fn next_allowed(&mut self, limit: usize, is_scheduled: bool, now: Boot) -> Boot {
        self.forget_before(now);
        let reserve = if is_scheduled { 0 } else { Policy::BUDGET_RESERVE };
        let limit = limit.saturating_sub(reserve).max(1);
        let mints = self.within_window(now);
        match mints.len().checked_sub(limit) {
            None => now,
            Some(over) => mints.get(over).map_or(now, |mint| *mint + Policy::BUDGET_WINDOW),
        }
    }

    /// How many mints the window holds.
    pub(super) fn used(&self, now: Boot) -> usize {
        self.within_window(now).len()
    }

    /// Each mint once, the oldest first.
    fn within_window(&self, now: Boot) -> Vec<Boot> {
        let all = self.own.iter().chain(&self.stored).copied();
        let mut mints: Vec<_> = all.filter(|mint| now - *mint < Policy::BUDGET_WINDOW).collect();
        mints.sort_unstable();
        mints.dedup();
        mints
    }

    fn forget_before(&mut self, now: Boot) {
        while self.own.front().is_some_and(|mint| now - *mint >= Policy::BUDGET_WINDOW) {
            self.own.pop_front();
        }
    }
}

/// Open while new tokens are refused everywhere.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    open_until: Option<Boot>,
    openings: u32,
    has_taken_early: bool,
}

impl Circuit {
    /// A token that was minted because its predecessor was refused is refused as well and never worked.
    pub(super) fn handle_useless_mint(&mut self, now: Boot) {
        let wait = FIRST_OPENING.scaled(1 << self.openings.min(8), 1).min(LONGEST_OPENING);
        self.openings += 1;
        self.open_until = Some(now + wait);
    }

    /// Any success of any token closes it.
    pub(super) fn handle_proof(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_open(&self, now: Boot) -> bool {
        self.open_until.is_some_and(|until| now < until)
    }

    /// Has the wait ended? Then one more mint is allowed, to see whether it helps now.
    pub(super) fn takes_test(&mut self, now: Boot) -> bool {
        self.open_until.take_if(|until| now >= *until).is_some()
    }

    /// A token is given up whose time has not come. Does its successor help? Once until the next proof that is believed:
    /// if the successor's time has not come either, the issuer's clock is ahead, and waiting is all that helps.
    pub(super) fn takes_early(&mut self) -> bool {
        !std::mem::replace(&mut self.has_taken_early, true)
    }

    pub(super) fn open_until(&self) -> Option<Boot> {
        self.open_until
    }
}

const FIRST_OPENING: Span = Span::from_secs(30);
const LONGEST_OPENING: Span = Span::from_secs(300);

/// Routes that refuse tokens which work elsewhere: their 401s never ask for a token.
#[derive(Debug, Default)]
pub(super) struct RouteMemory {
    until: BTreeMap<Route, Boot>,
}

impl RouteMemory {
    pub(super) fn remember(&mut self, route: &Route, now: Boot) {
        self.until.retain(|_, until| now < *until);
        if self.until.len() < ROUTES_KEPT || self.until.contains_key(route) {
            self.until.insert(route.clone(), now + Policy::ROUTE_MEMORY);
        }
    }

    pub(super) fn is_known(&self, route: &Route, now: Boot) -> bool {
        self.until.get(route).is_some_and(|until| now < *until)
    }
}

const ROUTES_KEPT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_frees_up_as_mints_leave_the_window() {
        let mut budget = Budget::default();
        let at = |secs: i64| Boot::from_secs(1000 + secs);
        (0..3).for_each(|n| budget.handle_mint(at(n), at(n)));
        assert_eq!(budget.next_allowed(4, true, at(3)), at(3));
        assert_eq!(budget.next_allowed(3, true, at(3)), at(600));
        assert_eq!(budget.next_allowed(3, true, at(600)), at(600));
        assert_eq!(budget.alive(None, at(601)), 1);
        assert_eq!(budget.alive(Some(Span::from_secs(599)), at(601)), 0);
    }

    #[test]
    fn a_mint_that_the_store_knows_too_counts_once() {
        let mut budget = Budget::default();
        let (sent, answered) = (Boot::from_secs(1), Boot::from_secs(3));
        budget.handle_mint(sent, answered);
        budget.handle_known([sent, Boot::from_secs(2)]);
        assert_eq!(budget.used(answered), 2);
    }

    #[test]
    fn a_mint_of_another_machine_counts_once_although_its_time_is_told_a_little_otherwise_each_time() {
        let mut budget = Budget::default();
        let now = Boot::from_secs(100);
        for told in 0..50 {
            budget.handle_known([Boot::from_secs(90) + Span::from_micros(told)]);
        }
        assert_eq!(budget.used(now), 1);
    }

    #[test]
    fn refusals_leave_a_reserve_for_the_schedule() {
        let mut budget = Budget::default();
        let now = Boot::from_secs(0);
        (1..9).for_each(|ago| budget.handle_mint(now - Span::from_secs(ago), now));
        assert_eq!(budget.next_allowed(10, true, now), now);
        assert!(budget.next_allowed(10, false, now) > now);
    }

    #[test]
    fn the_circuit_opens_for_thirty_seconds_doubling_to_five_minutes() {
        let mut circuit = Circuit::default();
        let mut lasts = Vec::new();
        for n in 0..6 {
            let now = Boot::from_secs(10_000 * n);
            circuit.handle_useless_mint(now);
            lasts.push((circuit.open_until().unwrap() - now).as_secs());
        }
        assert_eq!(lasts, [30, 60, 120, 240, 300, 300]);
        circuit.handle_proof();
        assert!(!circuit.is_open(Boot::from_secs(50_001)));
    }

    #[test]
    fn a_route_is_forgotten_after_ten_minutes_and_the_memory_is_bounded() {
        let mut memory = RouteMemory::default();
        let route = Route::new("h", "GET", "/a");
        memory.remember(&route, Boot::from_secs(0));
        assert!(memory.is_known(&route, Boot::from_secs(599)));
        assert!(!memory.is_known(&route, Boot::from_secs(600)));
        (0..1000).for_each(|n| memory.remember(&Route::new("h", "GET", &format!("/word{n}x")), Boot::from_secs(0)));
        assert!(memory.until.len() <= ROUTES_KEPT);
    }
}
