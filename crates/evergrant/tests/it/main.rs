//! The library against the simulated provider on a real socket.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

mod assertions;
mod client;
mod diagnosis;
mod durability;
mod layer;
mod offset;
mod source;
mod stores;
mod support;
