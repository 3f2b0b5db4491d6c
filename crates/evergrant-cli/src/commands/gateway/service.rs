//! What a service manager is told: systemd's notifications, sent where `NOTIFY_SOCKET` asks for them.
//!
//! The gateway is *ready* as soon as it takes callers, and not only when it holds a token: a token endpoint that is down
//! at start would otherwise make the manager kill and restart the gateway, and each start costs a token request. Who
//! needs a token asks `/readyz`; the status line says whether there is one.
//!
//! A reload says when it began on the clock that the manager compares with, as `Type=notify-reload` demands. The
//! watchdog is fed from the thread that serves callers: when that hangs, the manager hears nothing.
//!
//! Source: `sd_notify(3)`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evergrant::TokenSource;
use sd_notify::NotifyState;
use tokio::task::JoinSet;
use tokio::time::interval;

/// The line to the service manager; without one, nothing is sent.
#[derive(Default)]
pub(crate) struct Service {
    sources: Arc<Mutex<Vec<TokenSource>>>,
    tasks: JoinSet<()>,
}

impl Service {
    /// Says that callers are taken, and from then on how the tokens are and that this process lives.
    pub(crate) fn ready(&mut self, sources: Vec<TokenSource>) {
        let status = status(&sources);
        tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        self.set_sources(sources);
        if std::env::var_os("NOTIFY_SOCKET").is_some() {
            self.tasks.spawn(tell_status(Arc::clone(&self.sources), status));
        }
        if let Some(limit) = sd_notify::watchdog_enabled() {
            self.tasks.spawn(feed_watchdog(limit / 2));
        }
    }

    /// Says that the settings are read again.
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "the service manager is not told of the reload"),
        }
    }

    /// Says that a reload is over, and why it changed nothing if it did not.
    pub(crate) fn reloaded(&self, sources: Vec<TokenSource>, error: Option<&str>) {
        let status = match error {
            Some(error) => format!("the new settings were refused: {error}"),
            None => status(&sources),
        };
        self.set_sources(sources);
        tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// Says that the end has begun.
    pub(crate) fn stopping(&mut self) {
        tell(&[NotifyState::Stopping, NotifyState::Status("finishing the requests in flight")]);
        // The watchdog goes on: a drain that hangs is a hang.
        self.set_sources(Vec::new());
    }

    fn set_sources(&self, sources: Vec<TokenSource>) {
        *self.sources.lock().unwrap_or_else(PoisonError::into_inner) = sources;
    }
}

/// Tells when tokens come and go.
async fn tell_status(sources: Arc<Mutex<Vec<TokenSource>>>, mut told: String) {
    let mut look = interval(LOOK_EVERY);
    loop {
        look.tick().await;
        let status = {
            let sources = sources.lock().unwrap_or_else(PoisonError::into_inner);
            if sources.is_empty() {
                return;
            }
            status(&sources)
        };
        if status != told {
            tell(&[NotifyState::Status(&status)]);
            told = status;
        }
    }
}

async fn feed_watchdog(every: Duration) {
    let mut feed = interval(every.max(SHORTEST_FEED));
    loop {
        feed.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

/// How the tokens are, in a line.
fn status(sources: &[TokenSource]) -> String {
    match (sources.iter().filter(|source| source.is_ready()).count(), sources.len()) {
        (ready, all) if ready == all => "serving".to_owned(),
        (_, 1) => "taking callers, without a token yet".to_owned(),
        (ready, all) => format!("taking callers, with tokens for {ready} of {all} credentials"),
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot reach the service manager");
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(2);
const SHORTEST_FEED: Duration = Duration::from_millis(10);
