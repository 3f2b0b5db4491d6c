//! Counters of one listener.
//!
//! Every count on the path of a request is one relaxed atomic addition; there is no lock and no label look-up there.
//! Labels exist at scrape time only, in `admin/exposition`. Visible 401s by cause are the exception: they are rare, and
//! their map has a lock.

mod latency;
mod traffic;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use evergrant_core::time::{Boot, Span};
use http::StatusCode;
use serde::Serialize;

use crate::fault::FaultKind;
use latency::{BUCKETS, Latency};
pub use latency::{Bucket, LatencySnapshot};
pub use traffic::TrafficSample;
use traffic::{Totals, Traffic};

/// What the gateway counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    answers: [AtomicU64; CLASSES.len()],
    in_flight: AtomicI64,
    connections: AtomicI64,
    tunnels: AtomicI64,
    pub(crate) upstream_401: Count,
    pub(crate) replays: Count,
    pub(crate) reconnects: Count,
    pub(crate) refused: Count,
    pub(crate) without_token: Count,
    pub(crate) own_authorization: Count,
    pub(crate) handles_issued: Count,
    pub(crate) handles_ended: Count,
    pub(crate) handles_refused: Count,
    pub(crate) logins_refused: Count,
    visible_401: Mutex<BTreeMap<String, u64>>,
    upstream_faults: Mutex<BTreeMap<&'static str, u64>>,
    latency: Latency,
    traffic: Traffic,
}

impl Metrics {
    /// A request whose head was read at `started` was answered with this status.
    pub(crate) fn answered(&self, status: StatusCode, started: Boot, now: Boot) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1).min(CLASSES.len() - 1);
        self.answers[class].fetch_add(1, Ordering::Relaxed);
        self.latency.observe((now - started).to_duration());
        self.traffic.note(now, || self.totals());
    }

    /// A 401 went to a caller, with this cause.
    pub(crate) fn visible_401(&self, cause: &str) {
        let mut causes = self.visible_401.lock().unwrap_or_else(PoisonError::into_inner);
        match causes.get_mut(cause) {
            Some(count) => *count += 1,
            None => _ = causes.insert(cause.to_owned(), 1),
        }
    }

    /// A request got no answer from the upstream, or half of one.
    pub(crate) fn upstream_fault(&self, kind: FaultKind) {
        *self.upstream_faults.lock().unwrap_or_else(PoisonError::into_inner).entry(kind.name()).or_default() += 1;
    }

    pub(crate) fn request_opened(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request_closed(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection_closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn tunnel_opened(&self) {
        self.tunnels.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn tunnel_closed(&self) {
        self.tunnels.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests whose answer is not complete, and open tunnels.
    pub(crate) fn in_progress(&self) -> i64 {
        self.in_flight.load(Ordering::Relaxed) + self.tunnels.load(Ordering::Relaxed)
    }

    /// The windows of traffic after a number (0: all that are kept), up to now.
    pub(crate) fn traffic_since(&self, number: u64, now: Boot) -> Vec<TrafficSample> {
        self.traffic.note(now, || self.totals());
        self.traffic.since(number)
    }

    fn totals(&self) -> Totals {
        let answers = |class: usize| self.answers[class].load(Ordering::Relaxed);
        Totals {
            requests: (0..CLASSES.len()).map(answers).sum(),
            failed: answers(CLASSES.len() - 1),
            upstream_401: self.upstream_401.value(),
            visible_401: self.visible_401.lock().unwrap_or_else(PoisonError::into_inner).values().sum(),
            buckets: self.latency.counts(),
        }
    }

    /// The counts as `/status` shows them.
    pub(crate) fn snapshot(&self, now: Boot) -> Snapshot {
        self.traffic.note(now, || self.totals());
        let visible = self.visible_401.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let faults = self.upstream_faults.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Snapshot {
            requests: self.answers.iter().map(|count| count.load(Ordering::Relaxed)).sum(),
            answers: CLASSES.into_iter().zip(self.answers.iter().map(|count| count.load(Ordering::Relaxed))).collect(),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
            tunnels: self.tunnels.load(Ordering::Relaxed),
            upstream_401: self.upstream_401.value(),
            visible_401: visible.values().sum(),
            visible_401_by_cause: visible,
            replays: self.replays.value(),
            reconnects: self.reconnects.value(),
            refused: self.refused.value(),
            without_token: self.without_token.value(),
            upstream_faults: faults.values().sum(),
            upstream_faults_by_kind: faults,
            own_authorization: self.own_authorization.value(),
            handles_issued: self.handles_issued.value(),
            handles_ended: self.handles_ended.value(),
            handles_refused: self.handles_refused.value(),
            logins_refused: self.logins_refused.value(),
            latency: self.latency.snapshot(),
            recent: Recent::of(&self.traffic.recent(now, RECENT)),
        }
    }
}

/// The gateway's counts at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// Requests answered.
    pub requests: u64,
    /// Requests answered, by status class.
    pub answers: BTreeMap<&'static str, u64>,
    /// Requests whose answer is not complete.
    pub in_flight: i64,
    /// Callers' open connections.
    pub connections: i64,
    /// Open upgraded connections.
    pub tunnels: i64,
    /// 401s that the upstream sent for the gateway's token.
    pub upstream_401: u64,
    /// 401s that reached a caller.
    pub visible_401: u64,
    /// 401s that reached a caller, by the verdict's cause.
    pub visible_401_by_cause: BTreeMap<String, u64>,
    /// Requests sent again after a 401.
    pub replays: u64,
    /// Requests sent again after a pooled connection turned out dead.
    pub reconnects: u64,
    /// Requests refused before anything else.
    pub refused: u64,
    /// Requests answered with 503 because there was no token.
    pub without_token: u64,
    /// Requests that got no answer from the upstream, or one that broke off.
    pub upstream_faults: u64,
    /// The same by what went wrong.
    pub upstream_faults_by_kind: BTreeMap<&'static str, u64>,
    /// Requests that brought an Authorization of their own.
    pub own_authorization: u64,
    /// Handles given to callers that logged in.
    pub handles_issued: u64,
    /// Handles that their callers ended.
    pub handles_ended: u64,
    /// Requests refused because they carried a handle that is not known here.
    pub handles_refused: u64,
    /// Logins of callers that were refused.
    pub logins_refused: u64,
    /// How long answers took since the start.
    pub latency: LatencySnapshot,
    /// The last seconds.
    pub recent: Recent,
}

/// The last seconds of traffic.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Recent {
    /// So many seconds are looked at.
    pub span_s: f64,
    /// Requests answered in a second, on average.
    pub requests_per_s: f64,
    /// Half of the answers came within this time, in the busiest second; absent if there were none.
    pub p50_s: Option<f64>,
    /// All but one in a hundred answers came within this time, in the slowest second.
    pub p99_s: Option<f64>,
}

impl Recent {
    fn of(windows: &[TrafficSample]) -> Self {
        let span_s: f64 = windows.iter().map(|window| window.span_s).sum();
        let requests: u64 = windows.iter().map(|window| window.requests).sum();
        let busiest = windows.iter().max_by_key(|window| window.requests);
        Self {
            span_s,
            requests_per_s: if span_s > 0.0 { requests as f64 / span_s } else { 0.0 },
            p50_s: busiest.and_then(|window| window.p50_s),
            p99_s: windows.iter().filter_map(|window| window.p99_s).reduce(f64::max),
        }
    }
}

/// One count.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What counts as recent.
const RECENT: Span = Span::from_secs(5);
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
