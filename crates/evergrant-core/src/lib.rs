//! The pure core of Evergrant: what time it is, what a token is worth, what a 401 means, and what to do next.
//!
//! Nothing here reads a clock, an environment, a file, a socket or a random number; nothing is asynchronous. Values
//! come in with the moment they belong to (`now`), decisions go out as values, and whoever embeds the core acts on
//! them. That is why every rule can be tested with a seed and a virtual clock.
//!
//! The files follow the data: `time -> wire -> offset, token, policy, profile -> attempt -> evidence -> verdict ->
//! event -> keeper`. One request as data: the keeper grants a token ([`token`]), the caller sends an [`attempt`], the
//! answer is read by [`wire`], becomes [`evidence`], which [`verdict`] explains and the [`keeper`] acts on. Beside that
//! way stands [`pace`], which decides when a request may be sent under a provider's rate limit.

pub mod attempt;
pub mod capture;
pub mod event;
pub mod evidence;
pub mod keeper;
pub mod offset;
pub mod pace;
pub mod policy;
pub mod profile;
pub mod secret;
pub mod time;
pub mod token;
pub mod verdict;
pub mod wire;

pub use secret::Secret;
