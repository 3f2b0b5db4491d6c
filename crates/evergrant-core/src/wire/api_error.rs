//! The body of an API error, in the shapes that providers use.
//!
//! Genesys Cloud sends `{"message","code","status","contextId",...}`, OAuth-minded servers
//! `{"error","error_description"}`, others problem+json (RFC 9457), SCIM or a nested `{"error":{"code","message"}}`.
//! All are read by the same names, because a gateway does not know which one it will meet.
//!
//! Only the first bytes of a body are at hand (16 KiB in the gateway). The reader therefore keeps what it has seen
//! when the JSON ends in the middle. Every text is cleaned: it ends up in logs and reports.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::text::{clean_name, clean_text};

/// What an API said about an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiError {
    /// The provider's error code, such as `bad.credentials` or `invalid_token`.
    pub code: Option<String>,
    /// The provider's words: one short line, without words that look like secrets.
    pub message: Option<String>,
    /// The identifier under which the provider's support finds the request.
    pub correlation_id: Option<String>,
}

/// Reads the first bytes of an error body; `None` if it has neither a code nor a message.
#[must_use]
pub fn parse_api_error(body: &[u8]) -> Option<ApiError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut found = Found::default();
    // An error means that the body ended early or is no JSON; what was found before it stays.
    let _ = Object(&mut found).deserialize(&mut serde_json::Deserializer::from_slice(body));
    let error = ApiError {
        code: found.code.iter().flatten().find_map(|text| clean_name(text)),
        message: found.message.iter().flatten().find_map(|text| clean_text(text)),
        correlation_id: found.correlation_id.as_deref().and_then(clean_name),
    };
    (error.code.is_some() || error.message.is_some()).then_some(error)
}

/// Is the body a page for people? An API sends none, but a firewall or a login page in front of it does.
#[must_use]
pub fn is_web_page(body: &[u8]) -> bool {
    let start = body.trim_ascii_start();
    [b"<!doctype html".as_slice(), b"<html"]
        .iter()
        .any(|tag| start.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag)))
}

/// The members seen so far, each in the order of preference that its names have below.
#[derive(Default)]
struct Found {
    code: [Option<String>; CODE_NAMES.len()],
    message: [Option<String>; MESSAGE_NAMES.len()],
    correlation_id: Option<String>,
}

impl Found {
    fn note(&mut self, name: &str, value: Value) {
        match value {
            Value::String(text) => self.note_text(name, text),
            // `{"error": {"code": 401, "message": "..."}}`, as Google and Microsoft Graph send it.
            Value::Object(nested) if name == "error" => {
                for (name, value) in nested {
                    if !value.is_object() {
                        self.note(&name, value);
                    }
                }
            }
            Value::Number(number) if name == "code" => self.note_text(name, number.to_string()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {}
        }
    }

    fn note_text(&mut self, name: &str, text: String) {
        let slot = |names: &[&str]| names.iter().position(|&known| known == name);
        if name == "type" && text == "about:blank" {
            return; // RFC 9457 section 4.2.1: it says nothing.
        }
        if let Some(at) = slot(&CODE_NAMES) {
            self.code[at].get_or_insert(text);
        } else if let Some(at) = slot(&MESSAGE_NAMES) {
            self.message[at].get_or_insert(text);
        } else if slot(&CORRELATION_NAMES).is_some() {
            self.correlation_id.get_or_insert(text);
        }
    }
}

/// Reads the members of one object into [`Found`] as they come.
struct Object<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            if is_known(&name) {
                self.0.note(&name, members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

fn is_known(name: &str) -> bool {
    [CODE_NAMES.as_slice(), &MESSAGE_NAMES, &CORRELATION_NAMES].iter().any(|names| names.contains(&name))
}

const CODE_NAMES: [&str; 4] = ["code", "error", "errorCode", "type"];
const MESSAGE_NAMES: [&str; 5] = ["message", "error_description", "description", "detail", "title"];
const CORRELATION_NAMES: [&str; 6] =
    ["contextId", "correlationId", "correlation_id", "requestId", "request_id", "trace_id"];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(body: &str) -> Option<(String, String, String)> {
        let error = parse_api_error(body.as_bytes())?;
        Some((
            error.code.unwrap_or_default(),
            error.message.unwrap_or_default(),
            error.correlation_id.unwrap_or_default(),
        ))
    }

    #[test]
    fn the_shapes_of_many_providers_are_read() {
        for (body, code, message, id) in [
            (
                r#"{"message":"Invalid login credentials.","code":"bad.credentials","status":401,"messageParams":{"code":"x"},"contextId":"1f2e3d4c-5b6a-7980-a1b2-c3d4e5f60718","details":[{"errorCode":"y"}],"errors":[]}"#,
                "bad.credentials",
                "Invalid login credentials.",
                "1f2e3d4c-5b6a-7980-a1b2-c3d4e5f60718",
            ),
            (r#"{"error":"invalid_token","error_description":"expired"}"#, "invalid_token", "expired", ""),
            (r#"{"description":"b","error_description":"a","error":"e"}"#, "e", "a", ""),
            (
                r#"{"type":"https://example.com/p","title":"T","detail":"D","status":401}"#,
                "https://example.com/p",
                "D",
                "",
            ),
            (r#"{"type":"about:blank","title":"Unauthorized"}"#, "", "Unauthorized", ""),
            (r#"{"schemas":["urn:x"],"detail":"no","status":"401"}"#, "", "no", ""),
            (r#"{"error":{"code":401,"message":"m","status":"UNAUTHENTICATED"}}"#, "401", "m", ""),
            ("\u{feff} {\"message\":\"m\"} trailing", "", "m", ""),
        ] {
            assert_eq!(parsed(body), Some((code.to_owned(), message.to_owned(), id.to_owned())), "{body}");
        }
    }

    #[test]
    fn bodies_without_code_and_message_say_nothing() {
        for body in [
            "",
            "null",
            "[]",
            "{}",
            "Unauthorized",
            "<html>",
            "{\"status\":401}",
            "{\"code\":null}",
            "{\"contextId\":\"x\"}",
            "\"error\"",
        ] {
            assert_eq!(parsed(body), None, "{body}");
        }
    }

    #[test]
    fn a_page_for_people_is_no_error_of_an_api() {
        for body in ["<!DOCTYPE html><p>no</p>", " \r\n<HTML>", "<html lang=\"en\">"] {
            assert!(is_web_page(body.as_bytes()), "{body}");
        }
        for body in ["", "<", "<Error><Code>AccessDenied</Code></Error>", "{\"html\":1}", "html"] {
            assert!(!is_web_page(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn a_body_cut_at_the_limit_keeps_what_came_before() {
        let body = format!(r#"{{"code":"bad.credentials","message":"no","details":["{}"#, "x".repeat(20_000));
        assert_eq!(parsed(&body[..16 << 10]).unwrap().0, "bad.credentials");
        assert_eq!(parsed(r#"{"code":"bad.credentials","mess"#).unwrap().0, "bad.credentials");
        assert_eq!(parsed(r#"{"code":"bad.cred"#), None);
    }

    #[test]
    fn a_message_that_quotes_the_token_is_cleaned() {
        let error = parse_api_error(br#"{"message":"no such token: DCl7jJaGIGQ1M-8dq791twKewbp8\n"}"#).unwrap();
        assert_eq!(error.message.as_deref(), Some("no such token: [redacted]"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let _ = parse_api_error(&body);
        }

        #[test]
        fn every_cut_agrees_with_the_whole(cut in 0_usize..200) {
            let body = r#"{"message":"Invalid login","code":"bad.credentials","status":401,"messageParams":{"a":[1,{"b":"c"}]},"contextId":"id-1","errors":[]}"#;
            let whole = parse_api_error(body.as_bytes()).unwrap();
            if let Some(part) = parse_api_error(&body.as_bytes()[..cut.min(body.len())]) {
                prop_assert!(part.code.is_none() || part.code == whole.code);
                prop_assert!(part.message.is_none() || part.message == whole.message);
                prop_assert!(part.correlation_id.is_none() || part.correlation_id == whole.correlation_id);
            }
        }

        #[test]
        fn deep_nesting_never_overflows(depth in 0_usize..100_000) {
            let _ = parse_api_error(format!("{{\"error\":{}", "[".repeat(depth)).as_bytes());
        }
    }
}
