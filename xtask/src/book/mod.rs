//! `cargo xtask book`: the guide as a site, with every link checked.
//!
//! The guide is the Markdown of the repository: the pages at the root, under `docs/` and of the examples. There is no
//! second copy of anything. [`page`] reads a page and its code blocks, [`links`] checks its links as a code host follows
//! them, [`site`] has MkDocs build the book.
#![expect(clippy::print_stdout, reason = "a task's report is its output")]

mod links;
mod page;
mod site;

use std::collections::BTreeSet;
use std::fs;

use crate::shell::{self, Failure, command};
use crate::steps::Report;
pub(crate) use page::Page;

/// `cargo xtask book`: builds the site and says where it is.
pub(crate) fn run(options: &[&str]) -> Result<(), Failure> {
    match options {
        [] => {}
        ["--check"] => return step().map(|report| println!("book: ok ({})", report.note)),
        [other, ..] => return Err(Failure::new(format!("`{other}` is no option of `book`"), "--check")),
    }
    let pages = pages()?;
    linked(&pages)?;
    println!("{}", site::build(&pages)?.display());
    Ok(())
}

/// The step of `cargo xtask test`.
pub(crate) fn step() -> Result<Report, Failure> {
    let pages = pages()?;
    linked(&pages)?;
    site::build(&pages)?;
    Ok(Report::note(format!("{} pages", pages.len())))
}

fn linked(pages: &[Page]) -> Result<(), Failure> {
    let files: BTreeSet<String> = listed("**")?.into_iter().collect();
    let wrong = links::check(pages, |path| files.contains(path));
    if wrong.is_empty() { Ok(()) } else { Err(Failure::new("links of pages lead nowhere", wrong.join("\n"))) }
}

/// The pages of the guide.
pub(crate) fn pages() -> Result<Vec<Page>, Failure> {
    let mut pages = Vec::new();
    for pattern in ["*.md", "docs/**/*.md", "examples/**/*.md", "deploy/**/*.md"] {
        for path in listed(pattern)? {
            // A page that is listed may have been deleted and not yet taken out of the index.
            let Ok(text) = fs::read_to_string(shell::root().join(&path)) else { continue };
            pages.push(Page { path, text });
        }
    }
    Ok(pages)
}

/// The files of the repository that match a pattern of git's.
pub(crate) fn listed(pattern: &str) -> Result<Vec<String>, Failure> {
    let pattern = format!(":(glob){pattern}");
    let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", &pattern];
    let listed = shell::stdout(&mut command("git", args))?;
    let files = listed.split('\0').filter(|path| !path.is_empty() && shell::root().join(path).exists());
    Ok(files.map(str::to_owned).collect())
}
