//! What other processes put into the store, taken over as soon as it is known.
//!
//! A store that can tell (Redis) tells at once; it is asked all the same every half minute, because messages get lost. A
//! store that cannot tell is asked by whoever holds its lease and, in between, only while nothing but a login helps:
//! somebody may just be logging in. Whoever asks for a token then has the store looked at too.
//!
//! A member that holds a newer record than Redis writes it back: Redis was emptied, or a replica that lagged took over.

use std::sync::{Arc, Weak};
use std::time::Duration;

use evergrant_core::time::{Boot, Span};

use crate::clock;
use crate::driver::Shared;
use crate::flight;
use crate::store::{Record, StoreError};
use crate::sync;

/// Follows the store until the last clone of the source is gone.
pub(crate) async fn follow(weak: Weak<Shared>) {
    let Some((mut changes, mut news)) = listen(&weak).await else { return };
    let mut looked = clock::boot();
    loop {
        let Some(shared) = weak.upgrade() else { return };
        let due = pause(&shared, news.is_told()).map_or(Boot::FAR, |pause| looked + pause);
        drop(shared);
        let is_told = tokio::select! {
            () = sync::sleep((due - clock::boot()).to_duration().min(LONGEST_SLEEP)) => false,
            () = news.changed() => true,
            changed = changes.changed() => match changed {
                Ok(()) => false,
                Err(_) => return,
            },
        };
        let Some(shared) = weak.upgrade() else { return };
        let is_due = pause(&shared, news.is_told()).is_some_and(|pause| clock::boot() >= looked + pause);
        if is_told || is_due {
            look(&shared).await;
            looked = clock::boot();
        }
    }
}

/// Looks whether somebody has made a new start possible: with another secret, or in the store. `true` if so.
pub(crate) async fn look_for_help(shared: &Shared) -> bool {
    let flights = &shared.flights;
    flights.secrets().read_again().await;
    if flights.note_secrets() {
        shared.handle_new_secrets();
        return true;
    }
    if !flights.store().is_durable() {
        return false;
    }
    let Ok(Some(record)) = flights.store().load(flights.key()).await else { return false };
    let is_news = flights.is_news(&record);
    if is_news {
        take(shared, record);
        // Also where only a refresh token is new there is nothing in the way of using it.
        shared.act(|keeper, _| keeper.handle_credential_changed());
    }
    is_news
}

async fn listen(weak: &Weak<Shared>) -> Option<(sync::watch::Receiver<u64>, crate::store::News)> {
    let shared = weak.upgrade()?;
    let news = shared.flights.store().listen(shared.flights.key()).await;
    Some((shared.changes(), news))
}

/// Takes over what the store holds, if it is newer or helps.
pub(crate) async fn look(shared: &Arc<Shared>) {
    if shared.look(|keeper, _| keeper.is_waiting_for_a_person()) {
        look_for_help(shared).await;
        return;
    }
    let flights = &shared.flights;
    let newest = shared.look(|keeper, _| keeper.newest_generation());
    match flights.store().newer(flights.key(), newest.0, flights.held().as_ref()).await {
        Ok(record) => {
            if flights.note_store_down(false) {
                tracing::info!("the store can be used again");
                shared.act(|keeper, _| keeper.handle_credential_changed());
            }
            if let Some(record) = record {
                take(shared, record);
            }
        }
        Err(error) => {
            if !flights.note_store_down(true) {
                warn(&error);
            }
        }
    }
}

fn take(shared: &Shared, record: Record) {
    let stored = flight::stored(shared, &record);
    shared.flights.keep_if_newer(&record);
    shared.act(|keeper, now| keeper.handle_news(stored, now));
}

/// How long to wait between two looks; for ever, if somebody else looks.
fn pause(shared: &Shared, is_told: bool) -> Option<Span> {
    if shared.flights.is_store_down() || shared.look(|keeper, _| keeper.is_waiting_for_a_person()) {
        return Some(WAITING_POLL);
    }
    is_told.then_some(POLL)
}

fn warn(error: &StoreError) {
    tracing::warn!(%error, hint = error.hint(), "the store cannot be read; what is at hand goes on working");
}

/// Two commands a minute, if nothing happens.
const POLL: Span = Span::from_secs(30);
/// Somebody is logging in, or the store is being started, and will look at once whether it helped.
const WAITING_POLL: Span = Span::from_secs(2);
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
