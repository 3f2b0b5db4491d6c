//! What happened to the gateway itself: it started, its settings were read again, it drains.
//!
//! The credential's own events are kept by its source; these stand beside them on the dashboard and in `/status`, under
//! names that are just as stable. The list is bounded, and nothing here is on the path of a request.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use evergrant::clock::boot;
use evergrant_core::time::Boot;
use serde::Serialize;
use tokio::sync::watch;

/// Something that happened to the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Happening {
    /// It accepts callers.
    Started,
    /// Its settings were read again and are in force.
    Reloaded,
    /// Its settings were read again and the old ones stay in force.
    ReloadRejected {
        /// What is wrong with the new ones, without any secret.
        reason: String,
    },
    /// It accepts nobody any more and finishes what is in flight.
    DrainBegan {
        /// Requests and tunnels in flight.
        in_flight: u64,
    },
}

impl Happening {
    /// Should a person look?
    pub(crate) fn is_trouble(&self) -> bool {
        matches!(self, Self::ReloadRejected { .. })
    }

    /// It in a sentence.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Started => "the gateway accepts callers".to_owned(),
            Self::Reloaded => "the settings were read again".to_owned(),
            Self::ReloadRejected { reason } => format!("the new settings were refused, the old ones stay: {reason}"),
            Self::DrainBegan { in_flight } => format!("the gateway drains: {in_flight} requests in flight"),
        }
    }
}

/// One line of the journal.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Its place in the order of lines.
    pub(crate) number: u64,
    pub(crate) at: Boot,
    pub(crate) what: Happening,
}

/// The last lines.
#[derive(Debug)]
pub(crate) struct Journal {
    lines: Mutex<VecDeque<Line>>,
    changed: watch::Sender<u64>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { lines: Mutex::default(), changed: watch::Sender::new(0) }
    }

    /// Writes a line.
    pub(crate) fn note(&self, what: Happening) {
        tracing::debug!(words = what.words(), "journal");
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        let number = *self.changed.borrow() + 1;
        lines.push_back(Line { number, at: boot(), what });
        self.changed.send_replace(number);
    }

    /// The lines after a number (0: all that are kept), oldest first.
    pub(crate) fn since(&self, number: u64) -> Vec<Line> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.number > number).cloned().collect()
    }

    /// Tells when a line was written.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

const KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_bounded_and_numbered() {
        let journal = Journal::new();
        (0..100).for_each(|in_flight| journal.note(Happening::DrainBegan { in_flight }));
        assert_eq!(journal.since(0).len(), KEPT);
        let last = journal.since(99);
        assert_eq!((last.len(), last[0].number), (1, 100));
        assert_eq!(last[0].what, Happening::DrainBegan { in_flight: 99 });
    }
}
