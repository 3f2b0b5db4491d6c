//! The shape of what stands in an `Authorization` field: facts about the text, and never the text.
//!
//! Many a 401 is a token that was pasted with its quotes, wrapped by a mail program, read from a variable that was
//! not set, or given a second `Bearer`. The server cannot say so, because to it the token is merely unknown. Whoever
//! sent the text can tell from its shape.
//!
//! A [`TokenDefect`] is something that a token cannot have, or that makes another reason likely; which of the two it is
//! says [`TokenDefect::is_proof`]. What a capture shows in place of a token (`[redacted]`, `***`) has no shape.
//!
//! Limits: ASCII only by definition, RFC 6750 section 2.1; a few characters beyond it that providers do use are let
//! through. Source: RFC 6750 section 2.1, RFC 7235 section 2.1 (token68), RFC 7515 section 3.1, RFC 7516 section 3.1.

use serde::{Deserialize, Serialize};

use super::jwt::read_claims;

/// What kind of token a text looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenForm {
    /// Nothing can be read in it.
    Opaque,
    /// A signed JWT: its claims can be read.
    Jwt,
    /// An encrypted JWT: five parts, nothing can be read.
    EncryptedJwt,
}

/// Something that is wrong with the text of a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenDefect {
    /// There is none.
    Empty,
    /// It holds a line break: it was wrapped, or read with the end of its line.
    LineBreak,
    /// It holds a blank.
    Blank,
    /// It holds a quotation mark.
    Quotes,
    /// `Bearer` stands there twice.
    SchemeTwice,
    /// There is no scheme before it.
    NoScheme,
    /// The scheme is not `Bearer`.
    OtherScheme,
    /// It is the name of a value and not the value: `null`, `undefined`, `$TOKEN`, `<token>`.
    Placeholder,
    /// It is the whole JSON answer of a token endpoint.
    Json,
    /// It holds characters that no header may carry, or that no token has.
    ForeignCharacter,
    /// It begins as a JWT does and has fewer than three parts: its end is missing.
    Cut,
    /// It is longer than the header that many servers accept.
    Long,
}

impl TokenDefect {
    /// Can no token look like this?
    #[must_use]
    pub const fn is_proof(self) -> bool {
        match self {
            Self::Empty
            | Self::LineBreak
            | Self::Blank
            | Self::Quotes
            | Self::SchemeTwice
            | Self::Placeholder
            | Self::Json
            | Self::ForeignCharacter => true,
            Self::NoScheme | Self::OtherScheme | Self::Cut | Self::Long => false,
        }
    }

    /// The defect in words that complete "the token ...".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Empty => "is empty",
            Self::LineBreak => "holds a line break",
            Self::Blank => "holds a blank",
            Self::Quotes => "holds a quotation mark",
            Self::SchemeTwice => "begins with a second `Bearer`",
            Self::NoScheme => "has no scheme before it",
            Self::OtherScheme => "has another scheme than `Bearer` before it",
            Self::Placeholder => "is a placeholder and no token",
            Self::Json => "is the JSON of a token answer",
            Self::ForeignCharacter => "holds characters that no token has",
            Self::Cut => "begins as a JWT does and lacks its end",
            Self::Long => "is longer than many servers accept in a header",
        }
    }
}

/// What can be said of a token's text without saying it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenShape {
    /// How many bytes it has.
    pub length: usize,
    /// What it looks like.
    pub form: TokenForm,
    /// What is wrong with it, in the order of [`TokenDefect`].
    pub defects: Vec<TokenDefect>,
}

impl TokenShape {
    /// The shape of an `Authorization` field's value; `None` if a capture has blotted the token out.
    #[must_use]
    pub fn of_authorization(value: &str) -> Option<Self> {
        let value = value.trim_matches([' ', '\t']);
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            return Self::of_token(rest.trim_start());
        }
        let has_scheme = !rest.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let (text, defect) = if has_scheme { (rest, TokenDefect::OtherScheme) } else { (value, TokenDefect::NoScheme) };
        let mut shape = Self::of_token(text)?;
        shape.add(defect);
        Some(shape)
    }

    /// The shape of a token's text, without a scheme; `None` if a capture has blotted it out.
    #[must_use]
    pub fn of_token(text: &str) -> Option<Self> {
        if is_blotted_out(text) {
            return None;
        }
        let form = match text.split('.').count() {
            3 if read_claims(text).is_some() => TokenForm::Jwt,
            5 if text.starts_with(JWT_START) => TokenForm::EncryptedJwt,
            _ => TokenForm::Opaque,
        };
        let mut shape = Self { length: text.len(), form, defects: Vec::new() };
        defects_of(text, form).for_each(|defect| shape.add(defect));
        Some(shape)
    }

    /// Does the text show that it cannot be a token?
    #[must_use]
    pub fn is_proof(&self) -> bool {
        self.defects.iter().any(|defect| defect.is_proof())
    }

    fn add(&mut self, defect: TokenDefect) {
        self.defects.push(defect);
        self.defects.sort_unstable();
    }
}

fn defects_of(text: &str, form: TokenForm) -> impl Iterator<Item = TokenDefect> {
    let lower = text.get(..text.len().min(LONGEST_NAME)).unwrap_or_default().to_ascii_lowercase();
    let has_second_scheme = lower.starts_with("bearer ");
    let is_json = text.trim_start().starts_with('{') && lower.contains("token\"");
    let is_text_of_token = !is_json && !has_second_scheme;
    [
        (text.is_empty(), TokenDefect::Empty),
        (text.contains(['\r', '\n']), TokenDefect::LineBreak),
        (is_text_of_token && text.contains([' ', '\t']), TokenDefect::Blank),
        (is_text_of_token && text.contains(['"', '\'', '`']), TokenDefect::Quotes),
        (has_second_scheme, TokenDefect::SchemeTwice),
        (is_placeholder(text), TokenDefect::Placeholder),
        (is_json, TokenDefect::Json),
        (is_text_of_token && text.chars().any(is_foreign), TokenDefect::ForeignCharacter),
        (form == TokenForm::Opaque && is_cut(text), TokenDefect::Cut),
        (text.len() > LONG, TokenDefect::Long),
    ]
    .into_iter()
    .filter_map(|(is_so, defect)| is_so.then_some(defect))
}

/// Marks that tools leave in place of a token: nothing is known of what was sent.
fn is_blotted_out(text: &str) -> bool {
    let bare: String = text.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase();
    let is_mark = ["redacted", "removed", "masked", "hidden", "filtered", "sanitized", "censored", "xxx"]
        .iter()
        .any(|mark| bare == *mark);
    let is_dots = !text.is_empty() && text.chars().all(|c| "*.•…xX".contains(c));
    is_mark || is_dots
}

/// The name of a value, or what a program prints in place of one.
fn is_placeholder(text: &str) -> bool {
    let name = text.trim_matches(['"', '\'']);
    let is_nothing = ["null", "undefined", "none", "nil", "nan", "false", "true", "token", "access_token"]
        .iter()
        .any(|word| name.eq_ignore_ascii_case(word));
    let is_template = name.len() <= LONGEST_NAME
        && [("$", ""), ("${", "}"), ("{{", "}}"), ("<", ">"), ("%", "%"), ("[object", "]")]
            .iter()
            .any(|(start, end)| name.len() > start.len() + end.len() && name.starts_with(start) && name.ends_with(end));
    is_nothing || is_template
}

/// Characters that RFC 6750 does not let a token have, but for a few that providers use all the same.
fn is_foreign(c: char) -> bool {
    let has_own_name = matches!(c, ' ' | '\t' | '\r' | '\n' | '"' | '\'' | '`');
    !(has_own_name || c.is_ascii_alphanumeric() || "-._~+/=*%!$|:#@&".contains(c))
}

/// Does the text begin as a JWT does, and end too early?
fn is_cut(text: &str) -> bool {
    text.starts_with(JWT_START) && text.split('.').count() < 3
}

/// How the Base64 of `{"` begins.
const JWT_START: &str = "eyJ";
/// What Apache and nginx take as one line of a request by default.
const LONG: usize = 8 << 10;
/// Names of values are short.
const LONGEST_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const JWT: &str = "eyJhbGciOiJub25lIn0.eyJleHAiOjE3OTAwMDM2MDB9.c2ln";

    fn defects(value: &str) -> Vec<TokenDefect> {
        TokenShape::of_authorization(value).unwrap().defects
    }

    #[test]
    fn good_tokens_have_no_defect() {
        for token in [JWT, "DCl7jJaGIGQ1M-8dq791twKewbp8bI5Vr1vFV1gRizlxlsH1U4**aA25FG4B", "a|b:c", "t", "abc=="] {
            let shape = TokenShape::of_authorization(&format!("Bearer {token}")).unwrap();
            assert_eq!((shape.length, shape.defects), (token.len(), vec![]), "{token}");
        }
        assert_eq!(TokenShape::of_token(JWT).unwrap().form, TokenForm::Jwt);
        assert_eq!(TokenShape::of_token("eyJhbGciOiJkaXIifQ.a.b.c.d").unwrap().form, TokenForm::EncryptedJwt);
        assert_eq!(TokenShape::of_token("abc").unwrap().form, TokenForm::Opaque);
    }

    #[test]
    fn each_slip_has_its_defect() {
        use TokenDefect::{
            Blank, Cut, Empty, ForeignCharacter, Json, LineBreak, NoScheme, OtherScheme, Placeholder, Quotes,
            SchemeTwice,
        };
        for (value, expected) in [
            ("Bearer", vec![Empty]),
            ("Bearer ", vec![Empty]),
            ("Bearer abc\ndef", vec![LineBreak]),
            ("Bearer abc def", vec![Blank]),
            ("Bearer \"abc\"", vec![Quotes]),
            ("Bearer Bearer abc", vec![SchemeTwice]),
            ("bearer BEARER abc", vec![SchemeTwice]),
            ("abc", vec![NoScheme]),
            ("Basic aWQ6c2VjcmV0", vec![OtherScheme]),
            ("Bearer undefined", vec![Placeholder]),
            ("Bearer $TOKEN", vec![Placeholder]),
            ("Bearer {\"access_token\": \"abc\"}", vec![Json]),
            ("Bearer abc\u{200b}", vec![ForeignCharacter]),
            ("Bearer abc,def", vec![ForeignCharacter]),
            ("Bearer eyJhbGciOiJub25lIn0.eyJleHAiOjE3OTAwMDM2MDB9", vec![Cut]),
        ] {
            assert_eq!(defects(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_text_is_long_from_one_byte_above_the_limit() {
        assert_eq!(TokenShape::of_token(&"a".repeat(LONG)).unwrap().defects, []);
        assert_eq!(TokenShape::of_token(&"a".repeat(LONG + 1)).unwrap().defects, [TokenDefect::Long]);
    }

    #[test]
    fn what_was_blotted_out_has_no_shape() {
        for token in ["[redacted]", "***", "<REDACTED>", "…", "...", "xxxxxxxx", "(hidden)"] {
            assert_eq!(TokenShape::of_authorization(&format!("Bearer {token}")), None, "{token}");
        }
    }

    proptest! {
        #[test]
        fn no_shape_ever_shows_the_text(text in "[A-Za-z0-9_.-]{12,60}") {
            if let Some(shape) = TokenShape::of_token(&text) {
                let shown = format!("{shape:?}");
                prop_assert!(!shown.contains(&text));
            }
        }

        #[test]
        fn arbitrary_text_never_panics(value: String) {
            let _ = TokenShape::of_authorization(&value);
        }
    }
}
