//! Every page of the guide has a place in the book.
//!
//! The order of the book is `mkdocs.yml`. A page that is not in it would be built and found by nobody.

use super::{Finding, Tree};

const ORDER: &str = "mkdocs.yml";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(order) = tree.text(ORDER) else { return Vec::new() };
    let is_in = |page: &str| order.lines().any(|line| line.trim_end().ends_with(&format!(" {page}")));
    let pages = tree.files().map(|(path, _)| path).filter(|path| path.starts_with("docs/") && path.ends_with(".md"));
    pages
        .filter(|page| !is_in(page))
        .map(|page| Finding {
            file: page.to_owned(),
            line: 1,
            rule: "chapters",
            what: "the page is in no chapter of the book".to_owned(),
            remedy: format!("give it a line under `nav` in {ORDER}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{places, tree};
    use super::*;

    #[test]
    fn a_page_without_a_chapter_is_found() {
        let order = (ORDER, "nav:\n  - One: docs/one.md\n  - Other: xdocs/two.md\n");
        let pages = [order, ("docs/one.md", ""), ("docs/two.md", ""), ("docs/a.css", ""), ("README.md", "")];
        assert_eq!(places(&check(&tree(&pages))), ["docs/two.md:1"]);
    }
}
