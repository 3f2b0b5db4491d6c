//! A simulated OAuth 2.0 provider, a hard and honest opponent for clients.
//!
//! The provider is one pure state machine: [`Provider::handle`] takes a [`Request`] and this machine's boot clock and
//! returns a [`Reply`]. It owns an authorization server (token endpoint, client credentials, rotating refresh tokens)
//! and a resource server of several nodes. It decides by its own clock, which has an offset, drifts and steps, and
//! never by the client's. What it decided is written to a [`Ledger`] that tests compare with what the client saw.
//!
//! | module | what it holds |
//! |---|---|
//! | [`clock`] | the provider's calendar clock |
//! | [`config`] | what a provider is like, as data |
//! | [`faults`] | what goes wrong, as data: rules and timed events |
//! | [`tokens`] | access tokens: issue, expiry, propagation, revocation, eviction |
//! | [`grants`] | the token endpoint: client authentication, grants |
//! | `assertions` | JWT assertions, by their dates |
//! | `codes` | authorization codes, with and without PKCE |
//! | [`rotation`] | refresh tokens: families, grace, reuse detection |
//! | [`api`] | the resource server's routes and side effects |
//! | `paged` | collections that are read page by page, in every style, and how they go wrong |
//! | [`shape`] | how errors look: Genesys Cloud or the RFCs |
//! | `account` | what the API tells about token, client and organisation |
//! | [`ledger`] | what happened |
//! | [`provider`] | the state machine that joins them |
//! | [`scenario`] | named situations with what each of them forces on a perfect client |
//! | [`strategy`] | the clients that are compared: Evergrant and the ways in common use |
//! | [`world`] | one client, the provider, a network and callers in virtual time |
//! | [`fleet`] | many processes with one grant in one store, in virtual time |
//! | [`comparison`] | what came of several clients in the same worlds, and what it depends on |
//! | [`space`] | the whole space of faults: a world for every seed |
//! | [`measurement`] | a server's clock measured through a simulated network |
//! | [`http`] | the same provider on a real loopback socket; the one module with a runtime |

mod account;
pub mod api;
mod assertions;
pub mod clock;
mod codes;
pub mod comparison;
pub mod config;
pub mod faults;
pub mod fleet;
pub mod grants;
pub mod http;
pub mod ledger;
pub mod measurement;
mod paged;
pub mod provider;
pub mod rotation;
pub mod scenario;
pub mod shape;
pub mod space;
pub mod strategy;
pub mod tokens;
pub mod world;

mod rate;
mod record;
mod seed;
#[cfg(test)]
mod stage;

pub use self::http::{SimHandle, SimServer};
pub use config::ProviderConfig;
pub use faults::{At, Event};
pub use ledger::Ledger;
pub use provider::{Answer, Listener, Payload, Provider, Reply, Request};
pub use scenario::Scenario;
