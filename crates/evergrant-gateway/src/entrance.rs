//! A listener and the connections that came in through it.
//!
//! An entrance is bound first and opened later, so that an address in use is an error before anything else happens, and
//! a caller that comes early waits in the accept queue instead of being refused. Each entrance has phases of its own: a
//! reload that takes one away drains its connections while the others go on. Its listener can also be handed to another
//! site, and no caller in the accept queue notices.
//!
//! A site that has all the connections it may have lets newcomers wait in the accept queue, for a burst passes. After a
//! second it answers them instead (`room`), because a caller that hangs does not know why.
//!
//! A listener that is closed resets whoever is in its accept queue, and such a caller may have sent its request already.
//! So an entrance that retires first stops taking newcomers, then lets in everybody who is in the queue, and only then
//! closes. The queue of a socket that others have too is left to them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::address::Address;
use crate::connection;
use crate::inherited::Inherited;
use crate::listen::{BindError, Listener, Owner};
use crate::peer::Peer;
use crate::phase::{Control, Phase};
use crate::room::{self, Place, Room};
use crate::site::Current;
use crate::stream::Stream;

/// A listener of one site.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// Its address as configured.
    pub(crate) wanted: Address,
    /// Its address with the real port.
    pub(crate) bound: Address,
    control: Arc<Control>,
    state: State,
}

#[derive(Debug)]
enum State {
    Shut(Listener),
    Open { stop: oneshot::Sender<Stop>, task: JoinHandle<Listener> },
}

/// Why nobody is accepted any more.
#[derive(Debug)]
enum Stop {
    /// The listener goes on elsewhere.
    HandOver,
    /// The listener will be closed.
    Retire,
}

impl Entrance {
    /// Binds an address and accepts nothing yet.
    pub(crate) async fn bind(wanted: &Address, inherited: &Inherited) -> Result<Self, BindError> {
        let (listener, bound) = Listener::bind(wanted, inherited).await?;
        Ok(Self { wanted: wanted.clone(), bound, control: Arc::default(), state: State::Shut(listener) })
    }

    /// Lets callers of this site in.
    pub(crate) fn open(self, current: &Current) -> Self {
        let State::Shut(listener) = self.state else { return self };
        let (stop, stopped) = oneshot::channel();
        let doorkeeper = Doorkeeper { current: current.clone(), control: Arc::clone(&self.control) };
        let task = tokio::spawn(doorkeeper.serve(listener, stopped));
        Self { state: State::Open { stop, task }, ..self }
    }

    /// The same listener, shut, to be opened for another site; the connections so far stay with their phases.
    ///
    /// `None` if its task has died, and its listener with it.
    pub(crate) async fn hand_over(self) -> (Option<Self>, Arc<Control>) {
        let Self { wanted, bound, control, state } = self;
        let listener = state.stop(Stop::HandOver).await;
        let next =
            listener.map(|listener| Self { wanted, bound, control: Arc::default(), state: State::Shut(listener) });
        (next, control)
    }

    /// Lets nobody new in, and tells those who are in to come to an end.
    pub(crate) async fn retire(self) -> Arc<Control> {
        drop(self.state.stop(Stop::Retire).await);
        self.control.enter(Phase::Draining);
        self.control
    }
}

impl State {
    async fn stop(self, why: Stop) -> Option<Listener> {
        match self {
            Self::Shut(listener) => Some(listener),
            Self::Open { stop, task } => {
                // Both fail only if the task has panicked, and its listener is closed then.
                _ = stop.send(why);
                task.await.ok()
            }
        }
    }
}

/// Lets callers of one entrance in.
struct Doorkeeper {
    current: Current,
    control: Arc<Control>,
}

impl Doorkeeper {
    /// Accepts callers, each on a task of its own, until told to stop.
    async fn serve(self, listener: Listener, mut stopped: oneshot::Receiver<Stop>) -> Listener {
        let mut is_full = false;
        loop {
            let next = async {
                let place = self.place(is_full).await;
                (place, listener.accept().await)
            };
            tokio::select! {
                biased;
                stop = &mut stopped => {
                    // Without an answer the gateway is gone, and its callers with it.
                    if matches!(stop, Ok(Stop::Retire)) {
                        self.finish_queue(&listener).await;
                    }
                    return listener;
                }
                (place, stream) = next => {
                    // Somebody may have left while nobody came.
                    let place = place.or_else(|| self.place_now());
                    is_full = place.is_none();
                    self.let_in(place, stream).await;
                }
            }
        }
    }

    /// A place for the next caller; `None` if there was none for a while.
    async fn place(&self, is_full: bool) -> Option<Place> {
        if let Some(place) = self.place_now() {
            return Some(place);
        }
        if is_full {
            return None;
        }
        timeout(BURST, async {
            loop {
                let room = Arc::clone(&self.current.get().room);
                let freed = room.freed();
                if let Some(place) = self.place_now() {
                    return place;
                }
                freed.await;
            }
        })
        .await
        .ok()
    }

    fn place_now(&self) -> Option<Place> {
        let site = self.current.get();
        Room::try_enter(&site.room, site.config.limits.connections)
    }

    /// Serves a caller that has a place, and turns away one that has none.
    async fn let_in(&self, place: Option<Place>, stream: Stream) {
        let site = self.current.get();
        let Some(place) = place else {
            site.metrics.refused.add();
            // Those who are being turned away are few at a time; the others wait in the accept queue.
            let farewell = site.hub.farewells.enter(MAX_FAREWELLS).await;
            tokio::spawn(room::turn_away(stream, farewell));
            return;
        };
        let (current, phases) = (self.current.clone(), self.control.watch());
        tokio::spawn(async move {
            let metrics = Arc::clone(&site.metrics);
            drop(site);
            metrics.connection_opened();
            let peer = Peer::of(&stream);
            connection::serve(stream, peer, &current, phases).await;
            metrics.connection_closed();
            drop(place);
        });
    }

    /// Lets in everybody who has connected, and nobody else, unless others serve the queue.
    async fn finish_queue(&self, listener: &Listener) {
        if listener.owner() == Owner::Shared {
            return;
        }
        listener.refuse_newcomers();
        while let Ok(stream) = timeout(QUEUE_CHECK, listener.accept()).await {
            self.let_in(self.place_now(), stream).await;
        }
    }
}

/// How long callers wait for a place before they are told that there is none.
const BURST: Duration = Duration::from_secs(1);
/// Longer than it takes to hear of a connection that is in the queue.
const QUEUE_CHECK: Duration = Duration::from_millis(20);
const MAX_FAREWELLS: usize = 64;
