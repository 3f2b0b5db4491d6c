//! The store that forgets: same contract, one process.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use evergrant_core::time::{Boot, Span};
use tokio::sync::OwnedMutexGuard;

use super::{Contents, CredentialKey, Listed, Record, StoreError};
use crate::clock;
use crate::sync::{self, LeaseLock, Mutex, MutexGuard};

/// Records in this process's memory, shared by the clones of this value.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    records: BTreeMap<CredentialKey, Record>,
    locks: BTreeMap<CredentialKey, Arc<LeaseLock<()>>>,
}

impl MemoryStore {
    pub(super) fn load(&self, key: &CredentialKey) -> Option<Record> {
        self.shared().records.get(key).cloned()
    }

    pub(super) fn contents(&self) -> Contents {
        let listed = |(key, record): (&CredentialKey, &Record)| Listed { key: key.clone(), record: Ok(record.clone()) };
        let credentials = self.shared().records.iter().map(listed).collect();
        Contents { exists: true, credentials, beside: Vec::new() }
    }

    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(super) async fn lease(&self, key: &CredentialKey, deadline: Boot) -> Result<MemoryLease, StoreError> {
        let lock = Arc::clone(self.shared().locks.entry(key.clone()).or_default());
        let wait = (deadline - clock::boot()).max(Span::ZERO);
        let guard = sync::timeout(wait.to_duration(), lock.lock_owned()).await.map_err(|_| StoreError::Busy {
            what: "the lease in memory".to_owned(),
            holder: "another task of this process".to_owned(),
            waited: wait,
        })?;
        Ok(MemoryLease { store: self.clone(), key: key.clone(), record: self.load(key), _guard: guard })
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct MemoryLease {
    store: MemoryStore,
    key: CredentialKey,
    record: Option<Record>,
    _guard: OwnedMutexGuard<()>,
}

impl MemoryLease {
    pub(super) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    pub(super) fn write(&mut self, record: &Record) -> Result<(), StoreError> {
        let stored = self.record.as_ref().map_or(0, |record| record.generation);
        if record.generation < stored {
            return Err(StoreError::Superseded { stored, offered: record.generation });
        }
        self.store.shared().records.insert(self.key.clone(), record.clone());
        self.record = Some(record.clone());
        Ok(())
    }
}
