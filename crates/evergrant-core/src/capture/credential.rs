//! What a capture shows of a credential, without the credential.
//!
//! A capture is full of secrets, and an explanation of it gets mailed to colleagues. So a token is reduced the moment it
//! is read: to its shape, to the dates of its claims, and to a mark that is good for one question only, whether two
//! tokens of one capture are the same. The mark is a hash that is never printed; the text is dropped.
//!
//! Limits: the hash has 64 bits and no key. Two tokens of a capture meet by chance once in billions of captures, and
//! whoever has the program's memory has the capture too.
//!
//! Source: RFC 9110 section 11.4, RFC 6750 section 2.1.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::wire::{JwtClaims, TokenShape, read_claims};

/// What a captured request shows of its credentials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Credential {
    /// The capture does not show the request, or leaves such fields out.
    NotShown,
    /// Whoever wrote the capture put something else in the place of the credentials.
    BlottedOut,
    /// The request carried none.
    Nothing,
    /// A token, or what was sent as one.
    Token(TokenFacts),
    /// Another scheme, such as `basic`; its name in lower case.
    Other(String),
}

impl Credential {
    /// What the value of an `Authorization` field shows.
    #[must_use]
    pub fn of_authorization(value: &str) -> Self {
        let value = value.trim_matches([' ', '\t', '\r', '\n']);
        if value.is_empty() {
            return Self::Nothing;
        }
        let (scheme, rest) = value.split_once([' ', '\t']).unwrap_or((value, ""));
        let is_token = ["bearer", "dpop"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
        if !is_token && KNOWN_SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Self::Other(scheme.to_ascii_lowercase());
        }
        match TokenShape::of_authorization(value) {
            Some(shape) => Self::Token(TokenFacts::of(if is_token { rest } else { value }, shape)),
            None => Self::BlottedOut,
        }
    }

    /// The token, if one is shown.
    #[must_use]
    pub fn token(&self) -> Option<&TokenFacts> {
        match self {
            Self::Token(facts) => Some(facts),
            Self::NotShown | Self::BlottedOut | Self::Nothing | Self::Other(_) => None,
        }
    }
}

/// A token without its text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenFacts {
    /// Whether two tokens of one capture are the same.
    pub mark: TokenMark,
    /// What it looks like, and what is wrong with it.
    pub shape: TokenShape,
    /// The dates and the audience of a JWT, unverified.
    pub claims: Option<JwtClaims>,
}

impl TokenFacts {
    /// The facts of a token's text; `None` if something stands in its place.
    #[must_use]
    pub fn of_token(text: &str) -> Option<Self> {
        TokenShape::of_token(text).map(|shape| Self::of(text, shape))
    }

    fn of(text: &str, shape: TokenShape) -> Self {
        let bare = text.trim_matches([' ', '\t', '\r', '\n', '"', '\'', '`']);
        Self { mark: TokenMark::of(bare), shape, claims: read_claims(bare) }
    }
}

/// Tells whether two secrets of one capture are the same; good for nothing else, and never shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenMark(u64);

impl TokenMark {
    /// The mark of a secret's text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl fmt::Debug for TokenMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenMark")
    }
}

/// Schemes of credentials that are no access tokens.
const KNOWN_SCHEMES: [&str; 6] = ["basic", "digest", "negotiate", "ntlm", "hoba", "aws4-hmac-sha256"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::TokenDefect;

    #[test]
    fn an_authorization_field_shows_what_it_is_and_not_what_it_says() {
        let shown = Credential::of_authorization("Bearer s3cr3t-s3cr3t-s3cr3t");
        assert_eq!(shown.token().map(|facts| facts.shape.length), Some(20));
        assert!(!format!("{shown:?}").contains("s3cr"));
        assert_eq!(Credential::of_authorization("Basic aWQ6c2VjcmV0"), Credential::Other("basic".to_owned()));
        assert_eq!(Credential::of_authorization(" "), Credential::Nothing);
        for masked in ["Bearer [redacted]", "Bearer ***", "[REDACTED]"] {
            assert_eq!(Credential::of_authorization(masked), Credential::BlottedOut, "{masked}");
        }
        let bare = Credential::of_authorization("DCl7jJaGIGQ1M-8dq791twKewbp8");
        assert_eq!(bare.token().map(|facts| facts.shape.defects.clone()), Some(vec![TokenDefect::NoScheme]));
    }

    #[test]
    fn the_same_token_has_the_same_mark_whatever_is_around_it() {
        let mark = |text| TokenFacts::of_token(text).unwrap().mark;
        assert_eq!(mark("abc.def"), mark(" abc.def\n"));
        assert_eq!(mark("abc.def"), mark("\"abc.def\""));
        assert_ne!(mark("abc.def"), mark("abc.deg"));
        assert_eq!(format!("{:?}", mark("a")), "TokenMark");
    }
}
