//! Why a store did not do what it was asked, and what to do about it.

use std::io;
use std::path::PathBuf;

use evergrant_core::time::Span;

use super::{KeyringFault, RedisFault, format};

/// What a store can fail with. The text names the file; [`StoreError::hint`] names the next step.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else held the lease or the lock until the deadline.
    #[error("the store is busy: {holder} has held {what} for more than {waited}")]
    Busy {
        /// What is locked.
        what: String,
        /// Who holds it, as far as known.
        holder: String,
        /// How long this caller waited.
        waited: Span,
    },
    /// A file operation failed.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The store was damaged; what was there is kept under another name.
    #[error("store file {} is damaged ({cause}); it was kept as {}", path.display(), kept.display())]
    Damaged {
        /// The store file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
        /// Where the damaged file is now.
        kept: PathBuf,
    },
    /// The file is not a store of ours and was left untouched.
    #[error("{} is not an Evergrant store ({cause}); it was left untouched", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// How it was recognised.
        cause: String,
    },
    /// The file has a format version that this program does not know and was left untouched.
    #[error("store file {} has format version {found}, this program knows versions up to {known}; it was left untouched", path.display())]
    Version {
        /// The store file.
        path: PathBuf,
        /// The version found.
        found: u64,
        /// The newest version that this program knows.
        known: u64,
    },
    /// Other users could read or change the file, or it belongs to one of them.
    #[error("{} {found}", path.display())]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// Its owner or mode, in words.
        found: String,
        /// The command or choice that repairs it.
        repair: String,
    },
    /// A sealed store needs a key and none was given.
    #[error("the store {store} is to be sealed, and there is no store key")]
    NoKey {
        /// The store, as the settings name it.
        store: String,
    },
    /// The file was sealed with another key and was left untouched.
    #[error("store file {} was sealed with another key; it was left untouched", path.display())]
    WrongKey {
        /// The store file.
        path: PathBuf,
    },
    /// The file was sealed with another passphrase and was left untouched.
    #[error("store file {} was sealed with another passphrase; it was left untouched", path.display())]
    WrongPassphrase {
        /// The store file.
        path: PathBuf,
    },
    /// The file is sealed and was opened as plain, or the other way round; it was left untouched.
    #[error("store file {} is {found}, not {expected}; it was left untouched", path.display())]
    SealingDiffers {
        /// The store file.
        path: PathBuf,
        /// What the file says.
        found: String,
        /// What was configured.
        expected: &'static str,
    },
    /// A newer record is stored; this one was not written.
    #[error("generation {stored} is stored already, generation {offered} was not written")]
    Superseded {
        /// The generation in the store.
        stored: u64,
        /// The generation offered.
        offered: u64,
    },
    /// Redis, or the way to it, failed.
    #[error("the store in Redis at {place} cannot be used: {fault}")]
    Redis {
        /// Host and port.
        place: String,
        /// What is wrong.
        fault: RedisFault,
    },
    /// The keyring, or the way to it, failed.
    #[error("the keyring cannot be used: {fault}")]
    Keyring {
        /// What is wrong.
        fault: KeyringFault,
    },
    /// Somebody else has acquired the lease since: this process was stopped, or cut off from Redis, for too long.
    #[error("the lease in Redis at {place} was taken over by another process; nothing was written")]
    LeaseTaken {
        /// Host and port.
        place: String,
    },
    /// Passwords and records would travel in the clear.
    #[error(
        "the store is redis://{place}, which would send its password unprotected; use rediss:// or --allow-insecure-http"
    )]
    InsecureRedis {
        /// Host and port.
        place: String,
    },
    /// This program was built without that store.
    #[error("this program was built without the store {store}")]
    NotInThisBuild {
        /// The store, as the settings name it.
        store: String,
    },
    /// The runtime ended before the operation did.
    #[error("the runtime is shutting down")]
    ShuttingDown,
    /// The lock file behind this lease was removed or replaced, so somebody else may hold a lease too.
    #[error("the lease is lost: lock file {} was removed or replaced", path.display())]
    LeaseLost {
        /// The lock file.
        path: PathBuf,
    },
}

impl StoreError {
    /// The next step for whoever runs this.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Busy { .. } => "wait for the other process, or end it if it hangs".to_owned(),
            Self::Io { path, .. } => {
                let folder = path.parent().unwrap_or(path).display();
                format!("check that {folder} is a folder that this user can write to, with space left")
            }
            Self::Damaged { .. } => {
                "the next run starts with an empty store; restore a backup, or log in again if the grant rotates"
                    .to_owned()
            }
            Self::Foreign { .. } => "name another path for the store, or move that file away".to_owned(),
            Self::Version { .. } => "use the program version that wrote it, or name another path".to_owned(),
            Self::Exposed { repair, .. } => repair.clone(),
            Self::NoKey { store } => {
                let set = "set EVERGRANT_STORE_KEY to 32 random bytes in base64 (`openssl rand -base64 32`)";
                let or = "EVERGRANT_STORE_PASSPHRASE to a passphrase";
                if store.starts_with("file:") {
                    format!("{set}, or {or}, or use `file+plain:`")
                } else {
                    set.to_owned()
                }
            }
            Self::WrongKey { .. } => {
                "set EVERGRANT_STORE_KEY to the key that sealed it, or name another path".to_owned()
            }
            Self::WrongPassphrase { .. } => {
                "set EVERGRANT_STORE_PASSPHRASE to the passphrase that sealed it, or name another path".to_owned()
            }
            Self::SealingDiffers { found, .. } => match found.as_str() {
                format::WITH_PASSPHRASE => {
                    "set EVERGRANT_STORE_PASSPHRASE for this file, and no store key; or name another path".to_owned()
                }
                format::WITH_KEY => {
                    "set EVERGRANT_STORE_KEY for this file, and no passphrase; or name another path".to_owned()
                }
                "plain" => "use `file+plain:` for this file, or name another path for a sealed store".to_owned(),
                _ => "use `file:` with its key for this file, or name another path for a plain store".to_owned(),
            },
            Self::Superseded { .. } => "read the store again and use what it holds".to_owned(),
            Self::Redis { fault, .. } => fault.hint().to_owned(),
            Self::Keyring { fault } => fault.hint().to_owned(),
            Self::LeaseTaken { .. } => {
                "nothing needs to be done; if it happens often, raise --lease-ttl or find what stops the process"
                    .to_owned()
            }
            Self::InsecureRedis { .. } => "use rediss://, or Redis on this machine".to_owned(),
            Self::NotInThisBuild { store } if store.starts_with("keyring") => {
                "build it with `--features keyring`".to_owned()
            }
            Self::NotInThisBuild { .. } => "build it with `--features redis`".to_owned(),
            Self::ShuttingDown => "run it again".to_owned(),
            Self::LeaseLost { .. } => "leave lock files alone while a process uses the store".to_owned(),
        }
    }
}
