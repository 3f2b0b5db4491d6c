//! Paths that our own pages name must exist: a map with wrong streets is worse than none.
//!
//! Looked at are the words between backticks that begin with one of our folders, in the pages that tell where things are.

use super::{Finding, Tree};

const PAGES: [&str; 3] = ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/README.md"];
const FOLDERS: [&str; 6] = ["crates/", "xtask/", "docs/", "tests/", "fuzz/", "examples/"];
/// Named before they exist: they hold what a failing test leaves behind.
const LATER: [&str; 1] = ["tests/seeds"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let pages = PAGES.iter().filter_map(|page| Some((*page, tree.text(page)?)));
    pages.flat_map(|(page, text)| lost(tree, page, text)).collect()
}

fn lost(tree: &Tree, page: &str, text: &str) -> Vec<Finding> {
    let exists = |path: &str| {
        let folder = format!("{}/", path.trim_end_matches('/'));
        tree.text(path).is_some() || LATER.contains(&path) || tree.files().any(|(file, _)| file.starts_with(&folder))
    };
    let named = (1..)
        .zip(text.lines())
        .flat_map(|(line, words)| words.split('`').skip(1).step_by(2).map(move |word| (line, word)));
    named
        .filter(|(_, word)| FOLDERS.iter().any(|folder| word.starts_with(folder)) && !exists(word))
        .map(|(line, word)| Finding {
            file: page.to_owned(),
            line,
            rule: "places",
            what: format!("`{word}` does not exist"),
            remedy: "name the place where it is now".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{places, tree};
    use super::*;

    #[test]
    fn files_and_folders_that_exist_may_be_named() {
        let page = "see `crates/a/src/lib.rs`, `crates/a/src/` and `crates/a`, and `src/elsewhere.rs`\n";
        assert_eq!(places(&check(&tree(&[("ARCHITECTURE.md", page), ("crates/a/src/lib.rs", "")]))), [""; 0]);
    }

    #[test]
    fn what_was_moved_is_found() {
        let page = "fine\nsee `crates/a/src/gone.rs`\n";
        let found = check(&tree(&[("ARCHITECTURE.md", page), ("crates/a/src/lib.rs", "")]));
        assert_eq!(places(&found), ["ARCHITECTURE.md:2"]);
    }
}
