//! `cargo xtask book`: the guide as a site, with every link followed and every block of code run or compiled.
//!
//! The guide is the Markdown of the repository: the pages at the root, under `docs/` and of the examples. There is no
//! second copy of anything. [`page`] reads a page and [`block`] its code blocks, [`links`] checks its links as a code host
//! follows them, [`site`] has MkDocs build the book, and [`run`] runs or compiles what the pages show, each page
//! in a [`sandbox`] of its own, with the [`neighbours`] that it names; what takes long runs in a [`short`] form.
#![expect(clippy::print_stdout, reason = "a task's report is its output")]

mod block;
mod links;
mod neighbours;
mod output;
mod page;
mod run;
mod sandbox;
mod short;
mod site;

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::shell::{self, Failure, capture, command};
use crate::steps::Report;
pub(crate) use page::Page;

/// `cargo xtask book`: builds the site and says where it is; `--check` also does what its pages show, `--page` of one alone.
pub(crate) fn task(options: &[&str]) -> Result<(), Failure> {
    match options {
        [] => {
            let pages = pages()?;
            linked(&pages)?;
            println!("{}", site::build(&pages)?.display());
            Ok(())
        }
        ["--check"] => step().map(|report| println!("book: ok ({})", report.note)),
        ["--page", path] => {
            let only: Vec<Page> = pages()?.into_iter().filter(|page| page.path == *path).collect();
            if only.is_empty() {
                return Err(Failure::new(format!("`{path}` is no page"), ""));
            }
            shown(&only).map(|report| println!("{path}: ok ({})", report.note))
        }
        [other, ..] => Err(Failure::new(format!("`{other}` is no option of `book`"), "--check, --page PATH")),
    }
}

/// `cargo xtask reference`: writes what the reference has of the program's own tables; a test of it compares them.
pub(crate) fn reference() -> Result<(), Failure> {
    let args = ["test", "--quiet", "--locked", "-p", "evergrant-cli", "--bin", "evergrant", "reference::"];
    capture(command("cargo", args).env("EVERGRANT_BLESS", "1")).map(|_| println!("docs/reference: written"))
}

/// The step of `cargo xtask test`.
pub(crate) fn step() -> Result<Report, Failure> {
    let pages = pages()?;
    linked(&pages)?;
    site::build(&pages)?;
    shown(&pages)
}

/// Runs, compiles or parses every block of code in the pages, some pages at a time.
fn shown(pages: &[Page]) -> Result<Report, Failure> {
    if pages.iter().any(|page| page.text.contains("--features otel")) {
        // As the step `otel` builds it.
        let args = ["test", "--no-run", "--locked", "-p", "evergrant-cli", "--features", "otel", "--test", "otel"];
        capture(&mut command("cargo", args))?;
        put_aside(short::TRACING)?;
    }
    capture(&mut command("cargo", ["build", "--locked", "-p", "evergrant-cli"]))?;
    put_aside(short::PLAIN)?;
    capture(&mut command("cargo", ["build", "--locked", "-p", "evergrant-sim", "--example", "serve"]))?;
    let (next, tally) = (AtomicUsize::new(0), Mutex::new(run::Tally::default()));
    let work = || {
        while let Some(page) = pages.get(next.fetch_add(1, Ordering::Relaxed)) {
            let done = run::page(page).unwrap_or_else(|failure| run::Tally {
                wrong: vec![format!("{}: {failure}", page.path)],
                ..run::Tally::default()
            });
            tally.lock().unwrap_or_else(PoisonError::into_inner).add(done);
        }
    };
    thread::scope(|scope| (0..WORKERS).for_each(|_| drop(scope.spawn(work))));
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Err(failure) = run::foreign(&tally.foreign) {
        tally.wrong.push(failure.to_string());
    }
    if !tally.wrong.is_empty() {
        tally.wrong.sort_unstable();
        return Err(Failure::new("pages show what is not so", tally.wrong.join("\n\n")));
    }
    let parsed = tally.parsed + tally.foreign.len();
    let note = format!(
        "{} pages: {} commands ran, {} outputs agree, {parsed} blocks compile or parse",
        pages.len(),
        tally.ran,
        tally.compared
    );
    Ok(Report::note(note))
}

/// Puts the program that was just built aside. One that still runs there from an earlier time goes on with its own file.
fn put_aside(place: &str) -> Result<(), Failure> {
    let (built, aside) = (shell::target().join("debug/evergrant"), shell::target().join(place));
    let new = aside.with_extension("new");
    let at = |error: std::io::Error| Failure::new(format!("{}: {error}", aside.display()), "");
    fs::create_dir_all(aside.parent().unwrap_or(&aside)).map_err(at)?;
    fs::copy(built, &new).and_then(|_| fs::rename(&new, &aside)).map_err(at)
}

/// Pages that are worked on at once: most of their time is waiting.
const WORKERS: usize = 4;

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
