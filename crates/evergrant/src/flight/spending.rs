//! Whether a refresh token is on its way.
//!
//! From the moment at which the intent to spend it is written until the answer is stored, a process that ends may lose the
//! grant: the provider may have replaced the refresh token, and only the answer has the next. Before, while a flight waits
//! for its lease or looks for the token endpoint, nothing is lost. So each flight says here when it begins to spend, and
//! whoever ends in haste asks once, for both: is something on its way, and may nothing else begin?

use std::sync::Arc;

use crate::sync::watch;

/// What one source's flights say of their refresh tokens.
#[derive(Clone)]
pub(crate) struct Spending(Arc<watch::Sender<State>>);

#[derive(Clone, Copy, Default, Debug)]
struct State {
    on_their_way: u32,
    is_stopped: bool,
}

impl Default for Spending {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }
}

impl Spending {
    /// From now on a refresh token may be on its way; `None` once nothing may be spent any more.
    pub(super) fn begin(&self) -> Option<OnItsWay> {
        let mut has_begun = false;
        self.0.send_modify(|state| {
            has_begun = !state.is_stopped;
            state.on_their_way += u32::from(has_begun);
        });
        has_begun.then(|| OnItsWay(self.clone()))
    }

    /// Lets nothing be spent any more, and waits for what is on its way.
    pub(crate) async fn stop(&self) {
        let mut changes = self.0.subscribe();
        self.0.send_modify(|state| state.is_stopped = true);
        // An error would mean that the sender is gone, which is here.
        let _ = changes.wait_for(|state| state.on_their_way == 0).await;
    }
}

/// A refresh token that may be on its way, until this is dropped.
pub(super) struct OnItsWay(Spending);

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.on_their_way -= 1);
    }
}
