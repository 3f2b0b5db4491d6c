//! Just enough Rust to judge a file: code without comments and texts, code before the tests, paths, `mod` lines.
//!
//! A full parser would know more and cost a dependency that takes longer to compile than this task. What is missed:
//! names made by macros. That is fine for rules that keep honest people honest.

/// The code with comments, texts and characters blanked out; lines stay where they are.
pub(super) fn blank(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while let Some(&char) = chars.get(at) {
        let end = match char {
            '/' if chars.get(at + 1) == Some(&'/') => until(&chars, at, |rest| rest[0] == '\n'),
            '/' if chars.get(at + 1) == Some(&'*') => block_comment(&chars, at),
            '"' => quoted(&chars, at + 1),
            'r' if is_raw(&chars, at) => raw(&chars, at + 1),
            '\'' => character(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(char);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

fn until(chars: &[char], from: usize, stop: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|&at| stop(&chars[at..])).unwrap_or(chars.len())
}

fn block_comment(chars: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0_usize);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
            ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(chars.len())
}

/// The end of a text whose opening quote stands just before `from`.
fn quoted(chars: &[char], from: usize) -> usize {
    let mut at = from;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// Does a raw text start here (and not a name that ends with `r`)?
fn is_raw(chars: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).map_or(' ', |before| chars[before]);
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    (before == 'b' || !is_name(before)) && chars.get(at + 1 + hashes) == Some(&'"')
}

fn raw(chars: &[char], from: usize) -> usize {
    let hashes = chars[from..].iter().take_while(|&&c| c == '#').count();
    let close = |rest: &[char]| rest[0] == '"' && rest[1..].iter().take_while(|&&c| c == '#').count() >= hashes;
    (until(chars, from + hashes + 1, close) + 1 + hashes).min(chars.len())
}

/// The end of a character such as `'a'` or `'\n'`; a lifetime such as `'a` ends where it starts.
fn character(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => until(chars, at + 3, |rest| rest[0] == '\'').saturating_add(1).min(chars.len()),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The lines before the unit tests: up to the first `#[cfg(test)]` that stands before a `mod`.
pub(super) fn before_tests(code: &str) -> &str {
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let at = from + found;
        let rest = code[at + "#[cfg(test)]".len()..].trim_start();
        if rest.starts_with("mod ") {
            return &code[..at];
        }
        from = at + 1;
    }
    code
}

/// Is the file itself a test, or part of one?
pub(super) fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.contains("/benches/")
}

/// Every `a::b::c` in blanked code with its line; groups such as `a::{b, c::d}` are written out.
pub(super) fn paths(code: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = code.chars().collect();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        if is_name(chars[at]) {
            let start = at;
            at = path(&chars, at, "", line, &mut found);
            line += chars[start..at].iter().filter(|&&c| c == '\n').count();
        } else {
            line += usize::from(chars[at] == '\n');
            at += 1;
        }
    }
    found
}

/// Reads one path from a name on, appends what it stands for, and returns where it ends.
fn path(chars: &[char], from: usize, prefix: &str, line: usize, found: &mut Vec<(usize, String)>) -> usize {
    let mut text = prefix.to_owned();
    let mut at = from;
    loop {
        let end = until(chars, at, |rest| !is_name(rest[0]));
        text.extend(&chars[at..end]);
        at = end;
        if chars.get(at) != Some(&':') || chars.get(at + 1) != Some(&':') {
            break;
        }
        text.push_str("::");
        match chars.get(at + 2) {
            Some('{') => return group(chars, at + 3, &text, line, found),
            Some(&c) if is_name(c) => at += 2,
            _ => {
                at += 2;
                break;
            }
        }
    }
    if text.contains("::") {
        found.push((line, text));
    }
    at
}

fn group(chars: &[char], from: usize, prefix: &str, line: usize, found: &mut Vec<(usize, String)>) -> usize {
    let (mut at, mut line) = (from, line);
    while at < chars.len() && chars[at] != '}' {
        if is_name(chars[at]) {
            let start = at;
            at = path(chars, at, prefix, line, found);
            line += chars[start..at].iter().filter(|&&c| c == '\n').count();
        } else {
            line += usize::from(chars[at] == '\n');
            at += 1;
        }
    }
    (at + 1).min(chars.len())
}

/// The modules that blanked code names with `mod x;`, each with the text of a `#[path]` before it if there is one.
pub(super) fn modules(source: &str) -> Vec<(String, Option<String>)> {
    let code = blank(source);
    let mut found = Vec::new();
    let mut custom = None;
    for (line, original) in code.lines().zip(source.lines()) {
        if line.trim_start().starts_with("#[path") {
            custom = original.split('"').nth(1).map(str::to_owned);
        }
        let words = line.trim().strip_suffix(';').map(|line| line.split_whitespace().collect::<Vec<_>>());
        if let Some([.., "mod", name]) = words.as_deref() {
            found.push(((*name).to_owned(), custom.take()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_texts_and_characters_are_blanked_and_lines_stay() {
        let code = blank("a // x\nb /* y\n/* z */ */ c\n\"t\\\"u\" d r#\"v\" w\"# e '\"' f '\\'' g <'h> i");
        assert_eq!(code.lines().count(), 4);
        assert_eq!(code.split_whitespace().collect::<String>(), "abcdefg<'h>i");
    }

    #[test]
    fn code_ends_where_the_tests_begin() {
        assert_eq!(before_tests("a\n#[cfg(test)]\nmod tests { b }"), "a\n");
        assert_eq!(before_tests("a\n#[cfg(test)]\nmod tests;\n"), "a\n");
        assert_eq!(before_tests("#[cfg(test)]\nuse x;\nb"), "#[cfg(test)]\nuse x;\nb");
    }

    #[test]
    fn groups_are_written_out_with_their_lines() {
        let found = paths("use std::{\n  fs,\n  io::{self, Read},\n};\nlet x = crate::time::Now::at;\nplain");
        let expected = [(2, "std::fs"), (3, "std::io::self"), (3, "std::io::Read"), (5, "crate::time::Now::at")];
        assert_eq!(found, expected.map(|(line, path)| (line, path.to_owned())));
    }

    #[test]
    fn module_lines_are_found_with_their_path() {
        let found = modules("mod a;\n// mod b;\npub(crate) mod c;\n#[path = \"x/d.rs\"]\nmod d;\nmod e {\n}\n");
        let names: Vec<_> = found.iter().map(|(name, path)| (name.as_str(), path.as_deref())).collect();
        assert_eq!(names, [("a", None), ("c", None), ("d", Some("x/d.rs"))]);
    }
}
