//! When things in a capture happened, and how far apart.
//!
//! A capture has up to two clocks: that of the machine which wrote it, and the `Date` of every answer. The first is
//! exact and may be wrong; the second counts whole seconds and may be a second late, and two hosts may differ. Spans are
//! taken on the first where both ends have it and on the second otherwise, and are intervals either way. Today's date
//! plays no part.

use super::exchange::Exchange;
use crate::time::{Server, Span, Wall};

/// One end of an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Moment {
    pub(super) local: Option<Wall>,
    pub(super) server: Option<Server>,
    /// The place in the capture, which orders what has no time.
    pub(super) number: usize,
}

impl Moment {
    /// When the request was sent.
    pub(super) fn sent(exchange: &Exchange, number: usize) -> Self {
        Self { local: exchange.sent, server: exchange.fresh_date(), number }
    }

    /// When its answer had arrived.
    pub(super) fn received(exchange: &Exchange, number: usize) -> Self {
        Self { local: exchange.received.or(exchange.sent), server: exchange.fresh_date(), number }
    }

    /// At least and at most how long after `earlier` it was.
    pub(super) fn since(self, earlier: Self) -> Option<(Span, Span)> {
        if let (Some(now), Some(then)) = (self.local, earlier.local) {
            return Some((now - then, now - then));
        }
        let apart = self.server? - earlier.server?;
        Some((apart - DATE_ERROR, apart + DATE_ERROR))
    }

    /// Was it after `earlier`? Times decide where both have one, and the order of the capture otherwise.
    pub(super) fn is_after(self, earlier: Self) -> bool {
        match (self.local, earlier.local) {
            (Some(now), Some(then)) => now > then,
            _ => self.number > earlier.number,
        }
    }
}

/// How far the difference of two `Date` fields may be from the truth: each counts whole seconds and may be one late.
pub(super) const DATE_ERROR: Span = Span::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(local: Option<i64>, server: Option<i64>, number: usize) -> Moment {
        Moment { local: local.map(Wall::from_secs), server: server.map(Server::from_secs), number }
    }

    #[test]
    fn the_local_clock_counts_where_both_ends_have_it() {
        let span = at(Some(110), Some(900), 2).since(at(Some(100), Some(100), 1));
        assert_eq!(span, Some((Span::from_secs(10), Span::from_secs(10))));
        let span = at(None, Some(130), 2).since(at(Some(100), Some(100), 1));
        assert_eq!(span, Some((Span::from_secs(28), Span::from_secs(32))));
        assert_eq!(at(None, Some(1), 2).since(at(Some(1), None, 1)), None);
    }

    #[test]
    fn what_has_no_time_stands_in_the_order_of_the_capture() {
        assert!(at(None, Some(1), 2).is_after(at(None, Some(9), 1)));
        assert!(at(Some(9), None, 1).is_after(at(Some(1), None, 2)));
    }
}
