//! Counters of the gateway, and their OpenMetrics text.
//!
//! Every count on the path of a request is one relaxed atomic addition; there is no lock and no label look-up there.
//! Labels exist at scrape time only. Visible 401s by cause are the exception: they are rare, and their map has a lock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::Serialize;

use crate::fault::FaultKind;

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
}

impl Metrics {
    /// A request was answered with this status, this long after its head was read.
    pub(crate) fn answered(&self, status: StatusCode, after: Duration) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1).min(CLASSES.len() - 1);
        self.answers[class].fetch_add(1, Ordering::Relaxed);
        self.latency.observe(after);
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

    /// The counts as `/status` shows them.
    pub(crate) fn snapshot(&self) -> Snapshot {
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
}

/// One count.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long answers took, in fixed buckets.
#[derive(Debug, Default)]
struct Latency {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Latency {
    fn observe(&self, after: Duration) {
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(micros, Ordering::Relaxed);
    }

    /// Sum in seconds, count, and each bucket's upper bound in seconds with its count.
    fn read(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let bounds = BOUNDS_US.iter().map(|bound| *bound as f64 / 1e6).chain([f64::MAX]);
        let buckets: Vec<_> = bounds.zip(self.buckets.iter().map(|count| count.load(Ordering::Relaxed))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        (self.sum_us.load(Ordering::Relaxed) as f64 / 1e6, count, buckets)
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = self.snapshot();
        let mut requests =
            encoder.encode_descriptor("requests", "Requests answered, by status class", None, MetricType::Counter)?;
        for (class, count) in &now.answers {
            ConstCounter::new(*count).encode(requests.encode_family(&[("class", *class)])?)?;
        }
        let mut visible = encoder.encode_descriptor(
            "visible_401",
            "401s that reached a caller, by cause",
            None,
            MetricType::Counter,
        )?;
        for (cause, count) in &now.visible_401_by_cause {
            ConstCounter::new(*count).encode(visible.encode_family(&[("cause", cause.as_str())])?)?;
        }
        let help = "Requests that got no answer from the upstream, or one that broke off, by what went wrong";
        let mut faults = encoder.encode_descriptor("upstream_faults", help, None, MetricType::Counter)?;
        for (kind, count) in &now.upstream_faults_by_kind {
            ConstCounter::new(*count).encode(faults.encode_family(&[("kind", *kind)])?)?;
        }
        for (name, help, value) in [
            ("upstream_401", "401s that the upstream sent for the gateway's token", now.upstream_401),
            ("replays", "Requests sent again after a 401", now.replays),
            ("reconnects", "Requests sent again after a pooled connection turned out dead", now.reconnects),
            ("refused_requests", "Requests refused before anything else", now.refused),
            ("requests_without_token", "Requests answered with 503 for want of a token", now.without_token),
            ("own_authorization", "Requests with an Authorization of their own", now.own_authorization),
            ("handles_issued", "Handles given to callers that logged in", now.handles_issued),
            ("handles_ended", "Handles that their callers ended", now.handles_ended),
            ("handles_refused", "Requests with a handle that is not known here", now.handles_refused),
            ("logins_refused", "Logins of callers that were refused", now.logins_refused),
        ] {
            ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        for (name, help, value) in [
            ("in_flight_requests", "Requests whose answer is not complete", now.in_flight),
            ("connections", "Open connections of callers", now.connections),
            ("tunnels", "Open upgraded connections", now.tunnels),
        ] {
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let (sum, count, buckets) = self.latency.read();
        encoder
            .encode_descriptor("answer_seconds", "Time to the head of the answer", None, MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
const BOUNDS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_bucket_that_ends_at_it() {
        let latency = Latency::default();
        for micros in [500, 501, 10_000_000, 10_000_001] {
            latency.observe(Duration::from_micros(micros));
        }
        let (_, count, buckets) = latency.read();
        assert_eq!(count, 4);
        let counts: Vec<u64> = buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!((counts[0], counts[1], counts[13], counts[14]), (1, 1, 1, 1));
    }
}
