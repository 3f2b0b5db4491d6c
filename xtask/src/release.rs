//! `cargo xtask release-check`: may this commit become a release?
//!
//! Whoever uses a release counts on two promises: its number says whether something breaks (semantic versioning), and the
//! changelog says what changed. Both can be held against the release before: `cargo semver-checks` compares what the
//! libraries offer, function by function, and git says whether code changed of which the changelog is silent.
//!
//! The baseline is the newest tag `v1.2.3` in the history of this commit, or what `--baseline` names. Without any there is
//! nothing to compare with, and that is said. The tree must be clean, and all crates must have one version, because they are
//! released together.
//!
//! Limits: a change of behaviour behind the same types is seen by no tool. The program's arguments and its JSON are held by
//! snapshot tests, and the Python package by its own.

use crate::shell::{self, Failure, capture, command};
use crate::tidy;
use crate::tidy::changelog::{Changelog, Version, version, workspace_version};

/// What other people's programs are compiled with.
const LIBRARIES: [&str; 4] = ["evergrant-core", "evergrant", "evergrant-gateway", "evergrant-sim"];
/// Where code lies of which users notice changes.
const CODE: [&str; 4] = ["crates/*/src", "crates/evergrant-py/python", "deploy", "Cargo.lock"];

/// Checks everything and says what was compared with what.
pub(crate) fn check(options: &[&str]) -> Result<(), Failure> {
    let named = match options {
        [] => None,
        ["--baseline", revision] => Some((*revision).to_owned()),
        [other, ..] => {
            return Err(Failure::new(format!("`{other}` is no option of `release-check`"), "--baseline REV"));
        }
    };
    tidy::print()?;
    let changed = shell::stdout(&mut command("git", ["status", "--porcelain"]))?;
    if !changed.trim().is_empty() {
        return Err(Failure::new("the tree is not clean, and a release is made of a commit", changed));
    }
    let manifest = read("Cargo.toml")?;
    one_version(&manifest)?;
    let changelog = Changelog::read(&read("CHANGELOG.md")?);
    let tag = newest_tag()?;
    let released = tag.as_deref().and_then(|tag| version(tag.trim_start_matches('v')));
    let ours = workspace_version(&manifest).ok_or_else(|| Failure::new("the workspace has no version", ""))?;
    let Some(baseline) = named.or(tag) else {
        println!("no release yet: nothing to compare with; the changelog and the versions are fine");
        return Ok(());
    };
    let is_same = ["diff", "--quiet", &baseline, "--"];
    let has_changed = shell::stdout(&mut command("git", is_same.into_iter().chain(CODE))).is_err();
    is_told(&changelog, released, ours, has_changed)?;
    breaks_nothing(&baseline)?;
    println!("release-check: ok (compared with {baseline})");
    Ok(())
}

/// The crates depend on each other's released versions, which must be the workspace's own.
fn one_version(manifest: &str) -> Result<(), Failure> {
    let table = manifest.parse::<toml::Table>().unwrap_or_default();
    let workspace = &table["workspace"];
    let ours = workspace["package"]["version"].as_str().unwrap_or_default();
    let crates = workspace["dependencies"].as_table().into_iter().flatten();
    let other = crates
        .filter(|(_, wanted)| wanted.get("path").is_some())
        .find(|(_, wanted)| wanted.get("version").and_then(|version| version.as_str()) != Some(ours));
    match other {
        Some((name, wanted)) => Err(Failure::new(format!("the workspace is {ours}, and wants {name} as {wanted}"), "")),
        None => Ok(()),
    }
}

/// Is there an entry for what changed since the last release?
fn is_told(changelog: &Changelog, released: Option<Version>, ours: Version, has_changed: bool) -> Result<(), Failure> {
    let tells_of_ours = changelog.newest() == Some(ours) && released != Some(ours);
    if has_changed && changelog.unreleased == 0 && !tells_of_ours {
        return Err(Failure::new("code changed since the last release, and CHANGELOG.md says nothing of it", ""));
    }
    Ok(())
}

/// Compares what the libraries offer with the baseline; the version says how much may differ.
fn breaks_nothing(baseline: &str) -> Result<(), Failure> {
    if !shell::is_installed("cargo", &["semver-checks", "--version"]) {
        let install = "cargo install --locked cargo-semver-checks";
        return Err(Failure::new(format!("missing: cargo-semver-checks, some minutes to build; run: {install}"), ""));
    }
    println!("comparing the libraries with {baseline}, some minutes ...");
    let packages = LIBRARIES.iter().flat_map(|name| ["--package", name]);
    let args = ["semver-checks", "check-release", "--baseline-rev", baseline].into_iter().chain(packages);
    let said = capture(&mut command("cargo", args))?;
    for line in said.lines().filter(|line| line.trim_start().starts_with("Summary")) {
        println!("{}", line.trim());
    }
    Ok(())
}

/// The newest release in the history of this commit.
fn newest_tag() -> Result<Option<String>, Failure> {
    let args = ["tag", "--merged", "HEAD", "--list", "v*", "--sort=-version:refname"];
    let tags = shell::stdout(&mut command("git", args))?;
    Ok(tags.lines().find(|tag| version(tag.trim_start_matches('v')).is_some()).map(str::to_owned))
}

fn read(path: &str) -> Result<String, Failure> {
    std::fs::read_to_string(shell::root().join(path)).map_err(|error| Failure::new(format!("{path}: {error}"), ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_that_want_another_version_of_each_other_are_found() {
        let manifest = |wanted: &str| {
            format!(
                "[workspace.package]\nversion = \"1.2.0\"\n[workspace.dependencies]\n\
                 a = {{ path = \"a\", version = \"{wanted}\" }}\nserde = \"1\"\n"
            )
        };
        assert!(one_version(&manifest("1.2.0")).is_ok());
        assert!(one_version(&manifest("1.1.0")).unwrap_err().to_string().contains("wants a"));
    }

    #[test]
    fn code_that_changed_needs_an_entry() {
        let told = |text: &str, released, ours, has_changed| {
            is_told(&Changelog::read(text), released, ours, has_changed).is_ok()
        };
        let (one, two) = ([1, 0, 0], [1, 1, 0]);
        let silent = "## Unreleased\n\n## 1.0.0 - 2030-01-01\n- a\n";
        assert!(!told(silent, Some(one), one, true));
        assert!(told(silent, Some(one), one, false));
        assert!(told("## Unreleased\n- b\n\n## 1.0.0 - 2030-01-01\n- a\n", Some(one), one, true));
        let about_to_be_tagged = "## Unreleased\n\n## 1.1.0 - 2030-02-01\n- b\n\n## 1.0.0 - 2030-01-01\n- a\n";
        assert!(told(about_to_be_tagged, Some(one), two, true));
        assert!(!told(about_to_be_tagged, Some(two), two, true), "changed after that release");
    }
}
