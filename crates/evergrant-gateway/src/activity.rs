//! What the service and the stream of one connection tell each other.
//!
//! The service knows where requests begin and end, the stream knows which bytes came when; each needs a little of what
//! the other knows. Everything here is a counter or a flag of one connection, which one task drives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::fault::FaultKind;
use crate::framing::Framing;
use crate::metrics::Metrics;

/// What the service and the stream tell each other.
#[derive(Debug)]
pub(crate) struct Activity {
    heads: AtomicU32,
    open: AtomicU32,
    /// Is the next answer the last one?
    is_ending: AtomicBool,
    /// Has the connection left HTTP?
    is_tunnel: AtomicBool,
    /// The last head that the stream saw whole: its number, and whether its framing is in conflict.
    scanned: AtomicU64,
    metrics: Arc<Metrics>,
}

impl Activity {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        let (heads, open, scanned) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU64::new(u64::MAX));
        let flag = || AtomicBool::new(false);
        Arc::new(Self { heads, open, is_ending: flag(), is_tunnel: flag(), scanned, metrics })
    }

    /// A request head was read.
    pub(crate) fn begin(self: &Arc<Self>) -> Open {
        let head = self.heads.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        self.metrics.request_opened();
        Open { activity: Arc::clone(self), head }
    }

    /// How many request heads were read.
    pub(crate) fn heads(&self) -> u32 {
        self.heads.load(Ordering::Relaxed)
    }

    /// From now on answers say that the connection ends with them.
    pub(crate) fn announce_end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }

    /// Is every request answered to its end?
    pub(crate) fn is_at_rest(&self) -> bool {
        self.open.load(Ordering::Relaxed) == 0
    }

    /// Has the connection left HTTP?
    pub(crate) fn is_tunnel(&self) -> bool {
        self.is_tunnel.load(Ordering::Relaxed)
    }

    /// The stream saw a head whole.
    pub(crate) fn note_framing(&self, head: u32, framing: Framing) {
        let conflict = u64::from(framing == Framing::Conflicting);
        self.scanned.store(u64::from(head) << 1 | conflict, Ordering::Relaxed);
    }
}

/// A request in progress: held until it was answered to the end, or broken off.
#[derive(Debug)]
pub(crate) struct Open {
    activity: Arc<Activity>,
    head: u32,
}

impl Open {
    /// Must the answer say that the connection ends with it?
    pub(crate) fn is_last(&self) -> bool {
        self.activity.is_ending.load(Ordering::Relaxed)
    }

    /// The answer changes the protocol: from here on the connection carries bytes that are no requests.
    pub(crate) fn begin_tunnel(&self) {
        self.activity.is_tunnel.store(true, Ordering::Relaxed);
    }

    /// The answer broke off in its body.
    pub(crate) fn note_cut(&self) {
        self.activity.metrics.upstream_fault(FaultKind::CutShort);
    }

    /// What the stream saw of the fields that frame this request.
    pub(crate) fn framing(&self) -> Framing {
        let scanned = self.activity.scanned.load(Ordering::Relaxed);
        match (scanned >> 1 == u64::from(self.head), scanned & 1) {
            (false, _) => Framing::Unseen,
            (true, 0) => Framing::Clear,
            (true, _) => Framing::Conflicting,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.activity.open.fetch_sub(1, Ordering::Relaxed);
        self.activity.metrics.request_closed();
    }
}
