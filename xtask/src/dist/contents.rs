//! What a program consists of: the crates that are really in it.
//!
//! The lock file lists everything that any build could need. What is in a program is less: the features that were chosen,
//! one target, nothing that only builds or tests. Cargo's own resolver knows it, so `cargo tree` is asked, for the
//! program and the target, without build dependencies and macros; where each crate's source lies and under which
//! licence it comes, `cargo metadata` says, and its checksum is in the lock file.
//!
//! Limits: what a crate compiles in besides its Rust, as aws-lc-sys does with C, is that crate's; the standard library and
//! the C library are not crates and are added by [`super::runtime`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;
use toml::Table;

use crate::shell::{self, Failure, command};

/// A crate's name and version.
pub(super) type Id = (String, String);

/// One crate.
#[derive(Clone, Debug)]
pub(super) struct Crate {
    pub(super) licence: String,
    /// Where its source lies.
    pub(super) folder: PathBuf,
    pub(super) repository: Option<String>,
    /// SHA-256 of its package, for those that come from a registry.
    pub(super) checksum: Option<String>,
    pub(super) is_ours: bool,
}

/// All crates of a program, and which uses which.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    pub(super) root: Id,
    pub(super) crates: BTreeMap<Id, Crate>,
    pub(super) uses: BTreeMap<Id, BTreeSet<Id>>,
}

impl Contents {
    /// Asks cargo for what a package consists of, built for a target.
    pub(super) fn of(package: &str, target: &str) -> Result<Self, Failure> {
        let args = ["tree", "--locked", "-p", package, "--target", target, "--edges", "normal,no-proc-macro"];
        let said = shell::stdout(&mut command("cargo", args.into_iter().chain(["--prefix", "depth"])))?;
        let (root, uses) = read_tree(&said)?;
        let args = ["metadata", "--locked", "--format-version", "1", "--filter-platform", target];
        let metadata = shell::stdout(&mut command("cargo", args))?;
        let lock = std::fs::read_to_string(shell::root().join("Cargo.lock"))
            .map_err(|error| Failure::new(format!("Cargo.lock: {error}"), ""))?;
        let mut known = described(&metadata, &lock);
        let mut crates = BTreeMap::new();
        for id in uses.keys() {
            let found = known.remove(id);
            let found = found.ok_or_else(|| Failure::new(format!("cargo metadata knows no {} {}", id.0, id.1), ""))?;
            crates.insert(id.clone(), found);
        }
        Ok(Self { root, crates, uses })
    }

    /// Those that others wrote.
    pub(super) fn foreign(&self) -> impl Iterator<Item = (&Id, &Crate)> {
        self.crates.iter().filter(|(_, part)| !part.is_ours)
    }
}

/// Reads lines as `2bytes v1.12.1 (*)`, where the number is the depth: the root, and what each crate uses.
fn read_tree(said: &str) -> Result<(Id, BTreeMap<Id, BTreeSet<Id>>), Failure> {
    let mut uses: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
    let mut way: Vec<Id> = Vec::new();
    for line in said.lines().filter(|line| !line.trim().is_empty()) {
        let (depth, id) = read_line(line).ok_or_else(|| Failure::new("cargo tree cannot be read", line))?;
        way.truncate(depth);
        if let Some(above) = way.last() {
            uses.entry(above.clone()).or_default().insert(id.clone());
        }
        uses.entry(id.clone()).or_default();
        way.push(id);
    }
    let root = way.into_iter().next().ok_or_else(|| Failure::new("cargo tree lists nothing", ""))?;
    Ok((root, uses))
}

fn read_line(line: &str) -> Option<(usize, Id)> {
    let end = line.find(|c: char| !c.is_ascii_digit())?;
    let (depth, rest) = line.split_at(end);
    let mut words = rest.split_whitespace();
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    Some((depth.parse().ok()?, (name.to_owned(), version.to_owned())))
}

/// Every package that cargo knows.
fn described(metadata: &str, lock: &str) -> BTreeMap<Id, Crate> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let checksums = checksums(lock);
    let metadata: Value = serde_json::from_str(metadata).unwrap_or_default();
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let described = packages.iter().filter_map(|package| {
        let id = (text(&package["name"])?, text(&package["version"])?);
        let mut folder = PathBuf::from(package["manifest_path"].as_str()?);
        folder.pop();
        let part = Crate {
            licence: text(&package["license"]).unwrap_or_default(),
            folder,
            repository: text(&package["repository"]),
            checksum: checksums.get(&id).cloned(),
            is_ours: package["source"].is_null(),
        };
        Some((id, part))
    });
    described.collect()
}

fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let lock = lock.parse::<Table>().unwrap_or_default();
    let packages = lock.get("package").and_then(|packages| packages.as_array()).into_iter().flatten();
    let text = |package: &toml::Value, key: &str| package.get(key)?.as_str().map(str::to_owned);
    let known = packages
        .filter_map(|package| Some(((text(package, "name")?, text(package, "version")?), text(package, "checksum")?)));
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> Id {
        (name.to_owned(), "1.0.0".to_owned())
    }

    #[test]
    fn a_tree_says_who_uses_whom() {
        let said = "0a v1.0.0 (/somewhere/a)\n1b v1.0.0\n2c v1.0.0\n3d2 v1.0.0\n1c v1.0.0 (*)\n1e v1.0.0\n";
        let (root, uses) = read_tree(said).unwrap();
        assert_eq!(root, id("a"));
        assert_eq!(uses[&id("a")], BTreeSet::from([id("b"), id("c"), id("e")]));
        assert_eq!(uses[&id("b")], BTreeSet::from([id("c")]));
        assert_eq!(uses[&id("c")], BTreeSet::from([id("d2")]));
        assert_eq!(uses[&id("e")], BTreeSet::new());
        assert_eq!(uses.len(), 5);
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        assert!(read_tree("").is_err());
        assert!(read_tree("error: no such package\n").is_err());
    }

    #[test]
    fn a_crate_of_a_registry_has_its_checksum() {
        let metadata = r#"{"packages":[
            {"name":"b","version":"1.0.0","license":"MIT","manifest_path":"/r/b/Cargo.toml","source":"registry"},
            {"name":"a","version":"1.0.0","license":null,"manifest_path":"/w/a/Cargo.toml","source":null}]}"#;
        let lock = "[[package]]\nname = \"b\"\nversion = \"1.0.0\"\nchecksum = \"abc\"\n";
        let known = described(metadata, lock);
        let (ours, theirs) = (&known[&id("a")], &known[&id("b")]);
        assert!(ours.is_ours && ours.checksum.is_none() && ours.licence.is_empty());
        assert!(!theirs.is_ours && theirs.folder.ends_with("r/b"));
        assert_eq!(theirs.checksum.as_deref(), Some("abc"));
    }
}
