//! The library against the simulated provider on a real socket.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

mod assertions;
mod change_over;
mod client;
mod crash;
mod diagnosis;
mod durability;
#[cfg(feature = "redis")]
mod fleet;
mod layer;
#[cfg(feature = "redis")]
mod moved_clock;
mod offset;
mod pages;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod redis_places;
#[cfg(feature = "redis")]
#[path = "../shared/redis_server.rs"]
mod redis_server;
#[cfg(feature = "redis")]
mod redis_trouble;
mod source;
mod stores;
mod support;
#[cfg(feature = "redis")]
mod transfer;
