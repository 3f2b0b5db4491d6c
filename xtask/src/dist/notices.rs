//! `THIRD-PARTY-LICENSES`: whose work is in an artefact, and under which terms.
//!
//! Licences ask that their text and their authors' names go with every copy. The texts are taken from the very sources
//! that were compiled: each file of a crate whose name says licence, copyright or notice, also in folders of code that the
//! crate brings along. Many crates have the same text, so each text stands once and says whose it is.
//!
//! A crate whose licence is not in `deny.toml`'s list, or that brings no text, stops the release and is named.
//!
//! Limits: of several licences to choose from, all texts are shown and no choice is made.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::contents::Contents;
use crate::shell::Failure;
use crate::tidy::licences::{Allowed, as_spdx};

/// A work that is in the artefact.
#[derive(Clone, Debug)]
pub(super) struct Work {
    /// Its name and version.
    pub(super) name: String,
    pub(super) licence: String,
    pub(super) texts: Vec<String>,
}

/// The works of the crates that others wrote.
pub(super) fn of_crates(contents: &Contents, allowed: &Allowed) -> Result<Vec<Work>, Failure> {
    let mut works = Vec::new();
    for ((name, version), part) in contents.foreign() {
        let name = format!("{name} {version}");
        if !allowed.permits(&part.licence) {
            let what = format!("{name} is under `{}`, which deny.toml does not allow", part.licence);
            return Err(Failure::new(what, "replace it, or accept the licence there"));
        }
        let mut texts = Vec::new();
        collect(&part.folder, DEPTH, &mut texts)?;
        if texts.is_empty() {
            return Err(Failure::new(format!("{name} brings no text of its licence `{}`", part.licence), ""));
        }
        works.push(Work { name, licence: as_spdx(&part.licence), texts });
    }
    Ok(works)
}

/// The whole file: a list of the works, then every text once.
pub(super) fn file(works: &[Work]) -> String {
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let mut texts: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut list = String::new();
    for work in works {
        let mut shown = Vec::new();
        for text in &work.texts {
            let number = *numbers.entry(words(text)).or_insert_with(|| {
                texts.push((text, Vec::new()));
                texts.len()
            });
            if !shown.contains(&number) {
                shown.push(number);
                texts[number - 1].1.push(&work.name);
            }
        }
        shown.sort_unstable();
        let shown: Vec<_> = shown.iter().map(usize::to_string).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(list, "{}: {}; texts {}", work.name, work.licence, shown.join(", "));
    }
    let mut file = format!("{HEAD}\n{list}");
    for (number, (text, whose)) in (1..).zip(&texts) {
        let _ =
            write!(file, "\n{RULE}\nText {number}, of {}\n{RULE}\n\n{}\n", whose.join(", "), text.trim_matches('\n'));
    }
    file
}

/// All texts in a crate's folder and those below it.
fn collect(folder: &Path, depth: usize, texts: &mut Vec<String>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", folder.display()), "");
    let is_for_texts = folder.file_name().is_some_and(|name| name.eq_ignore_ascii_case("licenses"));
    let mut paths: Vec<_> = fs::read_dir(folder).map_err(failed)?.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        if path.is_dir() {
            if depth > 0 && !ASIDE.contains(&name.as_str()) {
                collect(&path, depth - 1, texts)?;
            }
        } else if is_for_texts || is_notice(&name) {
            let bytes = fs::read(&path).map_err(failed)?;
            texts.push(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"));
        }
    }
    Ok(())
}

fn is_notice(name: &str) -> bool {
    let ends_like_a_text = name.rsplit_once('.').is_none_or(|(_, end)| !CODE.contains(&end));
    ends_like_a_text && BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// A text without its line breaks and indents, to see whether two are the same.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

const BEGINNINGS: [&str; 6] = ["license", "licence", "copying", "copyright", "notice", "unlicense"];
const CODE: [&str; 8] = ["rs", "toml", "c", "h", "py", "sh", "json", "hbs"];
/// Folders of a package that are not compiled into anything.
const ASIDE: [&str; 5] = ["tests", "examples", "benches", "fuzz", "target"];
/// So deep may code lie that a crate brings along.
const DEPTH: usize = 4;
const RULE: &str = "--------------------------------------------------------------------------------";
const HEAD: &str = "\
Evergrant contains the works of others that are listed here, each with its version, its licence as SPDX writes it, and the
numbers of the texts below that belong to it. Evergrant's own licences are in LICENSE-MIT and LICENSE-APACHE.
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::contents::Crate;
    use super::super::tests::Scratch;
    use super::*;

    fn work(name: &str, texts: &[&str]) -> Work {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        Work { name: name.to_owned(), licence: "MIT".to_owned(), texts }
    }

    #[test]
    fn a_text_that_many_works_have_stands_once() {
        let file = file(&[work("a 1.0.0", &["one\ntext\n"]), work("b 2.0.0", &["another", "one  text"])]);
        assert!(file.contains("a 1.0.0: MIT; texts 1\nb 2.0.0: MIT; texts 1, 2\n"), "{file}");
        assert!(file.contains("Text 1, of a 1.0.0, b 2.0.0\n"), "{file}");
        assert_eq!(file.matches("one\ntext").count(), 1);
        assert!(file.contains("Text 2, of b 2.0.0\n"), "{file}");
    }

    #[test]
    fn texts_are_found_by_their_names_also_in_code_that_is_brought_along() {
        let scratch = Scratch::new("notices");
        for (path, text) in [
            ("LICENSE-MIT", "mit"),
            ("license.rs", "code"),
            ("src/lib.rs", "code"),
            ("third_party/x/COPYING", "x"),
            ("LICENSES/ISC.txt", "isc"),
            ("tests/LICENSE", "of a test's data"),
        ] {
            scratch.file(path, text);
        }
        let mut texts = Vec::new();
        collect(scratch.path(), DEPTH, &mut texts).unwrap();
        assert_eq!(texts, ["mit", "isc", "x"]);
    }

    #[test]
    fn a_licence_that_is_not_allowed_and_a_crate_without_a_text_are_named() {
        let scratch = Scratch::new("notices-refused");
        let contents = |licence: &str| {
            let id = ("theirs".to_owned(), "1.0.0".to_owned());
            let part = Crate {
                licence: licence.to_owned(),
                folder: scratch.path().to_owned(),
                repository: None,
                checksum: None,
                is_ours: false,
            };
            Contents { root: id.clone(), crates: [(id.clone(), part)].into(), uses: [(id, BTreeSet::new())].into() }
        };
        let allowed = Allowed::of("[licenses]\nallow = [\"MIT\"]\n");
        let refused = |licence: &str| of_crates(&contents(licence), &allowed).unwrap_err().to_string();
        assert!(refused("GPL-3.0").contains("theirs 1.0.0 is under `GPL-3.0`"));
        assert!(refused("").contains("theirs 1.0.0"));
        assert!(refused("MIT").contains("theirs 1.0.0 brings no text"));
        scratch.file("LICENSE", "the text");
        assert_eq!(of_crates(&contents("MIT"), &allowed).unwrap()[0].texts, ["the text"]);
    }
}
