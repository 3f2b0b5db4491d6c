//! A listener and the connections that came in through it.
//!
//! An entrance is bound first and opened later, so that an address in use is an error before anything else happens, and a
//! caller that comes early waits in the accept queue instead of being refused. Each entrance has phases of its own: a reload
//! that takes one away drains its connections while the others go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::address::Address;
use crate::connection;
use crate::listen::{BindError, Listener};
use crate::peer::Peer;
use crate::phase::Control;
use crate::site::Current;

/// A listener of one site.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// Its address, with the real port.
    pub(crate) bound: Address,
    pub(crate) control: Arc<Control>,
    state: State,
}

#[derive(Debug)]
enum State {
    Shut(Listener),
    Open { stop: oneshot::Sender<()>, task: JoinHandle<Listener> },
}

impl Entrance {
    /// Binds an address and accepts nothing yet.
    pub(crate) async fn bind(wanted: &Address) -> Result<Self, BindError> {
        let (listener, bound) = Listener::bind(wanted).await?;
        Ok(Self { bound, control: Arc::default(), state: State::Shut(listener) })
    }

    /// Lets callers of this site in.
    pub(crate) fn open(self, current: &Current) -> Self {
        let State::Shut(listener) = self.state else { return self };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, current.clone(), Arc::clone(&self.control), stopped));
        Self { state: State::Open { stop, task }, ..self }
    }

    /// Lets nobody in any more. What is connected stays.
    pub(crate) async fn close(self) -> Arc<Control> {
        if let State::Open { stop, task } = self.state {
            // Both fail only if the task has panicked, and its listener is closed then.
            _ = stop.send(());
            _ = task.await;
        }
        self.control
    }
}

/// Accepts callers, each on a task of its own, until told to stop.
async fn serve(
    listener: Listener,
    current: Current,
    control: Arc<Control>,
    mut stopped: oneshot::Receiver<()>,
) -> Listener {
    loop {
        let next = async {
            let place = Room::enter(&current).await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            biased;
            _ = &mut stopped => {
                listener.hide();
                return listener;
            }
            next = next => next,
        };
        let (current, phases) = (current.clone(), control.watch());
        tokio::spawn(async move {
            let metrics = Arc::clone(&current.get().metrics);
            metrics.connection_opened();
            let peer = Peer::of(&stream);
            connection::serve(stream, peer, &current, phases).await;
            metrics.connection_closed();
            drop(place);
        });
    }
}

/// Counts what may only be there so many times. The bound is asked for each time, because a reload may change it.
#[derive(Debug, Default)]
pub(crate) struct Room {
    taken: AtomicUsize,
    freed: Notify,
}

impl Room {
    /// Waits for a place among the connections of this site.
    async fn enter(current: &Current) -> Place {
        loop {
            let site = current.get();
            let freed = site.room.freed.notified();
            if let Some(place) = Self::try_enter(&site.room, site.config.limits.connections) {
                return place;
            }
            freed.await;
        }
    }

    /// A place, if fewer than `limit` are taken.
    pub(crate) fn try_enter(room: &Arc<Self>, limit: usize) -> Option<Place> {
        if room.taken.fetch_add(1, Ordering::Relaxed) >= limit {
            room.taken.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place(Arc::clone(room)))
    }
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Room>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_one();
    }
}
