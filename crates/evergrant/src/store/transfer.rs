//! Moves a record from one store to another without ever having it in none.
//!
//! Both leases are held from before the first read until after the last write, so nobody refreshes meanwhile. The record
//! is written, read back through a path of its own and compared, and only then removed where it came from. Every step
//! can fail or be the last of this process: until the last one the source holds everything, and the same move made again
//! goes on where it ended.

use evergrant_core::time::Boot;

use super::{CredentialKey, Record, Store, StoreError};

/// How a move ended well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// The generation that was moved.
    pub generation: u64,
    /// The older generation that it replaced.
    pub replaced: Option<u64>,
}

/// Why a record was not moved. Both stores hold what they held, but for [`MoveError::NotForgotten`].
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// There is nothing to move.
    #[error("the store holds nothing of this credential")]
    Nothing,
    /// Both names lead to the same store.
    #[error("both are the same store")]
    SamePlace,
    /// The other store holds something newer.
    #[error("the other store holds generation {there} of this credential, and this one only generation {here}")]
    Newer {
        /// The generation in the destination.
        there: u64,
        /// The generation in the source.
        here: u64,
    },
    /// Both hold the same generation, of two different logins.
    #[error("both stores hold generation {generation} of this credential, with other tokens")]
    Differs {
        /// The generation of both.
        generation: u64,
    },
    /// What was read back is not what was written.
    #[error("the other store does not give back what was written into it")]
    Unverified,
    /// The record is in both stores now.
    #[error("it was copied and could not be removed here, so both stores hold it: {0}")]
    NotForgotten(#[source] StoreError),
    /// The source cannot be used.
    #[error("the store cannot be used: {0}")]
    Source(#[source] StoreError),
    /// The destination cannot be used.
    #[error("the other store cannot be used: {0}")]
    Destination(#[source] StoreError),
}

impl MoveError {
    /// The next step for whoever runs this.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Nothing => "`evergrant store list` shows what it holds".to_owned(),
            Self::SamePlace => "name another store as the destination".to_owned(),
            Self::Newer { .. } => "use the newer one: point the settings at the other store".to_owned(),
            Self::Differs { .. } => "`evergrant store forget` removes the one that is not wanted".to_owned(),
            Self::Unverified => "the record is still here; find out what else writes into the other store".to_owned(),
            Self::NotForgotten(error) => format!("{}; then move it again, which removes it here", error.hint()),
            Self::Source(error) | Self::Destination(error) => error.hint(),
        }
    }
}

impl Store {
    /// Moves the record of `key` to another store, waiting until `deadline` for the lease of each.
    ///
    /// # Errors
    /// As the variants of [`MoveError`] say; nothing is lost with any of them.
    pub async fn move_to(&self, other: &Self, key: &CredentialKey, deadline: Boot) -> Result<Moved, MoveError> {
        if self.is_same_place(other) {
            return Err(MoveError::SamePlace);
        }
        let source = self.lease(key, deadline).await.map_err(MoveError::Source)?;
        let record = source.read().ok_or(MoveError::Nothing)?.clone();
        let mut destination = other.lease(key, deadline).await.map_err(MoveError::Destination)?;
        let found = destination.read();
        if let Some(found) = found {
            may_replace(found, &record)?;
        }
        let replaced = found.map(|found| found.generation).filter(|generation| *generation < record.generation);
        if found != Some(&record) {
            destination.write(&record).await.map_err(MoveError::Destination)?;
        }
        if other.load(key).await.map_err(MoveError::Destination)?.as_ref() != Some(&record) {
            return Err(MoveError::Unverified);
        }
        source.forget().await.map_err(MoveError::NotForgotten)?;
        destination.release().await;
        Ok(Moved { generation: record.generation, replaced })
    }

    /// Two names of one server are not found out here: its lease is, which this process holds already.
    fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Memory(one), Self::Memory(another)) => one.is_same_place(another),
            (Self::File(one), Self::File(another)) => one.is_same_place(another),
            _ => false,
        }
    }
}

fn may_replace(found: &Record, record: &Record) -> Result<(), MoveError> {
    let (there, here) = (found.generation, record.generation);
    if there > here {
        return Err(MoveError::Newer { there, here });
    }
    if there == here && found != record {
        return Err(MoveError::Differs { generation: here });
    }
    Ok(())
}
