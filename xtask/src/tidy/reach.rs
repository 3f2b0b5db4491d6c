//! Files that no module names: they look like code and are never compiled.
//!
//! Every file is followed from the roots that cargo knows (`lib.rs`, `main.rs`, each file directly in `bin`, `tests`,
//! `benches` and `examples`, `main.rs` in a folder there, `build.rs`, the fuzz targets) through `mod` lines.

use std::collections::BTreeSet;

use super::code::modules;
use super::{Finding, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> =
        tree.rust().map(|(path, _)| path).filter(|path| is_root(path)).map(str::to_owned).collect();
    while let Some(path) = open.pop() {
        let Some(text) = tree.text(&path) else { continue };
        for (name, custom) in modules(text) {
            open.extend(candidates(&path, &name, custom).into_iter().filter(|child| !reached.contains(child)));
        }
        reached.insert(path);
    }
    let dead = tree.rust().filter(|(path, _)| !reached.contains(*path));
    dead.map(|(path, _)| Finding {
        file: path.to_owned(),
        line: 1,
        rule: "dead file",
        what: "no `mod` line leads here".to_owned(),
        remedy: "name it in its parent, or delete it".to_owned(),
    })
    .collect()
}

fn is_root(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let (file, folder, above) = (parts.next(), parts.next(), parts.next());
    match (file, folder, above) {
        (Some("lib.rs" | "main.rs"), Some("src"), _) | (Some("build.rs"), _, _) => true,
        (_, Some("bin"), Some("src")) | (_, Some("tests" | "benches" | "examples" | "fuzz_targets"), _) => {
            !path.contains("/src/") || folder == Some("bin")
        }
        (Some("main.rs"), _, Some("tests" | "benches" | "examples" | "bin")) => true,
        _ => false,
    }
}

/// Where `mod name;` in `path` may be found.
fn candidates(path: &str, name: &str, custom: Option<String>) -> Vec<String> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    if let Some(custom) = custom {
        return vec![without_detours(&format!("{folder}/{custom}"))];
    }
    let stem = file.trim_end_matches(".rs");
    let owns_folder = matches!(stem, "lib" | "main" | "mod") || is_root(path);
    let base = if owns_folder { folder.to_owned() } else { format!("{folder}/{stem}") };
    vec![format!("{base}/{name}.rs"), format!("{base}/{name}/mod.rs")]
}

/// The path without `..`.
fn without_detours(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{places, tree};
    use super::*;

    #[test]
    fn files_are_reached_through_modules_of_every_kind() {
        let tree = tree(&[
            ("crates/a/src/lib.rs", "mod b;\npub mod c;\n"),
            ("crates/a/src/b.rs", "#[cfg(test)]\nmod tests;\n"),
            ("crates/a/src/b/tests.rs", ""),
            ("crates/a/src/c/mod.rs", "mod d;"),
            ("crates/a/src/c/d.rs", ""),
            ("crates/a/src/bin/e.rs", ""),
            ("crates/a/tests/f.rs", "mod shared;"),
            ("crates/a/tests/shared/mod.rs", ""),
            ("crates/a/tests/real/main.rs", "mod g;\n#[path = \"../shared/i.rs\"]\nmod i;"),
            ("crates/a/tests/shared/i.rs", ""),
            ("crates/a/tests/real/g.rs", ""),
            ("fuzz/fuzz_targets/h.rs", ""),
        ]);
        assert_eq!(places(&check(&tree)), [""; 0]);
    }

    #[test]
    fn a_file_without_a_mod_line_is_dead() {
        let tree = tree(&[
            ("crates/a/src/lib.rs", "// mod b;\n"),
            ("crates/a/src/b.rs", "mod c;"),
            ("crates/a/src/b/c.rs", ""),
            ("crates/a/tests/real/main.rs", ""),
            ("crates/a/tests/real/lost.rs", ""),
        ]);
        let dead = ["crates/a/src/b.rs:1", "crates/a/src/b/c.rs:1", "crates/a/tests/real/lost.rs:1"];
        assert_eq!(places(&check(&tree)), dead);
    }
}
