//! The licence of every crate we build with, against the allow list of `deny.toml`.
//!
//! `cargo metadata` knows each crate's licence expression; the list is the one that cargo-deny reads, so both agree.
//! An expression is satisfied when its allowed parts are: `OR` needs one side, `AND` both. A licence `WITH` an
//! exception must be listed as a whole. Source: SPDX specification, annex D (licence expressions).

use toml::{Table, Value};

use super::{Finding, Tree};

pub(super) fn check(tree: &Tree, metadata: &str) -> Vec<Finding> {
    let allowed = Allowed::of(tree.text("deny.toml").unwrap_or_default());
    if allowed.everywhere.is_empty() {
        return vec![finding("no [licenses] allow list".to_owned(), "add the list of licences we accept")];
    }
    let metadata: serde_json::Value = serde_json::from_str(metadata).unwrap_or_default();
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let refused = packages.iter().filter_map(|package| {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(licence) = package["license"].as_str() else {
            return Some(finding(
                format!("`{name}` names no licence"),
                "read its licence file, then replace it or ask",
            ));
        };
        (!allowed.permits_in(name, licence))
            .then(|| finding(format!("`{name}` is under `{licence}`"), "replace it, or accept the licence here"))
    });
    let none = packages.is_empty().then(|| finding("cargo metadata lists no package".to_owned(), "run cargo check"));
    refused.chain(none).collect()
}

fn finding(what: String, remedy: &str) -> Finding {
    Finding { file: "deny.toml".to_owned(), line: 1, rule: "licence", what, remedy: remedy.to_owned() }
}

/// The licences that we accept.
pub(crate) struct Allowed {
    everywhere: Vec<String>,
    /// Crates with what is accepted of them beside that; none of them is in anything that is shipped.
    exceptions: Vec<(String, Vec<String>)>,
}

impl Allowed {
    /// The list in the text of `deny.toml`.
    pub(crate) fn of(deny: &str) -> Self {
        let table = deny.parse::<Table>().unwrap_or_default();
        let licences = table.get("licenses");
        let texts = |list: Option<&Value>| -> Vec<String> {
            let list = list.and_then(Value::as_array).into_iter().flatten();
            list.filter_map(|text| text.as_str()).map(str::to_owned).collect()
        };
        let exceptions = licences.and_then(|licences| licences.get("exceptions")).and_then(Value::as_array);
        let exceptions = exceptions.into_iter().flatten().filter_map(|exception| {
            Some((exception.get("crate")?.as_str()?.to_owned(), texts(exception.get("allow"))))
        });
        Self {
            everywhere: texts(licences.and_then(|licences| licences.get("allow"))),
            exceptions: exceptions.collect(),
        }
    }

    /// Does the list satisfy a licence expression?
    pub(crate) fn permits(&self, licence: &str) -> bool {
        Expression::new(licence).satisfied_by(&self.everywhere)
    }

    /// Does it, together with what is accepted of this crate?
    fn permits_in(&self, name: &str, licence: &str) -> bool {
        let own = self.exceptions.iter().filter(|(of, _)| of == name).flat_map(|(_, allowed)| allowed);
        let allowed: Vec<_> = self.everywhere.iter().chain(own).cloned().collect();
        Expression::new(licence).satisfied_by(&allowed)
    }
}

/// A licence expression as SPDX writes it: crates older than that write `MIT/Apache-2.0` for a choice.
pub(crate) fn as_spdx(licence: &str) -> String {
    licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")
}

/// A licence expression, read from left to right; `AND` binds closer than `OR`.
struct Expression {
    words: Vec<String>,
    at: usize,
}

impl Expression {
    fn new(text: &str) -> Self {
        let spaced = as_spdx(text).replace('(', " ( ").replace(')', " ) ");
        Self { words: spaced.split_whitespace().map(str::to_owned).collect(), at: 0 }
    }

    fn satisfied_by(mut self, allowed: &[String]) -> bool {
        self.any(allowed) && self.at == self.words.len()
    }

    fn any(&mut self, allowed: &[String]) -> bool {
        let mut fine = self.all(allowed);
        while self.take("OR") {
            // Both sides are read in any case: the words must be consumed.
            fine |= self.all(allowed);
        }
        fine
    }

    fn all(&mut self, allowed: &[String]) -> bool {
        let mut fine = self.one(allowed);
        while self.take("AND") {
            fine &= self.one(allowed);
        }
        fine
    }

    fn one(&mut self, allowed: &[String]) -> bool {
        if self.take("(") {
            let fine = self.any(allowed);
            return self.take(")") && fine;
        }
        let mut licence = self.next();
        if self.take("WITH") {
            licence = format!("{licence} WITH {}", self.next());
        }
        allowed.contains(&licence)
    }

    fn take(&mut self, word: &str) -> bool {
        let is_next = self.words.get(self.at).is_some_and(|next| next == word);
        self.at += usize::from(is_next);
        is_next
    }

    fn next(&mut self) -> String {
        let word = self.words.get(self.at).cloned().unwrap_or_default();
        self.at += 1;
        word
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    const DENY: &str = "[licenses]\nallow = [\"MIT\", \"Apache-2.0\", \"Apache-2.0 WITH LLVM-exception\"]\n";

    fn refused(licence: &str) -> bool {
        let metadata = serde_json::json!({ "packages": [{ "name": "x", "license": licence }] }).to_string();
        !check(&tree(&[("deny.toml", DENY)]), &metadata).is_empty()
    }

    #[test]
    fn a_choice_needs_one_side_and_a_pair_needs_both() {
        let fine = ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-3.0", "MIT AND Apache-2.0", "(MIT OR GPL-3.0) AND Apache-2.0"];
        assert_eq!(fine.map(refused), [false; 5]);
        let not = ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "MIT Apache-2.0", "", "(MIT"];
        assert_eq!(not.map(refused), [true; 6]);
    }

    #[test]
    fn and_binds_closer_than_or() {
        assert!(!refused("MIT OR ISC AND GPL-3.0"));
        assert!(refused("ISC OR MIT AND GPL-3.0"));
    }

    #[test]
    fn what_is_accepted_of_one_crate_is_not_of_another_and_not_of_what_is_shipped() {
        let deny = format!("{DENY}exceptions = [{{ allow = [\"NCSA\"], crate = \"fuzzer\" }}]\n");
        let allowed = Allowed::of(&deny);
        assert!(allowed.permits_in("fuzzer", "(MIT OR Apache-2.0) AND NCSA"));
        assert!(!allowed.permits_in("other", "MIT AND NCSA") && !allowed.permits("MIT AND NCSA"));
    }

    #[test]
    fn an_exception_is_listed_as_a_whole() {
        assert!(!refused("Apache-2.0 WITH LLVM-exception"));
        assert!(refused("MIT WITH LLVM-exception"));
    }

    #[test]
    fn a_crate_without_a_licence_and_an_empty_list_are_findings() {
        let metadata = r#"{"packages":[{"name":"x","license":null}]}"#;
        assert_eq!(check(&tree(&[("deny.toml", DENY)]), metadata).len(), 1);
        assert_eq!(check(&tree(&[]), metadata).len(), 1);
        assert_eq!(check(&tree(&[("deny.toml", DENY)]), "nonsense").len(), 1);
    }
}
