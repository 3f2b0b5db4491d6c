//! A gateway: its sites, its admin listener, its beginning and its end.
//!
//! Every listener is bound before anything else happens, so that a port in use is an error at start and a caller that
//! comes early waits in the accept queue instead of being refused. After the shutdown signal nothing new is accepted;
//! requests in flight run to their end, connections at rest are closed, HTTP/2 callers get GOAWAY. What is left when
//! the drain time is over is cut, and the report says how much that was.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evergrant::TokenSource;
use evergrant::tls::Tls;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::address::Address;
use crate::admin::{Admin, Cut};
use crate::broker::Broker;
use crate::config::{GatewayConfig, Limits};
use crate::connection::http1_builder;
use crate::entrance::Entrance;
use crate::gate::Gate;
use crate::journal::{Happening, Journal};
use crate::listen::{BindError, Listener};
use crate::metrics::Metrics;
use crate::peer::Peer;
use crate::phase::{Control, Phase};
use crate::site::{Current, Hub, Roster, Site, SitePlan};
use crate::tee::Budget;
use crate::upstream::Sender;

/// A gateway that listens and is ready to run.
pub struct Gateway {
    hub: Arc<Hub>,
    served: Vec<Served>,
    admin: Vec<(Listener, Address)>,
}

/// A site and its listeners.
struct Served {
    current: Current,
    entrances: Vec<Entrance>,
}

impl Gateway {
    /// Binds the listeners of a gateway with one site, and prepares the way to its upstream. Sends nothing yet.
    ///
    /// # Errors
    /// [`BindError`] names the address that cannot be listened on, or what is wrong with the TLS set-up.
    pub async fn bind(config: GatewayConfig, source: TokenSource, tls: Arc<Tls>) -> Result<Self, BindError> {
        Self::bind_sites(vec![SitePlan { name: ONLY_SITE.to_owned(), config, source, tls }]).await
    }

    /// Binds the listeners of several sites. Where the admin listener is, and whom it lets in, the first one says.
    ///
    /// # Errors
    /// As [`Gateway::bind`].
    ///
    /// # Panics
    /// Without any site.
    pub async fn bind_sites(plans: Vec<SitePlan>) -> Result<Self, BindError> {
        let first = &plans.first().expect("a gateway has a site").config;
        let mut admin = Vec::new();
        for wanted in &first.admin_listen {
            admin.push(Listener::bind(wanted).await?);
        }
        let replay_bytes = plans.iter().map(|plan| plan.config.limits.replay_total_bytes).max();
        let hub = Arc::new(Hub {
            budget: Budget::new(replay_bytes.unwrap_or(0)),
            control: Control::default(),
            journal: Journal::new(),
        });
        let mut served = Vec::new();
        for plan in plans {
            let mut entrances = Vec::new();
            for wanted in &plan.config.listen {
                entrances.push(Entrance::bind(wanted).await?);
            }
            let site = site(plan, entrances.iter().map(|entrance| entrance.bound.clone()).collect(), &hub)?;
            served.push(Served { current: Current::new(site), entrances });
        }
        Ok(Self { hub, served, admin })
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

    /// Every site's name and the addresses that its callers connect to, with the real ports.
    #[must_use]
    pub fn listeners(&self) -> Vec<(String, Vec<Address>)> {
        let bound = |served: &Served| served.entrances.iter().map(|entrance| entrance.bound.clone()).collect();
        self.served.iter().map(|served| (served.current.get().name.to_string(), bound(served))).collect()
    }

    /// The addresses of status and metrics, with the real ports.
    #[must_use]
    pub fn admin_listeners(&self) -> Vec<Address> {
        self.admin.iter().map(|(_, addr)| addr.clone()).collect()
    }

    /// Serves until `shutdown` ends, then drains.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        let Self { hub, served, admin } = self;
        let roster = Roster::new(served.iter().map(|served| served.current.clone()).collect());
        let mut helpers = JoinSet::new();
        let first = &roster.sites()[0];
        let addrs: Vec<Address> = admin.iter().map(|(_, addr)| addr.clone()).collect();
        let shown = Arc::new(Admin::new(roster.clone(), Arc::clone(&hub), Gate::of_admin(&addrs, &first.config)));
        for (listener, _) in admin {
            helpers.spawn(serve_admin(listener, Arc::clone(&shown), first.config.limits.clone()));
        }
        let open = |served: Served| {
            let Served { current, entrances } = served;
            Served { entrances: entrances.into_iter().map(|entrance| entrance.open(&current)).collect(), current }
        };
        let served: Vec<Served> = served.into_iter().map(open).collect();
        hub.journal.note(Happening::Started);
        shutdown.await;
        drain(&hub, served).await
    }
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

/// Makes a site that listens there.
fn site(plan: SitePlan, bound: Vec<Address>, hub: &Arc<Hub>) -> Result<Site, BindError> {
    let SitePlan { name, config, source, tls } = plan;
    let metrics = Arc::new(Metrics::default());
    Ok(Site {
        gate: Gate::of_proxy(&bound, &config),
        bound,
        broker: Broker::for_site(None, config.broker.as_ref(), &name, &source, &metrics),
        name: name.into(),
        source,
        sender: Sender::new(&config, &tls)?,
        metrics,
        room: Arc::default(),
        hub: Arc::clone(hub),
        config,
    })
}

/// Lets what is in flight finish, and cuts the rest when the time is over.
async fn drain(hub: &Hub, served: Vec<Served>) -> Drained {
    let started = Instant::now();
    let sites: Vec<Arc<Site>> = served.iter().map(|served| served.current.get()).collect();
    let patience = sites.iter().map(|site| site.config.timeouts.drain).max().unwrap_or_default();
    let in_progress = || {
        let counts = sites.iter().map(|site| u64::try_from(site.metrics.in_progress()).unwrap_or(0));
        counts.sum()
    };
    let in_flight = in_progress();
    hub.journal.note(Happening::DrainBegan { in_flight });
    hub.control.enter(Phase::Draining);
    let mut controls = Vec::new();
    for entrance in served.into_iter().flat_map(|served| served.entrances) {
        let control = entrance.close().await;
        control.enter(Phase::Draining);
        controls.push(control);
    }
    let all_idle = || async {
        for control in &controls {
            control.idle().await;
        }
        hub.control.idle().await;
    };
    let mut cut = 0;
    if timeout(patience, all_idle()).await.is_err() {
        cut = in_progress();
        hub.control.enter(Phase::Closed);
        controls.iter().for_each(|control| control.enter(Phase::Closed));
        // Cutting takes no longer than dropping; the bound is for a task that is stuck.
        _ = timeout(CUT_TIME, all_idle()).await;
    }
    Drained { in_flight, cut, took: started.elapsed() }
}

/// Answers status and metrics; the tasks of its connections end with it.
async fn serve_admin(listener: Listener, admin: Arc<Admin>, limits: Limits) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            stream = listener.accept(), if connections.len() < ADMIN_CONNECTIONS => {
                let admin = Arc::clone(&admin);
                let builder = admin_builder(&limits);
                connections.spawn(async move {
                    let peer = Peer::of(&stream);
                    let cut = Cut::default();
                    let service = service_fn(|request| {
                        let response = admin.answer(&peer, &request, &cut);
                        async move { Ok::<_, Infallible>(response) }
                    });
                    tokio::select! {
                        // An error here is a caller that went away.
                        _ = builder.serve_connection(TokioIo::new(stream), service) => {}
                        () = cut.wanted() => {}
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn admin_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1_builder(limits);
    builder.timer(TokioTimer::new()).header_read_timeout(ADMIN_PATIENCE);
    builder
}

/// The name of a gateway's site if nobody gave one: the profile that is used when none is asked for.
const ONLY_SITE: &str = "default";
const CUT_TIME: Duration = Duration::from_secs(1);
const ADMIN_CONNECTIONS: usize = 64;
const ADMIN_PATIENCE: Duration = Duration::from_secs(15);
