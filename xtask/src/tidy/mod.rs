//! `cargo xtask tidy`: the rules of the tree that no compiler knows.
//!
//! Each rule is a module with one function from a [`Tree`] to [`Finding`]s, tested on small made-up trees. A finding
//! names file and line, the rule, and what to do about it. The rules: which crate may import which ([`imports`]),
//! what the core must not touch and in which order its files may know each other ([`purity`], [`order`]), how long a
//! file may grow and what it begins with ([`shape`]), files that no module names ([`reach`]), words that do not
//! belong into the repository ([`words`]), paths that our pages name ([`places`]), tests that they name ([`proofs`]), pages
//! that are in no chapter of the book ([`chapters`]), and the licences of everything we ship ([`licences`]), and the shape of the changelog ([`changelog`]).

use std::collections::BTreeMap;
use std::fmt;

use crate::shell::{self, Failure, command};
use crate::steps::Report;

pub(crate) mod changelog;
mod chapters;
mod code;
mod imports;
pub(crate) mod licences;
mod order;
mod places;
mod proofs;
mod purity;
mod reach;
mod shape;
mod words;

/// The tracked text files of the repository (and those that would be tracked), by their path from the root.
#[derive(Debug, Default)]
pub(crate) struct Tree(BTreeMap<String, String>);

impl Tree {
    /// Reads the work tree: what git tracks and what it does not ignore.
    fn read() -> Result<Self, Failure> {
        let listed =
            shell::stdout(&mut command("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
        // A tracked file may have been deleted, and an image is no text: neither has lines to judge.
        let text = |path: &str| std::fs::read_to_string(shell::root().join(path)).ok();
        let files = listed.split('\0').filter(|path| !path.is_empty());
        Ok(Self(files.filter_map(|path| Some((path.to_owned(), text(path)?))).collect()))
    }

    fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(|(path, _)| path.ends_with(".rs"))
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }
}

/// One breach of a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    file: String,
    line: usize,
    rule: &'static str,
    what: String,
    remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, rule, what, remedy } = self;
        write!(f, "{file}:{line}: {rule}: {what}\n  hint: {remedy}")
    }
}

/// The step of `cargo xtask test`.
pub(crate) fn step() -> Result<Report, Failure> {
    let tree = Tree::read()?;
    let mut findings = rules(&tree);
    let metadata = shell::stdout(&mut command("cargo", ["metadata", "--locked", "--format-version", "1"]))?;
    findings.extend(licences::check(&tree, &metadata));
    if findings.is_empty() {
        return Ok(Report::note(format!("{} files", tree.0.len())));
    }
    let listed: Vec<_> = findings.iter().map(Finding::to_string).collect();
    Err(Failure::new(format!("{} findings", findings.len()), listed.join("\n")))
}

/// `cargo xtask tidy`.
pub(crate) fn print() -> Result<(), Failure> {
    step().map(|report| println!("tidy: ok ({})", report.note))
}

fn rules(tree: &Tree) -> Vec<Finding> {
    [
        changelog::check,
        imports::check,
        purity::check,
        order::check,
        shape::check,
        reach::check,
        words::check,
        places::check,
        proofs::check,
        chapters::check,
    ]
    .iter()
    .flat_map(|rule| rule(tree))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up tree.
    pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
        Tree(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }

    /// Findings as `FILE:LINE`, to compare with what a case expects.
    pub(super) fn places(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(|finding| format!("{}:{}", finding.file, finding.line)).collect()
    }

    #[test]
    fn a_finding_names_place_rule_and_remedy() {
        let finding = Finding {
            file: "a.rs".into(),
            line: 3,
            rule: "purity",
            what: "core reads a clock".into(),
            remedy: "take `now: Now`".into(),
        };
        assert_eq!(finding.to_string(), "a.rs:3: purity: core reads a clock\n  hint: take `now: Now`");
    }
}
