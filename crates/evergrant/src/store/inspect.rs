//! Looking at a store without touching it.
//!
//! For people who want to know what is wrong: nothing is made, moved, locked for longer than a glance, or written. A
//! damaged file, which every other use moves aside, stays where it is.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evergrant_core::time::Span;

use super::{Record, RedisSafety, StoreError, disk};
use crate::clock;

/// What a look at a store shows.
#[derive(Debug, Default)]
pub struct Inspection {
    /// Is there anything yet?
    pub exists: bool,
    /// How many credentials it holds.
    pub credentials: usize,
    /// The record of the credential that was asked for.
    pub record: Option<Record>,
    /// Somebody has held the lease or the write lock all the time; [`StoreError::Busy`] says who.
    pub busy: Option<StoreError>,
    /// How safe records are in a server, or why that cannot be read.
    pub redis: Option<Result<RedisSafety, String>>,
}

/// Waits until none of these locks is held, up to `patience`, and says who holds one then.
pub(super) fn wait_while_held(locks: &[PathBuf], patience: Span) -> Option<StoreError> {
    let began = clock::boot();
    loop {
        let held = locks.iter().find(|path| is_held(path))?;
        let waited = clock::boot() - began;
        if waited >= patience {
            let holder = std::fs::read_to_string(held).ok().filter(|text| !text.trim().is_empty());
            let what = held.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Some(StoreError::Busy { what, holder: holder.unwrap_or_else(|| "somebody".to_owned()), waited });
        }
        std::thread::sleep(PAUSE);
    }
}

/// A lock that cannot be looked at is nobody's.
fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    // A shared lock, given back at once: it fails if somebody holds the exclusive one, and disturbs nobody for long.
    matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
}

/// Can a store be made or replaced in the folder of `file`? The nearest folder that exists decides.
pub(super) fn require_writable(file: &Path) -> Result<(), StoreError> {
    let mut folder = file.parent().unwrap_or(file);
    loop {
        match std::fs::metadata(folder) {
            Ok(found) if found.is_dir() => return access(folder),
            Ok(_) => return Err(cannot(folder, std::io::ErrorKind::NotADirectory.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                folder = folder.parent().ok_or_else(|| cannot(file, error))?;
            }
            Err(error) => return Err(cannot(folder, error)),
        }
    }
}

#[cfg(unix)]
fn access(folder: &Path) -> Result<(), StoreError> {
    use rustix::fs::Access;
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| cannot(folder, error.into()))
}

#[cfg(not(unix))]
fn access(folder: &Path) -> Result<(), StoreError> {
    let found = std::fs::metadata(folder).map_err(|error| cannot(folder, error))?;
    if found.permissions().readonly() {
        Err(cannot(folder, std::io::ErrorKind::PermissionDenied.into()))
    } else {
        Ok(())
    }
}

fn cannot(folder: &Path, cause: std::io::Error) -> StoreError {
    StoreError::Io { action: "write to", path: folder.to_owned(), cause }
}

/// The locks of one credential in a store file.
pub(super) fn locks(file: &Path, short_key: &str) -> [PathBuf; 2] {
    [disk::with_suffix(file, &format!(".{short_key}.lock")), disk::with_suffix(file, ".lock")]
}

const PAUSE: Duration = Duration::from_millis(50);
