//! A gateway that runs: how it becomes another one, and how it ends.
//!
//! A reload first makes everything that is new, and can fail there; then it swaps, and cannot. A site that goes on gets
//! another [`Site`] in its cell; an address that moves to another site takes its listener along, accept queue and all.
//! The entrances that are left over retire beside the others: their connections drain, in the time that a shutdown
//! would give them.
//!
//! At the end every entrance retires. Requests in flight run to their end and connections come to theirs
//! (`connection`). What is left when the drain time is over is cut, and the report says how much that was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::address::Address;
use crate::admin::Admin;
use crate::admin_entrance::AdminEntrance;
use crate::broker::Broker;
use crate::entrance::Entrance;
use crate::gate::Gate;
use crate::journal::Happening;
use crate::listen::BindError;
use crate::metrics::Metrics;
use crate::phase::{Control, Phase};
use crate::server::{Drained, Listeners};
use crate::site::{Current, Hub, Roster, Site, SitePlan};
use crate::upstream::Sender;

/// A site and its entrances.
pub(crate) struct Served {
    pub(crate) current: Current,
    pub(crate) entrances: Vec<Entrance>,
}

/// A gateway that runs.
pub(crate) struct Running {
    hub: Arc<Hub>,
    roster: Roster,
    served: Vec<Served>,
    admin: Vec<AdminEntrance>,
    shown: Arc<Admin>,
    /// The counters of all sites that there ever were: one that comes back goes on counting.
    metrics: BTreeMap<Arc<str>, Arc<Metrics>>,
    /// Entrances that are gone while their connections may not be.
    retired: JoinSet<()>,
    retiring: Vec<Arc<Control>>,
}

impl Running {
    /// Lets callers in.
    pub(crate) fn start(hub: Arc<Hub>, served: Vec<Served>, admin: Vec<AdminEntrance>) -> Self {
        let served: Vec<Served> = served.into_iter().map(Served::open).collect();
        let roster = Roster::new(served.iter().map(|served| served.current.clone()).collect());
        let gate = admin_gate(&roster, &admin);
        let shown = Arc::new(Admin::new(roster.clone(), Arc::clone(&hub), gate));
        let limits = &roster.sites()[0].config.limits;
        let admin = admin.into_iter().map(|entrance| entrance.open(&shown, limits)).collect();
        let metrics = roster.sites().iter().map(|site| (Arc::clone(&site.name), Arc::clone(&site.metrics))).collect();
        hub.journal.note(Happening::Started);
        Self { hub, roster, served, admin, shown, metrics, retired: JoinSet::new(), retiring: Vec::new() }
    }

    /// Makes these the sites, or changes nothing.
    pub(crate) async fn reload(&mut self, plans: Vec<SitePlan>) -> Result<Listeners, BindError> {
        while self.retired.try_join_next().is_some() {}
        self.retiring.retain(|control| !control.is_idle());
        let mut bound = Vec::new();
        for plan in &plans {
            bound.push(self.bind_new(&plan.name, &plan.config.listen).await?);
        }
        let mut new_admin = Vec::new();
        for wanted in &plans[0].config.admin_listen {
            if !self.admin.iter().any(|entrance| entrance.wanted == *wanted) {
                new_admin.push(AdminEntrance::bind(wanted, &self.hub.inherited).await?);
            }
        }
        let mut sites = Vec::new();
        for (plan, bound) in plans.into_iter().zip(&bound) {
            let addresses = self.addresses(&plan, bound);
            let old = self.old(&plan.name).map(|served| served.current.get());
            let metrics = Arc::clone(self.metrics.entry(plan.name.as_str().into()).or_default());
            sites.push(site(plan, addresses, &self.hub, metrics, old.as_deref())?);
        }
        self.swap(sites, bound).await;
        self.swap_admin(new_admin);
        Ok(self.served.iter().map(Served::listeners).collect())
    }

    /// Binds the addresses that nobody has yet.
    async fn bind_new(&self, name: &str, wanted: &[Address]) -> Result<Vec<Entrance>, BindError> {
        let mut entrances = Vec::new();
        for address in wanted {
            if self.find(name, address).is_none() {
                entrances.push(Entrance::bind(address, &self.hub.inherited).await?);
            }
        }
        Ok(entrances)
    }

    /// The entrance that a site can have for an address: its own, or another's with the same fixed port or path.
    fn find(&self, name: &str, address: &Address) -> Option<(usize, usize)> {
        let own = |served: &Served| &*served.current.get().name == name;
        let place = |is_it: &dyn Fn(&Served, &Entrance) -> bool| {
            self.served.iter().enumerate().find_map(|(at, served)| {
                served.entrances.iter().position(|entrance| is_it(served, entrance)).map(|door| (at, door))
            })
        };
        place(&|served, entrance| own(served) && entrance.wanted == *address)
            .or_else(|| place(&|_, entrance| entrance.wanted.is_same_place_as(address)))
    }

    /// Where a site will listen, in the order of its settings.
    fn addresses(&self, plan: &SitePlan, bound: &[Entrance]) -> Vec<Address> {
        let mut new = bound.iter();
        let address = |wanted: &Address| match self.find(&plan.name, wanted) {
            Some((at, door)) => Some(self.served[at].entrances[door].bound.clone()),
            None => new.next().map(|entrance| entrance.bound.clone()),
        };
        plan.config.listen.iter().filter_map(address).collect()
    }

    fn old(&self, name: &str) -> Option<&Served> {
        self.served.iter().find(|served| &*served.current.get().name == name)
    }

    /// Puts the new sites into their places and the entrances to their sites.
    async fn swap(&mut self, sites: Vec<Site>, bound: Vec<Vec<Entrance>>) {
        let patience = self.patience();
        let mut next = Vec::new();
        let mut taken = Vec::new();
        for (site, new) in sites.into_iter().zip(bound) {
            let wanted = site.config.listen.clone();
            let places = wanted.iter().filter_map(|address| self.find(&site.name, address)).collect::<Vec<_>>();
            taken.push(places);
            let current = match self.old(&site.name) {
                Some(old) => {
                    let current = old.current.clone();
                    let room = Arc::clone(&site.room);
                    current.set(site);
                    room.reconsider();
                    current
                }
                None => Current::new(site),
            };
            next.push((current, new));
        }
        // Each entrance with the number of the site that gets it.
        let mut left: BTreeMap<(usize, usize), (Current, Entrance)> = BTreeMap::new();
        for (at, served) in std::mem::take(&mut self.served).into_iter().enumerate() {
            for (door, entrance) in served.entrances.into_iter().enumerate() {
                left.insert((at, door), (served.current.clone(), entrance));
            }
        }
        for ((current, new), places) in next.into_iter().zip(taken) {
            let mut entrances: Vec<Entrance> = new.into_iter().map(|entrance| entrance.open(&current)).collect();
            for place in places {
                let Some((of, entrance)) = left.remove(&place) else { continue };
                if of.is(&current) {
                    entrances.push(entrance);
                    continue;
                }
                let (moved, control) = entrance.hand_over().await;
                self.retire(control, patience);
                entrances.extend(moved.map(|moved| moved.open(&current)));
            }
            self.served.push(Served { current, entrances });
        }
        self.roster.set(self.served.iter().map(|served| served.current.clone()).collect());
        for (_, entrance) in left.into_values() {
            let control = entrance.retire().await;
            self.retire(control, patience);
        }
    }

    /// Lets the connections of an entrance that is gone come to their end, or to the end of the drain time.
    fn retire(&mut self, control: Arc<Control>, patience: Duration) {
        control.enter(Phase::Draining);
        self.retiring.push(Arc::clone(&control));
        self.retired.spawn(async move {
            if timeout(patience, control.idle()).await.is_err() {
                control.enter(Phase::Closed);
            }
        });
    }

    /// Shows the new sites, on the new listeners.
    fn swap_admin(&mut self, new: Vec<AdminEntrance>) {
        let sites = self.roster.sites();
        let config = &sites[0].config;
        self.admin.retain(|entrance| config.admin_listen.contains(&entrance.wanted));
        self.admin.extend(new.into_iter().map(|entrance| entrance.open(&self.shown, &config.limits)));
        self.shown.replace_gate(admin_gate(&self.roster, &self.admin));
    }

    /// Lets what is in flight finish, and cuts the rest when the time is over.
    pub(crate) async fn drain(mut self) -> Drained {
        let started = Instant::now();
        let patience = self.patience();
        let in_flight = self.in_progress();
        self.hub.journal.note(Happening::DrainBegan { in_flight });
        self.hub.control.enter(Phase::Draining);
        let mut retiring = JoinSet::new();
        for served in std::mem::take(&mut self.served) {
            for entrance in served.entrances {
                retiring.spawn(entrance.retire());
            }
        }
        let mut controls = std::mem::take(&mut self.retiring);
        controls.extend(retiring.join_all().await);
        let all_idle = || async {
            for control in &controls {
                control.idle().await;
            }
            self.hub.control.idle().await;
        };
        let mut cut = 0;
        if timeout(patience, all_idle()).await.is_err() {
            cut = self.in_progress();
            self.hub.control.enter(Phase::Closed);
            controls.iter().for_each(|control| control.enter(Phase::Closed));
            // Cutting takes no longer than dropping; the bound is for a task that is stuck.
            _ = timeout(CUT_TIME, all_idle()).await;
        }
        Drained { in_flight, cut, took: started.elapsed() }
    }

    /// How long requests in flight may take once they are the last.
    fn patience(&self) -> Duration {
        self.roster.sites().iter().map(|site| site.config.timeouts.drain).max().unwrap_or_default()
    }

    fn in_progress(&self) -> u64 {
        self.metrics.values().map(|metrics| u64::try_from(metrics.in_progress()).unwrap_or(0)).sum()
    }
}

impl Served {
    /// The site's name, and where it listens.
    pub(crate) fn listeners(&self) -> (String, Vec<Address>) {
        let site = self.current.get();
        (site.name.to_string(), site.bound.clone())
    }

    fn open(self) -> Self {
        let Self { current, entrances } = self;
        Self { entrances: entrances.into_iter().map(|entrance| entrance.open(&current)).collect(), current }
    }
}

/// Makes a site that listens there, with what it keeps of the one that it replaces.
pub(crate) fn site(
    plan: SitePlan,
    bound: Vec<Address>,
    hub: &Arc<Hub>,
    metrics: Arc<Metrics>,
    old: Option<&Site>,
) -> Result<Site, BindError> {
    let SitePlan { name, config, source, tls } = plan;
    let sender = match old {
        Some(old) if Arc::ptr_eq(&old.tls, &tls) && old.config.has_same_way_out(&config) => Arc::clone(&old.sender),
        Some(_) | None => Arc::new(Sender::new(&config, &tls)?),
    };
    Ok(Site {
        broker: Broker::for_site(old.map(|old| &old.broker), config.broker.as_ref(), &name, &source, &metrics),
        gate: Gate::of_proxy(&bound, &config),
        pace: hub.paces.of(source.key(), &config.pace),
        name: name.into(),
        bound,
        source,
        sender,
        tls,
        metrics,
        room: old.map(|old| Arc::clone(&old.room)).unwrap_or_default(),
        waiting: old.map(|old| Arc::clone(&old.waiting)).unwrap_or_default(),
        hub: Arc::clone(hub),
        config,
    })
}

/// Who may look, on the listeners that there are.
fn admin_gate(roster: &Roster, entrances: &[AdminEntrance]) -> Gate {
    let bound: Vec<Address> = entrances.iter().map(|entrance| entrance.bound.clone()).collect();
    Gate::of_admin(&bound, &roster.sites()[0].config)
}

const CUT_TIME: Duration = Duration::from_secs(1);
