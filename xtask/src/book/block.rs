//! The blocks of code of a page, and what their first lines ask of the checks.
//!
//! A block begins with a fence and a language. Words after the language are for the checks alone: code hosts do not show
//! them, and the book is built without them. They are
//!
//! - `file=NAME`: the block is written into the page's folder under this name, for the commands of the page,
//! - `exit=N`: the last command of the block ends with this code,
//! - `output` (of a `text` block): what the command before printed, with `...` for what may differ,
//! - `drawing` (of a `text` block): a formula, a message or a picture of letters that no command of the page prints,
//! - `similar`: as before, but numbers may differ,
//! - `world` (of a `toml` block): a world for `evergrant simulate` instead of settings,
//! - `like: COMMAND` (of a `json` block): the command prints an object with these members, of these types.

use super::page::Page;

/// A block of code in a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The line of its fence.
    pub(crate) line: usize,
    /// Its language, or nothing.
    pub(crate) language: String,
    /// What the words after the language ask for.
    pub(crate) wishes: Wishes,
    /// The text of a comment `<!-- fault: TEXT -->` above it: what happens to the provider before. It is an event of the
    /// simulation as JSON, or `api FAULT` or `token FAULT` for one that stays until `api works` or `token works`.
    pub(crate) fault: Option<String>,
    /// Its lines.
    pub(crate) text: String,
}

/// What the words after a language ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// `file=NAME`
    pub(crate) file: Option<String>,
    /// `exit=N`
    pub(crate) exit: i32,
    /// `output`
    pub(crate) is_output: bool,
    /// `drawing`
    pub(crate) is_drawing: bool,
    /// `similar`
    pub(crate) is_similar: bool,
    /// `world`
    pub(crate) is_world: bool,
    /// `like: COMMAND`
    pub(crate) like: Option<String>,
    /// Words that mean nothing.
    pub(crate) unknown: Vec<String>,
}

impl Wishes {
    fn read(words: &str) -> Self {
        let mut wishes = Self::default();
        let mut rest = words.trim();
        while !rest.is_empty() {
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            rest = after.trim();
            match word.split_once('=') {
                Some(("file", name)) => wishes.file = Some(name.to_owned()),
                Some(("exit", code)) if code.parse::<i32>().is_ok() => wishes.exit = code.parse().unwrap_or_default(),
                _ => match word {
                    "output" => wishes.is_output = true,
                    "drawing" => wishes.is_drawing = true,
                    "similar" => wishes.is_similar = true,
                    "world" => wishes.is_world = true,
                    "like:" => wishes.like = Some(std::mem::take(&mut rest).to_owned()),
                    other => wishes.unknown.push(other.to_owned()),
                },
            }
        }
        wishes
    }
}

impl Page {
    /// The line of a fence that opens no block that is checked, or of a block that is never closed.
    pub(crate) fn stray(&self) -> Option<usize> {
        let mut open = None;
        for (line, text) in (1..).zip(self.text.lines()) {
            let inner = text.trim_start();
            let is_fence = inner.starts_with("```") || inner.starts_with("~~~");
            match (open, is_fence) {
                (_, true) if !text.starts_with("```") => return Some(line),
                (None, true) => open = Some(line),
                (Some(_), true) => open = None,
                _ => {}
            }
        }
        open
    }

    /// The page's blocks, in their order.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        let mut fault = None;
        for (line, text) in (1..).zip(self.text.lines()) {
            match (&mut open, text.strip_prefix("```")) {
                (None, Some(info)) => {
                    let (language, words) = info.split_once(' ').unwrap_or((info, ""));
                    let (language, wishes) = (language.to_owned(), Wishes::read(words));
                    open = Some(Block { line, language, wishes, fault: fault.take(), text: String::new() });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => {
                    block.text.push_str(text);
                    block.text.push('\n');
                }
                (None, None) => fault = comment(text, "fault").or(fault),
            }
        }
        blocks
    }

    /// The JSON of a comment `<!-- provider: JSON -->`: how the simulated provider of this page is made.
    pub(crate) fn provider(&self) -> String {
        self.text.lines().find_map(|line| comment(line, "provider")).unwrap_or_else(|| "{}".to_owned())
    }
}

fn comment(line: &str, name: &str) -> Option<String> {
    let inner = line.trim().strip_prefix("<!--")?.strip_suffix("-->")?.trim();
    Some(inner.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page { path: "docs/a.md".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_block_has_a_language_words_and_lines() {
        let page = page("a\n```json like: evergrant clock --json\n{}\n```\nb\n```text\n1\n2\n```\n");
        let blocks = page.blocks();
        assert_eq!((blocks[0].line, blocks[0].language.as_str(), blocks[0].text.as_str()), (2, "json", "{}\n"));
        assert_eq!(blocks[0].wishes.like.as_deref(), Some("evergrant clock --json"));
        assert_eq!((blocks[1].line, blocks[1].text.as_str()), (6, "1\n2\n"));
    }

    #[test]
    fn a_fence_that_would_not_be_seen_is_found() {
        let strays = ["```sh\nx\n```\n", "- a\n  ```sh\n  x\n  ```\n", "~~~sh\nx\n~~~\n", "a\n```sh\nx\n"];
        assert_eq!(strays.map(|text| page(text).stray()), [None, Some(2), Some(1), Some(2)]);
    }

    #[test]
    fn words_that_mean_nothing_are_kept_to_be_named() {
        let wishes = Wishes::read("file=a.toml exit=4 nonsense like: evergrant clock");
        assert_eq!((wishes.file.as_deref(), wishes.exit), (Some("a.toml"), 4));
        assert_eq!(
            (wishes.like.as_deref(), &wishes.unknown[..]),
            (Some("evergrant clock"), &["nonsense".to_owned()][..])
        );
    }

    #[test]
    fn comments_say_what_the_provider_is_like_and_what_happens_to_it() {
        let page =
            page("<!-- provider: {\"seed\": 2} -->\n<!-- fault: \"revoke_all\" -->\n\n```sh\nx\n```\n```sh\ny\n```\n");
        assert_eq!(page.provider(), "{\"seed\": 2}");
        let faults: Vec<_> = page.blocks().into_iter().map(|block| block.fault).collect();
        assert_eq!(faults, [Some("\"revoke_all\"".to_owned()), None]);
    }
}
