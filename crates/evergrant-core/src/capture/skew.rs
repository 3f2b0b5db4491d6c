//! How far the capturing machine's clock was from the servers', as intervals.
//!
//! An answer with a `Date` that was sent and received at known local times bounds the difference from both sides, as a
//! live measurement does (see [`crate::offset`]), with the same assumptions. The bounds of one host are intersected; if
//! that leaves nothing, one of the clocks was set in between, and the hull is told as what it is.
//!
//! Here, and only here, the local calendar clock takes the place of the boot clock: a capture has no other.

use std::collections::BTreeMap;

use super::exchange::Exchange;
use crate::offset::Assumptions;
use crate::time::{Boot, OffsetInterval, SkewInterval, Span};

/// The clocks of a capture's hosts.
#[derive(Clone, Default)]
pub(super) struct Clocks {
    hosts: BTreeMap<String, HostClock>,
}

/// What a capture shows of one host's clock.
#[derive(Clone, Copy)]
struct HostClock {
    common: Option<OffsetInterval>,
    hull: OffsetInterval,
}

/// How far apart the capturing machine's clock and a host's were.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CapturedSkew {
    /// The host.
    pub host: String,
    /// Local minus server: positive means that the capturing machine was fast.
    pub local_minus_server: SkewInterval,
    /// Do the samples contradict each other? Then a clock was set in between.
    pub is_disturbed: bool,
}

impl Clocks {
    pub(super) fn enter(&mut self, exchange: &Exchange) {
        let (Some(sent), Some(received), Some(date)) = (exchange.sent, exchange.received, exchange.fresh_date()) else {
            return;
        };
        let Some(host) = exchange.host().filter(|host| self.hosts.len() < HOSTS || self.hosts.contains_key(*host))
        else {
            return;
        };
        let assumed = Assumptions::default();
        let (sent, received) = (Boot::from_nanos(sent.as_nanos()), Boot::from_nanos(received.as_nanos()));
        let resolution = Span::from_secs(1);
        let lo = (date - received) - assumed.node_spread;
        let hi = (date - sent) + resolution + assumed.date_lag + assumed.node_spread;
        let Some(sample) = OffsetInterval::new(lo, hi) else { return };
        self.hosts
            .entry(host.to_owned())
            .and_modify(|clock| {
                clock.common = clock.common.and_then(|common| common.intersection(sample));
                clock.hull = clock.hull.hull(sample);
            })
            .or_insert(HostClock { common: Some(sample), hull: sample });
    }

    /// The clock of one host.
    pub(super) fn of(&self, host: &str) -> Option<CapturedSkew> {
        self.hosts.get(host).map(|clock| clock.skew(host))
    }

    pub(super) fn all(&self) -> Vec<CapturedSkew> {
        self.hosts.iter().map(|(host, clock)| clock.skew(host)).collect()
    }
}

impl HostClock {
    fn skew(self, host: &str) -> CapturedSkew {
        let theta = self.common.unwrap_or(self.hull);
        let (lo, hi) = (Span::from_nanos(theta.lo.as_nanos()), Span::from_nanos(theta.hi.as_nanos()));
        CapturedSkew {
            host: host.to_owned(),
            local_minus_server: SkewInterval { lo: -hi, hi: -lo },
            is_disturbed: self.common.is_none(),
        }
    }
}

impl CapturedSkew {
    /// Who was ahead, in words, with exactly one of FAST and SLOW unless the interval holds zero.
    #[must_use]
    pub fn words(&self) -> String {
        let SkewInterval { lo, hi } = self.local_minus_server;
        let host = &self.host;
        let text = if lo > Span::ZERO {
            format!("the capturing machine was {} FAST ({lo} to {hi}) against {host}", self.local_minus_server.middle())
        } else if hi < Span::ZERO {
            let middle = self.local_minus_server.middle().abs();
            format!("the capturing machine was {middle} SLOW ({} to {}) against {host}", -hi, -lo)
        } else {
            format!("the capturing machine agreed with {host} ({lo} to {hi})")
        };
        if self.is_disturbed { text + "; a clock was set in between" } else { text }
    }
}

const HOSTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::draft::Draft;
    use crate::time::{Server, Wall};

    /// An exchange of 100 ms with a machine that is this far ahead of the server, whose true time is `at`.
    fn exchange(at_ms: i64, ahead_ms: i64) -> Exchange {
        let local = Wall::from_millis(at_ms + ahead_ms);
        let mut draft = Draft::default();
        draft.status = Some(200);
        draft.target("https://a.example/");
        draft.sent = Some(local);
        draft.received = Some(local + Span::from_millis(100));
        let mut exchange = draft.finish().unwrap();
        exchange.date = Some(Server::from_secs((at_ms + 50).div_euclid(1000)));
        exchange
    }

    fn skew(samples: &[(i64, i64)]) -> CapturedSkew {
        let mut clocks = Clocks::default();
        for (at, ahead) in samples {
            clocks.enter(&exchange(*at, *ahead));
        }
        clocks.of("a.example").unwrap()
    }

    #[test]
    fn the_true_difference_is_in_the_interval_and_has_its_sign() {
        for ahead_ms in [-600_000, -4_200, 0, 7_300] {
            let samples: Vec<_> = (0..20).map(|n| (1_790_000_000_000 + n * 777, ahead_ms)).collect();
            let found = skew(&samples);
            let SkewInterval { lo, hi } = found.local_minus_server;
            assert!(lo <= Span::from_millis(ahead_ms) && Span::from_millis(ahead_ms) <= hi, "{ahead_ms}: {found:?}");
            assert!(!found.is_disturbed && hi - lo < Span::from_secs(2));
        }
        assert!(skew(&[(1_790_000_000_000, 7_300)]).words().contains("FAST"));
        assert!(skew(&[(1_790_000_000_000, -7_300)]).words().contains("SLOW"));
        assert!(skew(&[(1_790_000_000_000, 0)]).words().contains("agreed"));
    }

    #[test]
    fn a_clock_that_was_set_in_between_is_told() {
        let found = skew(&[(1_790_000_000_000, 0), (1_790_000_010_000, 60_000)]);
        assert!(found.is_disturbed);
    }

    #[test]
    fn a_cached_date_shows_nothing() {
        let mut clocks = Clocks::default();
        clocks.enter(&Exchange { is_cached: true, ..exchange(1_790_000_000_000, 0) });
        assert!(clocks.all().is_empty());
    }
}
