//! The changelog can be read by a program, and tells of the version that the workspace has.
//!
//! `## Unreleased` stands on top. Below it is a heading `## 1.2.3 - 2030-01-31` for each release, newest first, by version and
//! by date. A version that is not released yet needs something to tell: an entry under *Unreleased*. What belongs to a
//! heading is grouped by what it means for users (Keep a Changelog 1.1.0).

use super::{Finding, Tree};

const FILE: &str = "CHANGELOG.md";
const KINDS: [&str; 6] = ["Added", "Changed", "Deprecated", "Fixed", "Removed", "Security"];

/// A version as semantic versioning counts it, without anything behind the numbers.
pub(crate) type Version = [u64; 3];

/// What the changelog says of its releases.
#[derive(Debug, Default)]
pub(crate) struct Changelog {
    /// Entries under *Unreleased*.
    pub(crate) unreleased: usize,
    /// Line, version and date of each release, in the order of the file.
    releases: Vec<(usize, Version, String)>,
    findings: Vec<Finding>,
}

impl Changelog {
    pub(crate) fn read(text: &str) -> Self {
        let mut changelog = Self::default();
        let mut is_unreleased = false;
        let mut headings = 0;
        for (line, words) in (1..).zip(text.lines()) {
            if let Some(heading) = words.strip_prefix("## ") {
                headings += 1;
                is_unreleased = heading.trim() == "Unreleased";
                match (is_unreleased, headings) {
                    (true, 1) => {}
                    (true, _) => changelog.note(line, "`## Unreleased` is not the first heading".to_owned()),
                    (false, _) => match release(heading) {
                        Some((version, date)) => changelog.releases.push((line, version, date)),
                        None => changelog.note(line, format!("`## {heading}` is no `## VERSION - YEAR-MONTH-DAY`")),
                    },
                }
            } else if let Some(kind) = words.strip_prefix("### ") {
                if !KINDS.contains(&kind.trim()) {
                    changelog.note(line, format!("`### {kind}` is none of {}", KINDS.join(", ")));
                }
            } else if is_unreleased && words.starts_with("- ") {
                changelog.unreleased += 1;
            }
        }
        changelog
    }

    /// The newest release.
    pub(crate) fn newest(&self) -> Option<Version> {
        self.releases.first().map(|(_, version, _)| *version)
    }

    fn note(&mut self, line: usize, what: String) {
        let remedy = "write it as the headings around it are written".to_owned();
        self.findings.push(Finding { file: FILE.to_owned(), line, rule: "changelog", what, remedy });
    }
}

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut changelog = Changelog::read(tree.text(FILE).unwrap_or_default());
    let pairs: Vec<_> = changelog.releases.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    for ((_, newer, later), (line, older, earlier)) in pairs {
        if older >= newer || earlier > later {
            changelog.note(line, "a release stands below an older one".to_owned());
        }
    }
    let workspace = tree.text("Cargo.toml").and_then(workspace_version);
    match (workspace, changelog.newest()) {
        (Some(ours), Some(newest)) if newest > ours => {
            changelog.note(1, "it tells of a release that is newer than the workspace".to_owned());
        }
        (Some(ours), newest) if newest != Some(ours) && changelog.unreleased == 0 => {
            changelog.note(1, "the workspace's version is not released, and nothing is said of it".to_owned());
        }
        _ => {}
    }
    changelog.findings
}

/// The version of all crates, from the root's `Cargo.toml`.
pub(crate) fn workspace_version(manifest: &str) -> Option<Version> {
    let table = manifest.parse::<toml::Table>().ok()?;
    version(table.get("workspace")?.get("package")?.get("version")?.as_str()?)
}

fn release(heading: &str) -> Option<(Version, String)> {
    let (name, date) = heading.trim().split_once(" - ")?;
    let parts: Vec<_> = date.split('-').collect();
    let is_number = |part: &&str, length: usize| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_date = matches!(parts[..], [y, m, d] if is_number(&y, 4) && is_number(&m, 2) && is_number(&d, 2)
        && ("01"..="12").contains(&m) && ("01"..="31").contains(&d));
    is_date.then_some(())?;
    Some((version(name)?, date.to_owned()))
}

/// Reads `1.2.3`.
pub(crate) fn version(text: &str) -> Option<Version> {
    let mut numbers = text.split('.').map(|number| number.parse().ok());
    let version = [numbers.next()??, numbers.next()??, numbers.next()??];
    numbers.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{places, tree};
    use super::*;

    const MANIFEST: &str = "[workspace.package]\nversion = \"1.2.0\"\n";

    fn found(changelog: &str) -> Vec<String> {
        places(&check(&tree(&[("Cargo.toml", MANIFEST), (FILE, changelog)])))
    }

    #[test]
    fn releases_stand_newest_first_below_what_is_not_released() {
        let fine = "# Changes\n\n## Unreleased\n\n## 1.2.0 - 2030-02-01\n\n### Added\n- a\n\n## 1.1.9 - 2030-02-01\n";
        assert_eq!(found(fine), [""; 0]);
        assert_eq!(found("## Unreleased\n- a\n## 1.1.0 - 2030-02-01\n## 1.1.5 - 2030-01-01\n"), ["CHANGELOG.md:4"]);
        assert_eq!(found("## Unreleased\n- a\n## 1.1.0 - 2030-02-01\n## 1.0.5 - 2030-03-01\n"), ["CHANGELOG.md:4"]);
        assert_eq!(found("## 1.2.0 - 2030-02-01\n## Unreleased\n- a\n"), ["CHANGELOG.md:2"]);
    }

    #[test]
    fn a_heading_that_cannot_be_read_is_found() {
        for heading in ["1.2.0", "1.2 - 2030-02-01", "1.2.0 - 2030-13-01", "1.2.0 - 2030-2-1", "v1.2.0 - 2030-02-01"] {
            assert_eq!(found(&format!("## Unreleased\n- a\n## {heading}\n")), ["CHANGELOG.md:3"], "{heading}");
        }
        assert_eq!(found("## Unreleased\n### Novelties\n- a\n"), ["CHANGELOG.md:2"]);
    }

    #[test]
    fn a_version_that_is_not_released_has_something_to_tell() {
        assert_eq!(found("## Unreleased\n\n## 1.1.0 - 2030-02-01\n- a\n"), ["CHANGELOG.md:1"]);
        assert_eq!(found("## Unreleased\n- a\n\n## 1.1.0 - 2030-02-01\n"), [""; 0]);
        assert_eq!(found("## Unreleased\n- a\n\n## 1.3.0 - 2030-02-01\n"), ["CHANGELOG.md:1"]);
    }
}
