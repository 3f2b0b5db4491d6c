//! Holds every running source still while the process forks.
//!
//! A child gets the forking thread alone, and every lock as it was. If another thread held one at that moment, of an
//! allocator, a registry, a one-time initialisation, nobody will ever release it there. So before a fork our threads are
//! brought to a place where they hold none, and wait there until the fork is done. The child then starts its own.
//!
//! Limits: a fork that Python does not know of (`os.posix_spawn`, a `fork` of a C library) is not announced; a child that
//! calls `exec` needs nothing, any other one is noticed by its process id all the same.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use pyo3::prelude::*;

use crate::live::{self, Live};
use crate::logging;

/// Only locked by threads that hold the interpreter, and never while they let go of it.
static RUNNING: Mutex<Vec<Weak<Live>>> = Mutex::new(Vec::new());
/// While one of these lives, a thread stands still.
static STANDING: Mutex<Vec<Sender<()>>> = Mutex::new(Vec::new());

/// Remembers a source that runs from now on.
pub(crate) fn remember(live: &Arc<Live>) {
    let mut running = lock(&RUNNING);
    running.retain(|live| live.strong_count() > 0);
    running.push(Arc::downgrade(live));
}

/// Brings our threads to a halt where they hold nothing.
#[pyfunction]
pub(crate) fn before_fork(py: Python<'_>) {
    let running: Vec<_> = lock(&RUNNING).iter().filter_map(Weak::upgrade).filter(|live| live.is_ours()).collect();
    let mut standing = Vec::new();
    for live in running {
        let (release, released) = channel::<()>();
        let (halt, halted) = channel();
        drop(live.handle().spawn(stand(halt, released)));
        // A thread that is busy for longer is left as it is: the fork matters more.
        py.detach(move || halted.recv_timeout(PATIENCE).ok());
        standing.push(release);
    }
    *lock(&STANDING) = standing;
}

/// Lets them go on.
#[pyfunction]
pub(crate) fn after_fork_in_parent() {
    lock(&STANDING).clear();
}

/// Forgets them: they do not exist here, and whatever they hold is held for ever.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    live::notice_process();
    std::mem::forget(std::mem::take(&mut *lock(&STANDING)));
    std::mem::forget(std::mem::take(&mut *lock(&RUNNING)));
    logging::start_anew();
}

/// Blocks the thread that runs it, on purpose.
async fn stand(halt: Sender<()>, released: Receiver<()>) {
    if halt.send(()).is_ok() {
        // Nothing is ever sent: it ends when the other end is dropped.
        let _ = released.recv();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const PATIENCE: Duration = Duration::from_millis(200);
