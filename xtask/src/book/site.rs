//! The book as a site: the pages of the repository, copied side by side and built by MkDocs.
//!
//! The pages are those that the code host shows, at the same places, so a link that works there works in the book. What
//! they show or name (pictures, numbers, examples) is copied along. `mkdocs.yml` at the root holds the order of the pages and
//! makes every doubt an error: a page that is in no chapter, a link or an anchor that leads nowhere.
//!
//! Why MkDocs: `docs/decisions/book.md`.

use std::fs;
use std::path::{Path, PathBuf};

use super::page::{Page, stripped};
use crate::shell::{self, Failure, capture, command};

/// Folders whose files pages may link to.
const BESIDE: [&str; 4] = ["docs/**", "examples/**", "deploy/**", "LICENSE-*"];

/// Builds the site and returns where its first page is.
pub(super) fn build(pages: &[Page]) -> Result<PathBuf, Failure> {
    let (from, to) = (shell::target().join("book/pages"), shell::target().join("book/site"));
    if from.exists() {
        fs::remove_dir_all(&from).map_err(|error| at(&from, &error))?;
    }
    for pattern in BESIDE {
        for file in super::listed(pattern)? {
            let to = from.join(&file);
            fs::create_dir_all(to.parent().unwrap_or(&to)).map_err(|error| at(&to, &error))?;
            fs::copy(shell::root().join(&file), &to).map_err(|error| at(&to, &error))?;
        }
    }
    for page in pages {
        let to = from.join(&page.path);
        fs::create_dir_all(to.parent().unwrap_or(&to)).map_err(|error| at(&to, &error))?;
        fs::write(&to, stripped(&page.text)).map_err(|error| at(&to, &error))?;
    }
    let program = shell::target().join("test-tools/py/bin/mkdocs").display().to_string();
    if !Path::new(&program).exists() {
        return Err(Failure::new("mkdocs is not there; run: cargo xtask test --only setup", ""));
    }
    let site = to.display().to_string();
    let mut mkdocs = command(&program, ["build", "--strict", "--quiet", "--site-dir", &site]);
    capture(mkdocs.env("EVERGRANT_BOOK_PAGES", &from))?;
    Ok(to.join("index.html"))
}

fn at(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()), "")
}
