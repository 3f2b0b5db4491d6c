//! The core's files follow the data, and a file may know only files before it.
//!
//! One request is read from top to bottom in one direction: what time it is, what came over the wire, what a token and
//! a provider are, what was sent, what that proves, what it means, what to do. An import against the order is the beginning of a knot.

use super::code::{before_tests, blank, is_test, paths};
use super::{Finding, Tree};

const CORE: &str = "crates/evergrant-core/src/";

/// The core's modules, earliest first; those of one row may know each other.
const ORDER: [&[&str]; 10] = [
    &["time", "secret"],
    &["wire"],
    &["pace"],
    &["offset", "token", "policy", "profile"],
    &["attempt"],
    &["evidence"],
    &["verdict"],
    &["capture"],
    &["event"],
    &["keeper"],
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let core = tree.rust().filter(|(path, _)| !is_test(path));
    core.filter_map(|(path, text)| Some((path, path.strip_prefix(CORE)?, text)))
        .filter(|(_, within, _)| *within != "lib.rs")
        .flat_map(|(path, within, text)| file(path, within, text))
        .collect()
}

fn file(path: &str, within: &str, text: &str) -> Vec<Finding> {
    let finding =
        |line, what, remedy: String| Finding { file: path.to_owned(), line, rule: "core order", what, remedy };
    let module = within.trim_end_matches(".rs").split('/').next().unwrap_or_default();
    let Some(own) = rank(module) else {
        let what = format!("`{module}` has no place in the core's order");
        return vec![finding(1, what, format!("give it one in {}", file!()))];
    };
    let is_top_level = !within.contains('/');
    let code = blank(text);
    paths(before_tests(&code))
        .into_iter()
        .filter_map(|(line, used)| {
            let mut names = used.split("::");
            let is_ours = match names.next()? {
                "crate" => true,
                "super" => is_top_level,
                _ => false,
            };
            // A name such as `crate::Secret` is a re-export; its own file is found by its lower-case name or not at all.
            let known = names.next()?.to_lowercase();
            (is_ours && rank(&known)? > own).then(|| {
                let what = format!("`{module}` comes before `{known}` and must not know it");
                finding(line, what, format!("move the shared type down, or this code up; order: {}", order()))
            })
        })
        .collect()
}

fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|row| row.contains(&module))
}

fn order() -> String {
    ORDER.map(|row| row.join(", ")).join(" -> ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{places, tree};
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        places(&check(&tree(&[(path, text)])))
    }

    #[test]
    fn a_file_may_know_earlier_files_and_its_own_row() {
        assert_eq!(found("crates/evergrant-core/src/profile.rs", "use crate::{time::Now, wire::ApiError};"), [""; 0]);
        assert_eq!(
            found("crates/evergrant-core/src/token.rs", "use crate::policy::Policy; use crate::Secret;"),
            [""; 0]
        );
    }

    #[test]
    fn a_file_must_not_know_later_files() {
        let wire = "crates/evergrant-core/src/wire.rs";
        assert_eq!(found(wire, "use crate::time::Now;\nuse crate::keeper::Keeper;"), [format!("{wire}:2")]);
        assert_eq!(found(wire, "use super::verdict::Verdict;"), [format!("{wire}:1")]);
        let part = "crates/evergrant-core/src/wire/error.rs";
        assert_eq!(found(part, "use super::keeper::X;\nlet x = crate::evidence::y();"), [format!("{part}:2")]);
    }

    #[test]
    fn tests_may_know_everything() {
        let text = "#[cfg(test)]\nmod tests { use crate::keeper::Keeper; }";
        assert_eq!(found("crates/evergrant-core/src/time.rs", text), [""; 0]);
    }

    #[test]
    fn a_new_module_needs_a_place() {
        assert_eq!(found("crates/evergrant-core/src/misc.rs", ""), ["crates/evergrant-core/src/misc.rs:1"]);
    }
}
