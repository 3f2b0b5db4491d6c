//! What is looked at.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use evergrant_core::Secret;
use evergrant_core::policy::Policy;
use evergrant_core::profile::Profile;
use evergrant_core::time::Span;

use crate::grant::Credential;
use crate::source::HttpOptions;
use crate::store::{StoreOptions, StoreUrl};

/// A set-up to look at, as the settings describe it.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What is known about the provider.
    pub profile: Profile,
    /// Who asks for tokens.
    pub identity: Identity,
    /// What tells this credential from another of the same client in a store.
    pub label: String,
    /// How the network is reached.
    pub http: HttpOptions,
    /// Where tokens are kept.
    pub store: StoreUrl,
    /// Its key, and how it is reached.
    pub store_options: StoreOptions,
    /// From which difference of the clocks on somebody should look.
    pub skew_warn: Span,
    /// A server whose clock is known to be right, to tell which of two clocks is wrong.
    pub reference: Option<String>,
    /// The numbers by which a token's life is planned.
    pub policy: Policy,
    /// For how long a new token is probed.
    pub propagation: Duration,
    /// Everything but that ends within this time.
    pub timeout: Duration,
    /// The gateway to ask, if there may be one.
    pub gateway: Option<GatewaySetup>,
}

/// Who asks for tokens.
#[derive(Clone, Debug)]
pub enum Identity {
    /// A client with its grant.
    Client(Box<Credential>),
    /// A token that somebody else keeps.
    ReadyToken(Secret),
}

/// A gateway that may be running.
#[derive(Clone, Debug)]
pub struct GatewaySetup {
    /// Where its admin listener is.
    pub place: GatewayPlace,
    /// What it asks of its callers.
    pub caller_secret: Option<Secret>,
    /// Did somebody say that one runs? Then it is a fault if none does.
    pub is_expected: bool,
}

/// The address of an admin listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GatewayPlace {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}
