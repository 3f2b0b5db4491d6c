//! The parts of [`super`] for a run under shuttle's scheduler.
//!
//! Mutexes and atomics are shuttle's own. Everything else is the real thing, tokio's channels and arc-swap's cell, behind
//! a point at which another task may go on: all tasks of a run share one thread, so a step between two points is atomic.
//!
//! Each part knows the slips of [`Slip`] that it is asked for, so that what ships needs no line for them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::Guard;
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64};
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
use tokio::sync::{Notify as RealNotify, OwnedMutexGuard};

use super::world::{self, Slip, point};
pub(crate) use super::world::{send, sleep, timeout};

/// One seed for all: what differs between two runs is the schedule.
pub(crate) fn seed() -> u64 {
    7
}

/// A number that tasks share.
pub(crate) struct AtomicI64(shuttle::sync::atomic::AtomicI64);

impl AtomicI64 {
    pub(crate) fn new(value: i64) -> Self {
        Self(shuttle::sync::atomic::AtomicI64::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> i64 {
        self.0.load(order)
    }

    pub(crate) fn store(&self, value: i64, order: Ordering) {
        self.0.store(value, order);
    }

    pub(crate) fn compare_exchange(&self, from: i64, to: i64, yes: Ordering, no: Ordering) -> Result<i64, i64> {
        if world::has(Slip::ClaimsWithoutComparing) {
            self.0.store(to, yes);
            return Ok(from);
        }
        self.0.compare_exchange(from, to, yes, no)
    }
}

/// A value that is read without a lock and replaced as a whole.
pub(crate) struct ArcSwap<T>(Arc<arc_swap::ArcSwap<T>>);

impl<T: Send + Sync + 'static> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self(Arc::new(arc_swap::ArcSwap::from_pointee(value)))
    }

    pub(crate) fn load(&self) -> Guard<Arc<T>> {
        point();
        self.0.load()
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        point();
        if world::has(Slip::PublishesLater) {
            let cell = Arc::clone(&self.0);
            drop(shuttle::future::spawn(async move { cell.store(value) }));
            return;
        }
        self.0.store(value);
    }
}

/// Wakes one task, or the next one that comes to wait.
#[derive(Default)]
pub(crate) struct Notify(RealNotify);

impl Notify {
    pub(crate) fn notify_one(&self) {
        point();
        match world::slip() {
            Some(Slip::WakesNobody) => {}
            Some(Slip::WakesOnlyWhoWaits) => self.0.notify_waiters(),
            _ => self.0.notify_one(),
        }
    }

    pub(crate) async fn notified(&self) {
        point();
        self.0.notified().await;
    }
}

/// The lock behind a lease of the store in memory.
#[derive(Debug, Default)]
pub(crate) struct LeaseLock<T>(Arc<tokio::sync::Mutex<T>>);

impl<T: Default> LeaseLock<T> {
    pub(crate) async fn lock_owned(self: Arc<Self>) -> OwnedMutexGuard<T> {
        point();
        let lock = if world::has(Slip::LeasesToEverybody) { Arc::default() } else { Arc::clone(&self.0) };
        lock.lock_owned().await
    }
}

/// Where tasks are started.
pub(crate) struct Handle;

impl Handle {
    pub(crate) fn current() -> Self {
        Self
    }

    pub(crate) fn spawn<F>(&self, task: F) -> shuttle::future::JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        world::spawn(task)
    }
}

pub(crate) mod watch {
    //! tokio's channel of one value.

    pub(crate) use tokio::sync::watch::Ref;
    use tokio::sync::watch::error::RecvError;
    use tokio::sync::watch::{Receiver as RealReceiver, Sender as RealSender};

    use super::{Slip, point, world};

    pub(crate) struct Sender<T>(RealSender<T>);

    impl<T> Sender<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(RealSender::new(value))
        }

        pub(crate) fn subscribe(&self) -> Receiver<T> {
            point();
            Receiver(self.0.subscribe())
        }

        pub(crate) fn borrow(&self) -> Ref<'_, T> {
            point();
            self.0.borrow()
        }

        pub(crate) fn send_modify(&self, modify: impl FnOnce(&mut T)) {
            point();
            self.0.send_modify(modify);
        }

        pub(crate) fn send_replace(&self, value: T) -> T {
            point();
            self.0.send_replace(value)
        }
    }

    #[derive(Debug)]
    pub(crate) struct Receiver<T>(RealReceiver<T>);

    impl<T> Receiver<T> {
        pub(crate) async fn changed(&mut self) -> Result<(), RecvError> {
            point();
            if world::has(Slip::ForgetsBeforeItWaits) {
                self.0.mark_unchanged();
            }
            self.0.changed().await
        }

        pub(crate) fn mark_unchanged(&mut self) {
            point();
            self.0.mark_unchanged();
        }

        pub(crate) async fn wait_for(&mut self, is_it: impl FnMut(&T) -> bool) -> Result<(), RecvError> {
            point();
            self.0.wait_for(is_it).await.map(drop)
        }
    }
}

/// The clocks of [`crate::clock`].
pub(crate) mod clocks {
    use evergrant_core::time::{Boot, Span, Wall};

    use super::world;
    use crate::clock::BootId;

    pub(crate) fn boot() -> Boot {
        world::now()
    }

    /// The calendar, which goes with the boot clock.
    pub(crate) fn wall() -> Wall {
        Wall::from_secs(1_800_000_000) + (world::now() - Boot::from_nanos(0))
    }

    pub(crate) fn slewed() -> Option<Span> {
        None
    }

    pub(crate) fn suspended() -> Option<Span> {
        None
    }

    pub(crate) fn boot_id() -> Option<BootId> {
        Some(BootId::new("under-shuttle".to_owned()))
    }
}
