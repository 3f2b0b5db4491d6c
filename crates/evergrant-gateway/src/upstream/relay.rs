//! Carries wake-ups of a connection to whoever drives it at the moment, and swallows those that it causes itself.
//!
//! A pooled connection is driven by one request's task after another, and by nobody while it rests. Its registrations
//! with the runtime and with hyper's channels outlive each of them, so they hold one lasting waker, the relay's, and
//! the relay knows the task of the moment.
//!
//! Driving a connection in the task that waits for it means that most wake-ups come from inside: the task takes a
//! piece of a body, and the connection's half of the channel is told. Each would schedule the task once more for
//! nothing. While the task drives, the relay therefore only notes that there was one, and the driver looks again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// A waker whose target changes.
#[derive(Default)]
pub(super) struct Relay(Mutex<State>);

#[derive(Default)]
struct State {
    is_driving: bool,
    was_woken: bool,
    target: Option<Waker>,
}

impl Relay {
    /// From now on wake-ups are only noted.
    pub(super) fn hush(&self) {
        let mut state = self.lock();
        (state.is_driving, state.was_woken) = (true, false);
    }

    /// Was there a wake-up since the last look?
    pub(super) fn take_woken(&self) -> bool {
        std::mem::take(&mut self.lock().was_woken)
    }

    /// From now on wake-ups go to `target`; one that was only noted does, too.
    pub(super) fn watch(&self, target: &Waker) {
        let mut state = self.lock();
        match &mut state.target {
            Some(known) => known.clone_from(target),
            none @ None => *none = Some(target.clone()),
        }
        state.is_driving = false;
        if std::mem::take(&mut state.was_woken) {
            target.wake_by_ref();
        }
    }

    /// As [`Relay::watch`] for a connection that comes to rest: what was noted were our own last steps.
    pub(super) fn rest(&self, target: &Waker) {
        self.lock().was_woken = false;
        self.watch(target);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.lock();
        state.was_woken = true;
        if let Some(target) = state.target.as_ref().filter(|_| !state.is_driving) {
            target.wake_by_ref();
        }
    }
}
