//! Serving, draining, closed: the three phases of a gateway, and of each of its listeners, seen by every task.
//!
//! Draining lets requests in flight finish and takes no new ones; closed cuts what is left. Whoever holds a [`Phases`]
//! counts as work, so the end of all work is the moment when none is left.

use tokio::sync::watch;

/// A phase of a gateway or of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    Draining,
    Closed,
}

/// Moves a gateway, or one listener with its connections, from phase to phase.
#[derive(Debug)]
pub(crate) struct Control(watch::Sender<Phase>);

impl Default for Control {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Serving))
    }
}

impl Control {
    pub(crate) fn enter(&self, phase: Phase) {
        self.0.send_replace(phase);
    }

    pub(crate) fn is_serving(&self) -> bool {
        *self.0.borrow() == Phase::Serving
    }

    pub(crate) fn watch(&self) -> Phases {
        Phases(self.0.subscribe())
    }

    /// Does nobody watch any more?
    pub(crate) fn is_idle(&self) -> bool {
        self.0.is_closed()
    }

    /// Ends when nobody watches any more.
    pub(crate) async fn idle(&self) {
        self.0.closed().await;
    }
}

/// One task's view of the phase.
#[derive(Clone, Debug)]
pub(crate) struct Phases(watch::Receiver<Phase>);

impl Phases {
    /// Ends when the gateway drains or is closed.
    pub(crate) async fn draining(&mut self) {
        self.reach(Phase::Draining).await;
    }

    /// Ends when the gateway is closed.
    pub(crate) async fn closed(&mut self) {
        self.reach(Phase::Closed).await;
    }

    async fn reach(&mut self, phase: Phase) {
        // Without its gateway a task has nothing to wait for.
        _ = self.0.wait_for(|now| *now >= phase).await;
    }
}
