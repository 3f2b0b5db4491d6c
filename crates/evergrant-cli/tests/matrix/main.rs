//! The fault matrix: the real gateway process against the simulated provider on a socket, one fault after the other.
//!
//! Each test plays one scenario of [`evergrant_sim::Scenario`] at a hundred calls a second with tokens of a few seconds,
//! and asks what the promises say: no caller sees a 401; no call fails that the fault does not force to fail; no call
//! waits longer than the fault forces; at most one token request is in flight, and no more are made than the tokens'
//! lifetimes and the fault need; no side effect is executed twice, and each one that a caller was told of is executed
//! once, with the body that was sent.
//!
//! The calls are GET, POST and PUT over connections that stay open, HTTP/1.1 and HTTP/2 side by side. The clocks are
//! real, so a busy machine makes calls late. How late is measured beside them, by calls that need no token, and only the
//! bound on waiting knows about it; the promises about 401s and counts have no such excuse. A machine that cannot carry
//! half of the calls fails the test and is named as the reason.
//!
//! Two faults are not in the simulator, because they happen to the gateway and not to the provider: steps of the local
//! calendar clock, for which the gateway runs under libfaketime ([`local`]), and its own end and restart ([`store`]).
#![expect(clippy::unwrap_used, reason = "in a test, a panic with the place is the report")]
#![expect(clippy::print_stdout, reason = "what was measured is worth reading beside the result")]

mod check;
mod client;
#[path = "../shared/faked_wall.rs"]
mod faked_wall;
mod gateway;
mod load;
mod local;
mod run;
mod scenarios;
mod secrecy;
mod store;
