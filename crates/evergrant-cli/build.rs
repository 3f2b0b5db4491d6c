//! Tells the program which commit it is built from.
//!
//! A version alone does not say what somebody runs between two releases. The commit is looked for in this order:
//!
//! 1. `EVERGRANT_COMMIT` in the environment: a hash and perhaps a date, for packagers and for `cargo xtask dist`. Empty, it
//!    says that no commit is to be shown.
//! 2. The file `COMMIT` beside this one. In a source archive git has put hash and date into it (`export-subst` in
//!    `.gitattributes`); in a work tree it is a form that nobody has filled in.
//! 3. What `cargo package` notes about the work tree. It knows no date.
//! 4. git, if this very file is tracked: a source archive may lie inside of somebody else's repository.
//!
//! Where all of them are silent the version stands alone. Nothing needs a network. The script runs again when `HEAD` moves,
//! which git's own log of it tells, and not when files change: whether the tree is clean is not looked at, because every
//! change of a file would then build the program again.

use std::path::{Path, PathBuf};
use std::process::Command;

/// So much of a hash is shown: the same everywhere, whatever a clone's git thinks is enough.
const SHOWN: usize = 10;

fn main() {
    let home = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    for line in lines(&home, &version, std::env::var("EVERGRANT_COMMIT").ok()) {
        println!("{line}");
    }
}

/// What cargo is told.
pub(crate) fn lines(home: &Path, version: &str, told: Option<String>) -> Vec<String> {
    let mut lines: Vec<_> = [
        "cargo::rerun-if-changed=build.rs",
        "cargo::rerun-if-changed=COMMIT",
        "cargo::rerun-if-env-changed=EVERGRANT_COMMIT",
    ]
    .map(str::to_owned)
    .into();
    let known = told.or_else(|| filled_in(home)).or_else(|| packaged(home));
    let found = known.or_else(|| {
        let (commit, files) = git(home)?;
        lines.extend(files.iter().map(|file| format!("cargo::rerun-if-changed={}", file.display())));
        Some(commit)
    });
    match found.and_then(|text| shown(&text)) {
        Some(commit) => {
            lines.push(format!("cargo::rustc-env=EVERGRANT_BUILT_FROM={commit}"));
            lines.push(format!("cargo::rustc-env=EVERGRANT_VERSION={version} ({commit})"));
        }
        None => lines.push(format!("cargo::rustc-env=EVERGRANT_VERSION={version}")),
    }
    lines
}

/// A hash, cut to what is shown, and the date behind it. A word that is no hash may say more, as `1a2b3c4d5e-modified`.
fn shown(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    let hash = words.next()?;
    let hash = if hash.bytes().all(|byte| byte.is_ascii_hexdigit()) { hash.get(..SHOWN).unwrap_or(hash) } else { hash };
    Some(words.next().map_or_else(|| hash.to_owned(), |date| format!("{hash} {date}")))
}

fn filled_in(home: &Path) -> Option<String> {
    std::fs::read_to_string(home.join("COMMIT")).ok().filter(|text| !text.contains('$'))
}

fn packaged(home: &Path) -> Option<String> {
    let text = std::fs::read_to_string(home.join(".cargo_vcs_info.json")).ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    rest.split('"').nth(1).map(str::to_owned)
}

/// The commit, and the files that change when another one is checked out or made.
fn git(home: &Path) -> Option<(String, Vec<PathBuf>)> {
    let ask = |args: &[&str]| {
        let mut git = Command::new("git");
        // A hook of git's names the repository that it runs in.
        git.args(args).current_dir(home).env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
        let output = git.output().ok()?;
        let text = output.status.success().then(|| String::from_utf8(output.stdout).ok()).flatten()?;
        Some(text.trim().to_owned())
    };
    ask(&["ls-files", "--error-unmatch", "build.rs"])?;
    let branch = ask(&["rev-parse", "--symbolic-full-name", "HEAD"]).unwrap_or_default();
    let paths = ["HEAD", "logs/HEAD", &branch].map(|name| ask(&["rev-parse", "--git-path", name]));
    // A file that is not there would be taken for one that changes all the time.
    let files = paths.into_iter().flatten().map(|path| home.join(path)).filter(|path| path.is_file()).collect();
    Some((ask(&["log", "-1", "--format=%H %cs"])?, files))
}
