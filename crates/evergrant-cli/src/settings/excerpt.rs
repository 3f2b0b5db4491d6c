//! A place in a settings file: `FILE:LINE:COL`, the key, and the line with a mark under the culprit.
//!
//! A settings file should hold no secret, but people put them there, and the message that tells them so must not repeat
//! it. So an excerpt shows one line, and of that line only what is known to be harmless: the key, and the value only if
//! the key is a setting that is no secret. Everything else is replaced by dots of the same width.

use std::ops::Range;
use std::path::PathBuf;

/// A place in a settings file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Excerpt {
    /// The file.
    pub(crate) path: PathBuf,
    /// The line, from 1.
    pub(crate) line: usize,
    /// The column in characters, from 1.
    pub(crate) column: usize,
    /// The key, with the table it is in.
    pub(crate) key: String,
    /// The line, without anything that may be secret.
    text: String,
    /// The marked part of the line, in bytes.
    mark: Range<usize>,
}

/// How much of a line may be shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Show {
    /// All of it.
    Line,
    /// The part before the equals sign.
    KeyOnly,
}

impl Excerpt {
    /// The place of a span of bytes in a file's text.
    pub(crate) fn new(path: PathBuf, source: &str, span: Range<usize>, key: String, show: Show) -> Self {
        let start = floor_boundary(source, span.start);
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |at| start + at);
        let line = source[line_start..line_end].trim_end_matches('\r');
        let text = match show {
            Show::Line => line.to_owned(),
            Show::KeyOnly => masked_after_equals(line),
        };
        let mark_start = floor_boundary(&text, start - line_start);
        let mark_end = floor_boundary(&text, span.end.saturating_sub(line_start)).max(mark_start);
        Self {
            path,
            line: source[..line_start].matches('\n').count() + 1,
            column: source[line_start..start].chars().count() + 1,
            key,
            text,
            mark: mark_start..mark_end,
        }
    }

    /// `FILE:LINE:COL`.
    pub(crate) fn position(&self) -> String {
        format!("{}:{}:{}", self.path.display(), self.line, self.column)
    }

    /// The line with a labelled mark under the culprit.
    pub(crate) fn render(&self, label: &str) -> String {
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let line = self.text.replace('\t', " ");
        let before = " ".repeat(self.text[..self.mark.start].chars().count());
        let mark = "^".repeat(self.text[self.mark.clone()].chars().count().max(1));
        format!("  {gutter} |\n  {number} | {line}\n  {gutter} | {before}{mark} {label}\n")
    }
}

fn masked_after_equals(line: &str) -> String {
    let shown = match line.find('=') {
        Some(equals) => equals + 1,
        None if line.trim_start().starts_with('[') => line.len(),
        // A line without a key can be the inside of a text of several lines.
        None => 0,
    };
    let (key, value) = line.split_at(shown);
    format!("{key}{}", value.chars().map(|c| if c.is_whitespace() { ' ' } else { '.' }).collect::<String>())
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(source: &str, marked: &str, show: Show) -> Excerpt {
        let start = source.find(marked).unwrap();
        Excerpt::new("config.toml".into(), source, start..start + marked.len(), marked.to_owned(), show)
    }

    #[test]
    fn a_position_counts_lines_and_characters_from_one() {
        let place = excerpt("# é\n[profile.é]\ntokn = 1\n", "tokn", Show::KeyOnly);
        assert_eq!(place.position(), "config.toml:3:1");
        let place = excerpt("é = 1, b", "b", Show::Line);
        assert_eq!(place.position(), "config.toml:1:8");
    }

    #[test]
    fn an_excerpt_hides_values_that_may_be_secret() {
        let place = excerpt("client_secrte = \"hunter2\"", "client_secrte", Show::KeyOnly);
        let drawing = place.render("not a setting");
        assert!(drawing.contains("client_secrte = ........."), "{drawing}");
        assert!(!drawing.contains("hunter2"));
    }

    #[test]
    fn a_line_of_a_longer_text_is_hidden_whole() {
        let source = "client_secret = \"\"\"\nhunter2\n";
        assert_eq!(excerpt(source, "hunter2", Show::KeyOnly).text, ".......");
    }

    #[test]
    fn an_excerpt_at_the_end_of_the_file_is_still_an_excerpt() {
        let place = Excerpt::new("c".into(), "a = \"", 99..100, "a".into(), Show::KeyOnly);
        assert_eq!(place.position(), "c:1:6");
    }
}
