//! The operations that change a disk, one function each, and in tests a record of them.
//!
//! Whether a store survives a power cut depends on their order alone. The tests replay the record up to each operation,
//! with whatever was not synced lost, torn or reordered, and read what is left.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

/// Makes a file that its owner alone can read; there must be none.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = super::disk::owner_only(OpenOptions::new().write(true).create_new(true)).open(path)?;
    #[cfg(test)]
    record::note(record::Operation::Create(path.to_owned()));
    Ok(file)
}

/// Writes into a new file.
pub(super) fn write(mut file: &File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    #[cfg(test)]
    record::note(record::Operation::Write(path.to_owned(), bytes.to_vec()));
    #[cfg(not(test))]
    let _ = path;
    file.write_all(bytes)
}

/// Makes what was written durable.
pub(super) fn sync(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    #[cfg(test)]
    record::note(record::Operation::Sync(path.to_owned()));
    #[cfg(not(test))]
    let _ = path;
    Ok(())
}

/// Gives a file another name, in place of what has that name.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    #[cfg(test)]
    record::note(record::Operation::Rename(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Gives a file a second name.
pub(super) fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    #[cfg(test)]
    record::note(record::Operation::Link(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        result => result?,
    }
    #[cfg(test)]
    record::note(record::Operation::Remove(path.to_owned()));
    Ok(())
}

/// Makes the names in a folder durable.
#[cfg(unix)]
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some file systems cannot sync folders, and have nothing to sync there.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {}
        result => result?,
    }
    #[cfg(test)]
    record::note(record::Operation::SyncFolder(folder.to_owned()));
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(super) mod record {
    //! What was done to the disk, by every thread of this process.

    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, PoisonError};

    #[derive(Clone, PartialEq, Eq, Debug)]
    pub(in crate::store) enum Operation {
        Create(PathBuf),
        Write(PathBuf, Vec<u8>),
        Sync(PathBuf),
        Rename(PathBuf, PathBuf),
        Link(PathBuf, PathBuf),
        Remove(PathBuf),
        SyncFolder(PathBuf),
        /// Not of the disk: the caller was told that its write into this folder is done.
        Returned(PathBuf),
    }

    static RECORD: Mutex<Vec<Operation>> = Mutex::new(Vec::new());

    pub(in crate::store) fn note(operation: Operation) {
        RECORD.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }

    /// What was done in this folder.
    pub(in crate::store) fn of(folder: &Path) -> Vec<Operation> {
        let all = RECORD.lock().unwrap_or_else(PoisonError::into_inner);
        let is_here = |operation: &&Operation| match operation {
            Operation::Create(path)
            | Operation::Write(path, _)
            | Operation::Sync(path)
            | Operation::Rename(path, _)
            | Operation::Link(path, _)
            | Operation::Remove(path)
            | Operation::SyncFolder(path)
            | Operation::Returned(path) => path.starts_with(folder),
        };
        all.iter().filter(is_here).cloned().collect()
    }
}
