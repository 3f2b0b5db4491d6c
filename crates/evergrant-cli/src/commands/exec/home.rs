//! A home folder that differs from the user's in a few files.
//!
//! Tools that find their settings in the home folder and nowhere else can only be pointed elsewhere by another home. It
//! holds a link to everything that is in the user's home, so that a command finds its keys, caches and projects, and in
//! place of each folder of settings a real one with our file and links to the rest.
//!
//! Limits: what the command makes anew at the top of its home goes with it, and so does a file there that it replaces by
//! renaming another one over it; a file that it writes into is the user's. Programs that ask the system for the home
//! folder of the user, such as ssh and Java, find the real one.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::folder::write;
use super::sdk_files::SdkFile;
use crate::exit;
use crate::failure::Failure;

/// Makes the folder with these files, as a home if it is to be one. Gives the user's own files that it hides then.
pub(super) fn furnish(folder: &Path, files: &[SdkFile], is_home: bool) -> Result<Vec<PathBuf>, Failure> {
    let failure = |place: &Path, cause: &dyn std::fmt::Display| {
        Failure::new(exit::FAILED, "cannot write the settings files for the SDKs")
            .at(place.display())
            .because(cause)
            .hint("set XDG_RUNTIME_DIR or TMPDIR to a folder with room")
    };
    write_all(folder, files).map_err(|cause| failure(folder, &cause))?;
    if !is_home {
        return Ok(Vec::new());
    }
    let real = std::env::home_dir().filter(|home| home.is_absolute()).ok_or_else(|| {
        Failure::new(exit::FAILED, "there is no home folder that the command could have another of")
            .at("HOME")
            .hint("set HOME, or use `--sdk-config` without `=home`")
    })?;
    link_all(folder, &real, files).map_err(|cause| failure(&real, &cause))
}

/// Writes the files below `folder`.
fn write_all(folder: &Path, files: &[SdkFile]) -> io::Result<()> {
    files.iter().try_for_each(|file| write(&folder.join(file.folder).join(file.name), file.content.as_bytes()))
}

/// Links everything that is in `real` into `folder`, but for these files. Gives those that are in `real`: the command
/// will not see them.
fn link_all(folder: &Path, real: &Path, files: &[SdkFile]) -> io::Result<Vec<PathBuf>> {
    let mut hidden = Vec::new();
    for entry in fs::read_dir(real)? {
        let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        let Some(ours) = files.iter().find(|file| name == file.folder) else {
            symlink(&path, folder.join(name))?;
            continue;
        };
        // What is there under this name and is no folder is of no use to the tool either.
        let Ok(beside) = fs::read_dir(&path) else { continue };
        for entry in beside {
            let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
            if name == ours.name {
                hidden.push(path);
            } else {
                symlink(&path, folder.join(ours.folder).join(name))?;
            }
        }
    }
    Ok(hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_the_users_but_for_our_files() {
        let folder = tempfile::tempdir().unwrap();
        let (real, other) = (folder.path().join("real"), folder.path().join("other"));
        let files = super::super::sdk_files::files("1", None);
        for (path, text) in [
            (".ssh/id", "key"),
            (".profile", "p"),
            (".gc/config.toml", "theirs"),
            (".gc/cache", "c"),
            (".genesyscloudjava", "no folder"),
        ] {
            write(&real.join(path), text.as_bytes()).unwrap();
        }
        write_all(&other, &files).unwrap();
        assert_eq!(link_all(&other, &real, &files).unwrap(), [real.join(".gc/config.toml")]);
        let read = |path: &str| fs::read_to_string(other.join(path)).unwrap();
        assert_eq!([read(".ssh/id"), read(".profile"), read(".gc/cache")], ["key", "p", "c"]);
        assert!(read(".gc/config.toml").starts_with("[DEFAULT]") && read(".genesyscloudjava/config").starts_with('{'));
        assert_eq!(fs::read_to_string(real.join(".gc/config.toml")).unwrap(), "theirs");
        fs::remove_dir_all(&other).unwrap();
        assert_eq!(fs::read_to_string(real.join(".ssh/id")).unwrap(), "key");
    }
}
