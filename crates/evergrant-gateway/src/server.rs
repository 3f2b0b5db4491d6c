//! A gateway: its sites, its admin listeners, its beginning and its end.
//!
//! Every listener is bound before anything else happens, so that a port in use is an error at start and a caller that
//! comes early waits in the accept queue instead of being refused. What happens then, reloads and the drain at the end,
//! is in `running`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evergrant::TokenSource;
use evergrant::tls::Tls;
use tokio::sync::{mpsc, oneshot};

use crate::address::Address;
use crate::admin_entrance::AdminEntrance;
use crate::broker::Welcome;
use crate::config::GatewayConfig;
use crate::entrance::Entrance;
use crate::inherited::Inherited;
use crate::journal::Happening;
use crate::listen::BindError;
use crate::running::{Running, Served, site};
use crate::site::{Current, Hub, Reloaded, SitePlan};
use crate::tee::Budget;

/// A gateway that listens and is ready to run.
pub struct Gateway {
    hub: Arc<Hub>,
    served: Vec<Served>,
    admin: Vec<AdminEntrance>,
    handle: Handle,
    changes: mpsc::Receiver<Change>,
}

impl Gateway {
    /// Binds the listeners of a gateway with one site, and prepares the way to its upstream. Sends nothing yet.
    ///
    /// # Errors
    /// [`BindError`] names the address that cannot be listened on, or what is wrong with the TLS set-up.
    pub async fn bind(config: GatewayConfig, source: TokenSource, tls: Arc<Tls>) -> Result<Self, BindError> {
        let plan = SitePlan { name: ONLY_SITE.to_owned(), config, source, tls };
        Self::bind_sites(vec![plan], Inherited::default()).await
    }

    /// Binds the listeners of several sites. Where the admin listeners are, and whom they let in, the first one says. An
    /// address at which there is an inherited socket is listened on with that one.
    ///
    /// # Errors
    /// As [`Gateway::bind`].
    ///
    /// # Panics
    /// Without any site.
    pub async fn bind_sites(plans: Vec<SitePlan>, inherited: Inherited) -> Result<Self, BindError> {
        let first = &plans.first().expect("a gateway has a site").config;
        let mut admin = Vec::new();
        for wanted in &first.admin_listen {
            admin.push(AdminEntrance::bind(wanted, &inherited).await?);
        }
        let replay_bytes = plans.iter().map(|plan| plan.config.limits.replay_total_bytes).max();
        let hub = Arc::new(Hub::new(Budget::new(replay_bytes.unwrap_or(0)), inherited));
        let mut served = Vec::new();
        for plan in plans {
            let mut entrances = Vec::new();
            for wanted in &plan.config.listen {
                entrances.push(Entrance::bind(wanted, &hub.inherited).await?);
            }
            let bound = entrances.iter().map(|entrance| entrance.bound.clone()).collect();
            served.push(Served { current: Current::new(site(plan, bound, &hub, Arc::default(), None)?), entrances });
        }
        let (sender, changes) = mpsc::channel(1);
        let handle = Handle { changes: sender, hub: Arc::clone(&hub) };
        Ok(Self { hub, served, admin, handle, changes })
    }

    /// The TCP address that callers connect to, with the real port: the first one, if there are several.
    ///
    /// # Panics
    /// If the gateway listens on Unix sockets only.
    #[must_use]
    pub fn gateway_addr(&self) -> SocketAddr {
        let mut entrances = self.served.iter().flat_map(|served| &served.entrances);
        entrances.find_map(|entrance| entrance.bound.tcp()).expect("the gateway listens on TCP")
    }

    /// Where each site listens.
    #[must_use]
    pub fn listeners(&self) -> Listeners {
        self.served.iter().map(Served::listeners).collect()
    }

    /// The addresses of status and metrics, with the real ports.
    #[must_use]
    pub fn admin_listeners(&self) -> Vec<Address> {
        self.admin.iter().map(|entrance| entrance.bound.clone()).collect()
    }

    /// Lets a program in that knows nothing of the client, at the first site; `None` if that knows no handles.
    #[must_use]
    pub fn welcome(&self) -> Option<Welcome> {
        let site = self.served.first()?.current.get();
        site.broker.welcome(&site.source)
    }

    /// What changes the gateway while it runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until `shutdown` ends, then drains.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        let Self { hub, served, admin, handle: _handle, mut changes } = self;
        let mut running = Running::start(hub, served, admin);
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return running.drain().await,
                Some(change) = changes.recv() => {
                    let result = running.reload(change.plans).await;
                    // Whoever asked may have gone; the change is made all the same.
                    _ = change.done.send(result);
                }
            }
        }
    }
}

/// Every site's name and the addresses that its callers connect to, with the real ports.
pub type Listeners = Vec<(String, Vec<Address>)>;

/// Changes a running gateway.
#[derive(Clone)]
pub struct Handle {
    changes: mpsc::Sender<Change>,
    hub: Arc<Hub>,
}

/// Sites that a gateway is to have instead of those it has.
struct Change {
    plans: Vec<SitePlan>,
    done: oneshot::Sender<Result<Listeners, BindError>>,
}

impl Handle {
    /// Makes these the gateway's sites: all of them, or, if anything is wrong, none.
    ///
    /// Sites are told apart by their names. One that goes on keeps its listeners, connections and counts; each of its
    /// requests is answered by the old settings or by the new ones, and none is lost. Listeners that are gone drain. Says
    /// where the sites listen now.
    ///
    /// # Errors
    /// [`ReloadError`]; the gateway is as it was.
    pub async fn reload(&self, plans: Vec<SitePlan>) -> Result<Listeners, ReloadError> {
        if plans.is_empty() {
            return Err(ReloadError::NoSite);
        }
        let (done, result) = oneshot::channel();
        self.changes.send(Change { plans, done }).await.map_err(|_| ReloadError::Ended)?;
        Ok(result.await.map_err(|_| ReloadError::Ended)??)
    }

    /// Notes how a reload went, for whoever looks at the status: what it left as it was until the next start, or why it
    /// changed nothing.
    pub fn note_reload(&self, result: Result<Vec<String>, String>) {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_unix_ms = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        let (counter, happening) = match &result {
            Ok(_) => (&self.hub.reloads.accepted, Happening::Reloaded),
            Err(reason) => (&self.hub.reloads.rejected, Happening::ReloadRejected { reason: reason.clone() }),
        };
        counter.add();
        self.hub.journal.note(happening);
        let ok = result.is_ok();
        let (needs_restart, error) = match result {
            Ok(left) => (left, None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        self.hub.reloaded.store(Some(Arc::new(Reloaded { at_unix_ms, ok, error, needs_restart })));
    }
}

/// Why a gateway did not become what it was asked to become.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// An address cannot be listened on, or the TLS set-up is wrong.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A gateway has at least one site.
    #[error("there would be no site left")]
    NoSite,
    /// It does not run any more.
    #[error("the gateway has ended")]
    Ended,
}

/// How a gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Requests and tunnels that were in flight when the shutdown began.
    pub in_flight: u64,
    /// Requests and tunnels that were cut because the drain time was over.
    pub cut: u64,
    /// How long the drain took.
    pub took: Duration,
}

/// The name of a gateway's site if nobody gave one: the profile that is used when none is asked for.
const ONLY_SITE: &str = "default";
