//! What the requests of one site share, and what all sites of a gateway share.
//!
//! A [`Site`] is one profile's view of the world: its settings, its gate, its credential and its way to the API. Its
//! listeners may be several. It is never changed: a reload makes a new one and puts it into the site's [`Current`] cell.
//! A request takes the site once, at its start, and keeps it to its end, so that no request sees half of an old
//! configuration and half of a new one, and none has to be lost for a reload.
//!
//! What must outlive a reload is held by both sites: the counters, the count of connections, and the [`Hub`]. The
//! [`Roster`] lists the sites for whoever shows them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use evergrant::TokenSource;
use evergrant::tls::Tls;

use crate::address::Address;
use crate::broker::Broker;
use crate::config::GatewayConfig;
use crate::entrance::Room;
use crate::gate::Gate;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::phase::Control;
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
    /// The logins of callers, unless the upstream takes them.
    pub(crate) broker: Option<Arc<Broker>>,
    pub(crate) sender: Sender,
    pub(crate) metrics: Arc<Metrics>,
    /// How many connections there are.
    pub(crate) room: Arc<Room>,
    pub(crate) hub: Arc<Hub>,
}

/// What all sites of a gateway share.
pub(crate) struct Hub {
    /// The memory for bodies that may have to be sent again.
    pub(crate) budget: Arc<Budget>,
    /// Serving, draining or closed.
    pub(crate) control: Control,
    /// What happened to the gateway.
    pub(crate) journal: Journal,
}

/// The site that the next request of a listener takes.
#[derive(Clone)]
pub(crate) struct Current(Arc<ArcSwap<Site>>);

impl Current {
    pub(crate) fn new(site: Site) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(site)))
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

    /// The sites as they are now.
    pub(crate) fn sites(&self) -> Vec<Arc<Site>> {
        self.0.load().iter().map(Current::get).collect()
    }
}
