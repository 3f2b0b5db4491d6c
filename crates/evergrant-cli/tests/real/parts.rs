//! Where the foreign components are, and the faked clock.

use std::path::{Path, PathBuf};
use std::process::Command;

const INSTALL: &str = "run: cargo xtask test --only setup";

/// A file or folder below the target folder's `test-tools`.
pub(crate) fn tool(path: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("cargo puts the folder for tests into the target folder");
    let tool = target.join("test-tools").join(path);
    assert!(tool.exists(), "{} is missing; {INSTALL}", tool.display());
    tool
}

/// A file of `tests/parts` in the source tree.
pub(crate) fn part(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parts").join(name)
}

/// An empty folder for one test.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("real-{name}"));
    if path.exists() {
        std::fs::remove_dir_all(&path).unwrap();
    }
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// A calendar clock that a test moves while processes run under it. Their boot and monotonic clocks stay real.
pub(crate) struct FakedWall {
    file: PathBuf,
}

impl FakedWall {
    /// A clock that differs from the machine's by `seconds`.
    pub(crate) fn new(folder: &Path, seconds: i64) -> Self {
        let wall = Self { file: folder.join("wall-offset") };
        wall.step_to(seconds);
        wall
    }

    /// Steps the clock to differ by `seconds` from the machine's.
    pub(crate) fn step_to(&self, seconds: i64) {
        // Readers see the old text or the new one, never half of it.
        let beside = self.file.with_extension("new");
        std::fs::write(&beside, format!("{seconds:+}s\n")).unwrap();
        std::fs::rename(beside, &self.file).unwrap();
    }

    /// Lets a process live by this clock.
    pub(crate) fn apply(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            // Without this the boot clock would show calendar time.
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.exists()).unwrap_or_else(|| panic!("libfaketime is missing; {INSTALL}"))
}
