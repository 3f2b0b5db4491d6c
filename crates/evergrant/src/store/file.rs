//! The file store: several credentials in one file, shared by every process that names it.
//!
//! Two kinds of locks, both on files of their own. The lease `PATH.<credential>.lock` is held through a whole refresh,
//! including the network, so each credential has one: a slow token endpoint must not stop the others. The write lock
//! `PATH.lock` is held for the milliseconds in which one process reads the file, changes one entry and replaces it.
//! Readers need no lock, because the file is only ever replaced. Lock files hold no secret and stay behind: removing
//! one while a process uses it would let two of them in.
//!
//! Whatever is found damaged is moved aside under the write lock and after a second look, so that a good file which
//! another process has just put there is never moved.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use evergrant_core::Secret;
use evergrant_core::time::{Boot, Span};

use super::format::{self, Document, Entry, Sealing, Unreadable};
use super::inspect::{self, Inspection};
use super::lock::{LockFile, WRITE_WAIT, blocking};
use super::passphrase::{Derivation, Passphrase};
use super::revisions::Revisions;
use super::tombstone::Damage;
use super::{Contents, CredentialKey, Listed, Record, SealKey, StoreError, disk};
use crate::clock;

/// Records in one file.
#[derive(Clone, Debug)]
pub struct FileStore {
    place: Arc<Place>,
}

impl FileStore {
    /// A store in plain text at `path`, readable by its owner only.
    #[must_use]
    pub fn plain(path: &Path) -> Self {
        Self::at(path, Opener::Fixed(Sealing::Plain))
    }

    /// A store at `path` whose records are sealed with `key`.
    #[must_use]
    pub fn sealed(path: &Path, key: SealKey) -> Self {
        Self::at(path, Opener::Fixed(Sealing::Sealed(key)))
    }

    /// A store at `path` whose records are sealed with a key that `passphrase` becomes at the first use.
    #[must_use]
    pub fn with_passphrase(path: &Path, passphrase: Secret) -> Self {
        Self::at(path, Opener::Passphrase(Passphrase::new(passphrase)))
    }

    fn at(path: &Path, opener: Opener) -> Self {
        Self { place: Arc::new(Place { path: path.to_owned(), opener }) }
    }

    pub(super) async fn load(&self, key: &CredentialKey) -> Result<Option<Record>, StoreError> {
        let (place, key) = (Arc::clone(&self.place), key.clone());
        blocking(move || Ok(place.load(&place.file()?, &key)?.map(|(_, record)| record))).await
    }

    pub(super) async fn inspect(&self, key: &CredentialKey, patience: Span) -> Result<Inspection, StoreError> {
        let (place, key) = (Arc::clone(&self.place), key.clone());
        blocking(move || place.inspect(&key, patience)).await
    }

    pub(super) async fn contents(&self) -> Result<Contents, StoreError> {
        let place = Arc::clone(&self.place);
        blocking(move || place.contents()).await
    }

    /// Do both names lead to the same file? Links that cannot be followed lead nowhere.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        matches!((self.place.file(), other.place.file()), (Ok(one), Ok(another)) if one == another)
    }

    pub(super) async fn lease(
        &self,
        key: &CredentialKey,
        deadline: Boot,
        damage: Damage,
    ) -> Result<FileLease, StoreError> {
        let place = Arc::clone(&self.place);
        let file = blocking(move || place.prepared_file()).await?;
        let lock = LockFile::acquire(disk::with_suffix(&file, &format!(".{}.lock", key.short())), deadline).await?;
        let (place, key) = (Arc::clone(&self.place), key.clone());
        blocking(move || {
            let found = match damage {
                Damage::IsTold => place.load(&file, &key),
                Damage::IsOverlooked => place.load_overlooking_damage(&file, &key),
            };
            let (revision, record) = found?.unzip();
            let held = Held { place, file, key, lock, revisions: Revisions::read(revision) };
            Ok(FileLease { held: Arc::new(Mutex::new(held)), record })
        })
        .await
    }
}

#[derive(Debug)]
pub(super) struct FileLease {
    held: Arc<Mutex<Held>>,
    record: Option<Record>,
}

impl FileLease {
    pub(super) fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    pub(super) async fn write(&mut self, record: &Record) -> Result<(), StoreError> {
        let (held, written) = (Arc::clone(&self.held), record.clone());
        blocking(move || held.lock().unwrap_or_else(PoisonError::into_inner).write(&written)).await?;
        self.record = Some(record.clone());
        Ok(())
    }
}

/// What a lease holds. A write that outlives its cancelled caller keeps it, and so the lock, until it is done.
#[derive(Debug)]
struct Held {
    place: Arc<Place>,
    file: PathBuf,
    key: CredentialKey,
    lock: LockFile,
    revisions: Revisions,
}

impl Held {
    fn write(&mut self, record: &Record) -> Result<(), StoreError> {
        let _writing = self.place.lock_for_writing(&self.file)?;
        self.lock.check()?;
        let found = match self.place.read(&self.file) {
            Ok(found) => found,
            Err(Fault::Damaged(cause)) => {
                // The record in hand is worth more than the error: it may hold the only living refresh token.
                let kept = disk::keep_aside(&self.file)?;
                tracing::error!(file = %self.file.display(), kept = %kept.display(), cause, "the store was damaged");
                None
            }
            Err(Fault::Store(error)) => return Err(error),
        };
        let Opened { mut document, sealing } = match found {
            Some(opened) => opened,
            None => self.place.opener.empty(&self.file)?,
        };
        let stored = document.credentials.get(self.key.as_str());
        if let Some(stored) = stored
            && (!self.revisions.are_ours(stored.revision) || stored.generation > record.generation)
        {
            return Err(StoreError::Superseded { stored: stored.generation, offered: record.generation });
        }
        let revision = self.revisions.next(stored.map(|entry| entry.revision));
        let entry = Entry::close(&sealing, &self.key, revision, record);
        document.credentials.insert(self.key.as_str().to_owned(), entry);
        self.place.replace(&self.file, &document)?;
        self.revisions.note_written(revision);
        Ok(())
    }
}

/// The configured path and how records are written there.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    opener: Opener,
}

/// What opens the file.
#[derive(Debug)]
enum Opener {
    Fixed(Sealing),
    Passphrase(Passphrase),
}

/// A file that was read, and what its records open with.
struct Opened {
    document: Document,
    sealing: Sealing,
}

impl Opened {
    /// How many credentials were not forgotten.
    fn credentials(&self) -> usize {
        let open = |(name, entry): (&String, &Entry)| {
            let key = CredentialKey::parse(name)?;
            entry.open(&self.sealing, &key).ok()
        };
        self.document.credentials.iter().filter(|one| open(*one).is_none_or(|record| record.has_tokens())).count()
    }
}

impl Opener {
    /// What the records of this file open with.
    fn of(&self, file: &Path, document: &Document) -> Result<Sealing, StoreError> {
        let path = || file.to_owned();
        let differs =
            |found: &str, expected| StoreError::SealingDiffers { path: path(), found: found.to_owned(), expected };
        match (self, &document.derivation) {
            (Self::Fixed(sealing), _) if document.sealing != sealing.name() => {
                Err(differs(&document.sealing, sealing.name()))
            }
            (Self::Fixed(Sealing::Sealed(_)), Some(_)) => Err(differs(format::WITH_PASSPHRASE, format::WITH_KEY)),
            (Self::Fixed(sealing), _) if document.key_id.as_deref() == sealing.key_id() => Ok(sealing.clone()),
            (Self::Fixed(_), _) => Err(StoreError::WrongKey { path: path() }),
            (Self::Passphrase(_), None) if document.key_id.is_none() => {
                Err(differs(&document.sealing, format::WITH_PASSPHRASE))
            }
            (Self::Passphrase(_), None) => Err(differs(format::WITH_KEY, format::WITH_PASSPHRASE)),
            (Self::Passphrase(passphrase), Some(derivation)) => {
                let sealing = sealed(passphrase, derivation, file)?;
                match document.key_id.as_deref() == sealing.key_id() {
                    true => Ok(sealing),
                    false => Err(StoreError::WrongPassphrase { path: path() }),
                }
            }
        }
    }

    /// A file that does not exist yet.
    fn empty(&self, file: &Path) -> Result<Opened, StoreError> {
        let (sealing, derivation) = match self {
            Self::Fixed(sealing) => (sealing.clone(), None),
            Self::Passphrase(passphrase) => {
                let derivation = Derivation::fresh();
                (sealed(passphrase, &derivation, file)?, Some(derivation))
            }
        };
        Ok(Opened { document: Document::empty(&sealing, derivation), sealing })
    }
}

fn sealed(passphrase: &Passphrase, derivation: &Derivation, file: &Path) -> Result<Sealing, StoreError> {
    let foreign = |cause| StoreError::Foreign { path: file.to_owned(), cause };
    passphrase.key(derivation).map(Sealing::Sealed).map_err(foreign)
}

/// Why a file could not be used: something to report, or damage to be kept aside first.
enum Fault {
    Store(StoreError),
    Damaged(String),
}

impl Fault {
    /// For those who leave damage where it is.
    fn untouched(self, file: &Path) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Damaged(cause) => StoreError::Foreign { path: file.to_owned(), cause: format!("damaged: {cause}") },
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Place {
    /// The file behind the path, which may be a link that somebody has turned to another file meanwhile.
    fn file(&self) -> Result<PathBuf, StoreError> {
        disk::resolve(&self.path)
    }

    fn prepared_file(&self) -> Result<PathBuf, StoreError> {
        disk::prepare_folder(&self.file()?)?;
        // Once more: a folder that was missing may be reached through a link that could not be resolved before.
        self.file()
    }

    fn inspect(&self, key: &CredentialKey, patience: Span) -> Result<Inspection, StoreError> {
        let file = self.file()?;
        inspect::require_writable(&file)?;
        let opened = self.read(&file).map_err(|fault| fault.untouched(&file))?;
        let record = self.read_entry(&file, key).map_err(|fault| fault.untouched(&file))?.map(|(_, record)| record);
        let busy = inspect::wait_while_held(&inspect::locks(&file, key.short()), patience);
        let credentials = opened.as_ref().map_or(0, Opened::credentials);
        Ok(Inspection { exists: opened.is_some(), credentials, record, busy, redis: None })
    }

    fn contents(&self) -> Result<Contents, StoreError> {
        let file = self.file()?;
        let beside = disk::kept_beside(&file);
        let opened = self.read(&file).map_err(|fault| fault.untouched(&file))?;
        let Some(Opened { document, sealing }) = opened else { return Ok(Contents { beside, ..Contents::default() }) };
        let listed = |(name, entry): (&String, &Entry)| {
            let key = CredentialKey::parse(name).ok_or_else(|| {
                let cause = "an entry has a name that no credential has".to_owned();
                Fault::Damaged(cause).untouched(&file)
            })?;
            Ok(Listed { record: entry.open(&sealing, &key), key })
        };
        let credentials = document.credentials.iter().map(listed).collect::<Result<_, StoreError>>()?;
        Ok(Contents { exists: true, credentials, beside })
    }

    /// The entry of `key` with its revision. Damage is kept aside, then reported.
    fn load(&self, file: &Path, key: &CredentialKey) -> Result<Option<(u64, Record)>, StoreError> {
        match self.read_entry(file, key) {
            Ok(found) => return Ok(found),
            Err(Fault::Store(error)) => return Err(error),
            Err(Fault::Damaged(_)) => {}
        }
        let _writing = self.lock_for_writing(file)?;
        match self.read_entry(file, key) {
            Ok(found) => Ok(found),
            Err(Fault::Store(error)) => Err(error),
            Err(Fault::Damaged(cause)) => {
                let kept = self.keep(file, key)?;
                Err(StoreError::Damaged { path: file.to_owned(), cause, kept })
            }
        }
    }

    /// The same, with a damaged entry as one without tokens. A file that is damaged as a whole is told, and left.
    fn load_overlooking_damage(&self, file: &Path, key: &CredentialKey) -> Result<Option<(u64, Record)>, StoreError> {
        let opened = self.read(file).map_err(|fault| fault.untouched(file))?;
        let Some(Opened { document, sealing }) = opened else { return Ok(None) };
        let Some(entry) = document.credentials.get(key.as_str()) else { return Ok(None) };
        let without_tokens = |_damage| Record { generation: entry.generation, ..Record::default() };
        Ok(Some((entry.revision, entry.open(&sealing, key).unwrap_or_else(without_tokens))))
    }

    /// Keeps damage under another name. If only this entry is damaged, the others stay in the store.
    fn keep(&self, file: &Path, key: &CredentialKey) -> Result<PathBuf, StoreError> {
        let Ok(Some(Opened { mut document, .. })) = self.read(file) else {
            return disk::keep_aside(file);
        };
        let kept = disk::keep_copy(file)?;
        document.credentials.remove(key.as_str());
        self.replace(file, &document)?;
        Ok(kept)
    }

    fn read_entry(&self, file: &Path, key: &CredentialKey) -> Result<Option<(u64, Record)>, Fault> {
        let Some(Opened { document, sealing }) = self.read(file)? else { return Ok(None) };
        let Some(entry) = document.credentials.get(key.as_str()) else { return Ok(None) };
        let record = entry.open(&sealing, key).map_err(Fault::Damaged)?;
        Ok(Some((entry.revision, record)))
    }

    fn read(&self, file: &Path) -> Result<Option<Opened>, Fault> {
        let Some(bytes) = disk::read(file)? else { return Ok(None) };
        let path = || file.to_owned();
        let document = Document::parse(&bytes).map_err(|unreadable| match unreadable {
            Unreadable::Damaged(cause) => Fault::Damaged(cause),
            Unreadable::Foreign(cause) => StoreError::Foreign { path: path(), cause }.into(),
            Unreadable::Version(found) => StoreError::Version { path: path(), found, known: format::NEWEST }.into(),
        })?;
        let sealing = self.opener.of(file, &document)?;
        Ok(Some(Opened { document, sealing }))
    }

    fn replace(&self, file: &Path, document: &Document) -> Result<(), StoreError> {
        let bytes = document.to_bytes();
        if u64::try_from(bytes.len()).is_ok_and(|len| len <= disk::MAX_BYTES) {
            return disk::replace(file, &bytes);
        }
        Err(StoreError::Io {
            action: "write",
            path: file.to_owned(),
            cause: std::io::Error::other(format!("the store would be larger than {} bytes", disk::MAX_BYTES)),
        })
    }

    fn lock_for_writing(&self, file: &Path) -> Result<LockFile, StoreError> {
        LockFile::acquire_blocking(&disk::with_suffix(file, ".lock"), clock::boot() + WRITE_WAIT)
    }
}
