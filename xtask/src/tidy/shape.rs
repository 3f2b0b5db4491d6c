//! How long a file may grow, and what it begins with.
//!
//! A module that needs more than 500 lines of code does two things. Tests are worth their lines, but not so many that
//! the code is lost among them. The header comment says why the module exists; without one a reader starts guessing.
//! Unit tests that moved to a `tests.rs` need none: they belong to the module above them.

use super::code::{before_tests, is_test};
use super::{Finding, Tree};

const CODE_LINES: usize = 500;
const ALL_LINES: usize = 800;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(|(path, text)| file(path, text)).collect()
}

fn file(path: &str, text: &str) -> Vec<Finding> {
    let finding =
        |line, rule, what, remedy: &str| Finding { file: path.to_owned(), line, rule, what, remedy: remedy.to_owned() };
    let mut findings = Vec::new();
    let (code, all) = (before_tests(text).lines().count(), text.lines().count());
    if code > CODE_LINES && !is_test(path) {
        let what = format!("{code} lines before the tests, at most {CODE_LINES}");
        findings.push(finding(CODE_LINES + 1, "size", what, "split by meaning, not by size"));
    } else if all > ALL_LINES {
        let what = format!("{all} lines with the tests, at most {ALL_LINES}");
        findings.push(finding(
            ALL_LINES + 1,
            "size",
            what,
            "move the tests to a `tests.rs` beside it, or split them by subject",
        ));
    }
    let first = (1..).zip(text.lines()).find(|(_, line)| !line.trim().is_empty() && !line.starts_with("#!["));
    match first {
        Some((_, line)) if line.starts_with("//!") || path.ends_with("/tests.rs") => {}
        Some((line, _)) => findings.push(finding(line, "header", "no `//!` header".to_owned(), WHY)),
        None => findings.push(finding(1, "header", "an empty file".to_owned(), WHY)),
    }
    findings
}

const WHY: &str = "say in 5 to 40 lines what the module solves, how, and where its limits are";

#[cfg(test)]
mod tests {
    use super::super::tests::{places, tree};
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        places(&check(&tree(&[(path, text)])))
    }

    #[test]
    fn a_file_at_the_limit_passes_and_one_line_more_does_not() {
        let at = format!("//! x\n{}", "a\n".repeat(CODE_LINES - 1));
        assert_eq!(found("a.rs", &at), [""; 0]);
        assert_eq!(found("a.rs", &format!("{at}a\n")), ["a.rs:501"]);
        assert_eq!(found("x/tests/a.rs", &format!("{at}a\n")), [""; 0]);
    }

    #[test]
    fn tests_count_toward_the_larger_limit() {
        let at = format!("//! x\n#[cfg(test)]\nmod tests {{\n{}", "a\n".repeat(ALL_LINES - 3));
        assert_eq!(found("a.rs", &at), [""; 0]);
        assert_eq!(found("a.rs", &format!("{at}a\n")), ["a.rs:801"]);
    }

    #[test]
    fn a_file_begins_with_its_header() {
        assert_eq!(found("a.rs", "#![no_main]\n\n//! x\n"), [""; 0]);
        assert_eq!(found("a.rs", "\nfn main() {}\n"), ["a.rs:2"]);
        assert_eq!(found("a/tests.rs", "use super::*;\n"), [""; 0]);
        assert_eq!(found("a.rs", ""), ["a.rs:1"]);
    }
}
