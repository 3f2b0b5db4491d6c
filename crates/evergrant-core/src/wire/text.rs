//! Server text made fit for people: one line, bounded, and without anything that looks like a secret.
//!
//! Some servers quote what they refuse: Spring Security answers `Invalid refresh token: <the token>`. Such text would
//! carry a secret into logs and reports, so every long word that mixes letters and digits is replaced. That also
//! removes some harmless identifiers; losing one costs less than printing one token.

/// The most characters of a description that are kept.
const TEXT_LIMIT: usize = 200;
/// The most characters of an error code or an identifier that are kept.
const NAME_LIMIT: usize = 64;
/// Words of at least this many characters with both letters and digits are taken for secrets.
const SECRET_LENGTH: usize = 16;
const REDACTED: &str = "[redacted]";

/// One line of at most 200 characters without control characters and without words that look like secrets.
pub(super) fn clean_text(text: &str) -> Option<String> {
    // Cut early, so that a huge text costs little, but behind the limit, so that no secret is cut into a harmless piece.
    let visible = text.chars().take(TEXT_LIMIT * 20).map(|c| if is_blank(c) { ' ' } else { c });
    let visible: String = visible.collect();
    let mut line = String::with_capacity(visible.len().min(TEXT_LIMIT * 4));
    for word in visible.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        push_without_secrets(&mut line, word);
    }
    cut(line, TEXT_LIMIT)
}

/// A short name such as an error code: at most 64 characters, visible ASCII only.
pub(super) fn clean_name(text: &str) -> Option<String> {
    cut(text.chars().filter(char::is_ascii_graphic).take(NAME_LIMIT).collect(), NAME_LIMIT)
}

/// Control characters, and the invisible ones that reorder text on a terminal.
fn is_blank(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Copies a word, replacing each run of token characters that looks like a secret.
fn push_without_secrets(line: &mut String, word: &str) {
    let mut rest = word;
    while !rest.is_empty() {
        let run = rest.find(|c| !is_token_char(c)).unwrap_or(rest.len());
        if run > 0 {
            let (text, after) = rest.split_at(run);
            line.push_str(if looks_secret(text) { REDACTED } else { text });
            rest = after;
        } else {
            let other = rest.find(is_token_char).unwrap_or(rest.len());
            let (text, after) = rest.split_at(other);
            line.push_str(text);
            rest = after;
        }
    }
}

/// The characters of a bearer token (RFC 6750 section 2.1), and `*`, which Genesys Cloud uses too.
fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~+/=*%!$".contains(c)
}

fn looks_secret(run: &str) -> bool {
    let digits = run.bytes().filter(u8::is_ascii_digit).count();
    let upper = run.bytes().any(|b| b.is_ascii_uppercase());
    let lower = run.bytes().any(|b| b.is_ascii_lowercase());
    let mixed = digits > 0 && (upper || lower);
    run.len() >= SECRET_LENGTH && (mixed || (upper && lower && run.len() >= 2 * SECRET_LENGTH))
}

fn cut(text: String, limit: usize) -> Option<String> {
    let text = match text.char_indices().nth(limit) {
        Some((end, _)) => text[..end].trim_end().to_owned(),
        None => text,
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_quoted_token_is_removed() {
        for token in
            ["5cf6e3a1-8a11-4f6f-9df0-1d1f2f3a4b5c", "DCl7jJaGIGQ1M-8dq791twKewbp8", "eyJhbGciOi.eyJzdWIi0.c2ln"]
        {
            let text = clean_text(&format!("Invalid refresh token: {token}")).unwrap();
            assert_eq!(text, "Invalid refresh token: [redacted]");
            let text = clean_text(&format!("token=\"{token}\"\r\nis expired")).unwrap();
            assert!(!text.contains(&token[..8]), "{text}");
        }
    }

    #[test]
    fn ordinary_text_stays() {
        for text in [
            "client is not authorized to use the client_credential grant type",
            "rate limit exceeded; retry in 60 seconds",
            "Client authentication failed (e.g., unknown client).",
        ] {
            assert_eq!(clean_text(text).unwrap(), text);
        }
    }

    #[test]
    fn control_characters_become_one_space_and_the_end_is_cut() {
        assert_eq!(clean_text("a\r\n\tb\u{1b}[31m c\u{202e}").unwrap(), "a b [31m c");
        assert_eq!(clean_text(&"é ".repeat(500)).unwrap().chars().count(), 199);
        assert_eq!(clean_text(" \r\n"), None);
        assert_eq!(clean_name("invalid grant\n").unwrap(), "invalidgrant");
    }

    proptest! {
        #[test]
        fn any_text_is_bounded_and_has_no_control_characters(text in ".{0,400}") {
            if let Some(clean) = clean_text(&text) {
                prop_assert!(clean.chars().count() <= TEXT_LIMIT);
                prop_assert!(!clean.chars().any(is_blank));
            }
        }
    }
}
