//! What the requests of one site share, and what all sites of a gateway share.
//!
//! A [`Site`] is one profile's view of the world: its settings, its gate, its credential and its way to the API. Its
//! listeners may be several. It is never changed: a reload makes a new one and puts it into the site's [`Current`] cell.
//! A request takes the site once, at its start, and keeps it to its end, so that no request sees half of an old
//! configuration and half of a new one, and none has to be lost for a reload.
//!
//! What must outlive a reload is held by both sites: the counters, the places that are taken, and the [`Hub`]. The
//! [`Roster`] lists the sites for whoever shows them.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use evergrant::TokenSource;
use evergrant::tls::Tls;
use serde::Serialize;

use crate::address::Address;
use crate::broker::Broker;
use crate::config::GatewayConfig;
use crate::gate::Gate;
use crate::inherited::Inherited;
use crate::journal::Journal;
use crate::metrics::{Count, Metrics};
use crate::pace::{Pace, Paces};
use crate::phase::Control;
use crate::room::Room;
use crate::tee::Budget;
use crate::upstream::Sender;

/// What a site is to be.
#[derive(Debug)]
pub struct SitePlan {
    /// Its name, unique in its gateway: the profile that it was made from.
    pub name: String,
    /// Its settings.
    pub config: GatewayConfig,
    /// Its credential. Two sites may share one.
    pub source: TokenSource,
    /// Whom it trusts on the way to its upstream.
    pub tls: Arc<Tls>,
}

/// What all requests of one site share.
pub(crate) struct Site {
    pub(crate) name: Arc<str>,
    /// Where it listens, with the real ports.
    pub(crate) bound: Vec<Address>,
    pub(crate) config: GatewayConfig,
    pub(crate) gate: Gate,
    pub(crate) source: TokenSource,
    /// The logins of callers, unless the upstream takes them, and their logouts.
    pub(crate) broker: Arc<Broker>,
    pub(crate) sender: Arc<Sender>,
    pub(crate) tls: Arc<Tls>,
    pub(crate) metrics: Arc<Metrics>,
    /// When its requests may be sent.
    pub(crate) pace: Arc<Pace>,
    /// The places of its connections.
    pub(crate) room: Arc<Room>,
    /// The places of requests that wait for a token.
    pub(crate) waiting: Arc<Room>,
    pub(crate) hub: Arc<Hub>,
}

/// What all sites of a gateway share.
pub(crate) struct Hub {
    /// The memory for bodies that may have to be sent again.
    pub(crate) budget: Arc<Budget>,
    /// When requests may be sent, for each credential.
    pub(crate) paces: Paces,
    /// Serving, draining or closed.
    pub(crate) control: Control,
    /// What happened to the gateway.
    pub(crate) journal: Journal,
    /// The places of callers that are being turned away.
    pub(crate) farewells: Arc<Room>,
    /// How the last reload went, if there was one.
    pub(crate) reloaded: ArcSwapOption<Reloaded>,
    /// How all of them went.
    pub(crate) reloads: Reloads,
    /// Sockets that were handed to this process.
    pub(crate) inherited: Inherited,
}

impl Hub {
    pub(crate) fn new(budget: Arc<Budget>, inherited: Inherited) -> Self {
        Self {
            budget,
            paces: Paces::default(),
            control: Control::default(),
            journal: Journal::new(),
            farewells: Arc::default(),
            reloaded: ArcSwapOption::empty(),
            reloads: Reloads::default(),
            inherited,
        }
    }
}

/// How a reload went.
#[derive(Clone, Debug, Serialize)]
pub struct Reloaded {
    /// When, in milliseconds of Unix time.
    pub at_unix_ms: u64,
    /// Is the new configuration in force? If not, the old one is.
    pub ok: bool,
    /// Why not.
    pub error: Option<String>,
    /// What is in the new configuration and will be in force after the next start only.
    pub needs_restart: Vec<String>,
}

/// How many reloads there were.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    pub(crate) accepted: Count,
    pub(crate) rejected: Count,
}

/// The site that the next request of a listener takes.
#[derive(Clone)]
pub(crate) struct Current(Arc<ArcSwap<Site>>);

impl Current {
    pub(crate) fn new(site: Site) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(site)))
    }

    /// Is it the cell of the same listeners?
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The site that later requests take.
    pub(crate) fn set(&self, site: Site) {
        self.0.store(Arc::new(site));
    }

    /// The site as it is now.
    pub(crate) fn get(&self) -> Arc<Site> {
        self.0.load_full()
    }
}

/// All sites of a gateway, in the order in which they were configured; never empty.
#[derive(Clone)]
pub(crate) struct Roster(Arc<ArcSwap<Vec<Current>>>);

impl Roster {
    pub(crate) fn new(sites: Vec<Current>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(sites)))
    }

    /// Other sites from now on.
    pub(crate) fn set(&self, sites: Vec<Current>) {
        self.0.store(Arc::new(sites));
    }

    /// The sites as they are now.
    pub(crate) fn sites(&self) -> Vec<Arc<Site>> {
        self.0.load().iter().map(Current::get).collect()
    }
}
