//! How long answers took, in fixed buckets.
//!
//! The bounds are close together where a local proxy works and far apart where people wait. A quantile is read from the
//! bucket that holds it, by a straight line between the bucket's bounds: exact to the width of the bucket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Counts answers by how long they took.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Latency {
    pub(crate) fn observe(&self, after: Duration) {
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed))
    }

    pub(crate) fn snapshot(&self) -> LatencySnapshot {
        let counts = self.counts();
        let bounds = BOUNDS_US.iter().map(|bound| Some(seconds(*bound))).chain([None]);
        LatencySnapshot {
            sum_s: seconds(self.sum_us.load(Ordering::Relaxed)),
            count: counts.iter().sum(),
            buckets: bounds.zip(counts).map(|(le_s, count)| Bucket { le_s, count }).collect(),
        }
    }
}

/// How long answers took since the start.
#[derive(Clone, Debug, Serialize)]
pub struct LatencySnapshot {
    /// All of them together, in seconds.
    pub sum_s: f64,
    /// How many there were.
    pub count: u64,
    /// By duration.
    pub buckets: Vec<Bucket>,
}

/// Answers that took about as long.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Bucket {
    /// At most so many seconds, and more than the bucket before; no bound for the last.
    pub le_s: Option<f64>,
    /// So many of them.
    pub count: u64,
}

/// The time within which this part of the answers came; `None` if there were none.
pub(super) fn quantile(buckets: &[u64; BUCKETS], part: f64) -> Option<f64> {
    let total: u64 = buckets.iter().sum();
    if total == 0 {
        return None;
    }
    let wanted = part * total as f64;
    let mut below = 0.0;
    for (bucket, count) in buckets.iter().enumerate() {
        let count = *count as f64;
        if count > 0.0 && below + count >= wanted {
            let lower = bucket.checked_sub(1).map_or(0.0, |before| seconds(BOUNDS_US[before]));
            // The last bucket has no end; its beginning is all that is known.
            let upper = BOUNDS_US.get(bucket).map_or(lower, |bound| seconds(*bound));
            return Some(lower + (upper - lower) * ((wanted - below) / count));
        }
        below += count;
    }
    None
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// One bucket for each bound, and one for what took longer than all.
pub(super) const BUCKETS: usize = BOUNDS_US.len() + 1;
const BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_bucket_that_ends_at_it() {
        let latency = Latency::default();
        for micros in [100, 101, 10_000_000, 10_000_001] {
            latency.observe(Duration::from_micros(micros));
        }
        let snapshot = latency.snapshot();
        let count = |bucket: usize| snapshot.buckets[bucket].count;
        assert_eq!((snapshot.count, count(0), count(1), count(15), count(16)), (4, 1, 1, 1, 1));
        assert_eq!(snapshot.buckets[16].le_s, None);
    }

    #[test]
    fn a_quantile_lies_in_the_bucket_that_holds_it() {
        let mut buckets = [0; BUCKETS];
        assert_eq!(quantile(&buckets, 0.5), None);
        buckets[3] = 98;
        buckets[8] = 2;
        let p50 = quantile(&buckets, 0.5).unwrap();
        let p99 = quantile(&buckets, 0.99).unwrap();
        assert!(p50 > 0.000_5 && p50 < 0.001, "{p50}");
        assert!((p99 - 0.037_5).abs() < 1e-9, "{p99}");
        assert_eq!(quantile(&[1; BUCKETS], 1.0), Some(10.0), "beyond all bounds only the beginning is known");
    }
}
