//! The real binary as a user meets it: what it prints, where, and with which exit code.
//!
//! Each test starts its own provider on loopback and gives the binary an environment of its own: nothing of the
//! developer's settings leaks in.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod clock;
mod doctor;
mod exec;
mod explain;
mod explain_capture;
mod gateway;
mod help;
mod lossless;
mod paginate;
mod profiles;
mod ready;
mod refused;
mod reload;
mod rotating;
mod secrets;
mod served;
mod service;
mod settings;
mod simulate;
mod store;
mod support;
mod token;
mod version;
