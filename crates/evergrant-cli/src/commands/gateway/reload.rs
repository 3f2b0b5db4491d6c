//! A gateway that becomes another one while it runs.
//!
//! A reload reads everything as the start does, and makes everything that is new; only when nothing can fail any more is
//! the gateway changed, at once. Whatever is wrong is said in the log, in `/status` and to the service manager, with the
//! place in the file; the gateway stays as it was, whole.
//!
//! Three things cannot change under way, because the old one and the new one would be in each other's way: how the token
//! of a credential is kept (`sources`), the log, and a listener's address into one that includes it.

use std::path::PathBuf;
use std::sync::Arc;

use evergrant::TokenSource;
use evergrant::tls::Tls;
use evergrant_gateway::{Address, GatewayConfig, Handle, Listeners, ReloadError, SitePlan};

use super::bind_failure;
use super::plan::{Inputs, Plan};
use super::service::Service;
use super::sources::Sources;
use super::watch::Content;
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::launch;
use crate::settings::catalog::Setting;

/// What a gateway is made of, to make it anew.
pub(crate) struct Recipe {
    pub(crate) inputs: Inputs,
    pub(crate) plans: Vec<Arc<Plan>>,
    pub(crate) sources: Sources,
    /// Where the profiles listen.
    pub(crate) listeners: Listeners,
    /// Whom each plan trusts: two sites that trust the same share connections.
    trust: Vec<(Arc<Plan>, Arc<Tls>)>,
    /// What is logged since the start.
    log: Option<String>,
}

impl Recipe {
    /// For these plans, whose sources are still to be started.
    pub(crate) fn new(inputs: Inputs, plans: Vec<Plan>) -> Self {
        let log = plans.first().and_then(|plan| plan.log.clone());
        let plans = plans.into_iter().map(Arc::new).collect();
        Self { inputs, plans, sources: Sources::default(), listeners: Vec::new(), trust: Vec::new(), log }
    }

    /// Starts the sources and makes the sites that a gateway begins with.
    pub(crate) async fn sites(&mut self) -> Result<Vec<SitePlan>, Failure> {
        let draft = self.sources.draft(&self.plans, &[]).await?;
        let sites = self.site_plans(&self.plans.clone(), &draft.sources);
        self.sources.adopt(draft);
        Ok(sites)
    }

    /// Reads the settings again and makes the gateway what they say. Says which files to watch, if that is known.
    pub(crate) async fn reload(&mut self, handle: &Handle, service: &Service) -> Vec<(PathBuf, Content)> {
        service.reloading();
        let reading = self.inputs.read();
        for warning in &reading.warnings {
            tracing::warn!("{}", warning.line());
        }
        let result = match reading.plans {
            Ok(plans) => self.apply(plans, handle).await,
            Err(failures) => Err(failures),
        };
        match result {
            Ok(needs_restart) => {
                let profiles = self.plans.iter().map(|plan| plan.name.as_str()).collect::<Vec<_>>().join(", ");
                tracing::info!(profiles, "the settings were read again and are in force");
                if !needs_restart.is_empty() {
                    tracing::warn!("in force after the next start only: {}", needs_restart.join(", "));
                }
                service.reloaded(self.sources.all(), None);
                handle.note_reload(Ok(needs_restart));
            }
            Err(Failures(failures)) => {
                let reason = failures.iter().map(Failure::line).collect::<Vec<_>>().join("; ");
                tracing::error!("the new settings were refused, the old ones stay: {reason}");
                service.reloaded(self.sources.all(), Some(&reason));
                handle.note_reload(Err(reason));
            }
        }
        reading.files
    }

    /// Makes the gateway what these plans say, or leaves it as it is.
    async fn apply(&mut self, plans: Vec<Plan>, handle: &Handle) -> Result<Vec<String>, Failures> {
        let plans: Vec<Arc<Plan>> = plans.into_iter().map(Arc::new).collect();
        self.check_listeners(&plans)?;
        let mut draft = self.sources.draft(&plans, &self.plans).await?;
        let sites = self.site_plans(&plans, &draft.sources);
        let listeners = handle.reload(sites).await.map_err(|error| match &error {
            ReloadError::Bind(bind) => bind_failure(bind),
            ReloadError::NoSite | ReloadError::Ended => Failure::new(exit::INTERNAL, error.to_string()),
        })?;
        self.announce(listeners);
        let mut needs_restart = std::mem::take(&mut draft.needs_restart);
        self.sources.adopt(draft);
        if plans[0].log != self.log {
            needs_restart.push(Setting::Log.spec().file_key());
        }
        self.plans = plans;
        Ok(needs_restart)
    }

    /// A gateway that cannot listen must not ask for a token first: on many providers that ends somebody's older one.
    pub(crate) fn check_is_free(&self) -> Result<(), Failure> {
        let Wanted { gateway, admin } = Wanted::of(&self.plans);
        let mut own = gateway.iter().chain(&admin).filter(|address| !self.inputs.sockets.inherited.has(address));
        own.try_for_each(|address| address.check_is_free().map_err(|error| bind_failure(&error)))
    }

    /// The same for a gateway that runs already.
    fn check_listeners(&self, plans: &[Arc<Plan>]) -> Result<(), Failure> {
        let held = Wanted::of(&self.plans);
        let wanted = Wanted::of(plans);
        for (address, others, own) in wanted.with_others(&held) {
            if own.contains(address) || self.inputs.sockets.inherited.has(address) {
                continue;
            }
            match others.iter().chain(own).find(|held| held.clashes_with(address)) {
                Some(held) => return Err(taken_by_itself(address, held)),
                None => address.check_is_free().map_err(|error| bind_failure(&error))?,
            }
        }
        Ok(())
    }

    fn site_plans(&mut self, plans: &[Arc<Plan>], sources: &[TokenSource]) -> Vec<SitePlan> {
        let mut trust: Vec<(Arc<Plan>, Arc<Tls>)> = Vec::new();
        let mut sites = Vec::new();
        for (plan, source) in plans.iter().zip(sources) {
            let known = trust.iter().chain(&self.trust).find(|(known, _)| known.has_same_trust(plan));
            let tls = known.map_or_else(|| Arc::new(launch::http(&plan.settings).tls()), |(_, tls)| Arc::clone(tls));
            trust.push((Arc::clone(plan), Arc::clone(&tls)));
            sites.push(SitePlan { name: plan.name.clone(), config: config(plan), source: source.clone(), tls });
        }
        self.trust = trust;
        sites
    }

    /// Names the listeners that are new or gone.
    fn announce(&mut self, listeners: Listeners) {
        let has = |listeners: &Listeners, addr| listeners.iter().any(|(_, addrs)| addrs.contains(addr));
        for (profile, addrs) in &listeners {
            for addr in addrs.iter().filter(|addr| !has(&self.listeners, addr)) {
                tracing::info!(listener = "gateway", profile, %addr, "listening");
            }
        }
        for (profile, addrs) in &self.listeners {
            for addr in addrs.iter().filter(|addr| !has(&listeners, addr)) {
                tracing::info!(listener = "gateway", profile, %addr, "listening no more");
            }
        }
        self.listeners = listeners;
    }
}

/// The addresses of a gateway as they are configured.
struct Wanted {
    gateway: Vec<Address>,
    admin: Vec<Address>,
}

impl Wanted {
    fn of(plans: &[Arc<Plan>]) -> Self {
        let gateway = plans.iter().flat_map(|plan| plan.settings.listen.gateway.iter().cloned()).collect();
        let admin = plans.first().map(|plan| plan.settings.listen.admin.clone()).unwrap_or_default();
        Self { gateway, admin }
    }

    /// Each address, with what another gateway has for the other purpose and for the same one.
    fn with_others<'a>(&'a self, held: &'a Self) -> impl Iterator<Item = (&'a Address, &'a [Address], &'a [Address])> {
        let callers = self.gateway.iter().map(|address| (address, &*held.admin, &*held.gateway));
        callers.chain(self.admin.iter().map(|address| (address, &*held.gateway, &*held.admin)))
    }
}

/// What a plan says of its site.
fn config(plan: &Plan) -> GatewayConfig {
    let settings = &plan.settings;
    let mut config = GatewayConfig::new(plan.upstream.clone());
    config.listen = settings.listen.gateway.clone();
    config.admin_listen = settings.listen.admin.clone();
    settings.access.apply(&mut config);
    config.broker = launch::broker(settings);
    config.pace = settings.pace.clone();
    config.timeouts.token_wait = settings.timing.timeout.to_duration();
    config.commit = option_env!("EVERGRANT_BUILT_FROM");
    config.timeouts.upstream = settings.timing.upstream_timeout.to_duration();
    config
}

fn taken_by_itself(wanted: &Address, held: &Address) -> Failure {
    let failure = Failure::new(exit::LISTEN, format!("cannot listen on {wanted} while this gateway runs")).at(wanted);
    let failure = match wanted == held {
        true => failure.because("it is used for the other one of callers and status pages"),
        false => failure.because(format!("the gateway listens on {held}, and one of the two includes the other")),
    };
    failure.hint("restart the gateway, or choose another port")
}
