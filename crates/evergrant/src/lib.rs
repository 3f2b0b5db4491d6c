//! Keeps OAuth 2.0 access tokens working, and explains every 401.
//!
//! Start with [`TokenSource`]: it mints a token, renews it in time, and gives it to everybody who asks. Whoever sends
//! requests with it takes each one through an [`Exchange`], which repeats what a dying token broke and explains what
//! remains.
//!
//! The rules live in [`core`], which is pure; this crate adds the clock, the network, the stores and the waiting.

pub mod clock;
mod driver;
mod exchange;
mod flight;
pub mod grant;
mod source;
mod status;
pub mod store;
pub mod tls;
pub mod transport;

pub use evergrant_core as core;

pub use exchange::{Answer, Exchange, RequestTraits, Ruling, Sendable};
pub use grant::Credential;
pub use source::{BuildError, Builder, HttpOptions, TokenGuard, TokenSource};
pub use status::{ClockSource, ClockStatus, SkewStatus, SourceStatus};
