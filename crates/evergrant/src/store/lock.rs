//! A lock file: the exclusive right to something, given back by the system when its holder dies.
//!
//! The lock lies on a file of its own beside the store, because the store file itself is replaced by every write. It
//! is polled rather than waited for, so that a deadline holds. A lock file that somebody removes is dangerous: the
//! next process makes a new one and holds it too. So the path is compared with the held file after locking, and again
//! before every write under it.
//!
//! Limits: an advisory lock, as good as the file system's; on network file systems the server must support it. The
//! file is opened for writing because some of them lock only then.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use evergrant_core::time::{Boot, Span};

use super::record::Owner;
use super::{StoreError, disk};
use crate::clock;

/// A held lock, released when dropped.
#[derive(Debug)]
pub(super) struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    /// Takes the lock at `path`, or fails with [`StoreError::Busy`] at `deadline`. Tries at least once.
    pub(super) async fn acquire(path: PathBuf, deadline: Boot) -> Result<Self, StoreError> {
        let mut waiting = Waiting::until(deadline);
        loop {
            let tried = path.clone();
            if let Some(lock) = blocking(move || Self::try_acquire(&tried)).await? {
                return Ok(lock);
            }
            tokio::time::sleep(waiting.pause(&path)?).await;
        }
    }

    /// The same on a thread that may block.
    pub(super) fn acquire_blocking(path: &Path, deadline: Boot) -> Result<Self, StoreError> {
        let mut waiting = Waiting::until(deadline);
        loop {
            if let Some(lock) = Self::try_acquire(path)? {
                return Ok(lock);
            }
            std::thread::sleep(waiting.pause(path)?);
        }
    }

    /// Is the file that this lock lies on still the one that others would lock?
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if disk::is_same_file(&self.file, &self.path) {
            return Ok(());
        }
        Err(StoreError::LeaseLost { path: self.path.clone() })
    }

    fn try_acquire(path: &Path) -> Result<Option<Self>, StoreError> {
        let error = |action| move |cause| StoreError::Io { action, path: path.to_owned(), cause };
        let mut file = disk::open_lock(path).map_err(error("open lock file"))?;
        match disk::require_owner_only(path) {
            Ok(()) => {}
            // Removed right after it was opened: not ours to hold.
            Err(StoreError::Io { cause, .. }) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            Err(other) => return Err(other),
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(cause)) => return Err(error("lock")(cause)),
        }
        // Removed between opening and locking: the lock is on a file that nobody else will see.
        if !disk::is_same_file(&file, path) {
            return Ok(None);
        }
        // Who holds it is only for the message of whoever waits, so failing to say it is no failure.
        let _ = file.set_len(0).and_then(|()| write!(file, "{}", Owner::this_process()));
        Ok(Some(Self { file, path: path.to_owned() }))
    }
}

/// Runs file operations where they may block. Once started they run to their end.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::ShuttingDown),
    }
}

/// The pauses between two tries: short at first, and never past the deadline.
struct Waiting {
    since: Boot,
    deadline: Boot,
    next: Duration,
}

impl Waiting {
    fn until(deadline: Boot) -> Self {
        Self { since: clock::boot(), deadline, next: FIRST_PAUSE }
    }

    fn pause(&mut self, path: &Path) -> Result<Duration, StoreError> {
        let now = clock::boot();
        if now >= self.deadline {
            return Err(StoreError::Busy {
                what: path.display().to_string(),
                holder: holder(path),
                waited: now - self.since,
            });
        }
        let pause = self.next.min((self.deadline - now).to_duration());
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        Ok(pause)
    }
}

fn holder(path: &Path) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(0))?;
        file.take(300).read_to_string(&mut text)
    });
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) | Err(_) => "another process".to_owned(),
    }
}

/// How long writers wait for each other's file replacement, which takes milliseconds.
pub(super) const WRITE_WAIT: Span = Span::from_secs(5);

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
