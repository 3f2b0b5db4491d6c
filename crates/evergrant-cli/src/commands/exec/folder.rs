//! A private folder for one run, which goes with it.
//!
//! It lies in the user's runtime folder, which is memory and not a disk on most systems, or else in a folder of the
//! user's own among the temporary ones. Both are for the owner alone; one that is not is refused, since others could put
//! files of theirs in the place of ours.
//!
//! A process that is killed cannot clean up. Each folder holds a file that its owner has locked as long as it lives, and
//! the system unlocks it when it dies. So the next run finds the folders without an owner and removes them. A process id
//! would not do: it may belong to another process by then.
//!
//! A folder goes with whatever the command has put into it, a file before the folders beside it: the token does not stay
//! because something else does. What cannot be removed is told of.
//!
//! Limits: an advisory lock, as good as the file system's. A folder whose owner died before it made the lock is only
//! removed once it is older than any start takes.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;

use crate::exit;
use crate::failure::Failure;

/// A private folder; dropping it removes it.
#[derive(Debug)]
pub(super) struct PrivateFolder {
    path: PathBuf,
    /// Locked as long as it is open. The system closes it in the command.
    _lock: File,
}

impl PrivateFolder {
    /// Makes one.
    pub(super) fn make() -> Result<Self, Failure> {
        let base = base();
        prepare(&base).and_then(|()| Ok(Self::make_in(&base)?)).map_err(|unfit| {
            Failure::new(exit::FAILED, "cannot make a private folder for the command")
                .at(base.display())
                .hint(unfit.hint(&base))
                .because(unfit)
        })
    }

    fn make_in(base: &Path) -> io::Result<Self> {
        for n in 0..NAMES_TRIED {
            let path = base.join(format!("{PREFIX}{}-{n}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            let lock = owner_only().create_new(true).open(path.join(LOCK))?;
            // Another run may look for folders without an owner at this moment and take this one for such.
            if lock.try_lock().is_ok() && path.join(LOCK).exists() {
                return Ok(Self { path, _lock: lock });
            }
        }
        Err(io::Error::other("every name for a folder is taken"))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path)
            && self.path.exists()
        {
            Failure::new(exit::OK, "cannot remove the private folder of the command")
                .at(self.path.display())
                .because(error)
                .hint("a later `exec` tries it again; see whether something in it is yours, and remove it")
                .print_warning();
        }
    }
}

/// Where private folders are made.
pub(super) fn base() -> PathBuf {
    let user = geteuid();
    let is_ours = |path: &PathBuf| {
        path.is_absolute() && fs::metadata(path).is_ok_and(|folder| folder.is_dir() && folder.uid() == user.as_raw())
    };
    // After `sudo` the variable may still name another user's.
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(is_ours) {
        Some(runtime) => runtime.join("evergrant"),
        None => std::env::temp_dir().join(format!("evergrant-{}", user.as_raw())),
    }
}

/// Removes the folders of runs that were killed.
pub(super) fn sweep() {
    sweep_in(&base());
}

/// Writes a file for the owner alone, with the folders above it.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    owner_only().create_new(true).open(path)?.write_all(bytes)
}

/// Puts a file in the place of another one at once: a reader sees the old content or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    owner_only().create(true).truncate(true).open(&beside)?.write_all(bytes)?;
    fs::rename(beside, path)
}

fn owner_only() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Makes the folder for private folders, or looks whether it is fit for them.
fn prepare(base: &Path) -> Result<(), Unfit> {
    match DirBuilder::new().mode(0o700).create(base) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let found = fs::symlink_metadata(base)?;
    let above = fs::metadata(base.parent().unwrap_or(base))?.mode();
    match found.mode() & 0o7777 {
        _ if !found.is_dir() => Err(Unfit::NoFolder),
        _ if found.uid() != geteuid().as_raw() => Err(Unfit::Foreign),
        mode if mode & 0o077 != 0 => Err(Unfit::Open(mode)),
        _ if above & OPEN_TO_WRITERS != 0 && above & STICKY == 0 => Err(Unfit::Replaceable),
        _ => Ok(()),
    }
}

/// Why private folders cannot be made somewhere.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("it is no folder")]
    NoFolder,
    #[error("it belongs to another user")]
    Foreign,
    #[error("it is open to other users (mode {0:04o})")]
    Open(u32),
    #[error("other users can put another one in its place, in the folder that it is in")]
    Replaceable,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Unfit {
    fn hint(&self, base: &Path) -> String {
        match self {
            Self::Open(_) => format!("run `chmod 700 {}` if it is yours", base.display()),
            Self::NoFolder | Self::Foreign | Self::Replaceable | Self::Io(_) => {
                "set XDG_RUNTIME_DIR or TMPDIR to a folder of your own, on a disk that has room".to_owned()
            }
        }
    }
}

fn sweep_in(base: &Path) {
    let is_ours = fs::symlink_metadata(base).is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw());
    let Some(entries) = is_ours.then(|| fs::read_dir(base).ok()).flatten() else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_folder || !name.to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        if let Some(_claim) = Claim::of(&entry.path()) {
            tracing::debug!(path = %entry.path().display(), "removing what a killed run left behind");
            if let Err(error) = remove(&entry.path()) {
                // A run beside this one may have been quicker.
                tracing::debug!(%error, path = %entry.path().display(), "cannot remove a private folder");
            }
        }
    }
}

/// Removes a folder and all that can be removed in it, files first. Gives the first error if something stays.
fn remove(folder: &Path) -> io::Result<()> {
    // A tool may have taken the right to write from a folder of its own, as Go does in its cache of modules. Where it
    // cannot be given back, what follows says so.
    let _ = fs::set_permissions(folder, Permissions::from_mode(0o700));
    let mut folders = Vec::new();
    let mut first = Ok(());
    for entry in fs::read_dir(folder)? {
        let removed = match entry {
            Ok(entry) if entry.file_type().is_ok_and(|kind| kind.is_dir()) => {
                folders.push(entry.path());
                Ok(())
            }
            Ok(entry) => fs::remove_file(entry.path()),
            Err(error) => Err(error),
        };
        first = first.and(removed);
    }
    for path in folders {
        let removed = remove(&path);
        first = first.and(removed);
    }
    fs::remove_dir(folder).or_else(|error| first.and(Err(error)))
}

/// The right to remove a folder. It holds the lock meanwhile, so that nobody moves in.
struct Claim {
    _lock: Option<File>,
}

impl Claim {
    /// The right to this folder, if nobody is there any more who would use it.
    fn of(folder: &Path) -> Option<Self> {
        match owner_only().open(folder.join(LOCK)) {
            Ok(lock) => lock.try_lock().is_ok().then_some(Self { _lock: Some(lock) }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let age = fs::metadata(folder).and_then(|found| found.modified()).ok()?.elapsed().ok()?;
                (age > LONGEST_START).then_some(Self { _lock: None })
            }
            Err(_) => None,
        }
    }
}

const OPEN_TO_WRITERS: u32 = 0o022;
/// In such a folder only the owner of a file can rename it.
const STICKY: u32 = 0o1000;
const PREFIX: &str = "exec-";
const LOCK: &str = "lock";
const NAMES_TRIED: u32 = 100;
/// Between making a folder and locking it lie milliseconds.
const LONGEST_START: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_folder_is_its_owners_alone_and_goes_with_its_run() {
        let base = tempfile::tempdir().unwrap();
        let made = PrivateFolder::make_in(base.path()).unwrap();
        let path = made.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        write(&path.join("a/b"), b"x").unwrap();
        assert_eq!(fs::metadata(path.join("a")).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(path.join("a/b")).unwrap().mode() & 0o777, 0o600);
        replace(&path.join("a/b"), b"y").unwrap();
        assert_eq!(fs::read(path.join("a/b")).unwrap(), b"y");
        assert_eq!(fs::metadata(path.join("a/b")).unwrap().mode() & 0o777, 0o600);
        let other = PrivateFolder::make_in(base.path()).unwrap();
        assert_ne!(other.path(), path);
        drop(made);
        assert!(!path.exists() && other.path().exists());
    }

    #[test]
    fn only_what_has_no_owner_is_swept_and_links_lead_nowhere() {
        let base = tempfile::tempdir().unwrap();
        let theirs = tempfile::tempdir().unwrap();
        fs::write(theirs.path().join("kept"), "kept").unwrap();
        let alive = PrivateFolder::make_in(base.path()).unwrap();
        let dead = base.path().join("exec-1-0");
        write(&dead.join(LOCK), b"").unwrap();
        symlink(theirs.path(), dead.join("link")).unwrap();
        let beginning = base.path().join("exec-2-0");
        fs::create_dir(&beginning).unwrap();
        let foreign = base.path().join("something");
        fs::create_dir(&foreign).unwrap();
        symlink(theirs.path(), base.path().join("exec-link")).unwrap();
        sweep_in(base.path());
        assert!(!dead.exists());
        assert!(alive.path().exists() && beginning.exists() && foreign.exists());
        assert!(base.path().join("exec-link").exists() && theirs.path().join("kept").exists());
    }

    #[test]
    fn a_base_that_others_could_have_prepared_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base");
        prepare(&base).unwrap();
        prepare(&base).unwrap();
        fs::set_permissions(&base, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(prepare(&base).unwrap_err().to_string(), "it is open to other users (mode 0755)");
        let link = folder.path().join("link");
        symlink(folder.path(), &link).unwrap();
        assert_eq!(prepare(&link).unwrap_err().to_string(), "it is no folder");
        for (mode, is_good) in [(0o1777, true), (0o777, false), (0o770, false), (0o755, true)] {
            fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(prepare(&folder.path().join(format!("in-{mode:o}"))).is_ok(), is_good, "{mode:o}");
        }
    }
}
