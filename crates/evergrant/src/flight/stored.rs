//! What the store holds, in the keeper's terms: tokens whose times are on this boot's clock, or known to be unknown.

use evergrant_core::keeper::Minted;
use evergrant_core::offset::Source;
use evergrant_core::time::Boot;
use evergrant_core::token::{Generation, Issued};

use crate::driver::Shared;
use crate::store::{Anchors, Record};
use crate::{clock, doubt};

/// Takes over what the store holds at start.
pub(crate) async fn restore(shared: &Shared) {
    let flights = &shared.flights;
    match flights.store().load(flights.key()).await {
        Ok(Some(mut record)) => {
            if let Some(seed) = flights.seed() {
                record.take_seed(seed);
            }
            let mints = mints_of(shared, &record);
            let restored = restored(shared, &record);
            let is_unfinished = flights.rotates()
                && doubt::doubt_of(&record).is_some_and(|doubt| doubt::is_within_grace(doubt, flights));
            flights.keep_if_newer(&record);
            shared.act(|keeper, now| {
                keeper.handle_known_mints(mints);
                match restored {
                    Some(Restored::Known(minted)) => keeper.handle_restored(minted, now),
                    Some(Restored::Stale(minted)) => keeper.handle_stale(minted, now),
                    None => {}
                }
                if is_unfinished {
                    keeper.handle_unfinished(now);
                }
            });
        }
        Ok(None) => {}
        Err(error) => {
            flights.note_store_down(true);
            tracing::error!(%error, hint = error.hint(), "the store cannot be read");
        }
    }
}

/// A stored token on this boot's clock.
pub(crate) enum Restored {
    /// It is known how old it is.
    Known(Minted),
    /// It is from another boot, and no clock tells how old it is.
    Stale(Minted),
}

pub(crate) fn restored(shared: &Shared, record: &Record) -> Option<Restored> {
    let flights = &shared.flights;
    let access_token = record.access_token.clone()?;
    let auth = shared.look(|keeper, now| keeper.clocks().reading(Source::AuthDate, now.boot).interval);
    let times = record.issued.as_ref()?.on_this_boot(Anchors { auth, store: flights.store().time_offset() });
    let minted = |sent, received| Minted {
        generation: Generation(record.generation),
        access_token,
        issued: Issued { sent, received },
        lifetime: record.expires_in,
        is_renewable: !flights.rotates() || record.refresh_token.is_some(),
    };
    Some(match times {
        Some((sent, received)) => Restored::Known(minted(sent, received)),
        None => Restored::Stale(minted(clock::boot(), clock::boot())),
    })
}

/// When this and other processes minted, as far as any clock can tell.
pub(crate) fn mints_of(shared: &Shared, record: &Record) -> Vec<Boot> {
    let (now, store) = (clock::now(), shared.flights.store().time_offset());
    record.mints.iter().filter_map(|mint| Some(now.boot - mint.age(now, store)?)).collect()
}
