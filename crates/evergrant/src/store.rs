//! Where tokens live between uses, between runs and between processes.
//!
//! A refresh is a transaction: read what is stored, spend a refresh token, write what came back. Two processes that
//! interleave there lose a rotating grant for good, so the whole of it happens under one [`Lease`].
//!
//! The contract, the same for every store:
//!
//! - **Lease.** At most one lease per credential exists in the store's reach (this process for memory, this file for a
//!   file). It is held from before the read until after the write. Whoever cannot get it before the deadline gets
//!   [`StoreError::Busy`] and has changed nothing. Dropping a lease releases it; a killed process releases it too.
//! - **Atomicity.** [`Lease::write`] replaces the whole record or nothing. Access and refresh token are always from the
//!   same answer. Readers without a lease ([`Store::load`]) see the record before or after, never a mixture.
//! - **Who wins a race.** The writer whose lease saw the newest record. A write on top of a record that this lease has
//!   not seen, or with a lower generation, is refused as [`StoreError::Superseded`]; the loser adopts what is stored.
//! - **Loss.** When `write` returns, the record survives a crash of the process, and for a file a crash of the machine
//!   as far as its disk keeps what was synced. A missing record is not a conflict: it is written again. Memory forgets
//!   at exit, which costs a rotating grant its last refresh token.
//! - **Damage.** What cannot be read is never replaced silently: a damaged file is kept beside under another name and
//!   reported; a file that is not ours, newer, or sealed with another key is left where it is and reported.
//!
//! Threats covered: other users, backups, stolen disks (sealed files). Not the same user, not root.

mod disk;
mod error;
mod file;
mod format;
mod inspect;
mod key;
mod lock;
mod memory;
mod private;
mod record;
mod seal;
mod url;

use evergrant_core::time::{Boot, Span};

pub use error::StoreError;
pub use file::FileStore;
pub use inspect::Inspection;
pub use key::{CredentialKey, TokenHash};
pub use memory::MemoryStore;
pub use private::PrivateFile;
pub use record::{Intent, Issued, MINTS_KEPT, Owner, Record, Stamp};
pub use seal::{SealKey, SealKeyError};
pub use url::{StoreUrl, StoreUrlError};

/// One place that holds records, cheap to clone.
#[derive(Clone, Debug)]
pub enum Store {
    /// Forgets at exit; shared by the clones of this value.
    Memory(MemoryStore),
    /// One file, shared by every process that names it.
    File(FileStore),
}

impl Store {
    /// The store that `url` names. Touches no disk: the first use does.
    ///
    /// # Errors
    /// [`StoreError::NoKey`] if the store is sealed and there is no key.
    pub fn open(url: &StoreUrl, key: Option<SealKey>) -> Result<Self, StoreError> {
        Ok(match url {
            StoreUrl::Memory => Self::Memory(MemoryStore::default()),
            StoreUrl::PlainFile(path) => Self::File(FileStore::plain(path)),
            StoreUrl::File(path) => {
                Self::File(FileStore::sealed(path, key.ok_or_else(|| StoreError::NoKey { path: path.clone() })?))
            }
        })
    }

    /// Does a record outlive this process?
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::File(_) => true,
        }
    }

    /// The stored record, read without a lease: for start-up and for adopting what another process has published.
    ///
    /// # Errors
    /// When the store cannot be read; see the contract above for what happens to a damaged one.
    pub async fn load(&self, key: &CredentialKey) -> Result<Option<Record>, StoreError> {
        match self {
            Self::Memory(store) => Ok(store.load(key)),
            Self::File(store) => store.load(key).await,
        }
    }

    /// What there is, without making, moving or locking anything. A lock that somebody holds for all of `patience` is
    /// told as busy.
    ///
    /// # Errors
    /// When the store cannot be used; a damaged file stays where it is.
    pub async fn inspect(&self, key: &CredentialKey, patience: Span) -> Result<Inspection, StoreError> {
        match self {
            Self::Memory(store) => Ok(Inspection { exists: true, record: store.load(key), ..Inspection::default() }),
            Self::File(store) => store.inspect(key, patience).await,
        }
    }

    /// Waits until `deadline` for the only lease of this credential, then reads its record.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if somebody else held the lease until the deadline; otherwise as [`Store::load`].
    pub async fn lease(&self, key: &CredentialKey, deadline: Boot) -> Result<Lease, StoreError> {
        Ok(Lease(match self {
            Self::Memory(store) => LeaseKind::Memory(store.lease(key, deadline).await?),
            Self::File(store) => LeaseKind::File(store.lease(key, deadline).await?),
        }))
    }
}

/// The right to refresh one credential, and the record as it is under that right.
#[derive(Debug)]
pub struct Lease(LeaseKind);

#[derive(Debug)]
enum LeaseKind {
    Memory(memory::MemoryLease),
    File(file::FileLease),
}

impl Lease {
    /// The record as this lease found it or wrote it last.
    #[must_use]
    pub fn read(&self) -> Option<&Record> {
        match &self.0 {
            LeaseKind::Memory(lease) => lease.record(),
            LeaseKind::File(lease) => lease.record(),
        }
    }

    /// Replaces the record. Once started it runs to its end, even if the caller is cancelled.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] if a newer record is stored, [`StoreError::LeaseLost`] if the lock file was removed;
    /// otherwise the record could not be made durable and the old one is still there.
    pub async fn write(&mut self, record: &Record) -> Result<(), StoreError> {
        match &mut self.0 {
            LeaseKind::Memory(lease) => lease.write(record),
            LeaseKind::File(lease) => lease.write(record).await,
        }
    }

    /// Gives the lease back. Dropping it does the same; this says so.
    pub fn release(self) {
        drop(self);
    }
}

#[cfg(test)]
mod tests;
