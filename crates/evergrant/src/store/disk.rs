//! Files that only their owner can read, replaced as a whole or not at all.
//!
//! A replacement is written beside the file, synced, renamed over it, and then the folder is synced: after a crash the
//! old content is there or the new one. Folders that are missing are made with mode 0700, files always with 0600. A
//! file that others can read, or a folder in which others can replace files, is refused: tokens in it are no longer
//! secret or no longer ours. A folder that others can only list is accepted.
//!
//! Symbolic links are resolved first, so that a link is never replaced by a file and every path to one store meets at
//! the same lock. On systems without Unix modes the checks of owner and mode are left to the folder's own rights.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::{STEPS, StoreError, operations};

/// The file that `path` stands for, with every symbolic link followed; it need not exist yet.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    let error = |cause| StoreError::Io { action: "find", path: path.to_owned(), cause };
    let mut file = std::path::absolute(path).map_err(error)?;
    for _ in 0..LINKS_FOLLOWED {
        let Ok(target) = fs::read_link(&file) else {
            let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else {
                return Err(error(io::Error::new(ErrorKind::InvalidInput, "it names no file")));
            };
            return Ok(fs::canonicalize(folder).map_or_else(|_| file.clone(), |folder| folder.join(name)));
        };
        file = folder_of(&file).join(target);
    }
    Err(error(io::Error::new(ErrorKind::InvalidInput, "too many symbolic links")))
}

/// Makes the folder of `file` if it is missing, and refuses one in which others can replace files.
pub(super) fn prepare_folder(file: &Path) -> Result<(), StoreError> {
    let folder = folder_of(file);
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let error = |action| move |cause| StoreError::Io { action, path: folder.to_owned(), cause };
    builder.create(folder).map_err(error("make folder"))?;
    let metadata = fs::metadata(folder).map_err(error("look at folder"))?;
    exposure::check(folder, &metadata, exposure::Kind::Folder)
}

/// Refuses a file that others can read or that belongs to somebody else.
pub(super) fn require_owner_only(file: &Path) -> Result<(), StoreError> {
    let metadata = fs::symlink_metadata(file).map_err(|cause| StoreError::Io {
        action: "look at",
        path: file.to_owned(),
        cause,
    })?;
    if !metadata.is_file() {
        return Err(StoreError::Foreign { path: file.to_owned(), cause: "it is not a regular file".to_owned() });
    }
    exposure::check(file, &metadata, exposure::Kind::File)
}

/// The content of a checked file; `None` if there is no file.
pub(super) fn read(file: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match require_owner_only(file) {
        Ok(()) => {}
        Err(StoreError::Io { cause, .. }) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut bytes = Vec::new();
    match File::open(file).and_then(|open| open.take(MAX_BYTES + 1).read_to_end(&mut bytes)) {
        Ok(read) if u64::try_from(read).is_ok_and(|read| read <= MAX_BYTES) => Ok(Some(bytes)),
        Ok(_) => {
            Err(StoreError::Foreign { path: file.to_owned(), cause: format!("it is larger than {MAX_BYTES} bytes") })
        }
        // Renamed away between the look and the opening.
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(StoreError::Io { action: "read", path: file.to_owned(), cause }),
    }
}

/// Replaces the file, durably. The caller holds the lock that makes it the only writer.
pub(super) fn replace(file: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let beside = with_suffix(file, UNFINISHED);
    write_beside(&beside, bytes).map_err(|cause| {
        // What cannot be removed here is removed by the next writer.
        let _ = operations::remove(&beside);
        StoreError::Io { action: "write", path: beside.clone(), cause }
    })?;
    tracing::trace!(target: STEPS, "written beside");
    operations::rename(&beside, file).map_err(|cause| StoreError::Io {
        action: "replace",
        path: file.to_owned(),
        cause,
    })?;
    tracing::trace!(target: STEPS, "file replaced");
    sync_folder(file).map_err(|cause| StoreError::Io { action: "sync the folder of", path: file.to_owned(), cause })
}

fn write_beside(beside: &Path, bytes: &[u8]) -> io::Result<()> {
    // Left over from a crash between writing and renaming: never complete for certain, so never used.
    operations::remove(beside)?;
    let file = operations::create(beside)?;
    tracing::trace!(target: STEPS, "file made beside");
    operations::write(&file, beside, bytes)?;
    operations::sync(&file, beside)
}

/// Moves a damaged file to a free name beside it, which is returned. It is there for good before anything takes its place.
pub(super) fn keep_aside(file: &Path) -> Result<PathBuf, StoreError> {
    let kept = free_name(file)?;
    operations::rename(file, &kept).and_then(|()| sync_folder(file)).map_err(|cause| StoreError::Io {
        action: "move aside",
        path: file.to_owned(),
        cause,
    })?;
    Ok(kept)
}

/// Copies a partly damaged file to a free name beside it, which is returned. As durable as [`keep_aside`].
pub(super) fn keep_copy(file: &Path) -> Result<PathBuf, StoreError> {
    let kept = free_name(file)?;
    // A second name is enough: the file is only ever replaced, never changed.
    let copied = || fs::copy(file, &kept).and_then(|_| File::open(&kept)?.sync_all());
    operations::link(file, &kept)
        .or_else(|_| copied())
        .and_then(|()| sync_folder(file))
        .map_err(|cause| StoreError::Io { action: "keep a copy of", path: file.to_owned(), cause })?;
    Ok(kept)
}

/// What lies beside the file and is no part of it: damaged files that were kept, and one that was never finished.
pub(super) fn kept_beside(file: &Path) -> Vec<PathBuf> {
    let (Some(name), Ok(entries)) = (file.file_name(), fs::read_dir(folder_of(file))) else { return Vec::new() };
    let name = name.to_string_lossy();
    let is_kept = |entry: &fs::DirEntry| {
        let other = entry.file_name();
        let other = other.to_string_lossy();
        other.strip_prefix(&*name).is_some_and(|rest| rest == UNFINISHED || rest.starts_with(KEPT))
    };
    let mut kept: Vec<_> = entries.flatten().filter(is_kept).map(|entry| entry.path()).collect();
    kept.sort();
    kept
}

/// Opens a lock file for writing, making it if it is missing.
pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    owner_only(OpenOptions::new().read(true).write(true).create(true).truncate(false)).open(path)
}

/// Does `path` still name the open file?
pub(super) fn is_same_file(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        match (file.metadata(), fs::symlink_metadata(path)) {
            (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
            (Ok(_), Err(_)) | (Err(_), _) => false,
        }
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// `path` with `suffix` added to its last part.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// As large as a store file may become: thousands of credentials.
pub(super) const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What a file is called until it is whole, and what a damaged one is called from then on.
const UNFINISHED: &str = ".new";
const KEPT: &str = ".damaged-";
const LINKS_FOLLOWED: u32 = 40;
const COPIES_KEPT: u32 = 1_000;

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}

fn free_name(file: &Path) -> Result<PathBuf, StoreError> {
    (1..=COPIES_KEPT)
        .map(|n| with_suffix(file, &format!("{KEPT}{n}")))
        .find(|name| fs::symlink_metadata(name).is_err_and(|error| error.kind() == ErrorKind::NotFound))
        .ok_or_else(|| StoreError::Io {
            action: "keep a damaged file beside",
            path: file.to_owned(),
            cause: io::Error::other(format!("{COPIES_KEPT} damaged files are there already")),
        })
}

pub(super) fn owner_only(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn sync_folder(file: &Path) -> io::Result<()> {
    operations::sync_folder(folder_of(file))
}

#[cfg(unix)]
mod exposure {
    use std::fs::Metadata;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use super::super::StoreError;

    #[derive(Clone, Copy)]
    pub(super) enum Kind {
        File,
        Folder,
    }

    pub(super) fn check(path: &Path, metadata: &Metadata, kind: Kind) -> Result<(), StoreError> {
        let user = rustix::process::geteuid().as_raw();
        let exposed = |found, repair| Err(StoreError::Exposed { path: path.to_owned(), found, repair });
        if metadata.uid() != user {
            return exposed(
                format!("belongs to user {}, not to user {user}", metadata.uid()),
                "name a path in a folder of this user; a missing folder is made".to_owned(),
            );
        }
        let mode = metadata.mode() & 0o7777;
        match kind {
            Kind::File if mode & 0o077 != 0 => exposed(
                format!("is open to other users (mode {mode:04o}, expected 0600)"),
                format!("run `chmod 600 {}`; revoke its tokens if others may have read it", path.display()),
            ),
            Kind::Folder if mode & 0o022 != 0 => exposed(
                format!("lets other users replace files in it (mode {mode:04o}, expected 0700)"),
                format!("run `chmod 700 {}`, or name a path in a new folder below it", path.display()),
            ),
            Kind::File | Kind::Folder => Ok(()),
        }
    }
}

#[cfg(not(unix))]
mod exposure {
    use std::fs::Metadata;
    use std::path::Path;

    use super::super::StoreError;

    #[derive(Clone, Copy)]
    pub(super) enum Kind {
        File,
        Folder,
    }

    pub(super) fn check(_: &Path, _: &Metadata, kind: Kind) -> Result<(), StoreError> {
        match kind {
            Kind::File | Kind::Folder => Ok(()),
        }
    }
}
