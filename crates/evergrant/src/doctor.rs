//! Looks at a set-up once and says what works, what does not, and what to do about it.
//!
//! [`examine()`] runs every check that the [`Setup`] allows, in the order in which they depend on each other, and
//! independent ones at once. A check whose ground is missing is skipped and says which one that was, so that one broken
//! wire is one fault and not twelve. The [`Report`] holds each check with its state, its evidence in sentences with
//! numbers, what to do, and the cause by [`diagnose`](evergrant_core::verdict::diagnose) where a server refused
//! something.
//!
//! What it does to the world: one token request at most, and requests that only read. It writes no store, deletes
//! nothing, and spends no refresh token: that grant is looked at through the store, because asking would rotate it.
//!
//! No secret is in a report: tokens appear as their kind and their times, URLs without their queries, and what servers
//! say has been cleaned by the readers in [`core::wire`](evergrant_core::wire).

mod account;
mod api;
mod certificate;
mod clocks;
mod evidence;
mod examine;
mod gateway;
mod look;
mod mint;
mod reach;
mod report;
mod setup;
mod signature;
mod store;
mod token;
mod tunnel;
mod visit;
mod words;

pub use examine::examine;
pub use gateway::reachable;
pub use report::{Check, Counts, LatencyPoint, Measured, Name, OffsetPoint, Ruling, Skew, State, TokenLine};
pub use report::{FORMAT_VERSION, Progress, Report};
pub use setup::{GatewayPlace, GatewaySetup, Identity, Setup};
