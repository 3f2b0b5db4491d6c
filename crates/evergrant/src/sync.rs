//! What the hot path stands on: locks, cells, signals, tasks, timers and the way to the token endpoint.
//!
//! Races are found only where somebody else decides who runs next. So the files whose threads meet, `driver`, `source`,
//! `exchange`, `flight`, `news` and the store in memory, take all of this from here, but for what one task alone
//! writes: the probe of `driver`, the token endpoint of `means`, a flag of each flight; and the client's secrets, which are files. In every build that anybody uses
//! it is what std, tokio, arc-swap and reqwest provide, under its own name. In the crate's own unit tests with the feature
//! `shuttle` it is `shuttled`: the same things with a point before each step at which shuttle's scheduler may let
//! another task go on, a clock that stands still while anybody can run, and a token endpoint in memory.
//!
//! The feature alone changes nothing: without `cfg(test)`, which is set for this crate's unit tests and for nothing that
//! depends on it, both builds are the same. The scenes are in `races`.
//!
//! Limits: shuttle takes every atomic step for sequentially consistent, so it finds wrong orders of steps, not wrong
//! memory orderings. tokio's and arc-swap's own insides are one step each.

#[cfg(not(all(test, feature = "shuttle")))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
    pub(crate) use std::sync::{Mutex, MutexGuard};

    pub(crate) use arc_swap::ArcSwap;
    use reqwest::{RequestBuilder, Response};
    pub(crate) use tokio::runtime::Handle;
    pub(crate) use tokio::sync::{Mutex as LeaseLock, Notify, watch};
    pub(crate) use tokio::time::{sleep, timeout};

    /// Sends a token request.
    pub(crate) async fn send(request: RequestBuilder) -> Result<Response, reqwest::Error> {
        request.send().await
    }

    /// Tells replicas apart; without randomness all would refresh at the same instant, which is bearable.
    pub(crate) fn seed() -> u64 {
        getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()))
    }
}

#[cfg(feature = "shuttle")]
#[cfg(test)]
pub(crate) mod shuttled;
#[cfg(feature = "shuttle")]
#[cfg(test)]
pub(crate) mod world;

#[cfg(not(all(test, feature = "shuttle")))]
pub(crate) use real::*;
#[cfg(all(test, feature = "shuttle"))]
pub(crate) use shuttled::*;
