//! Where the foreign components are.

use std::path::{Path, PathBuf};

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
