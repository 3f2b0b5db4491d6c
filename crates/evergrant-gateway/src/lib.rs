//! The Evergrant gateway: a local HTTP proxy that gives every request a working token.
//!
//! Callers talk to a port on this machine as if it were the API. The gateway sends each request to one upstream with
//! a token from [`evergrant::TokenSource`], streams both ways, and when the API refuses a token it replays what may be
//! replayed. A 401 that does reach a caller carries an `evergrant-verdict` field that says why.
//!
//! The way of a request through the modules: `listen` and `entrance` accept, `peer` asks whose process calls, `connection`
//! serves, `watched` bounds the wait for the head, `gate` refuses (`callers` by who calls, `cors` knows pages), `broker`
//! answers logins and knows who holds a handle, `proxy` sends and judges, `headers` and `tee` prepare what crosses,
//! `upstream` connects, `body` carries the answer back. `admin` shows `metrics` on a listener of its own; `spans` tells a
//! collector of traces.
//!
//! What it never does: follow a redirect, send a request without a token, send one anywhere but to the configured
//! upstream, or log a path's query, an `Authorization` or a `Cookie`.

mod activity;
mod address;
mod admin;
mod admin_entrance;
mod body;
mod broker;
mod callers;
mod config;
mod connection;
mod cors;
mod dashboard;
mod egress;
mod entrance;
mod expect;
mod fault;
mod framing;
mod gate;
mod head;
mod headers;
mod inherited;
mod journal;
mod listen;
mod metrics;
mod pace;
mod patience;
mod peer;
mod phase;
mod problem;
mod proxy;
mod room;
mod running;
mod server;
mod site;
mod spans;
mod stream;
mod tee;
mod upgrade;
mod upstream;
mod watched;

pub use address::Address;
pub use broker::{BrokerConfig, Welcome};
pub use callers::Callers;
pub use config::{GatewayConfig, Limits, Timeouts, Upstream, UpstreamError};
pub use egress::Egress;
pub use inherited::{Inherited, InheritedSocket};
pub use listen::BindError;
pub use metrics::{Bucket, LatencySnapshot, Recent, Snapshot, TrafficSample};
pub use server::{Drained, Gateway, Handle, Listeners, ReloadError};
pub use site::{Reloaded, SitePlan};
pub use spans::{TraceContext, carry_trace_context};
