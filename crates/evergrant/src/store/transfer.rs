//! Moves a record from one store to another without ever having it in none.
//!
//! Both leases are held from before the first read until after the last write, so nobody refreshes meanwhile. The record
//! is written, read back through a path of its own and compared, and only then removed where it came from. Every step
//! can fail or be the last of this process: until the last one the source holds everything, and the same move made again
//! goes on where it ended. What stays at the source is a tombstone (see `tombstone`).
//!
//! Generations of two logins cannot be compared: a refresh token at the destination that is not the source's is replaced
//! only if that is asked for, whatever its generation.

use std::cmp::Ordering;

use evergrant_core::time::Boot;

use super::{CredentialKey, Record, Store, StoreError};

/// What becomes of tokens at the destination that are newer, or of another login.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OtherLogin {
    /// They stay, and nothing is moved.
    Stays,
    /// They are replaced, and lost.
    IsReplaced,
}

/// How a move ended well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// The generation that the record has at the destination.
    pub generation: u64,
    /// The generation that it replaced.
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
    /// The other store holds a refresh token of another login.
    #[error("the other store holds another refresh token of this credential (generation {there} there, {here} here)")]
    OtherLogin {
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
    #[error("both stores hold it now: {0}")]
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
            Self::Newer { .. } | Self::OtherLogin { .. } | Self::Differs { .. } => {
                "point the settings at the other store to use what it holds; or add --replace to put this one in its \
                 place, and what it holds is lost"
                    .to_owned()
            }
            Self::Unverified => "the record is still here; find out what else writes into the other store".to_owned(),
            Self::NotForgotten(error) => {
                format!("{}; then run the same move again, before a token is asked of either store", error.hint())
            }
            Self::Source(error) | Self::Destination(error) => error.hint(),
        }
    }
}

impl Store {
    /// Moves the record of `key` to another store, waiting until `deadline` for the lease of each.
    ///
    /// # Errors
    /// As the variants of [`MoveError`] say; nothing is lost with any of them.
    pub async fn move_to(
        &self,
        other: &Self,
        key: &CredentialKey,
        other_login: OtherLogin,
        deadline: Boot,
    ) -> Result<Moved, MoveError> {
        if self.is_same_place(other) {
            return Err(MoveError::SamePlace);
        }
        let source = self.lease(key, deadline).await.map_err(MoveError::Source)?;
        let record = source.read().filter(|record| record.has_tokens()).ok_or(MoveError::Nothing)?;
        let record = record.clone().for_another_store();
        let mut destination = other.lease(key, deadline).await.map_err(MoveError::Destination)?;
        let found = destination.read().cloned().unwrap_or_default();
        let (written, replaced) = if found.is_copy_of(&record) {
            (found, None)
        } else {
            may_replace(&found, &record, other_login)?;
            let replaced = found.has_tokens().then_some(found.generation);
            let record = record.in_place_of(&found);
            destination.write(&record).await.map_err(MoveError::Destination)?;
            (record, replaced)
        };
        if other.load(key).await.map_err(MoveError::Destination)?.as_ref() != Some(&written) {
            return Err(MoveError::Unverified);
        }
        source.forget().await.map_err(MoveError::NotForgotten)?;
        destination.release().await;
        Ok(Moved { generation: written.generation, replaced })
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

impl Record {
    /// Without what the clock of its store has told: another store has another clock, or none.
    fn for_another_store(mut self) -> Self {
        if let Some(issued) = &mut self.issued {
            issued.sent.store = None;
            issued.store_offset = None;
        }
        if let Some(intent) = &mut self.intent {
            intent.at.store = None;
        }
        for mint in &mut self.mints {
            mint.store = None;
        }
        self
    }

    /// Is it what a move of `record` has written?
    fn is_copy_of(&self, record: &Self) -> bool {
        let of_the_destination = Self { generation: self.generation, seeds: self.seeds.clone(), ..record.clone() };
        self.generation >= record.generation && *self == of_the_destination
    }

    /// Above what is found there, so that whoever holds that adopts it; what was given there from outside stays known.
    fn in_place_of(mut self, found: &Self) -> Self {
        if found.generation >= self.generation {
            self.generation = found.generation.saturating_add(1);
        }
        self.know_seeds_of(found);
        self
    }
}

fn may_replace(found: &Record, record: &Record, other_login: OtherLogin) -> Result<(), MoveError> {
    let (there, here) = (found.generation, record.generation);
    if !found.has_tokens() || other_login == OtherLogin::IsReplaced {
        return Ok(());
    }
    let is_other_login = found.refresh_token.is_some() && found.refresh_token != record.refresh_token;
    match there.cmp(&here) {
        Ordering::Greater => Err(MoveError::Newer { there, here }),
        Ordering::Equal => Err(MoveError::Differs { generation: here }),
        Ordering::Less if is_other_login => Err(MoveError::OtherLogin { there, here }),
        Ordering::Less => Ok(()),
    }
}
