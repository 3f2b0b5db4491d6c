//! Named situations, and what each of them forces even on a perfect client.
//!
//! A scenario is a provider, a load, and a schedule of events. The question it asks is always the same: does any caller
//! see a 401, does any call fail that need not, are there more token requests than needed, is any side effect executed
//! twice? [`Forced`] says what the fault itself makes unavoidable, and nothing more, so that a test has no room for
//! excuses: calls may fail only inside an outage, and token requests are counted against [`Scenario::mint_allowance`].
//!
//! Times are relative to the moment the schedule starts to play. Lifetimes are a few seconds, so that a run of some 15
//! seconds sees several of them. The house's own scenarios leave the client's machine alone, so that they can be played
//! on a real one; [`Mishap`]s are for virtual time.

use evergrant_core::time::Span;
use serde::Serialize;

use crate::config::{Delay, ProviderConfig};
use crate::faults::At;

mod strike;
mod table;

/// One situation.
#[derive(Clone, Debug, Serialize)]
pub struct Scenario {
    /// A stable name in snake case.
    pub name: &'static str,
    /// What is hard about it, in one line.
    pub about: &'static str,
    /// The provider.
    pub config: ProviderConfig,
    /// The way to it, in virtual time; a test on a socket has the way that it has.
    pub network: Network,
    /// Which grant the client uses.
    pub grant: Grant,
    /// What callers do.
    pub load: Load,
    /// What happens to the provider meanwhile.
    pub events: Vec<At>,
    /// What happens to the client's machine, in virtual time.
    pub mishaps: Vec<Mishap>,
    /// How long to run.
    pub duration: Span,
    /// What no client can avoid.
    pub forced: Forced,
}

/// The grant a scenario's client uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// Client credentials (RFC 6749 section 4.4).
    ClientCredentials,
    /// The refresh token of the provider's first client (RFC 6749 section 6).
    RefreshToken,
}

/// The way to the provider and back.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Network {
    /// From the client to the provider.
    pub there: Delay,
    /// From the provider to the client.
    pub back: Delay,
    /// How many of a thousand requests, and of a thousand answers, are lost.
    pub lost_permille: u16,
}

impl Default for Network {
    fn default() -> Self {
        let near = Delay::uniform(Span::from_millis(1), Span::from_millis(3));
        Self { there: near, back: near, lost_permille: 0 }
    }
}

/// Something that happens to the client's machine, and when after the start.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Mishap {
    /// How long after the start.
    pub after: Span,
    /// What happens.
    pub event: LocalEvent,
}

/// A change of the client's machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalEvent {
    /// The calendar clock is set forward; negative: back.
    StepWall(Span),
    /// The calendar clock gains so many microseconds in each second from now on; negative: it loses.
    SlewWall(i64),
    /// The machine sleeps: nothing runs, and both clocks go on.
    Suspend(Span),
    /// The virtual machine is paused: nothing runs, and both clocks stand still.
    PauseVm(Span),
    /// The process is killed, and starts again after this long with what its store holds.
    Crash(Span),
}

/// What callers do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Load {
    /// Calls in each minute, evenly spread.
    pub calls_per_min: u32,
    /// Calls that all start at one moment, on top.
    pub bursts: Vec<Burst>,
    /// Does the load start at once, without waiting until the client is ready?
    pub cold: bool,
    /// How many of a thousand calls have a body that is gone once it was sent.
    pub uploads_permille: u16,
    /// How many of a thousand calls wait for a few seconds at most.
    pub hurried_permille: u16,
}

impl Load {
    /// Calls at an even pace, once the client is ready.
    #[must_use]
    pub fn steady(calls_per_min: u32) -> Self {
        Self { calls_per_min, ..Self::default() }
    }
}

/// Calls that all start at one moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Burst {
    /// When, after the start.
    pub after: Span,
    /// How many.
    pub calls: u32,
}

/// What the fault itself forces.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Forced {
    /// Times in which no working token exists, with the time a client may need to notice the end of it.
    pub outages: Vec<Outage>,
    /// Token requests beyond those for the tokens' own lifetimes.
    pub token_requests: u32,
    /// How long a call may have to wait at most, where waiting is the only way not to fail.
    pub wait: Span,
}

/// A time in which calls may fail.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Outage {
    /// From this moment after the start.
    pub from: Span,
    /// To this one.
    pub to: Span,
}

impl Scenario {
    /// All scenarios, in the order of the table in this module's sources.
    #[must_use]
    pub fn all() -> Vec<Self> {
        table::all()
    }

    /// The scenario of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|scenario| scenario.name == name)
    }

    /// May a call that ran from `started` to `ended`, both after the start, fail without a 401?
    #[must_use]
    pub fn may_fail(&self, started: Span, ended: Span) -> bool {
        self.forced.outages.iter().any(|outage| started <= outage.to && outage.from <= ended)
    }

    /// How many token requests a run of this length may need: 2.5 in each lifetime begun, and those that are forced.
    #[must_use]
    pub fn mint_allowance(&self, ran: Span) -> u64 {
        let lifetime = self.config.tokens.lifetime.as_nanos().max(1);
        let lifetimes = ran.as_nanos().max(lifetime);
        // 2.5 times the lifetimes, rounded up, in integers.
        let needed = i128::from(lifetimes) * 5;
        let per = i128::from(lifetime) * 2;
        let allowed = (needed + per - 1) / per;
        u64::try_from(allowed).unwrap_or(u64::MAX).saturating_add(u64::from(self.forced.token_requests))
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod yardstick;
