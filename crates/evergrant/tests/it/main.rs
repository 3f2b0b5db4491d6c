//! The library against the simulated provider on a real socket.

mod client;
mod layer;
mod source;
mod stores;
mod support;
