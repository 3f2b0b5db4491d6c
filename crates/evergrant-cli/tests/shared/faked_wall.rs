//! A calendar clock that a test moves while processes run under it.
//!
//! libfaketime fakes it per process and leaves the boot clock real, as a real clock step does.

use std::path::{Path, PathBuf};

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

    /// The variables that let a process live by this clock.
    pub(crate) fn variables(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("LD_PRELOAD", library()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone()),
            ("FAKETIME_NO_CACHE", "1".into()),
            // Without this the boot clock would show calendar time.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}

fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    libraries
        .find(|library| library.exists())
        .unwrap_or_else(|| panic!("libfaketime is missing; run: cargo xtask test --only setup"))
}
