//! Archives and their checksums: the same files give the same bytes.
//!
//! Whoever builds the same commit again must be able to compare. So names are sorted, every file has the time of the
//! commit and belongs to root, modes depend on nobody's umask, and gzip keeps neither name nor time.

use std::path::{Path, PathBuf};

use crate::shell::{self, Failure, capture, command};

/// Packs a folder of `dist` into `NAME.tar.gz` beside it.
pub(super) fn pack(dist: &Path, name: &str, epoch: u64) -> Result<PathBuf, Failure> {
    let (tar, mtime) = (format!("{name}.tar"), format!("--mtime=@{epoch}"));
    let sorted = ["--sort=name", "--format=gnu", "--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX"];
    let args = sorted.into_iter().chain([mtime.as_str(), "-cf", tar.as_str(), name]);
    capture(command("tar", args).current_dir(dist))?;
    compress(&dist.join(tar))
}

/// Replaces a file by its compressed form.
pub(super) fn compress(path: &Path) -> Result<PathBuf, Failure> {
    let path = path.display().to_string();
    capture(&mut command("gzip", ["-9", "--no-name", "--force", &path]))?;
    Ok(PathBuf::from(format!("{path}.gz")))
}

/// Writes the checksums of these files of `dist` as `sha256sum --check` reads them, and returns their text.
pub(super) fn checksums(dist: &Path, names: &[String]) -> Result<String, Failure> {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    let sums = shell::stdout(command("sha256sum", names).current_dir(dist))?;
    super::write(&dist.join("SHA256SUMS"), &sums)?;
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::Scratch;
    use super::*;

    /// The bytes of an archive of these files, written in this order and with this mode.
    fn packed(name: &str, files: &[&str], mode: &str) -> Vec<u8> {
        let scratch = Scratch::new(name);
        for file in files {
            scratch.file(&format!("x-1/{file}"), file);
        }
        let folder = scratch.path().join("x-1").display().to_string();
        capture(&mut command("chmod", ["-R", mode, &folder])).unwrap();
        fs::read(pack(scratch.path(), "x-1", 1_900_000_000).unwrap()).unwrap()
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let one = packed("pack-one", &["a", "b/c", "d"], "u=rwX,go=");
        assert_eq!(one, packed("pack-two", &["d", "b/c", "a"], "a+rwX"));
        assert_ne!(one, packed("pack-three", &["a", "b/c"], "a+rwX"));
    }

    #[test]
    fn checksums_are_those_that_a_check_accepts() {
        let scratch = Scratch::new("sums");
        scratch.file("b.txt", "b");
        scratch.file("a.txt", "a");
        let sums = checksums(scratch.path(), &["b.txt".to_owned(), "a.txt".to_owned()]).unwrap();
        assert!(sums.lines().next().is_some_and(|line| line.ends_with("  a.txt")), "{sums}");
        let check = || capture(command("sha256sum", ["--check", "SHA256SUMS"]).current_dir(scratch.path()));
        assert!(check().is_ok());
        scratch.file("b.txt", "changed");
        assert!(check().is_err());
    }
}
