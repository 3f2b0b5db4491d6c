//! Keeps OAuth 2.0 access tokens working, and explains every 401.
//!
//! Start with [`TokenSource`]: it mints a token, renews it in time, and gives it to everybody who asks. Send requests
//! with [`Client`], or put a [`TokenLayer`] into a tower stack: both repeat what a dying token broke and explain what
//! remains. [`Client::pages`] reads collections of many pages. Whoever sends in another way takes each request through an [`Exchange`], as these two do, or asks a
//! [`Diagnosis`] why an answer was a refusal.
//!
//! The rules live in [`core`], which is pure; this crate adds the clock, the network, the stores and the waiting.

pub mod assertion;
#[cfg(doctest)]
pub mod book;
pub mod client;
mod client_secrets;
pub mod clock;
mod diagnosis;
mod disturbance;
pub mod doctor;
mod doubt;
mod driver;
mod exchange;
mod flight;
pub mod grant;
mod guard;
pub mod layer;
pub mod login;
mod news;
pub mod offset;
mod origin;
pub mod pages;
mod peeked;
#[cfg(feature = "shuttle")]
#[cfg(test)]
mod races;
mod redeem;
mod replay;
mod retry_after;
mod secret_place;
pub mod settings;
mod source;
pub mod spans;
mod status;
pub mod store;
mod sync;
pub mod time_service;
pub mod tls;
mod trace;
pub mod transport;

pub use evergrant_core as core;

pub use client::{Client, ClientBuilder, ClientError};
pub use diagnosis::Diagnosis;
pub use exchange::{Answer, Exchange, RequestTraits, Ruling, Sendable};
pub use grant::Credential;
pub use guard::TokenGuard;
pub use layer::{LayerError, TokenLayer, TokenService};
pub use origin::{ForeignOrigin, Origins, holds_credentials};
pub use peeked::Peeked;
pub use redeem::{Brought, RedeemAs, Redeemed};
pub use reqwest;
pub use retry_after::retry_after;
pub use secret_place::{SecretPlace, SecretPlaces};
pub use source::{BuildError, Builder, EventWatch, HttpOptions, TokenSource};
pub use status::{ClockSource, ClockStatus, EventStatus, SkewMoment, SkewStatus, SourceStatus};
