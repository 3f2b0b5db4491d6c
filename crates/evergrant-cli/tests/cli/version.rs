//! The version names the commit that the program was built from, wherever its source came from.
//!
//! The build script is a module here: its answers for made-up source folders are what cargo would be told.

use std::path::Path;
use std::process::Command;

use crate::support::{Folder, evergrant};

#[path = "../../build.rs"]
#[expect(dead_code, clippy::print_stdout, reason = "its `main` is for cargo")]
mod build;

const HASH: &str = "0123456789abcdef0123456789abcdef01234567";

/// What `--version` would say in a program whose source is in this folder.
fn version(home: &Path, told: Option<&str>) -> String {
    let lines = build::lines(home, "1.2.3", told.map(str::to_owned));
    let mut versions = lines.iter().filter_map(|line| line.strip_prefix("cargo::rustc-env=EVERGRANT_VERSION="));
    let version = versions.next().unwrap().to_owned();
    assert_eq!(versions.next(), None);
    version
}

fn git(home: &Path, args: &[&str]) -> String {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]).args(args);
    git.env("GIT_COMMITTER_DATE", "2030-05-06T07:08:09+00:00").env("GIT_CONFIG_GLOBAL", "/dev/null");
    let output = git.current_dir(home).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository with one commit that has the build script, and its hash.
fn repository() -> (Folder, String) {
    let folder = Folder::new();
    folder.file("build.rs", "");
    folder.file("COMMIT", include_str!("../../COMMIT"));
    folder.file(".gitattributes", "COMMIT export-subst\n");
    git(folder.path(), &["init", "--quiet"]);
    git(folder.path(), &["add", "."]);
    git(folder.path(), &["commit", "--quiet", "-m", "one"]);
    let hash = git(folder.path(), &["rev-parse", "HEAD"]);
    (folder, hash)
}

#[test]
fn the_version_is_one_line() {
    let said = evergrant(["--version"]).end().good();
    assert_eq!(said, format!("evergrant {}\n", env!("EVERGRANT_VERSION")));
    assert!(said.starts_with(&format!("evergrant {}", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_work_tree_names_its_commit_and_date() {
    let (folder, hash) = repository();
    assert_eq!(version(folder.path(), None), format!("1.2.3 ({} 2030-05-06)", &hash[..10]));
}

#[test]
fn the_program_is_built_again_when_head_moves_and_only_then() {
    let (folder, _) = repository();
    let watched = |home: &Path| -> Vec<String> {
        let lines = build::lines(home, "1.2.3", None);
        let files = lines.iter().filter_map(|line| line.strip_prefix("cargo::rerun-if-changed="));
        files.filter(|file| file.contains(".git")).map(str::to_owned).collect()
    };
    let files = watched(folder.path());
    assert!(!files.is_empty() && files.iter().all(|file| Path::new(file).is_file()), "{files:?}");
    let contents = || files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect::<Vec<_>>();
    let before = contents();
    folder.file("another", "");
    git(folder.path(), &["add", "another"]);
    git(folder.path(), &["branch", "aside"]);
    assert_eq!(contents(), before);
    git(folder.path(), &["commit", "--quiet", "-m", "two"]);
    let after_commit = contents();
    assert_ne!(after_commit, before);
    git(folder.path(), &["checkout", "--quiet", "--detach", "HEAD~1"]);
    assert_ne!(contents(), after_commit);
}

#[test]
fn a_source_archive_names_its_commit_without_git() {
    let (folder, hash) = repository();
    let archive = git(folder.path(), &["archive", "--format=tar", "--output=a.tar", "HEAD"]);
    assert_eq!(archive, "");
    let unpacked = Folder::new();
    let tar = folder.path().join("a.tar");
    let status = Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(unpacked.path()).status().unwrap();
    assert!(status.success());
    assert_eq!(version(unpacked.path(), None), format!("1.2.3 ({} 2030-05-06)", &hash[..10]));
}

#[test]
fn the_repository_around_a_source_archive_is_somebody_elses() {
    let (folder, _) = repository();
    let inside = folder.path().join("vendor");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(inside.join("build.rs"), "").unwrap();
    assert_eq!(version(&inside, None), "1.2.3");
}

#[test]
fn a_packaged_crate_knows_its_commit_and_no_date() {
    let folder = Folder::new();
    folder.file("COMMIT", include_str!("../../COMMIT"));
    folder.file(".cargo_vcs_info.json", &format!("{{\n  \"git\": {{\n    \"sha1\": \"{HASH}\"\n  }}\n}}"));
    assert_eq!(version(folder.path(), None), "1.2.3 (0123456789)");
}

#[test]
fn a_packager_has_the_last_word() {
    let (folder, _) = repository();
    assert_eq!(version(folder.path(), Some(&format!("{HASH} 2031-01-02\n"))), "1.2.3 (0123456789 2031-01-02)");
    assert_eq!(
        version(folder.path(), Some("0123456789-modified 2031-01-02")),
        "1.2.3 (0123456789-modified 2031-01-02)"
    );
    assert_eq!(version(folder.path(), Some("")), "1.2.3");
}
