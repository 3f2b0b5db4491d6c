//! Where tokens live between uses, between runs and between processes.
//!
//! A refresh is a transaction: read what is stored, spend a refresh token, write what came back. Two processes that
//! interleave there lose a rotating grant for good, so the whole of it happens under one [`Lease`].
//!
//! The contract, the same for every store:
//!
//! - **Lease.** At most one lease per credential exists in the store's reach (this process for memory, this file for a
//!   file, the fleet for Redis). It is held from before the read until after the write. Whoever cannot get it before the
//!   deadline gets [`StoreError::Busy`] and has changed nothing. Dropping a lease releases it; a killed process releases
//!   it too, in Redis after its time to live. [`Lease::lost`] tells when a lease can no longer be relied on.
//! - **Atomicity.** [`Lease::write`] replaces the whole record or nothing. Access and refresh token are always from the
//!   same answer. Readers without a lease ([`Store::load`]) see the record before or after, never a mixture.
//! - **Who wins a race.** The writer whose lease saw the newest record. A write on top of a record that this lease has
//!   not seen, or with a lower generation, is refused as [`StoreError::Superseded`]; the loser adopts what is stored.
//! - **Loss.** When `write` returns, the record survives a crash of the process, and for a file a crash of the machine
//!   as far as its disk keeps what was synced; Redis keeps it as its persistence and replicas do. A missing record is
//!   not a conflict: it is written again. Memory forgets at exit, which costs a rotating grant its last refresh token.
//! - **Forgetting.** A forgotten record leaves its generation behind, raised by one, so that who holds a copy of it takes
//!   it for replaced and not for lost (see `tombstone`).
//! - **Damage.** What cannot be read is never replaced silently: a damaged file is kept beside under another name and
//!   reported; a file that is not ours, newer, or sealed with another key is left where it is and reported.
//!
//! Threats covered: other users, backups, stolen disks (sealed files), and whoever reads Redis (sealed records). Not the
//! same user, not root.

mod contents;
mod disk;
mod error;
mod failed;
mod file;
mod format;
mod inspect;
mod key;
#[cfg(feature = "keyring")]
mod keyring;
mod keyring_fault;
mod keyring_name;
mod keyring_secret;
mod lock;
mod memory;
mod operations;
mod passphrase;
mod private;
mod record;
#[cfg(feature = "redis")]
mod redis;
mod redis_fault;
mod redis_safety;
mod redis_url;
mod revisions;
mod seal;
mod tombstone;
mod transfer;
mod url;

use std::path::PathBuf;
use std::time::Duration;

use evergrant_core::Secret;
use evergrant_core::time::{Boot, OffsetInterval, Span};

pub use contents::{Contents, Listed};
pub use error::StoreError;
pub use failed::Failed;
pub use file::FileStore;
pub use inspect::Inspection;
pub use key::{CredentialKey, TokenHash};
#[cfg(feature = "keyring")]
pub use keyring::KeyringStore;
pub use keyring_fault::KeyringFault;
pub use keyring_name::KeyringName;
pub use keyring_secret::KeyringSecret;
pub use memory::MemoryStore;
pub use private::PrivateFile;
pub use record::{Anchors, Intent, Issued, MINTS_KEPT, Owner, Record, Stamp};
#[cfg(feature = "redis")]
pub use redis::RedisStore;
pub use redis_fault::RedisFault;
pub use redis_safety::RedisSafety;
pub use redis_url::RedisUrl;
pub use seal::{SealKey, SealKeyError};
use tombstone::Damage;
pub use transfer::{MoveError, Moved, OtherLogin};
pub use url::{StoreUrl, StoreUrlError};

/// One place that holds records, cheap to clone.
#[derive(Clone, Debug)]
pub enum Store {
    /// Forgets at exit; shared by the clones of this value.
    Memory(MemoryStore),
    /// One file, shared by every process that names it.
    File(FileStore),
    /// The keyring of this user's desktop.
    #[cfg(feature = "keyring")]
    Keyring(KeyringStore),
    /// A server, shared by a fleet.
    #[cfg(feature = "redis")]
    Redis(RedisStore),
}

/// What some stores need beside their URL.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The key of a sealed store.
    pub key: Option<SealKey>,
    /// A passphrase that the key of a file is made from, where there is no key.
    pub passphrase: Option<Secret>,
    /// Take the key from the keyring, which makes one at the first use. Where no key is given.
    pub key_in_keyring: bool,
    /// How long a lease in Redis outlives its holder.
    pub lease_ttl: Span,
    /// More certificate authorities for Redis, as a PEM file.
    pub ca_file: Option<PathBuf>,
    /// May `redis://` leave this machine?
    pub allow_insecure: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            key: None,
            passphrase: None,
            key_in_keyring: false,
            lease_ttl: DEFAULT_LEASE_TTL,
            ca_file: None,
            allow_insecure: false,
        }
    }
}

impl Store {
    /// The store that `url` names, with nothing but a key. Touches no disk and no network: the first use does.
    ///
    /// # Errors
    /// As [`Store::open_with`].
    pub fn open(url: &StoreUrl, key: Option<SealKey>) -> Result<Self, StoreError> {
        Self::open_with(url, StoreOptions { key, ..StoreOptions::default() })
    }

    /// The store that `url` names. Touches no disk and no network: the first use does. A key in the keyring is fetched
    /// here, which may wait for a person to unlock it.
    ///
    /// # Errors
    /// [`StoreError::Keyring`] if its key cannot be fetched, [`StoreError::NoKey`] if the store is sealed and there is no key, [`StoreError::InsecureRedis`] if Redis is
    /// elsewhere and not reached over TLS, [`StoreError::NotInThisBuild`].
    pub fn open_with(url: &StoreUrl, options: StoreOptions) -> Result<Self, StoreError> {
        let key = || match &options.key {
            Some(key) => Ok(key.clone()),
            None if options.key_in_keyring => key_in_keyring(),
            None => Err(StoreError::NoKey { store: url.to_string() }),
        };
        Ok(match url {
            StoreUrl::Memory => Self::Memory(MemoryStore::default()),
            StoreUrl::PlainFile(path) => Self::File(FileStore::plain(path)),
            StoreUrl::File(path) => Self::File(match (&options.key, &options.passphrase) {
                (None, Some(passphrase)) => FileStore::with_passphrase(path, passphrase.clone()),
                (_, _) => FileStore::sealed(path, key()?),
            }),
            #[cfg(feature = "keyring")]
            StoreUrl::Keyring(name) => Self::Keyring(KeyringStore::new(name)),
            #[cfg(not(feature = "keyring"))]
            StoreUrl::Keyring(_) => return Err(StoreError::NotInThisBuild { store: url.to_string() }),
            StoreUrl::Redis(redis) if !(redis.is_tls() || redis.is_loopback() || options.allow_insecure) => {
                return Err(StoreError::InsecureRedis { place: redis.place() });
            }
            #[cfg(feature = "redis")]
            StoreUrl::Redis(redis) => Self::Redis(RedisStore::new(redis, key()?, &options)),
            #[cfg(not(feature = "redis"))]
            StoreUrl::Redis(_) => return Err(StoreError::NotInThisBuild { store: url.to_string() }),
        })
    }

    /// Does a record outlive this process?
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            Self::File(_) => true,
            #[cfg(feature = "keyring")]
            Self::Keyring(_) => true,
            #[cfg(feature = "redis")]
            Self::Redis(_) => true,
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
            #[cfg(feature = "keyring")]
            Self::Keyring(store) => store.load(key).await,
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.load(key).await,
        }
    }

    /// What there is, without making, moving or locking anything. A lock that somebody holds for all of `patience` is
    /// told as busy.
    ///
    /// # Errors
    /// When the store cannot be used; a damaged file stays where it is.
    pub async fn inspect(&self, key: &CredentialKey, patience: Span) -> Result<Inspection, StoreError> {
        let mut found = match self {
            Self::Memory(store) => Inspection { exists: true, record: store.load(key), ..Inspection::default() },
            Self::File(store) => store.inspect(key, patience).await?,
            #[cfg(feature = "keyring")]
            Self::Keyring(store) => store.inspect(key, patience).await?,
            #[cfg(feature = "redis")]
            Self::Redis(store) => {
                let record = store.load(key).await?;
                let redis = Some(store.safety().await.map_err(|error| error.to_string()));
                Inspection { exists: record.is_some(), credentials: 0, record, busy: None, redis }
            }
        };
        found.record = found.record.filter(Record::has_tokens);
        #[cfg(feature = "redis")]
        if let Self::Redis(_) = self {
            found.credentials = usize::from(found.record.is_some());
        }
        Ok(found)
    }

    /// Waits until `deadline` for the only lease of this credential, then reads its record.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if somebody else held the lease until the deadline; otherwise as [`Store::load`].
    pub async fn lease(&self, key: &CredentialKey, deadline: Boot) -> Result<Lease, StoreError> {
        self.lease_holding(None, key, deadline).await
    }

    /// The same for a process that holds a record: where the store has lost it, it is written back first.
    pub(crate) async fn lease_holding(
        &self,
        held: Option<&Record>,
        key: &CredentialKey,
        deadline: Boot,
    ) -> Result<Lease, StoreError> {
        let _ = held;
        Ok(Lease(match self {
            Self::Memory(store) => LeaseKind::Memory(store.lease(key, deadline).await?),
            Self::File(store) => LeaseKind::File(store.lease(key, deadline, Damage::IsTold).await?),
            #[cfg(feature = "keyring")]
            Self::Keyring(store) => LeaseKind::Keyring(Box::new(store.lease(key, deadline, Damage::IsTold).await?)),
            #[cfg(feature = "redis")]
            Self::Redis(store) => LeaseKind::Redis(Box::new(store.lease(key, deadline, held, Damage::IsTold).await?)),
        }))
    }

    /// The stored record if it is newer than `than`. Where the store has lost what this process holds, it is written
    /// back.
    ///
    /// # Errors
    /// As [`Store::load`].
    #[cfg_attr(not(feature = "redis"), expect(unused_variables, reason = "only Redis loses what a process holds"))]
    pub(crate) async fn newer(
        &self,
        key: &CredentialKey,
        than: u64,
        held: Option<&Record>,
    ) -> Result<Option<Record>, StoreError> {
        #[cfg(feature = "redis")]
        if let Self::Redis(store) = self {
            let stored = store.generation(key).await?;
            if let Some(held) = held.filter(|held| held.generation > stored) {
                store.write_back(key, held).await?;
            }
            if stored <= than {
                return Ok(None);
            }
        }
        Ok(self.load(key).await?.filter(|record| record.generation > than))
    }

    /// How the clock of the store's server stood to the boot clock when it was read last.
    #[must_use]
    pub fn time_offset(&self) -> Option<OffsetInterval> {
        match self {
            Self::Memory(_) | Self::File(_) => None,
            #[cfg(feature = "keyring")]
            Self::Keyring(_) => None,
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.time_offset(),
        }
    }

    /// Do other machines use the same records?
    pub(crate) fn is_of_a_fleet(&self) -> bool {
        match self {
            Self::Memory(_) | Self::File(_) => false,
            #[cfg(feature = "keyring")]
            Self::Keyring(_) => false,
            #[cfg(feature = "redis")]
            Self::Redis(_) => true,
        }
    }

    /// Tells when somebody has written this credential's record, where the store can tell.
    #[cfg_attr(not(feature = "redis"), expect(unused_variables, reason = "only Redis tells of news"))]
    pub(crate) async fn listen(&self, key: &CredentialKey) -> News {
        News(match self {
            Self::Memory(_) | Self::File(_) => None,
            #[cfg(feature = "keyring")]
            Self::Keyring(_) => None,
            #[cfg(feature = "redis")]
            Self::Redis(store) => Some(store.listen(key).await),
        })
    }
}

#[cfg(feature = "keyring")]
fn key_in_keyring() -> Result<SealKey, StoreError> {
    keyring::apart(keyring::store_key)
}

#[cfg(not(feature = "keyring"))]
fn key_in_keyring() -> Result<SealKey, StoreError> {
    Err(StoreError::NotInThisBuild { store: "keyring".to_owned() })
}

/// Tells when a record may have changed.
pub(crate) struct News(
    #[cfg(feature = "redis")] Option<redis::News>,
    #[cfg(not(feature = "redis"))] Option<std::convert::Infallible>,
);

impl News {
    /// Does the store tell at all? If not, it has to be asked.
    pub(crate) const fn is_told(&self) -> bool {
        self.0.is_some()
    }

    /// Ends when the record may have changed; never, if the store does not tell.
    pub(crate) async fn changed(&mut self) {
        match &mut self.0 {
            #[cfg(feature = "redis")]
            Some(news) => news.changed().await,
            #[cfg(not(feature = "redis"))]
            Some(never) => match *never {},
            None => std::future::pending().await,
        }
    }
}

/// The right to refresh one credential, and the record as it is under that right.
#[derive(Debug)]
pub struct Lease(LeaseKind);

#[derive(Debug)]
enum LeaseKind {
    Memory(memory::MemoryLease),
    File(file::FileLease),
    #[cfg(feature = "keyring")]
    Keyring(Box<keyring::KeyringLease>),
    #[cfg(feature = "redis")]
    Redis(Box<redis::RedisLease>),
}

impl Lease {
    /// The record as this lease found it or wrote it last.
    #[must_use]
    pub fn read(&self) -> Option<&Record> {
        match &self.0 {
            LeaseKind::Memory(lease) => lease.record(),
            LeaseKind::File(lease) => lease.record(),
            #[cfg(feature = "keyring")]
            LeaseKind::Keyring(lease) => lease.record(),
            #[cfg(feature = "redis")]
            LeaseKind::Redis(lease) => lease.record(),
        }
    }

    /// Replaces the record. Once started it runs to its end, even if the caller is cancelled; called again with the
    /// same record after an error it changes nothing that the first call has done.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] if a newer record is stored, [`StoreError::LeaseLost`] if the lock file was removed,
    /// [`StoreError::LeaseTaken`] if somebody else has acquired since; otherwise the record could not be made durable
    /// and the old one is still there.
    pub async fn write(&mut self, record: &Record) -> Result<(), StoreError> {
        match &mut self.0 {
            LeaseKind::Memory(lease) => lease.write(record),
            LeaseKind::File(lease) => lease.write(record).await,
            #[cfg(feature = "keyring")]
            LeaseKind::Keyring(lease) => lease.write(record).await,
            #[cfg(feature = "redis")]
            LeaseKind::Redis(lease) => lease.write(record, false).await,
        }
    }

    /// Replaces the record for the last time: the lease is given back with it, or when it is dropped.
    ///
    /// # Errors
    /// As [`Lease::write`].
    pub async fn commit(&mut self, record: &Record) -> Result<(), StoreError> {
        match &mut self.0 {
            LeaseKind::Memory(lease) => lease.write(record),
            LeaseKind::File(lease) => lease.write(record).await,
            #[cfg(feature = "keyring")]
            LeaseKind::Keyring(lease) => lease.write(record).await,
            #[cfg(feature = "redis")]
            LeaseKind::Redis(lease) => lease.write(record, true).await,
        }
    }

    /// The longest that one token request under this lease may take.
    #[must_use]
    pub fn request_time(&self) -> Option<Duration> {
        match &self.0 {
            LeaseKind::Memory(_) | LeaseKind::File(_) => None,
            #[cfg(feature = "keyring")]
            LeaseKind::Keyring(_) => None,
            #[cfg(feature = "redis")]
            LeaseKind::Redis(lease) => Some(lease.request_time()),
        }
    }

    /// Ends when the lease can no longer be relied on: whatever is under way must end too.
    pub async fn lost(&self) {
        match &self.0 {
            LeaseKind::Memory(_) | LeaseKind::File(_) => std::future::pending().await,
            #[cfg(feature = "keyring")]
            LeaseKind::Keyring(_) => std::future::pending().await,
            #[cfg(feature = "redis")]
            LeaseKind::Redis(lease) => lease.lost().await,
        }
    }

    /// Gives the lease back. Dropping it does the same, for Redis a moment later.
    pub async fn release(self) {
        match self.0 {
            LeaseKind::Memory(lease) => drop(lease),
            LeaseKind::File(lease) => drop(lease),
            #[cfg(feature = "keyring")]
            LeaseKind::Keyring(lease) => drop(lease),
            #[cfg(feature = "redis")]
            LeaseKind::Redis(lease) => lease.release().await,
        }
    }
}

/// The log's target for the steps of a rotation. Tests end the process at each of them.
pub(crate) const STEPS: &str = "evergrant::steps";

/// Shorter than every reuse grace that providers are known to give, long enough for two tries of a token request.
const DEFAULT_LEASE_TTL: Span = Span::from_secs(6);

#[cfg(test)]
mod tests;
