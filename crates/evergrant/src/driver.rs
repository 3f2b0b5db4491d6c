//! Performs what the keeper decides.
//!
//! The keeper is a pure state machine behind a mutex that is never held across an await. Every event goes through
//! [`Shared::act`]: lock, tell the keeper, publish what changed, unlock, then start what it asked for. Waiters listen to
//! one counter and ask again whenever it moves. A background task sleeps until the keeper's next timeout, at most 30
//! seconds: timers of the runtime stop while the machine is suspended, so they are hints and nothing depends on them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use evergrant_core::Secret;
use evergrant_core::attempt::Replay;
use evergrant_core::keeper::{Action, Keeper, Need, ProbeOutcome, is_proof};
use evergrant_core::offset::{ClockEvent, Sample, Source};
use evergrant_core::policy::Policy;
use evergrant_core::profile::{Probe, ProbeMethod, Profile};
use evergrant_core::time::{Boot, Now, Server, Span};
use evergrant_core::token::Token;
use http::{HeaderValue, Method};

use crate::client_secrets::ClientSecrets;
use crate::clock;
use crate::disturbance::Disturbances;
use crate::flight::{self, Flights};
use crate::grant::Credential;
use crate::guard::bearer;
use crate::news;
use crate::source::BuildError;
use crate::spans;
use crate::store::Store;
use crate::sync::{self, ArcSwap, AtomicBool, AtomicI64, Handle, Mutex, Notify, watch};
use crate::tls::Tls;
use crate::trace;
use crate::transport::{ApiProbe, TransportError, TransportOptions};

/// What a source is made of.
pub(crate) struct Parts {
    pub(crate) profile: Profile,
    pub(crate) credential: Credential,
    pub(crate) secrets: Arc<ClientSecrets>,
    pub(crate) seed: Option<Secret>,
    pub(crate) label: String,
    pub(crate) policy: Policy,
    pub(crate) store: Store,
    pub(crate) tls: Arc<Tls>,
    pub(crate) transport: TransportOptions,
}

/// What may be used without asking the keeper.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) token: Option<Arc<Token>>,
    pub(crate) header: HeaderValue,
    pub(crate) fresh_until: Boot,
    pub(crate) is_watchful: bool,
    pub(crate) wants_proving_path: bool,
    pub(crate) shows_refusals: bool,
}

/// What all clones of a source share.
pub(crate) struct Shared {
    keeper: Mutex<Keeper>,
    published: ArcSwap<Published>,
    changes: watch::Sender<u64>,
    events: watch::Sender<u64>,
    is_restored: watch::Sender<bool>,
    timer: Arc<Notify>,
    timer_at: AtomicI64,
    next_report: AtomicI64,
    next_look: AtomicI64,
    next_sample: AtomicI64,
    next_store_look: AtomicI64,
    is_skew_far: AtomicBool,
    runtime: Handle,
    patience: Span,
    probe: ArcSwapOption<ApiProbe>,
    pub(crate) profile: Profile,
    pub(crate) flights: Flights,
    weak: Weak<Self>,
}

impl Shared {
    /// Builds the parts, starts the background task, and makes the first token request.
    pub(crate) fn start(parts: Parts) -> Result<Arc<Self>, BuildError> {
        let mut profile = parts.profile.clone();
        let Credential { audience, resource, .. } = &parts.credential;
        profile.audience = profile.audience.or_else(|| audience.clone().or_else(|| resource.clone()));
        let policy = parts.policy.clone();
        let probe =
            profile.api_url.as_deref().map(|url| ApiProbe::new(url, &parts.tls, parts.transport)).transpose()?;
        let patience = parts.policy.patience;
        let flights = Flights::new(parts)?;
        let keeper = Keeper::new(profile.clone(), policy, sync::seed());
        // Without a common store every process mints for itself, and they had better not do it together.
        let keeper = if flights.store().is_of_a_fleet() { keeper.shared(flights.key().number()) } else { keeper };
        let nothing = Published {
            token: None,
            header: HeaderValue::from_static("Bearer"),
            fresh_until: Boot::from_nanos(0),
            is_watchful: true,
            wants_proving_path: false,
            shows_refusals: false,
        };
        let shared = Arc::new_cyclic(|weak| Self {
            keeper: Mutex::new(keeper),
            published: ArcSwap::from_pointee(nothing),
            is_restored: watch::Sender::new(false),
            changes: watch::Sender::new(0),
            events: watch::Sender::new(0),
            timer: Arc::default(),
            timer_at: AtomicI64::new(i64::MAX),
            next_report: AtomicI64::new(0),
            next_look: AtomicI64::new(0),
            next_sample: AtomicI64::new(0),
            next_store_look: AtomicI64::new(0),
            is_skew_far: AtomicBool::new(false),
            runtime: Handle::current(),
            patience,
            probe: ArcSwapOption::from_pointee(probe),
            profile,
            flights,
            weak: weak.clone(),
        });
        shared.runtime.spawn(run(Arc::downgrade(&shared)));
        Ok(shared)
    }

    /// Tells the keeper something and does what follows from it.
    pub(crate) fn act<R>(&self, tell: impl FnOnce(&mut Keeper, Now) -> R) -> R {
        let now = clock::now();
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let known = keeper.events().revision();
        let result = tell(&mut keeper, now);
        let news: Vec<_> = keeper.events().since(known).map(|entry| entry.event.clone()).collect();
        let mut todo = Vec::new();
        let mut has_woken = false;
        while let Some(action) = keeper.poll_action() {
            match action {
                Action::Wake => has_woken = true,
                Action::RequestToken { .. } | Action::Probe { .. } => todo.push(action),
            }
        }
        // Only what a waiter may wait for wakes waiters: they ask in turn, and would wake each other for ever.
        if has_woken || !todo.is_empty() || self.is_outdated(now.boot) {
            has_woken |= self.publish(&keeper, now.boot);
        }
        let timeout = keeper.poll_timeout().unwrap_or(Boot::FAR).as_nanos();
        drop(keeper);
        if !news.is_empty() {
            news.iter().for_each(trace::tell);
            self.events.send_modify(|events| *events = events.wrapping_add(1));
        }
        if has_woken {
            self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
        }
        if timeout < self.timer_at.load(Ordering::Relaxed) {
            self.timer.notify_one();
        }
        todo.into_iter().for_each(|action| self.perform(action));
        result
    }

    /// May what is published be untrue by now? That all is well again wakes nobody, so it is looked for from time to time.
    fn is_outdated(&self, now: Boot) -> bool {
        let published = self.published.load();
        now >= published.fresh_until || (published.is_watchful && is_due(&self.next_look, now, LOOK_EVERY))
    }

    /// Looks at the keeper without telling it anything.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Keeper, Now) -> R) -> R {
        let now = clock::now();
        look(&self.keeper.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    pub(crate) fn published(&self) -> Guard<Arc<Published>> {
        self.published.load()
    }

    pub(crate) fn patience(&self) -> Span {
        self.patience
    }

    /// Listens for changes that waiters may wait for.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Listens for events.
    pub(crate) fn watch_events(&self) -> watch::Receiver<u64> {
        self.events.subscribe()
    }

    /// Waits until what the store held at the start is known: a mint before that would be one too many.
    pub(crate) async fn wait_for_restored(&self, until: Boot) {
        if !*self.is_restored.borrow() {
            let mut restored = self.is_restored.subscribe();
            // Later than that the caller goes without it, as if the store held nothing.
            let _ = sync::timeout((until - clock::boot()).to_duration(), restored.wait_for(|is| *is)).await;
        }
    }

    /// Waits until something changes, and at the latest until this instant.
    pub(crate) async fn wait(&self, changes: &mut watch::Receiver<u64>, until: Boot) {
        let at_most = (until - clock::boot()).to_duration().min(LONGEST_SLEEP);
        // Both outcomes mean the same: ask the keeper again.
        let _ = sync::timeout(at_most, changes.changed()).await;
    }

    /// May the store be looked at on behalf of a caller who would otherwise be told to log in?
    pub(crate) fn is_look_due(&self) -> bool {
        is_due(&self.next_store_look, clock::boot(), STORE_LOOK_EVERY)
    }

    /// Should this answer be reported, so that the keeper stays informed at a low cost?
    pub(crate) fn takes_report(&self, now: Boot) -> bool {
        self.published.load().is_watchful || is_due(&self.next_report, now, REPORT_EVERY)
    }

    /// Is another date of the API wanted?
    pub(crate) fn wants_api_date(&self, received: Boot) -> bool {
        received.as_nanos() >= self.next_sample.load(Ordering::Relaxed)
    }

    /// A date that the API sent, if another one is wanted.
    pub(crate) fn sample_api_date(&self, sent: Boot, received: Boot, date: impl FnOnce() -> Option<(Server, bool)>) {
        if is_due(&self.next_sample, received, SAMPLE_EVERY)
            && let Some((server, bounds_above)) = date()
        {
            self.sample_clock(Source::ApiDate, sent, received, server, bounds_above);
        }
    }

    /// A date that a server sent.
    pub(crate) fn sample_clock(&self, source: Source, sent: Boot, received: Boot, server: Server, bounds_above: bool) {
        let resolution = Span::from_secs(1);
        self.take_sample(source, Sample { sent, received, server, resolution, bounds_above });
    }

    /// One observation of a server's clock, from whatever source.
    pub(crate) fn take_sample(&self, source: Source, sample: Sample) {
        let events = self.act(|keeper, now| keeper.handle_clock_sample(source, sample, now));
        for event in events {
            match event {
                // The keeper tells of steps as events.
                ClockEvent::ServerStep { .. } | ClockEvent::LocalStep { .. } => {}
                ClockEvent::FrozenDate { source } => tracing::info!(%source, "date stands still"),
                ClockEvent::FleetSpread { source } => tracing::info!(%source, "servers disagree about the time"),
            }
        }
        self.warn_of_skew();
    }

    /// Says once that this machine's clock is far from the provider's, and once that it no longer is.
    fn warn_of_skew(&self) {
        let (skew, warn) = self.look(|keeper, now| {
            let skew = keeper.clocks().best(now).and_then(|(_, reading)| reading.skew(now));
            (skew, keeper.policy().skew_warn)
        });
        let Some(skew) = skew else { return };
        let is_far = skew.lo > warn || skew.hi < -warn;
        if self.is_skew_far.swap(is_far, Ordering::Relaxed) != is_far {
            match is_far {
                true => tracing::warn!("{skew}; tokens are not affected, signed requests and log times are"),
                false => tracing::info!("{skew}"),
            }
        }
    }

    /// The client's secrets are not what they were: what was refused before may work now.
    pub(crate) fn handle_new_secrets(&self) {
        self.flights.note_secrets();
        self.act(|keeper, now| {
            keeper.handle_credential_changed();
            keeper.handle_timeout(now);
        });
    }

    pub(crate) fn replace_api_url(&self, url: &str) -> Result<(), TransportError> {
        let probe = ApiProbe::new(url, &self.flights.tls(), self.flights.transport())?;
        if self.probe.load().as_ref().is_none_or(|old| old.target() != probe.target()) {
            self.probe.store(Some(Arc::new(probe)));
        }
        Ok(())
    }

    /// Shows callers the keeper's view; `true` if it is another token than before.
    fn publish(&self, keeper: &Keeper, now: Boot) -> bool {
        let view = keeper.view(now);
        let old = self.published.load();
        let is_same =
            old.token.as_ref().map(|token| token.generation) == view.token.as_ref().map(|token| token.generation);
        let header = match &view.token {
            Some(_) if is_same => old.header.clone(),
            Some(token) => bearer(&token.access_token),
            None => HeaderValue::from_static("Bearer"),
        };
        self.published.store(Arc::new(Published {
            token: view.token,
            header,
            fresh_until: view.fresh_until,
            is_watchful: view.is_watchful,
            wants_proving_path: keeper.wants_proving_path(),
            shows_refusals: keeper.need_of(Replay::IfRefused) == Need::Usable,
        }));
        !is_same
    }

    fn perform(&self, action: Action) {
        let Some(shared) = self.weak.upgrade() else { return };
        match action {
            Action::RequestToken { flight, reason } => {
                tracing::debug!(?reason, "token request");
                drop(self.runtime.spawn(flight::fly(shared, flight)));
            }
            Action::Probe { token, probe } => drop(self.runtime.spawn(run_probe(shared, token, probe))),
            Action::Wake => {}
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The background task looks, finds nobody, and ends.
        self.timer.notify_one();
    }
}

/// Wakes the keeper when something is due, until the last clone of the source is gone.
async fn run(weak: Weak<Shared>) {
    let Some(timer) = weak.upgrade().map(|shared| Arc::clone(&shared.timer)) else { return };
    if let Some(shared) = weak.upgrade() {
        flight::restore(&shared).await;
        shared.is_restored.send_replace(true);
        if shared.flights.store().is_durable() || shared.flights.secrets().have_places() {
            shared.runtime.spawn(news::follow(weak.clone()));
        }
    }
    let mut disturbances = Disturbances::default();
    while let Some(shared) = weak.upgrade() {
        report_disturbances(&mut disturbances, &shared);
        shared.act(Keeper::handle_timeout);
        // An event between the look and the store finds no timer and wakes this task at once.
        shared.timer_at.store(i64::MAX, Ordering::Relaxed);
        let at = shared.look(|keeper, _| keeper.poll_timeout()).unwrap_or(Boot::FAR);
        shared.timer_at.store(at.as_nanos(), Ordering::Relaxed);
        let sleep = (at - clock::boot()).to_duration().clamp(SHORTEST_SLEEP, LONGEST_SLEEP);
        drop(shared);
        let _ = sync::timeout(sleep, timer.notified()).await;
    }
}

/// Tells the keeper what the kernel did to the clock that offsets are counted on.
fn report_disturbances(disturbances: &mut Disturbances, shared: &Shared) {
    let found = disturbances.look();
    if let Some(by) = found.slewed {
        shared.act(|keeper, _| keeper.handle_slew(by));
    }
    if let Some(by) = found.suspended {
        tracing::info!(for_s = by.as_secs_f64(), "this machine was suspended");
        shared.act(|keeper, now| keeper.handle_suspend(now));
    }
}

/// Sends one probe and reports what it showed.
async fn run_probe(shared: Arc<Shared>, token: Arc<Token>, probe: Probe) {
    let Some(api) = shared.probe.load_full() else {
        let sent = clock::boot();
        return shared.act(|keeper, now| keeper.handle_probe(token.generation, sent, ProbeOutcome::Nothing, now));
    };
    let method = match probe.method {
        ProbeMethod::Head => Method::HEAD,
        ProbeMethod::Get => Method::GET,
    };
    let span = spans::probe(shared.profile.api_url.as_deref(), token.generation);
    let exchange = api.send(method, &probe.path, Some(&token.access_token)).await;
    let outcome = match &exchange.result {
        Ok(answer) if is_proof(answer.head.status) => ProbeOutcome::Accepted,
        Ok(answer) if answer.head.status == 401 => ProbeOutcome::Refused,
        Ok(_) | Err(_) => ProbeOutcome::Nothing,
    };
    tracing::debug!(generation = %token.generation, ?outcome, "probe");
    span.record("evergrant.probe", tracing::field::debug(&outcome));
    drop(span);
    if let Ok(answer) = &exchange.result
        && let Some(date) = answer.head.date
    {
        shared.sample_clock(Source::ApiDate, exchange.sent, exchange.received, date, answer.head.age.is_none());
    }
    shared.act(|keeper, now| keeper.handle_probe(token.generation, exchange.sent, outcome, now));
}

/// Claims the slot of a periodic job if its time has come; one of several callers gets it.
fn is_due(next: &AtomicI64, now: Boot, every: Span) -> bool {
    let at = next.load(Ordering::Relaxed);
    now.as_nanos() >= at
        && next.compare_exchange(at, (now + every).as_nanos(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

const REPORT_EVERY: Span = Span::from_millis(500);
const STORE_LOOK_EVERY: Span = Span::from_millis(500);
const LOOK_EVERY: Span = Span::from_millis(500);
const SAMPLE_EVERY: Span = Span::from_millis(200);
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);
