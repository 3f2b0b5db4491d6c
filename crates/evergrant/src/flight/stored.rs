//! What the store holds, in the keeper's terms: tokens whose times are on this boot's clock, or known to be unknown.

use evergrant_core::keeper::{Minted, Stored, StoredToken};
use evergrant_core::offset::Source;
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
            let stored = stored(shared, &record);
            flights.keep_if_newer(&record);
            shared.act(|keeper, now| keeper.handle_stored(stored, flights.rotates(), now));
        }
        Ok(None) => {}
        Err(error) => {
            flights.note_store_down(true);
            tracing::error!(%error, hint = error.hint(), "the store cannot be read");
        }
    }
}

/// A record as the keeper knows it.
pub(crate) fn stored(shared: &Shared, record: &Record) -> Stored {
    let (now, store) = (clock::now(), shared.flights.store().time_offset());
    Stored {
        generation: Generation(record.generation),
        grant: doubt::name_of(record).map(|name| name.as_str().to_owned()),
        token: token(shared, record),
        doubt: doubt::doubt_of(record).map(|intent| doubt::doubt(intent, &shared.flights)),
        failure: record.failed.as_ref().and_then(|failed| failed.shared(now, store)).map(Box::new),
        mints: record.mints.iter().filter_map(|mint| Some(now.boot - mint.age(now, store)?)).collect(),
    }
}

fn token(shared: &Shared, record: &Record) -> Option<StoredToken> {
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
        Some((sent, received)) => StoredToken::Known(minted(sent, received)),
        None => StoredToken::Stale(minted(clock::boot(), clock::boot())),
    })
}
