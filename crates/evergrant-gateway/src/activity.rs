//! What the service and the stream of one connection tell each other.
//!
//! The service knows where requests begin and end, the stream knows which bytes came when; each needs a little of what
//! the other knows. Everything here is a counter or a flag of one connection, which one task drives; request bodies are
//! read by other tasks at times, hence the atomics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::fault::FaultKind;
use crate::framing::Framing;
use crate::metrics::Metrics;
use crate::spans::RequestSpan;

/// What the service and the stream tell each other.
#[derive(Debug)]
pub(crate) struct Activity {
    heads: AtomicU32,
    open: AtomicU32,
    /// Request bodies that somebody may still read, with their answers given or not.
    receiving: AtomicU32,
    /// Bytes wait to be taken by the caller.
    is_write_waiting: AtomicBool,
    /// Has there been nothing for a moment?
    is_quiet: AtomicBool,
    /// Must the end of HTTP on the stream not be the end of the stream?
    is_kept_open: AtomicBool,
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
        let (count, flag) = (AtomicU32::default, AtomicBool::default);
        Arc::new(Self {
            heads: count(),
            open: count(),
            receiving: count(),
            is_write_waiting: flag(),
            is_quiet: flag(),
            is_kept_open: flag(),
            is_ending: flag(),
            is_tunnel: flag(),
            scanned: AtomicU64::new(u64::MAX),
            metrics,
        })
    }

    /// A request head was read.
    pub(crate) fn begin(self: &Arc<Self>) -> Open {
        let head = self.heads.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        self.metrics.request_opened();
        Open { activity: Arc::clone(self), head, span: RequestSpan::default() }
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

    /// The stream saw no byte for a moment, or now it did.
    pub(crate) fn note_quiet(&self, is_quiet: bool) {
        self.is_quiet.store(is_quiet, Ordering::Relaxed);
    }

    /// The caller takes nothing at the moment, or now it does.
    pub(crate) fn note_write_waiting(&self, is_waiting: bool) {
        self.is_write_waiting.store(is_waiting, Ordering::Relaxed);
    }

    /// Has there been nothing to do for a moment, and is nothing left to be done?
    pub(crate) fn may_pause(&self) -> bool {
        self.is_quiet.load(Ordering::Relaxed)
            && self.is_at_rest()
            && self.receiving.load(Ordering::Relaxed) == 0
            && !self.is_write_waiting.load(Ordering::Relaxed)
            && !self.is_tunnel()
    }

    /// Keeps the stream open, or no longer, whatever happens above it.
    pub(crate) fn keep_open(&self, is_kept: bool) {
        self.is_kept_open.store(is_kept, Ordering::Relaxed);
    }

    pub(crate) fn is_kept_open(&self) -> bool {
        self.is_kept_open.load(Ordering::Relaxed)
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
    /// Ends with the request.
    pub(crate) span: RequestSpan,
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

    /// The request has a body. Its connection does not pause before whoever reads it lets go of this.
    pub(crate) fn receive(&self) -> Receiving {
        self.activity.receiving.fetch_add(1, Ordering::Relaxed);
        Receiving(Arc::clone(&self.activity))
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

/// A request body that may still be read: held beside it.
#[derive(Debug)]
pub(crate) struct Receiving(Arc<Activity>);

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.receiving.fetch_sub(1, Ordering::Relaxed);
    }
}
