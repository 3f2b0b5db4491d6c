//! Which of our crates may import which, and what the core may depend on at all.
//!
//! The table is the house's plan: the core knows nothing of ours, the library knows the core, the simulator knows the
//! core, the gateway knows library and core, the program knows all. Tests of any crate may use the simulator.

use toml::{Table, Value};

use super::{Finding, Tree};

const RULE: &str = "imports";

/// Each crate with those of ours that it may import.
const MAY_IMPORT: [(&str, &[&str]); 8] = [
    ("evergrant-core", &[]),
    ("evergrant", &["evergrant-core"]),
    ("evergrant-sim", &["evergrant-core"]),
    ("evergrant-gateway", &["evergrant", "evergrant-core"]),
    ("evergrant-cli", &["evergrant", "evergrant-core", "evergrant-gateway", "evergrant-sim"]),
    ("evergrant-py", &["evergrant", "evergrant-core"]),
    ("bench", &["evergrant", "evergrant-core", "evergrant-sim"]),
    ("evergrant-fuzz", &["evergrant", "evergrant-core", "evergrant-gateway", "evergrant-sim"]),
];

/// What the core may use: parsers and data, nothing that reads a clock, a file or a socket for it.
const CORE_MAY_USE: [&str; 7] =
    ["base64", "form_urlencoded", "httpdate", "secrecy", "serde", "serde_json", "thiserror"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let manifests = tree.files().filter(|(path, _)| path.ends_with("Cargo.toml") && *path != "Cargo.toml");
    manifests.flat_map(|(path, text)| manifest(path, text)).collect()
}

fn manifest(path: &str, text: &str) -> Vec<Finding> {
    let finding = |needle: &str, what: String, remedy: &str| Finding {
        file: path.to_owned(),
        line: line_of(text, needle),
        rule: RULE,
        what,
        remedy: remedy.to_owned(),
    };
    let Ok(manifest) = text.parse::<Table>() else {
        return vec![finding("", "not a TOML file".to_owned(), "mend its syntax")];
    };
    let Some(name) = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str) else {
        return vec![finding("", "no package name".to_owned(), "add [package] name")];
    };
    let mut findings = Vec::new();
    let folder = path.trim_end_matches("/Cargo.toml").rsplit('/').next().unwrap_or_default();
    if folder != name && !(folder == "fuzz" && name == "evergrant-fuzz") {
        findings.push(finding("name", format!("package `{name}` in folder `{folder}`"), "give both one name"));
    }
    let allowed = MAY_IMPORT.iter().find(|(krate, _)| *krate == name).map_or(&[][..], |(_, allowed)| *allowed);
    for (dependency, is_dev) in dependencies(&manifest) {
        let ours = dependency == "evergrant" || dependency.starts_with("evergrant-");
        let may = allowed.contains(&dependency.as_str()) || (is_dev && dependency == "evergrant-sim");
        if ours && !may {
            let what = format!("`{name}` must not import `{dependency}`");
            findings.push(finding(&dependency, what, "move what you need down, or the caller up"));
        }
        if name == "evergrant-core" && !ours && !is_dev && !CORE_MAY_USE.contains(&dependency.as_str()) {
            let what = format!("the core must not depend on `{dependency}`");
            findings.push(finding(
                &dependency,
                what,
                "keep input and output outside the core, or extend its list in tidy",
            ));
        }
    }
    findings
}

/// All dependencies by package name, and whether each is for tests only.
fn dependencies(manifest: &Table) -> Vec<(String, bool)> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = targets.filter_map(Value::as_table).chain([manifest]);
    let kinds = tables.flat_map(|table| {
        ["dependencies", "build-dependencies", "dev-dependencies"]
            .into_iter()
            .filter_map(|kind| Some((table.get(kind)?.as_table()?, kind == "dev-dependencies")))
    });
    let package = |key: &str, value: &Value| value.get("package").and_then(Value::as_str).unwrap_or(key).to_owned();
    kinds.flat_map(|(table, is_dev)| table.iter().map(move |(key, value)| (package(key, value), is_dev))).collect()
}

/// The first line that starts with the word; 1 if none does.
fn line_of(text: &str, word: &str) -> usize {
    1 + text.lines().position(|line| !word.is_empty() && line.trim_start().starts_with(word)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{places, tree};
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        places(&check(&tree(&[(path, text)])))
    }

    #[test]
    fn the_core_imports_nothing_of_ours() {
        let text = "[package]\nname = \"evergrant-core\"\n[dependencies]\nserde = \"1\"\nevergrant.workspace = true\n";
        assert_eq!(found("crates/evergrant-core/Cargo.toml", text), ["crates/evergrant-core/Cargo.toml:5"]);
    }

    #[test]
    fn the_core_depends_on_its_list_alone() {
        let text = "[package]\nname = \"evergrant-core\"\n[dependencies]\ntokio = \"1\"\n[dev-dependencies]\nproptest = \"1\"\n";
        assert_eq!(found("crates/evergrant-core/Cargo.toml", text), ["crates/evergrant-core/Cargo.toml:4"]);
    }

    #[test]
    fn a_renamed_or_platform_dependency_is_seen() {
        let text = "[package]\nname = \"evergrant-sim\"\n[target.'cfg(unix)'.dependencies]\nevergrant = { path = \"x\" }\n\
                    [dependencies]\nother = { package = \"evergrant-gateway\", path = \"y\" }\n";
        assert_eq!(found("crates/evergrant-sim/Cargo.toml", text).len(), 2);
    }

    #[test]
    fn tests_may_use_the_simulator_and_code_may_not() {
        let text = "[package]\nname = \"evergrant-gateway\"\n[dev-dependencies]\nevergrant-sim.workspace = true\n";
        assert_eq!(found("crates/evergrant-gateway/Cargo.toml", text), [""; 0]);
        let text = text.replace("dev-dependencies", "dependencies");
        assert_eq!(found("crates/evergrant-gateway/Cargo.toml", &text), ["crates/evergrant-gateway/Cargo.toml:4"]);
    }

    #[test]
    fn package_and_folder_have_one_name() {
        let text = "[package]\nname = \"evergrant\"\n";
        assert_eq!(found("crates/library/Cargo.toml", text), ["crates/library/Cargo.toml:2"]);
        assert_eq!(found("crates/evergrant/Cargo.toml", text), [""; 0]);
    }
}
