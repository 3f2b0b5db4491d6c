//! The lanes at rest, the latest used first.
//!
//! A lane rests for a bounded time, less than common load balancers allow, so that it is us who close it. A server may
//! close it earlier: that wakes the pool's keeper, a task that lives only while lanes rest, and it drops what has
//! ended. A lane that ends in the instant between is noticed when it is used, before anything is sent on it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Wake, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::lane::Lane;

/// The lanes at rest.
pub(super) struct Pool {
    resting: Mutex<Resting>,
    bell: Arc<Bell>,
    /// Rings the bell.
    waker: Waker,
}

#[derive(Default)]
struct Resting {
    /// The longest at rest is in front.
    lanes: VecDeque<(Box<Lane>, Instant)>,
    is_kept: bool,
}

/// Wakes the keeper.
#[derive(Default)]
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}

impl Pool {
    pub(super) fn new() -> Arc<Self> {
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        Arc::new(Self { resting: Mutex::default(), bell, waker })
    }

    /// The lane that was used last.
    pub(super) fn take(&self) -> Option<Box<Lane>> {
        let (lane, since) = self.lock().lanes.pop_back()?;
        (since.elapsed() < REST).then_some(lane)
    }

    /// Lets a lane rest, if it still can be used.
    pub(super) fn put(self: &Arc<Self>, lane: Box<Lane>) {
        if !lane.is_free() {
            return;
        }
        lane.relay().rest(&self.waker);
        let mut resting = self.lock();
        resting.lanes.push_back((lane, Instant::now()));
        let surplus = if resting.lanes.len() > MOST { resting.lanes.pop_front() } else { None };
        let needs_keeper = !std::mem::replace(&mut resting.is_kept, true);
        drop(resting);
        // Closing a connection is not done under the lock.
        drop(surplus);
        if needs_keeper {
            tokio::spawn(keep(Arc::downgrade(self), Arc::clone(&self.bell)));
        }
    }

    /// Drops what has ended or rested too long; when to look again, if anything is left.
    fn sweep(&self) -> Option<Instant> {
        let mut resting = self.lock();
        let mut gone = Vec::new();
        for (mut lane, since) in std::mem::take(&mut resting.lanes) {
            let is_over = since.elapsed() >= REST || (lane.relay().take_woken() && lane.is_dead());
            if is_over {
                gone.push(lane);
            } else {
                lane.relay().rest(&self.waker);
                resting.lanes.push_back((lane, since));
            }
        }
        resting.is_kept = !resting.lanes.is_empty();
        let next = resting.lanes.front().map(|(_, since)| *since + REST);
        drop(resting);
        next
    }

    fn lock(&self) -> MutexGuard<'_, Resting> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks after the lanes at rest until there are none.
async fn keep(pool: Weak<Pool>, bell: Arc<Bell>) {
    while let Some(next) = pool.upgrade().and_then(|pool| pool.sweep()) {
        _ = tokio::time::timeout_at(next, bell.0.notified()).await;
    }
}

/// Below the 60 s after which common load balancers close an idle connection, so that we close it first.
pub(super) const REST: Duration = Duration::from_secs(50);
/// The most lanes at rest.
const MOST: usize = 256;
