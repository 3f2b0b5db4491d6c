//! What stays in a store of a record that was forgotten.
//!
//! Processes that run hold a copy of the record. Were it simply gone, they would take it for lost and write it back: after
//! a move the same refresh token would live in two stores, and the grant end with its second use. So an empty record of
//! a higher generation takes its place, and whoever held the old one adopts it: it serves its access token to the end and
//! then asks for a login. The names of the refresh tokens that were given from outside stay too, or a process that was
//! started with one of them would send it once more.
//!
//! Limits: a grant without a refresh token (client credentials) is simply minted anew, above the tombstone. A damaged item
//! of a keyring is removed, as its generation cannot be told; a process that holds a good copy writes that.

use evergrant_core::time::Boot;

use super::{CredentialKey, Lease, LeaseKind, Record, Store, StoreError};

/// What happens to a record that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Damage {
    /// It is told, and the lease not taken.
    IsTold,
    /// It is taken as a record without tokens, to be replaced.
    IsOverlooked,
}

impl Record {
    /// Does it hold a token? One without was forgotten, or never got any.
    #[must_use]
    pub const fn has_tokens(&self) -> bool {
        self.access_token.is_some() || self.refresh_token.is_some()
    }

    fn tombstone(&self) -> Self {
        Self { generation: self.generation.saturating_add(1), seeds: self.seeds.clone(), ..Self::default() }
    }
}

impl Store {
    /// Takes the tokens of `key` out of the store, waiting until `deadline` for its lease; those of a damaged record too.
    /// Processes that run adopt it.
    ///
    /// # Errors
    /// As [`Store::lease`] and [`Lease::write`]; the tokens are still there then.
    pub async fn forget(&self, key: &CredentialKey, deadline: Boot) -> Result<(), StoreError> {
        let overlooked = Damage::IsOverlooked;
        let lease = Lease(match self {
            Self::Memory(store) => LeaseKind::Memory(store.lease(key, deadline).await?),
            Self::File(store) => LeaseKind::File(store.lease(key, deadline, overlooked).await?),
            #[cfg(feature = "keyring")]
            Self::Keyring(store) => LeaseKind::Keyring(Box::new(store.lease(key, deadline, overlooked).await?)),
            #[cfg(feature = "redis")]
            Self::Redis(store) => LeaseKind::Redis(Box::new(store.lease(key, deadline, None, overlooked).await?)),
        });
        lease.forget().await
    }
}

impl Lease {
    /// Takes the tokens out of the record and gives the lease back.
    ///
    /// # Errors
    /// As [`Lease::write`]; the tokens are still there then.
    pub async fn forget(mut self) -> Result<(), StoreError> {
        if let Some(tombstone) = self.read().map(Record::tombstone) {
            self.commit(&tombstone).await?;
        }
        self.release().await;
        Ok(())
    }
}
