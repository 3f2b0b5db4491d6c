//! `WWW-Authenticate`: why a resource server refused a request, in its own words.
//!
//! One response may carry several fields, one field several challenges, and both challenges and their parameters are
//! separated by commas; `Negotiate abc==, Bearer realm="a, b", error="invalid_token"` is legal. Servers also send
//! parameters without commas, blanks around `=`, and strings that never end. The reader takes what is readable and
//! skips the rest, within fixed bounds.
//!
//! The one rule that tells a new scheme from a parameter: a name followed by `=` and a value is a parameter of the
//! current challenge, any other name starts a challenge.
//!
//! Source: RFC 9110 sections 11.2 to 11.6.1; RFC 6750 section 3.

use std::collections::BTreeMap;

use super::text::clean_text;

/// One challenge of a resource server or proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// The authentication scheme in lower case, such as `bearer`.
    pub scheme: String,
    /// The data of schemes like `Negotiate`, which use one opaque value instead of parameters.
    pub token68: Option<String>,
    /// The parameters by lower-case name. The first of several with the same name counts.
    pub params: BTreeMap<String, String>,
}

impl Challenge {
    /// Is it a `Bearer` challenge (RFC 6750)?
    #[must_use]
    pub fn is_bearer(&self) -> bool {
        self.scheme == "bearer"
    }

    /// The `error` code, such as `invalid_token` or `use_dpop_nonce`.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.param("error")
    }

    /// The server's words for people: one short line, without words that look like secrets.
    #[must_use]
    pub fn error_description(&self) -> Option<&str> {
        self.param("error_description")
    }

    /// A parameter by its lower-case name.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str)
    }
}

/// The `error` of the first `Bearer` challenge that has one.
#[must_use]
pub fn bearer_error(challenges: &[Challenge]) -> Option<&str> {
    challenges.iter().filter(|challenge| challenge.is_bearer()).find_map(Challenge::error)
}

/// Reads all challenges of all `WWW-Authenticate` fields of a response, in order, at most 16.
pub fn parse_challenges<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    for field in fields.into_iter().take(CHALLENGE_LIMIT) {
        // A parameter never belongs to a challenge of another field.
        let first = challenges.len();
        let mut reader = Reader { rest: &field[..field.len().min(FIELD_LIMIT)] };
        while reader.read_next(&mut challenges, first) {}
    }
    challenges.truncate(CHALLENGE_LIMIT);
    challenges
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads one parameter or the start of one challenge; `false` at the end of the field.
    fn read_next(&mut self, challenges: &mut Vec<Challenge>, first: usize) -> bool {
        self.take_while(|byte| is_blank(byte) || byte == b',');
        if self.rest.is_empty() || challenges.len() > CHALLENGE_LIMIT {
            return false;
        }
        let name = self.take_while(is_tchar);
        if name.is_empty() {
            // Not a name: skip it, a quoted string as a whole.
            if self.rest.starts_with(b"\"") {
                self.take_quoted();
            } else {
                self.rest = &self.rest[1..];
            }
            return true;
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if let Some(value) = self.take_value() {
            if let Some(challenge) = challenges[first..].last_mut().filter(|c| c.params.len() < PARAM_LIMIT) {
                challenge.params.entry(name).or_insert_with_key(|name| readable(name, value));
            }
            return true;
        }
        challenges.push(Challenge { scheme: name, token68: self.take_token68(), params: BTreeMap::new() });
        true
    }

    /// Reads `= value` if it follows.
    fn take_value(&mut self) -> Option<String> {
        let before = self.rest;
        self.take_while(is_blank);
        if self.rest.starts_with(b"=") {
            self.rest = &self.rest[1..];
            self.take_while(is_blank);
            if self.rest.starts_with(b"\"") {
                return Some(self.take_quoted());
            }
            // Wider than RFC 9110 allows: servers send URLs and scopes without quotes.
            let value = self.take_while(|byte| !is_blank(byte) && byte != b',');
            if !value.is_empty() {
                return Some(String::from_utf8_lossy(value).into_owned());
            }
        }
        self.rest = before;
        None
    }

    /// Reads a quoted string; one that never ends is taken to the end of the field.
    fn take_quoted(&mut self) -> String {
        let mut text = Vec::new();
        let mut bytes = self.rest.iter().copied().enumerate().skip(1);
        let mut end = self.rest.len();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    end = at + 1;
                    break;
                }
                b'\\' => text.extend(bytes.next().map(|(_, escaped)| escaped)),
                _ => text.push(byte),
            }
        }
        self.rest = &self.rest[end..];
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Reads the opaque value behind a scheme, which must fill the space up to the next comma.
    fn take_token68(&mut self) -> Option<String> {
        let before = self.rest;
        if self.take_while(|byte| byte == b' ').is_empty() {
            return None;
        }
        let start = self.rest;
        let length = self.take_while(is_token68).len() + self.take_while(|byte| byte == b'=').len();
        let text = &start[..length];
        self.take_while(is_blank);
        if text.is_empty() || !(self.rest.is_empty() || self.rest.starts_with(b",")) {
            self.rest = before;
            return None;
        }
        Some(String::from_utf8_lossy(text).into_owned())
    }

    fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|&byte| !accept(byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }
}

/// A description is for people and may quote the token; every other parameter is for programs and stays as it is.
fn readable(name: &str, value: String) -> String {
    match name {
        "error_description" => clean_text(&value).unwrap_or_default(),
        _ => value,
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// A character of a token (RFC 9110 section 5.6.2).
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A character of a token68 before its padding (RFC 9110 section 11.2).
fn is_token68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte)
}

/// The most fields, and the most challenges, that are read.
const CHALLENGE_LIMIT: usize = 16;
/// The most parameters kept per challenge.
const PARAM_LIMIT: usize = 32;
/// The most bytes read of one field.
const FIELD_LIMIT: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes challenges in one canonical form: `scheme:token68{name=value;...}`.
    fn parsed(fields: &[&str]) -> String {
        let write = |challenge: Challenge| {
            let token68 = challenge.token68.map(|text| format!(":{text}")).unwrap_or_default();
            let params: Vec<_> = challenge.params.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{}{token68}{{{}}}", challenge.scheme, params.join(";"))
        };
        parse_challenges(fields.iter().map(|field| field.as_bytes()))
            .into_iter()
            .map(write)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn challenges_of_every_shape_are_read() {
        for (field, expected) in [
            ("", ""),
            ("Bearer", "bearer{}"),
            ("Bearer realm=\"example\"", "bearer{realm=example}"),
            (
                "Bearer realm=\"example\", error=\"invalid_token\", error_description=\"The access token expired\"",
                "bearer{error=invalid_token;error_description=The access token expired;realm=example}",
            ),
            // RFC 9110 section 11.6.1.
            (
                "Basic realm=\"simple\", Newauth realm=\"apps\", type=1, title=\"Login to \\\"apps\\\"\"",
                "basic{realm=simple} newauth{realm=apps;title=Login to \"apps\";type=1}",
            ),
            ("Negotiate abc/+==, Bearer error=invalid_token", "negotiate:abc/+=={} bearer{error=invalid_token}"),
            ("Negotiate, NTLM", "negotiate{} ntlm{}"),
            ("Scheme a=", "scheme:a={}"),
            ("Scheme a=b", "scheme{a=b}"),
            ("Scheme a=b=", "scheme{a=b=}"),
            ("Bearer error = \"x\" , scope=\"a b\"", "bearer{error=x;scope=a b}"),
            ("Bearer realm=\"a, Basic b=\\\"c\\\"\"", "bearer{realm=a, Basic b=\"c\"}"),
            ("BEARER REALM=\"X\"", "bearer{realm=X}"),
            (", ,Bearer,,error=\"e\",", "bearer{error=e}"),
            ("Bearer error=\"a\" scope=\"b\"", "bearer{error=a;scope=b}"),
            ("Bearer error=\"a\", error=\"b\"", "bearer{error=a}"),
            ("Bearer realm=\"never ends", "bearer{realm=never ends}"),
            ("Bearer realm=\"ends in \\", "bearer{realm=ends in }"),
            (
                "Bearer authorization_uri=https://login.example/a?b=c, x=y",
                "bearer{authorization_uri=https://login.example/a?b=c;x=y}",
            ),
            ("error=\"orphan\"", ""),
            ("DPoP error=\"use_dpop_nonce\", algs=\"ES256\"", "dpop{algs=ES256;error=use_dpop_nonce}"),
            ("\"quoted\", Bearer", "bearer{}"),
            ("=,;Bearer error=x", "bearer{error=x}"),
        ] {
            assert_eq!(parsed(&[field]), expected, "{field}");
        }
    }

    #[test]
    fn parameters_do_not_cross_fields() {
        assert_eq!(parsed(&["Bearer", "error=\"x\"", "Basic realm=\"r\""]), "bearer{} basic{realm=r}");
    }

    #[test]
    fn the_bearer_error_is_found_behind_other_schemes() {
        let challenges =
            parse_challenges([b"DPoP error=\"a\", Bearer realm=\"r\"".as_slice(), b"Bearer error=\"invalid_token\""]);
        assert_eq!(bearer_error(&challenges), Some("invalid_token"));
        assert_eq!(bearer_error(&challenges[..2]), None);
    }

    #[test]
    fn a_description_that_quotes_the_token_is_cleaned() {
        let challenges =
            parse_challenges(
                [b"Bearer error_description=\"Invalid access token: 5cf6e3a1-8a11-4f6f-9df0\"".as_slice()],
            );
        assert_eq!(challenges[0].error_description(), Some("Invalid access token: [redacted]"));
    }

    #[test]
    fn everything_is_bounded() {
        let many = "Bearer, ".repeat(5_000);
        assert_eq!(parse_challenges([many.as_bytes()]).len(), CHALLENGE_LIMIT);
        assert_eq!(parse_challenges(std::iter::repeat_n(b"Basic".as_slice(), 5_000)).len(), CHALLENGE_LIMIT);
        let params = (0..500).fold("Bearer ".to_owned(), |text, n| text + &format!("p{n}=v, "));
        assert_eq!(parse_challenges([params.as_bytes()])[0].params.len(), PARAM_LIMIT);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(fields: Vec<Vec<u8>>) {
            let _ = parse_challenges(fields.iter().map(Vec::as_slice));
        }

        #[test]
        fn almost_challenges_never_panic(field in "([Bb]earer|Basic|a)?[ ,=\"\\\\a-c]{0,40}") {
            let _ = parse_challenges([field.as_bytes()]);
        }

        #[test]
        fn quoted_values_survive_the_trip(value in "[ -~]{0,40}") {
            let field = format!("X v=\"{}\", Y", value.replace('\\', "\\\\").replace('"', "\\\""));
            let challenges = parse_challenges([field.as_bytes()]);
            prop_assert_eq!(challenges.len(), 2);
            prop_assert_eq!(challenges[0].param("v"), Some(value.as_str()));
        }
    }
}
