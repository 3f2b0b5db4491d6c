//! Words that do not belong into the repository, and words that must be there.
//!
//! A path of somebody's machine works nowhere else. A note to oneself is work left undone. A lock file that names a
//! registry's host breaks for everybody who uses a mirror. And the changelog always has a place for what is next.

use super::{Finding, Tree};

/// What no file may contain. Each text is in two parts, so that this file does not contain it either.
const FORBIDDEN: [(&str, &str, &str); 8] = [
    ("TO", "DO", "do it, or open an entry where work is planned"),
    ("FIX", "ME", "fix it, or open an entry where work is planned"),
    ("XX", "X:", "fix it, or open an entry where work is planned"),
    ("todo", "!(", "write the code"),
    ("unimplemented", "!(", "write the code"),
    ("//! Being ", "written", "write the module's header"),
    ("registry.", "npmjs", "make the lock file with `omit-lockfile-registry-resolved=true`"),
    ("\"reso", "lved\": \"http", "make the lock file with `omit-lockfile-registry-resolved=true`"),
];

/// Top folders in which somebody's machine keeps somebody's work.
const MACHINE: [&str; 5] = ["home", "root", "Users", "work", "farm"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<_> = tree.files().flat_map(|(path, text)| file(path, text)).collect();
    let changelog = tree.text("CHANGELOG.md").unwrap_or_default();
    if !changelog.lines().any(|line| line.trim() == "## Unreleased") {
        let what = "no `## Unreleased` heading".to_owned();
        findings.push(finding("CHANGELOG.md", 1, what, "add it above the newest release"));
    }
    findings
}

fn file(path: &str, text: &str) -> Vec<Finding> {
    (1..)
        .zip(text.lines())
        .filter_map(|(number, line)| {
            let word = FORBIDDEN.iter().find(|(start, end, _)| line.contains(&format!("{start}{end}")));
            if let Some((start, end, remedy)) = word {
                return Some(finding(path, number, format!("contains `{start}{end}`"), remedy));
            }
            let folder = MACHINE.iter().map(|name| format!("/{name}/")).find(|folder| is_machine_path(line, folder))?;
            Some(finding(
                path,
                number,
                format!("a path of one machine (`{folder}`)"),
                "use a path from the root of the tree",
            ))
        })
        .collect()
}

/// Does the folder stand at the beginning of a path, and not inside a longer one?
fn is_machine_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '}' | '/' | '~' | '*')))
    })
}

fn finding(path: &str, line: usize, what: String, remedy: &str) -> Finding {
    Finding { file: path.to_owned(), line, rule: "words", what, remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{places, tree};
    use super::*;

    fn found(text: &str) -> Vec<String> {
        places(&check(&tree(&[("a.md", text), ("CHANGELOG.md", "# Changes\n\n## Unreleased\n")])))
    }

    #[test]
    fn notes_to_oneself_are_found() {
        assert_eq!(found(concat!("fine\n// TO", "DO later\n")), ["a.md:2"]);
        assert_eq!(found(concat!("todo", "!()\n")), ["a.md:1"]);
    }

    #[test]
    fn machine_paths_are_found_and_longer_paths_are_not() {
        assert_eq!(found(concat!("see \"/home", "/somebody/x\"\n")), ["a.md:1"]);
        assert_eq!(found("GET https://host.example/home/x and docs/work/ and $HOME/root/\n"), [""; 0]);
    }

    #[test]
    fn a_lock_file_names_no_host() {
        assert_eq!(found(concat!("\"reso", "lved\": \"https://mirror.example/x.tgz\"\n")), ["a.md:1"]);
    }

    #[test]
    fn the_changelog_has_a_place_for_what_is_next() {
        assert_eq!(places(&check(&tree(&[("CHANGELOG.md", "# Changes\n")]))), ["CHANGELOG.md:1"]);
        assert_eq!(places(&check(&tree(&[]))), ["CHANGELOG.md:1"]);
    }
}
