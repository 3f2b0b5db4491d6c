//! The store in the desktop's keyring: one item per credential, in the default collection of the Secret Service.
//!
//! The keyring seals, and is open while its user is logged in. It has no locks, so the lease is the file store's: a lock
//! file in the user's state folder, held through a whole refresh. Items are replaced as a whole by the service.
//!
//! A locked keyring asks its user, once a process, whatever is wanted of it: a service that runs unattended must not open a
//! window every two seconds. After that it is locked until somebody unlocks it.
//!
//! Limits: one user of one machine, and processes that agree on the user's state folder (`XDG_STATE_HOME`, `HOME`): one
//! with another folder has other locks for the same items, and does not wait for these. As durable as the service's own
//! file. Each use connects anew, so that a store works on any runtime and after a restart of the service; that takes some
//! milliseconds.
//!
//! Source: Secret Service API draft 0.2 (freedesktop.org).

mod service;

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evergrant_core::Secret;
use evergrant_core::time::{Boot, Span};

use super::format::{Document, Entry, Sealing, Unreadable};
use super::inspect::{self, Inspection};
use super::lock::{LockFile, blocking};
use super::revisions::Revisions;
use super::tombstone::Damage;
use super::{Contents, CredentialKey, KeyringFault, KeyringName, Listed, Record, SealKey, StoreError, disk};
use crate::clock;
use service::Item;
pub(super) use service::{Ask, Service};

/// Records in the keyring of this user.
#[derive(Clone, Debug)]
pub struct KeyringStore {
    name: Arc<KeyringName>,
}

impl KeyringStore {
    /// The credentials under this name. Connects at the first use.
    #[must_use]
    pub fn new(name: &KeyringName) -> Self {
        Self { name: Arc::new(name.clone()) }
    }

    pub(super) async fn load(&self, key: &CredentialKey) -> Result<Option<Record>, StoreError> {
        Ok(self.read(key).await?.map(|(_, record)| record))
    }

    pub(super) async fn inspect(&self, key: &CredentialKey, patience: Span) -> Result<Inspection, StoreError> {
        let contents = self.contents().await?;
        let record = self.load(key).await?;
        let (place, short) = (self.name.required_place()?, key.short().to_owned());
        let busy = blocking(move || Ok(inspect::wait_while_held(&inspect::locks(&place, &short), patience))).await?;
        let credentials = contents.credentials.iter().filter(|listed| listed.is_kept()).count();
        Ok(Inspection { exists: contents.exists, credentials, record, busy, redis: None })
    }

    pub(super) async fn contents(&self) -> Result<Contents, StoreError> {
        let items = self.service().await?.items(&self.name).await?;
        let mut credentials: Vec<Listed> = items.into_iter().map(|item| item.listed()).collect();
        credentials.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(Contents { exists: !credentials.is_empty(), credentials, beside: Vec::new() })
    }

    pub(super) async fn lease(
        &self,
        key: &CredentialKey,
        deadline: Boot,
        damage: Damage,
    ) -> Result<KeyringLease, StoreError> {
        let place = self.name.required_place()?;
        let path = blocking(move || disk::prepare_folder(&place).map(|()| place)).await?;
        let lock = LockFile::acquire(disk::with_suffix(&path, &format!(".{}.lock", key.short())), deadline).await?;
        let found = match self.read(key).await {
            Err(StoreError::Keyring { fault: KeyringFault::Damaged(_) }) if damage == Damage::IsOverlooked => {
                self.service().await?.remove(&self.name, key).await?;
                None
            }
            found => found?,
        };
        let (seen, record) = found.unzip();
        Ok(KeyringLease { store: self.clone(), key: key.clone(), lock, revisions: Revisions::read(seen), record })
    }

    async fn read(&self, key: &CredentialKey) -> Result<Option<(u64, Record)>, StoreError> {
        self.service().await?.item(&self.name, key).await?.map(|item| item.open()).transpose()
    }

    async fn service(&self) -> Result<Service, StoreError> {
        Service::connect(Ask::OnceAProcess).await
    }
}

/// The right to refresh one credential of this user.
#[derive(Debug)]
pub(super) struct KeyringLease {
    store: KeyringStore,
    key: CredentialKey,
    lock: LockFile,
    revisions: Revisions,
    record: Option<Record>,
}

impl KeyringLease {
    pub(super) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    pub(super) async fn write(&mut self, record: &Record) -> Result<(), StoreError> {
        self.lock.check()?;
        let service = self.store.service().await?;
        let stored = service.item(&self.store.name, &self.key).await?.map(|item| item.open()).transpose()?;
        if let Some((revision, stored)) = &stored
            && (!self.revisions.are_ours(*revision) || stored.generation > record.generation)
        {
            return Err(StoreError::Superseded { stored: stored.generation, offered: record.generation });
        }
        let revision = self.revisions.next(stored.map(|(revision, _)| revision));
        service.put(&self.store.name, Item::close(&self.key, revision, record)?).await?;
        self.revisions.note_written(revision);
        self.record = Some(record.clone());
        Ok(())
    }
}

/// Does something on a thread and a runtime of its own: whoever needs it may be inside a runtime or in none.
pub(super) fn apart<T: Send + 'static>(
    work: impl AsyncFnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = std::thread::spawn(move || match runtime() {
        Ok(runtime) => runtime.block_on(work()),
        Err(error) => Err(fault(KeyringFault::Said(error.to_string()))),
    });
    done.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The key of sealed stores that the keyring keeps for this user; made at the first use.
pub(super) async fn store_key() -> Result<SealKey, StoreError> {
    let place = KeyringName::default().required_place()?;
    let path: PathBuf = blocking(move || disk::prepare_folder(&place).map(|()| place)).await?;
    let lock = disk::with_suffix(&path, ".store-key.lock");
    let _alone = LockFile::acquire(lock, clock::boot() + KEY_WAIT).await?;
    let service = Service::connect(Ask::OnceAProcess).await?;
    let text = match service.store_key().await? {
        Some(text) => text,
        None => {
            let mut bytes = [0_u8; 32];
            getrandom::fill(&mut bytes).expect("the operating system provides random bytes");
            let text = Secret::new(STANDARD.encode(bytes));
            bytes.fill(0);
            service.put_store_key(&text).await?;
            text
        }
    };
    SealKey::from_base64(&text).map_err(|error| fault(KeyringFault::Damaged(error.to_string())))
}

impl Item {
    fn close(key: &CredentialKey, revision: u64, record: &Record) -> Result<Self, StoreError> {
        let mut document = Document::empty(&Sealing::Plain, None);
        let entry = Entry::close(&Sealing::Plain, key, revision, record);
        document.credentials.insert(key.as_str().to_owned(), entry);
        let bytes = document.to_bytes();
        if bytes.len() > MOST_BYTES {
            return Err(fault(KeyringFault::TooLarge { bytes: bytes.len(), most: MOST_BYTES }));
        }
        Ok(Self { key: key.clone(), bytes })
    }

    fn open(&self) -> Result<(u64, Record), StoreError> {
        let damaged = |cause: String| fault(KeyringFault::Damaged(cause));
        let document = Document::parse(&self.bytes).map_err(|unreadable| match unreadable {
            Unreadable::Damaged(cause) | Unreadable::Foreign(cause) => damaged(cause),
            Unreadable::Version(found) => fault(KeyringFault::Version(found)),
        })?;
        let entry = document.credentials.get(self.key.as_str());
        let entry = entry.ok_or_else(|| damaged("it is of another credential".to_owned()))?;
        Ok((entry.revision, entry.open(&Sealing::Plain, &self.key).map_err(damaged)?))
    }

    fn listed(self) -> Listed {
        let record = self.open().map(|(_, record)| record).map_err(|error| error.to_string());
        Listed { key: self.key.clone(), record }
    }
}

fn fault(fault: KeyringFault) -> StoreError {
    StoreError::Keyring { fault }
}

/// Far above every record, and below what a message bus takes.
const MOST_BYTES: usize = 1024 * 1024;
/// Making the key takes as long as somebody needs to type the keyring's password.
const KEY_WAIT: Span = Span::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn key(digit: &str) -> CredentialKey {
        CredentialKey::parse(&digit.repeat(64)).unwrap()
    }

    fn said(result: Result<impl Sized, StoreError>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn an_item_gives_back_its_record_and_revision() {
        let record = Record { generation: 4, access_token: Some(Secret::from("x")), ..Record::default() };
        assert_eq!(Item::close(&key("a"), 7, &record).unwrap().open().unwrap(), (7, record));
    }

    #[test]
    fn an_item_that_is_none_of_ours_is_named_without_its_text() {
        let item = |bytes: &[u8]| Item { key: key("a"), bytes: bytes.to_vec() };
        for bytes in [&b"hunter2"[..], b"", b"{\"evergrant_store\":1,\"seal", b"\xff\xfe"] {
            let said = said(item(bytes).open());
            assert!(said.contains("an item cannot be read") && !said.contains("hunter2"), "{said}");
        }
        assert!(said(item(b"{\"evergrant_store\":9}").open()).contains("format version 9"));
        let moved = Item { key: key("b"), ..Item::close(&key("a"), 1, &Record::default()).unwrap() };
        assert!(said(moved.open()).contains("of another credential"));
    }

    #[test]
    fn a_record_that_is_too_large_is_refused_before_the_service_sees_it() {
        let record = Record { access_token: Some(Secret::new("x".repeat(MOST_BYTES))), ..Record::default() };
        let error = Item::close(&key("a"), 1, &record).err().unwrap();
        assert!(error.to_string().contains("is too large for an item (1048576)"), "{error}");
        assert!(error.hint().contains("still holds the old record"), "{}", error.hint());
    }
}
