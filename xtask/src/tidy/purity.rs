//! What the core must not touch: clocks, environment, files, sockets, processes, threads, randomness, async.
//!
//! Clippy's list in the core's own `clippy.toml` catches most uses; this rule catches imports too, and code that no
//! build of this machine compiles. Tests inside the core may do what they like.

use super::code::{before_tests, blank, is_test, paths};
use super::{Finding, Tree};

const FORBIDDEN: [(&str, &str); 14] = [
    ("std::time::SystemTime::now", "take `now: Now`"),
    ("std::time::Instant", "take `now: Now` and keep a `Boot`"),
    ("SystemTime::now", "take `now: Now`"),
    ("Instant::now", "take `now: Now`"),
    ("std::env", "take the value as an argument"),
    ("std::fs", "return an action; the library writes"),
    ("std::io", "parse slices; the library reads"),
    ("std::net", "return an action; the library sends"),
    ("std::process", "return an error; the caller decides"),
    ("std::thread", "the core is called, it never runs by itself"),
    ("tokio", "return an action; the library awaits"),
    ("rand", "take a seed"),
    ("getrandom", "take a seed"),
    ("tracing", "return an event; the library logs it"),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let core = tree.rust().filter(|(path, _)| path.starts_with("crates/evergrant-core/src/") && !is_test(path));
    core.flat_map(|(path, text)| file(path, text)).collect()
}

fn file(path: &str, text: &str) -> Vec<Finding> {
    let code = blank(text);
    let code = before_tests(&code);
    let mut findings: Vec<_> = paths(code)
        .into_iter()
        .filter_map(|(line, used)| {
            let (_, remedy) = FORBIDDEN.iter().find(|(forbidden, _)| starts(&used, forbidden))?;
            Some(finding(path, line, format!("the core uses `{used}`"), remedy))
        })
        .collect();
    for (number, line) in (1..).zip(code.lines()) {
        if line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "async") {
            findings.push(finding(
                path,
                number,
                "the core is async".to_owned(),
                "return an action; the library awaits",
            ));
        }
    }
    findings
}

/// Does the path begin with the forbidden one, whole segments compared?
fn starts(used: &str, forbidden: &str) -> bool {
    used.strip_prefix(forbidden).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn finding(path: &str, line: usize, what: String, remedy: &str) -> Finding {
    Finding { file: path.to_owned(), line, rule: "purity", what, remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{places, tree};
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        places(&check(&tree(&[(path, text)])))
    }

    #[test]
    fn clocks_files_and_async_are_found_in_any_spelling() {
        let text = "use std::{\n env,\n collections::BTreeMap,\n};\nfn a() { SystemTime::now(); }\nasync fn b() {}\n";
        let core = "crates/evergrant-core/src/token.rs";
        assert_eq!(found(core, text), [2, 5, 6].map(|line| format!("{core}:{line}")));
    }

    #[test]
    fn words_in_comments_texts_and_tests_do_not_count() {
        let text =
            "// std::fs\nfn a() -> &'static str { \"tokio::spawn\" }\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        assert_eq!(found("crates/evergrant-core/src/token.rs", text), [""; 0]);
        assert_eq!(found("crates/evergrant-core/src/keeper/tests.rs", "use std::fs;"), [""; 0]);
    }

    #[test]
    fn other_crates_may() {
        assert_eq!(found("crates/evergrant/src/clock.rs", "use std::fs;"), [""; 0]);
    }

    #[test]
    fn a_longer_name_is_another_name() {
        assert_eq!(found("crates/evergrant-core/src/token.rs", "use std::io_like::X; use random::Y;"), [""; 0]);
    }
}
