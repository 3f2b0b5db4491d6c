//! The last minutes of traffic, for a plot, without a timer.
//!
//! Whoever answers a request after a window has lasted a second closes it: one caller, chosen by a lock that nobody
//! waits for, takes the difference of the counters since the last window. A gateway at rest closes nothing; its next
//! request ends one long window, which is also what happened. Everybody else pays one relaxed load and a comparison.
//!
//! The list is bounded: 600 windows, ten minutes of steady traffic.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};

use evergrant_core::time::{Boot, Span};
use serde::Serialize;

use super::BUCKETS;
use super::latency::quantile;

/// The counters that a window is the difference of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) upstream_401: u64,
    pub(crate) visible_401: u64,
    pub(crate) buckets: [u64; BUCKETS],
}

/// What happened within one window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TrafficSample {
    /// Its place in the order of windows.
    #[serde(skip)]
    pub number: u64,
    /// When it ended.
    #[serde(skip)]
    pub ended: Boot,
    /// How long it lasted.
    pub span_s: f64,
    /// Requests answered.
    pub requests: u64,
    /// Of those, with a 5xx status.
    pub failed: u64,
    /// 401s that the upstream sent for the gateway's token.
    pub upstream_401: u64,
    /// 401s that reached a caller.
    pub visible_401: u64,
    /// Half of the answers came within this time; absent if there were none.
    pub p50_s: Option<f64>,
    /// All but one in a hundred answers came within this time.
    pub p99_s: Option<f64>,
}

/// The last windows.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    next: AtomicI64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    windows: VecDeque<TrafficSample>,
    count: u64,
    since: Option<(Boot, Totals)>,
}

impl Traffic {
    /// Ends the current window if it has lasted long enough and nobody else is at it.
    #[inline]
    pub(crate) fn note(&self, now: Boot, totals: impl FnOnce() -> Totals) {
        if now.as_nanos() >= self.next.load(Ordering::Relaxed) {
            self.close(now, totals);
        }
    }

    #[cold]
    fn close(&self, now: Boot, totals: impl FnOnce() -> Totals) {
        let mut kept = match self.kept.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(kept)) => kept.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if now.as_nanos() >= self.next.load(Ordering::Relaxed) {
            self.next.store((now + WINDOW).as_nanos(), Ordering::Relaxed);
            kept.close(now, totals());
        }
    }

    /// The windows after a number (0: all that are kept), oldest first.
    pub(crate) fn since(&self, number: u64) -> Vec<TrafficSample> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.windows.iter().filter(|window| window.number > number).copied().collect()
    }

    /// The last windows that together lasted at least `span`, as one.
    pub(crate) fn recent(&self, now: Boot, span: Span) -> Vec<TrafficSample> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.windows.iter().filter(|window| now - window.ended <= span).copied().collect()
    }
}

impl Kept {
    fn close(&mut self, now: Boot, totals: Totals) {
        let Some((began, before)) = self.since.replace((now, totals)) else { return };
        let mut buckets = totals.buckets;
        for (count, old) in buckets.iter_mut().zip(before.buckets) {
            *count = count.saturating_sub(old);
        }
        if self.windows.len() == KEPT {
            self.windows.pop_front();
        }
        self.count += 1;
        self.windows.push_back(TrafficSample {
            number: self.count,
            ended: now,
            span_s: (now - began).as_secs_f64(),
            requests: totals.requests.saturating_sub(before.requests),
            failed: totals.failed.saturating_sub(before.failed),
            upstream_401: totals.upstream_401.saturating_sub(before.upstream_401),
            visible_401: totals.visible_401.saturating_sub(before.visible_401),
            p50_s: quantile(&buckets, 0.5),
            p99_s: quantile(&buckets, 0.99),
        });
    }
}

const WINDOW: Span = Span::from_secs(1);
const KEPT: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(requests: u64) -> Totals {
        let mut buckets = [0; BUCKETS];
        buckets[3] = requests;
        Totals { requests, buckets, ..Totals::default() }
    }

    #[test]
    fn a_window_lasts_a_second_and_holds_what_happened_in_it() {
        let traffic = Traffic::default();
        let at = |millis| Boot::from_millis(millis);
        traffic.note(at(0), || totals(1));
        traffic.note(at(999), || unreachable!("the window is not over"));
        traffic.note(at(1_500), || totals(31));
        traffic.note(at(9_500), || totals(31));
        let windows = traffic.since(0);
        assert_eq!(windows.iter().map(|window| window.requests).collect::<Vec<_>>(), [30, 0]);
        assert_eq!(windows.iter().map(|window| window.span_s).collect::<Vec<_>>(), [1.5, 8.0]);
        assert!(windows[0].p50_s.is_some() && windows[1].p50_s.is_none());
        assert_eq!(traffic.since(1).len(), 1);
        assert_eq!(traffic.recent(at(10_000), Span::from_secs(1)).len(), 1);
    }

    #[test]
    fn the_windows_are_bounded() {
        let traffic = Traffic::default();
        for n in 0..5_000 {
            traffic.note(Boot::from_secs(n), || totals(0));
        }
        assert_eq!(traffic.since(0).len(), KEPT);
    }
}
