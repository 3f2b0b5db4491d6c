//! A page of the guide as data.

/// One page.
#[derive(Debug)]
pub(crate) struct Page {
    /// Its path from the root.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

impl Page {
    /// The lines that are prose, with their numbers: no code, and no comment.
    pub(crate) fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut is_code = false;
        (1..).zip(self.text.lines()).filter(move |(_, line)| {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            !is_code && !is_fence && !line.starts_with("<!--")
        })
    }
}

/// The text without the words after the languages of its blocks, which some readers of Markdown stumble over.
pub(crate) fn stripped(text: &str) -> String {
    let mut is_code = false;
    let mut lines = String::new();
    for line in text.lines() {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        let kept = if is_fence && is_code { line.split(' ').next().unwrap_or(line) } else { line };
        lines.push_str(kept);
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_what_is_neither_code_nor_comment() {
        let text = "a\n```text\n1\n```\n<!-- c -->\nb\n";
        let page = Page { path: "docs/a.md".to_owned(), text: text.to_owned() };
        assert_eq!(page.prose().collect::<Vec<_>>(), [(1, "a"), (6, "b")]);
    }

    #[test]
    fn the_book_gets_no_words() {
        assert_eq!(stripped("```sh exit=1\n``` b\n"), "```sh\n``` b\n");
    }
}
