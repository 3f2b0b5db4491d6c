//! A page that says what is done against a threat names the tests that show it, and the tests exist.
//!
//! In a table whose last column is headed "shown by", every row names at least one test between backticks there, by the
//! name of its function. A test that is renamed or deleted takes its name along, or the page promises what nobody checks.

use std::collections::BTreeSet;

use super::{Finding, Tree};

const PAGE: &str = "docs/threat-model.md";
const HEADING: &str = "shown by";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.text(PAGE) else { return Vec::new() };
    let of_python = tree.files().filter(|(path, _)| path.ends_with(".py")).flat_map(|(_, text)| python_tests_of(text));
    let tests: BTreeSet<&str> = tree.rust().flat_map(|(_, text)| tests_of(text)).chain(of_python).collect();
    let mut findings = Vec::new();
    let mut is_table_of_ours = false;
    for (line, text) in (1..).zip(page.lines()) {
        let cells: Vec<&str> = text.trim().trim_matches('|').split('|').map(str::trim).collect();
        let last = cells[cells.len() - 1];
        if !text.starts_with('|') || last == HEADING {
            is_table_of_ours = last == HEADING;
        } else if is_table_of_ours && !last.starts_with("--") {
            findings.extend(row(&tests, line, last));
        }
    }
    findings
}

fn row(tests: &BTreeSet<&str>, line: usize, cell: &str) -> Vec<Finding> {
    let finding =
        |what, remedy: &str| Finding { file: PAGE.to_owned(), line, rule: "proofs", what, remedy: remedy.to_owned() };
    let named: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
    if named.is_empty() {
        return vec![finding("no test is named".to_owned(), "name one, or list the threat under what is not covered")];
    }
    let lost = named.into_iter().filter(|name| !tests.contains(name));
    lost.map(|name| finding(format!("no test is called `{name}`"), "name the test that shows it now")).collect()
}

/// The names of the functions that have an attribute of a test.
fn tests_of(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        } else if !line.starts_with("//") {
            let name = line.split_once("fn ").and_then(|(_, rest)| rest.split(['(', '<']).next());
            names.extend(name.filter(|_| is_test));
            is_test = false;
        }
    }
    names
}

/// The names of the functions that pytest runs.
fn python_tests_of(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("def ")?.split('(').next().filter(|name| name.starts_with("test_")))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{places, tree};
    use super::*;

    const RUST: &str =
        "#[test]\nfn holds() {}\n#[tokio::test(start_paused = true)]\n// why\nasync fn waits() {}\nfn helps() {}\n";

    fn found(row: &str) -> Vec<String> {
        let page =
            format!("# Page\n\n| threat | shown by |\n|---|---|\n{row}\n\n| other | table |\n|---|---|\n| `x` | y |\n");
        places(&check(&tree(&[(PAGE, &page), ("a.rs", RUST), ("a.py", "def test_it(x):\n    pass\ndef it():\n")])))
    }

    #[test]
    fn tests_that_exist_may_be_named() {
        assert_eq!(found("| a | `holds`, `waits`, `test_it` |"), [""; 0]);
        assert_eq!(found("| a | `it` |"), ["docs/threat-model.md:5"]);
    }

    #[test]
    fn a_row_without_a_test_and_a_name_of_no_test_are_found() {
        assert_eq!(found("| `holds` | by hand |"), ["docs/threat-model.md:5"]);
        assert_eq!(found("| a | `helps` |"), ["docs/threat-model.md:5"]);
        assert_eq!(found("| a | `holds`, `gone` |"), ["docs/threat-model.md:5"]);
    }
}
