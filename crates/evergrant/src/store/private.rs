//! A small file of its own beside a store, for what is not a token and still nobody else's business.
//!
//! It gets the same care as the store itself: owner only, replaced as a whole or not at all, foreign owners and open
//! modes refused, one writer at a time by a lock file.

use std::path::PathBuf;

use evergrant_core::time::Boot;

use super::lock::{LockFile, WRITE_WAIT, blocking};
use super::{StoreError, disk};
use crate::clock;

/// A file that its owner alone can read.
#[derive(Clone, Debug)]
pub struct PrivateFile {
    path: PathBuf,
}

impl PrivateFile {
    /// The file at this path. Touches no disk.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// What is in it; `None` if there is no file.
    ///
    /// # Errors
    /// When it cannot be read, or others can read it.
    pub fn read(&self) -> Result<Option<Vec<u8>>, StoreError> {
        disk::read(&disk::resolve(&self.path)?)
    }

    /// Reads the file, lets `change` make new content of it, and puts that in its place. Nothing is written if `change`
    /// gives nothing. Other processes wait meanwhile. Once begun it runs to its end, also if its caller goes away.
    ///
    /// # Errors
    /// When the file can be neither read nor replaced, or another process holds it for too long.
    pub async fn update(
        &self,
        change: impl FnOnce(Option<Vec<u8>>) -> Option<Vec<u8>> + Send + 'static,
    ) -> Result<(), StoreError> {
        let path = self.path.clone();
        blocking(move || {
            disk::prepare_folder(&disk::resolve(&path)?)?;
            let file = disk::resolve(&path)?;
            let deadline: Boot = clock::boot() + WRITE_WAIT;
            let _writing = LockFile::acquire_blocking(&disk::with_suffix(&file, ".lock"), deadline)?;
            match change(disk::read(&file)?) {
                Some(bytes) => disk::replace(&file, &bytes),
                None => Ok(()),
            }
        })
        .await
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn an_update_sees_what_is_there_and_leaves_an_owner_only_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("file");
        let file = PrivateFile::new(&path);
        assert_eq!(file.read().unwrap(), None);
        file.update(|before| before.is_none().then(|| b"one".to_vec())).await.unwrap();
        file.update(|before| Some([before.unwrap(), b", two".to_vec()].concat())).await.unwrap();
        file.update(|_| None).await.unwrap();
        assert_eq!(file.read().unwrap().unwrap(), b"one, two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "open").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(PrivateFile::new(&path).read(), Err(StoreError::Exposed { .. })));
    }
}
