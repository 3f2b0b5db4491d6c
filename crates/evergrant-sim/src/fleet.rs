//! A fleet of processes that share one grant in one store, in virtual time, from one seed.
//!
//! Every member is the keeper that ships, with the refresh, the lease and the turn to take over that ship too. The store is
//! a model of what Redis does and of how it fails ([`store`]); the provider is the one of the other worlds. Members are
//! stopped, killed and cut off, the store is out of reach, emptied, or replaced by a replica that lags, messages are lost,
//! and the token endpoint fails. The world ends with a stretch in which nothing fails any more.
//!
//! What must hold ([`Outcome::broken`]):
//!
//! - **P3**: one token request at a time, unless somebody was stopped for longer than a lease lasts, or the store failed.
//! - **P5**: no refresh token is sent once its successor is stored, unless the store lost that; no grant is lost while
//!   members, store and token endpoint could have kept it.
//! - **P2**: at the end every member serves a token that works, and all have the same generation.
//!
//! Members run on machines of their own, whose boot clocks begin at another moment and run at another rate ([`BootClock`]); what
//! a record of another machine says of time is read through the store's clock.
//!
//! Limits: callers only ask for tokens; a calendar clock is as far ahead of the true time as its machine has been up, and
//! nothing that a member does may depend on it.

mod clock;
mod draw;
mod member;
mod rules;
pub mod store;
mod world;

use evergrant_core::time::Span;

use crate::config::{Delay, ProviderConfig};
use crate::faults::At;
use crate::ledger::Ledger;
use crate::scenario::Grant;
pub use clock::BootClock;
pub use draw::{clocks, drawn};
pub use member::Slip;
pub use rules::{Jitter, Rules};
use world::World;

/// A fleet and what happens to it.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// How many processes.
    pub members: usize,
    /// The clocks of the machines that they run on, which take them by turns; without any, one that is the run's own.
    pub machines: Vec<BootClock>,
    /// What they spend for tokens.
    pub grant: Grant,
    /// How long a lease lasts that nobody renews.
    pub ttl: Span,
    /// The provider.
    pub config: ProviderConfig,
    /// What happens to it.
    pub events: Vec<At>,
    /// What the members do otherwise than those that ship.
    pub rules: Rules,
    /// One way to the store.
    pub to_store: Delay,
    /// One way to the provider.
    pub to_provider: Delay,
    /// The time between two questions of a caller for a token.
    pub call_every: Delay,
    /// How many of a thousand messages of the store are lost.
    pub messages_lost_permille: u16,
    /// What happens to members and store, and when after the start.
    pub troubles: Vec<(Span, Trouble)>,
    /// When nothing fails any more.
    pub quiet_from: Span,
    /// How long to run.
    pub duration: Span,
}

/// Something that happens to a member or the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The process stands still and then goes on, as after SIGSTOP and SIGCONT.
    Stop(usize, Span),
    /// The process is killed, and starts again with an empty memory.
    Crash(usize, Span),
    /// The member and the store do not reach each other.
    Cut(usize, Span),
    /// Nobody reaches the store.
    StoreDown(Span),
    /// The store starts again without its data.
    StoreEmptied,
    /// A replica takes over that lags so far behind.
    Failover(Span),
    /// A proxy answers the member's token requests with 503 in the token endpoint's place.
    BadProxy(usize, Span),
    /// Whoever sends the next token request is killed while it waits for the answer, and starts again so much later.
    KilledWhileAsking(Span),
}

/// What came of a fleet.
#[derive(Debug)]
pub struct Outcome {
    /// Promises that were broken.
    pub broken: Vec<String>,
    /// What the provider wrote down.
    pub ledger: Ledger,
    /// Commands that reached the store.
    pub commands: u64,
    /// From each commit to each member's adoption of it.
    pub adoptions: Vec<Span>,
    /// Tokens issued.
    pub issued: u64,
    /// Commands that reached the store in each second after the start.
    pub commands_at: Vec<u32>,
    /// When a member asked for a lease that was somebody else's, after the start.
    pub refusals: Vec<Span>,
    /// When tokens were issued, after the start.
    pub issues: Vec<Span>,
    /// When each generation was stored, and when the last member that took it over did so, after the start.
    pub generations: Vec<(Span, Span)>,
    /// Was the grant lost, with an excuse or without one?
    pub is_grant_lost: bool,
    /// A line for everything that happened, if asked for.
    pub log: String,
}

/// Runs a fleet to its end.
#[must_use]
pub fn run(fleet: &Fleet, seed: u64, keeps_log: bool) -> Outcome {
    World::new(fleet, seed, None, keeps_log).run()
}

/// Runs a fleet in which every member makes the same slip.
#[must_use]
pub fn run_with_slip(fleet: &Fleet, seed: u64, slip: Slip) -> Outcome {
    World::new(fleet, seed, Some(slip), false).run()
}
