//! The Evergrant gateway: a local HTTP proxy that gives every request a working token.
//!
//! Callers talk to a port on this machine as if it were the API. The gateway sends each request to one upstream with
//! a token from [`evergrant::TokenSource`], streams both ways, and when the API refuses a token it replays what may be
//! replayed. A 401 that does reach a caller carries an `evergrant-verdict` field that says why.
//!
//! The way of a request through the modules: `server` accepts, `peer` asks whose process calls, `watched` bounds the wait
//! for its head, `gate` refuses (`callers` by who calls, `cors` knows pages), `proxy` sends and judges, `headers` and `tee` prepare what crosses, `upstream` connects, `body` carries the answer
//! back. `admin` shows `metrics` on a listener of its own.
//!
//! What it never does: follow a redirect, send a request without a token, send one anywhere but to the configured
//! upstream, or log a path's query, an `Authorization` or a `Cookie`.

mod admin;
mod body;
mod callers;
mod config;
mod cors;
mod egress;
mod framing;
mod gate;
mod headers;
mod metrics;
mod peer;
mod phase;
mod problem;
mod proxy;
mod server;
mod site;
mod source_metrics;
mod tee;
mod upgrade;
mod upstream;
mod watched;

pub use callers::Callers;
pub use config::{GatewayConfig, Limits, Timeouts, Upstream, UpstreamError};
pub use egress::Egress;
pub use metrics::Snapshot;
pub use server::{BindError, Drained, Gateway};
