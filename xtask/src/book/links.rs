//! Links as a code host follows them, and Markdown that everybody reads alike.
//!
//! The book's own builder checks the links of the book. The pages are read on a code host too, where a link is a path in
//! the repository and a heading has another name, so they are checked by those rules as well. Of a link to elsewhere
//! only the form is looked at: the tests ask nobody.
//!
//! Two habits of Markdown are read in two ways and are refused here: a list without a blank line above it, and a code
//! block that is indented.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::page::Page;

/// What is wrong with the pages, as `PAGE:LINE: what`.
pub(super) fn check(pages: &[Page], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let anchors: BTreeMap<&str, Vec<String>> = pages.iter().map(|page| (page.path.as_str(), anchors(page))).collect();
    let mut wrong = Vec::new();
    for page in pages {
        let mut before = "";
        for (line, text) in page.prose() {
            let place = format!("{}:{line}", page.path);
            for target in targets(text) {
                if let Some(what) = objection(page, target, &anchors, &exists) {
                    wrong.push(format!("{place}: {what}"));
                }
            }
            if text.starts_with("- ")
                && !matches!(before.trim_start().get(..1), None | Some("-"))
                && !before.starts_with("  ")
            {
                wrong.push(format!("{place}: a list needs a blank line above it"));
            }
            before = text;
        }
        let indented = (1..)
            .zip(page.text.lines())
            .filter(|(_, line)| line.starts_with(' ') && line.trim_start().starts_with("```"));
        wrong.extend(indented.map(|(line, _)| format!("{}:{line}: a code block begins at the left margin", page.path)));
    }
    wrong
}

fn objection(
    page: &Page,
    target: &str,
    anchors: &BTreeMap<&str, Vec<String>>,
    exists: &impl Fn(&str) -> bool,
) -> Option<String> {
    if let Some((scheme, rest)) = target.split_once("://") {
        let host = rest.split('/').next().unwrap_or(rest);
        let is_good = scheme == "https" && host.contains('.') && !target.contains(char::is_whitespace);
        return (!is_good).then(|| format!("`{target}` is no https address"));
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let file = if path.is_empty() { page.path.clone() } else { beside(&page.path, path)? };
    if !exists(&file) {
        return Some(format!("`{target}` leads nowhere"));
    }
    let anchor = anchor?;
    let has = anchors.get(file.as_str()).is_some_and(|names| names.iter().any(|name| name == anchor));
    (!has).then(|| format!("`{file}` has no heading `#{anchor}`"))
}

/// The path that a link in a page leads to, from the root.
fn beside(page: &str, link: &str) -> Option<String> {
    let joined = Path::new(page).parent()?.join(link);
    let mut path = PathBuf::new();
    for part in joined.components() {
        match part {
            Component::ParentDir => _ = path.pop(),
            Component::CurDir => {}
            Component::Normal(_) | Component::Prefix(_) | Component::RootDir => path.push(part),
        }
    }
    path.to_str().map(str::to_owned)
}

/// The targets of a line's links and images; code between backticks has none.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (number, part) in line.split('`').enumerate() {
        if number % 2 == 1 {
            continue;
        }
        for (at, _) in part.match_indices("](") {
            let rest = &part[at + 2..];
            found.extend(rest.find(')').map(|end| &rest[..end]));
        }
    }
    // A link whose text is code is cut in pieces by its own backticks, which leaves its target in a piece of prose.
    found
}

/// The names of a page's headings, as code hosts make them.
fn anchors(page: &Page) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (_, line) in page.prose() {
        let Some(heading) = line.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim()) else { continue };
        let heading = heading.to_lowercase().replace(' ', "-");
        let name: String = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
        let twins = names.iter().filter(|other| **other == name).count();
        names.push(if twins == 0 { name } else { format!("{name}-{twins}") });
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let pages = [
            Page { path: "docs/a.md".to_owned(), text: text.to_owned() },
            Page { path: "docs/b.md".to_owned(), text: "# B page\n## `token --json`, again\n".to_owned() },
        ];
        check(&pages, |path| path == "README.md" || path.starts_with("docs/"))
    }

    #[test]
    fn links_lead_to_files_and_headings() {
        assert_eq!(
            found("[b](b.md), [top](b.md#b-page), [`t`](b.md#token---json-again), ![r](../README.md)\n"),
            [""; 0]
        );
        assert_eq!(found("[x](../gone.md)\n"), ["docs/a.md:1: `../gone.md` leads nowhere"]);
        assert_eq!(found("\n[x](b.md#c)\n"), ["docs/a.md:2: `docs/b.md` has no heading `#c`"]);
        assert_eq!(found("`[x](../gone.md)`\n```text\n[x](../gone.md)\n```\n"), [""; 0]);
    }

    #[test]
    fn links_to_elsewhere_are_https() {
        assert_eq!(found("[x](https://example.org/a#b)\n"), [""; 0]);
        assert_eq!(found("[x](http://example.org)\n"), ["docs/a.md:1: `http://example.org` is no https address"]);
    }

    #[test]
    fn markdown_that_is_read_in_two_ways_is_refused() {
        assert_eq!(found("text:\n- one\n"), ["docs/a.md:2: a list needs a blank line above it"]);
        assert_eq!(found("text:\n\n- one\n  more\n- two\n"), [""; 0]);
        assert_eq!(found("- one\n  ```sh\n  x\n  ```\n").len(), 2);
    }
}
