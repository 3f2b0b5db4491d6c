//! What the requests of one listener share, and what all listeners share.
//!
//! A [`Site`] is one listener's view of the world: its settings, its gate, its credential and its way to the API. It is
//! never changed: a reload makes a new one and puts it into the listener's [`Current`] cell. A request takes the site
//! once, at its start, and keeps it to its end, so that no request sees half of an old configuration and half of a new
//! one, and none has to be lost for a reload.
//!
//! What must outlive a reload is held by both sites: the counters of the listener, and the [`Hub`].

use std::sync::Arc;

use arc_swap::ArcSwap;
use evergrant::TokenSource;

use crate::config::GatewayConfig;
use crate::gate::Gate;
use crate::metrics::Metrics;
use crate::phase::Control;
use crate::tee::Budget;
use crate::upstream::Sender;

/// What all requests of one listener share.
pub(crate) struct Site {
    pub(crate) config: GatewayConfig,
    pub(crate) gate: Gate,
    pub(crate) source: TokenSource,
    pub(crate) sender: Sender,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) hub: Arc<Hub>,
}

/// What all listeners of a gateway share.
pub(crate) struct Hub {
    /// The memory for bodies that may have to be sent again.
    pub(crate) budget: Arc<Budget>,
    /// Serving, draining or closed.
    pub(crate) control: Control,
}

/// The site that a listener's next request takes.
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
