//! The gateway's account of itself: one JSON object, at `/status` and once a second on `/events`.
//!
//! Every listener has an entry in `listeners`. The fields of the first one also stand at the top, so that a gateway with
//! one listener, which is the common case, reads like one. Nothing in it is secret; `/metrics` is made from the same
//! entries, so that the two cannot disagree.

use evergrant::clock::boot;
use evergrant::{EventStatus, SourceStatus};
use evergrant_core::pace::PaceStatus;
use serde::Serialize;

use crate::journal::Line;
use crate::metrics::Snapshot;

use super::Admin;
use crate::site::{Reloaded, Site};

/// Everything at one moment.
#[derive(Serialize)]
pub(crate) struct Status<'a> {
    version: &'static str,
    /// The commit that the program was built from; absent where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'static str>,
    ready: bool,
    draining: bool,
    /// Seconds since the start.
    uptime_s: f64,
    /// The first listener's account.
    #[serde(flatten)]
    first: Option<&'a Account>,
    listeners: &'a [Listener],
    /// How the last reload went; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    reload: Option<Reloaded>,
    reloads: ReloadCounts,
    /// The last events, oldest first; left out where they are sent one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<EventLine>>,
}

impl<'a> Status<'a> {
    pub(crate) fn of(admin: &Admin, listeners: &'a [Listener], events: Option<Vec<EventLine>>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: admin.roster.sites().first().and_then(|site| site.config.commit),
            ready: listeners.iter().all(|listener| listener.ready),
            draining: !admin.hub.control.is_serving(),
            uptime_s: (boot() - admin.started).as_secs_f64(),
            first: listeners.first().map(|listener| &listener.account),
            listeners,
            reload: admin.hub.reloaded.load().as_deref().cloned(),
            reloads: ReloadCounts {
                accepted: admin.hub.reloads.accepted.value(),
                rejected: admin.hub.reloads.rejected.value(),
            },
            events,
        }
    }
}

/// How often the settings were read again.
#[derive(Serialize)]
struct ReloadCounts {
    accepted: u64,
    rejected: u64,
}

/// One listener at one moment.
#[derive(Serialize)]
pub(crate) struct Listener {
    profile: String,
    /// Every address that its callers connect to.
    listen: Vec<String>,
    ready: bool,
    #[serde(flatten)]
    account: Account,
}

#[derive(Serialize)]
struct Account {
    gateway: GatewayStatus,
    /// The credential's fields stand beside the gateway's, `clock` among them.
    #[serde(flatten)]
    source: SourceStatus,
}

#[derive(Serialize)]
struct GatewayStatus {
    /// The first address.
    listen: String,
    upstream: String,
    #[serde(flatten)]
    counts: Snapshot,
    /// The provider's rate limit.
    rate: PaceStatus,
}

impl Listener {
    pub(crate) fn of(site: &Site) -> Self {
        let gateway = GatewayStatus {
            listen: site.bound.first().map(ToString::to_string).unwrap_or_default(),
            upstream: site.config.upstream.to_string(),
            counts: site.metrics.snapshot(boot()),
            rate: site.pace.status(),
        };
        Self {
            profile: site.name.to_string(),
            listen: site.bound.iter().map(ToString::to_string).collect(),
            ready: site.source.is_ready(),
            account: Account { gateway, source: site.source.status() },
        }
    }
}

/// An event of a credential or of the gateway.
#[derive(Serialize)]
pub(crate) struct EventLine {
    /// Names the event; one that repeats keeps it.
    key: String,
    /// Whose it is; absent for the gateway's own.
    profile: Option<String>,
    age_s: f64,
    times: u64,
    is_trouble: bool,
    words: String,
    #[serde(flatten)]
    event: serde_json::Value,
}

impl EventLine {
    pub(crate) fn of_source(profile: &str, event: EventStatus) -> Self {
        Self {
            key: format!("{profile}/{}", event.id),
            profile: Some(profile.to_owned()),
            age_s: event.age_s,
            times: event.times,
            is_trouble: event.is_trouble,
            words: event.words,
            event: serde_json::to_value(event.event).unwrap_or_default(),
        }
    }

    pub(crate) fn of_gateway(line: &Line) -> Self {
        Self {
            key: format!("/{}", line.number),
            profile: None,
            age_s: (boot() - line.at).as_secs_f64(),
            times: 1,
            is_trouble: line.what.is_trouble(),
            words: line.what.words(),
            event: serde_json::to_value(&line.what).unwrap_or_default(),
        }
    }

    /// All that are kept, oldest first.
    pub(crate) fn all(admin: &Admin) -> Vec<Self> {
        let mut lines: Vec<_> = admin.hub.journal.since(0).iter().map(Self::of_gateway).collect();
        for site in admin.roster.sites() {
            let events = site.source.events_since(0);
            lines.extend(events.into_iter().map(|event| Self::of_source(&site.name, event)));
        }
        lines.sort_by(|left, right| right.age_s.total_cmp(&left.age_s));
        lines
    }
}
