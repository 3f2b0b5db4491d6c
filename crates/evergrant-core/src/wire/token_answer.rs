//! The token endpoint's answer: a token, or the reason there is none.
//!
//! RFC 6749 section 5.1 asks for a JSON object with `access_token`, `token_type` and preferably `expires_in`. Real
//! servers send the lifetime as text, as a float, as null, as an absolute date, or not at all; some send errors with
//! status 200, some send forms, and a proxy in between sends a login page. The rules:
//!
//! - No lifetime is better than a wrong one. An unusable `expires_in` becomes `None` with a note that says why; the
//!   token itself is good.
//! - A token is only taken if a header can carry it: visible ASCII without spaces.
//! - Only an RFC 6749 error code in JSON with status 400 or 401 is permanent. The same code with status 200 is named
//!   but transient, because the status and the body contradict each other.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use super::token_failure::{Defect, TokenFailure, TokenFailureKind};
use crate::Secret;
use crate::time::Span;

/// A token endpoint's good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenAnswer {
    /// The access token: visible ASCII, not empty.
    pub access_token: Secret,
    /// How the token is to be used; `bearer` in practice, in any case.
    pub token_type: Option<String>,
    /// How long the token lives, counted by the server from its own issue instant.
    pub expires_in: Option<Span>,
    /// Why `expires_in` is `None`.
    pub expires_in_note: Option<ExpiresInNote>,
    /// A new refresh token. `None` means that the old one stays in use.
    pub refresh_token: Option<Secret>,
    /// The granted scope, if it was named.
    pub scope: Option<String>,
}

/// Why an `expires_in` was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiresInNote {
    /// The field is absent or null.
    Missing,
    /// The field is neither a number nor text that holds one.
    NotANumber,
    /// Zero or below.
    NotPositive,
    /// More than ten years: no lifetime, rather an absolute date or another unit.
    Absurd,
}

impl fmt::Display for ExpiresInNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "expires_in is missing",
            Self::NotANumber => "expires_in is not a number",
            Self::NotPositive => "expires_in is zero or negative",
            Self::Absurd => "expires_in is more than ten years",
        })
    }
}

/// Reads the answer to a token request.
///
/// # Errors
/// The failure carries the status, the error code and the server's words. `retry_after` is left for the caller.
pub fn parse_token_answer(status: u16, body: &[u8]) -> Result<TokenAnswer, TokenFailure> {
    let fields = read_fields(body);
    match status {
        200..=299 => read_success(status, fields.map_err(|defect| TokenFailure::malformed(status, defect))?),
        301..=308 => Err(TokenFailure::of(TokenFailureKind::Redirected).with_status(status)),
        400..=599 => Err(read_error(status, fields.ok())),
        _ => Err(TokenFailure::malformed(status, Defect::UnexpectedStatus)),
    }
}

/// The fields of a body, and whether it was the JSON that RFC 6749 asks for.
struct Fields {
    map: Map<String, Value>,
    is_json: bool,
}

impl Fields {
    fn text(&mut self, name: &str) -> Option<String> {
        match self.map.remove(name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }
}

fn read_fields(body: &[u8]) -> Result<Fields, Defect> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    if body.is_empty() {
        return Err(Defect::Empty);
    }
    if body.len() > BODY_LIMIT {
        return Err(Defect::TooLong);
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(Fields { map, is_json: true }),
        Err(error) if error.is_eof() && body.starts_with(b"{") => Err(Defect::Torn),
        _ if body.starts_with(b"<") => Err(Defect::WebPage),
        _ => read_form(body).ok_or(Defect::NotJson),
    }
}

/// Reads `access_token=...&token_type=bearer`, which GitHub sends unless asked for JSON.
fn read_form(body: &[u8]) -> Option<Fields> {
    let map: Map<_, _> = form_urlencoded::parse(body)
        .take(FORM_LIMIT)
        .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
        .collect();
    let is_answer = map.contains_key("access_token") || map.contains_key("error");
    is_answer.then_some(Fields { map, is_json: false })
}

fn read_success(status: u16, mut fields: Fields) -> Result<TokenAnswer, TokenFailure> {
    let Some(access_token) = fields.text("access_token") else {
        return Err(match fields.map.get("error") {
            Some(Value::String(_)) => {
                describe(TokenFailure::of(TokenFailureKind::Rejected).with_status(status), fields)
            }
            _ => TokenFailure::malformed(status, Defect::NoToken),
        });
    };
    let access_token = Secret::new(access_token);
    if !access_token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenFailure::malformed(status, Defect::UnusableToken));
    }
    let (expires_in, expires_in_note) = match read_lifetime(fields.map.get("expires_in")) {
        Ok(lifetime) => (Some(lifetime), None),
        Err(note) => (None, Some(note)),
    };
    Ok(TokenAnswer {
        access_token,
        token_type: fields.text("token_type"),
        expires_in,
        expires_in_note,
        refresh_token: fields.text("refresh_token").map(Secret::new),
        scope: fields.text("scope"),
    })
}

fn read_error(status: u16, fields: Option<Fields>) -> TokenFailure {
    let code = fields.as_ref().and_then(|fields| fields.map.get("error")).and_then(Value::as_str);
    let is_considered = matches!(status, 400 | 401) && fields.as_ref().is_some_and(|fields| fields.is_json);
    let kind = match status {
        429 => TokenFailureKind::RateLimited,
        500.. => TokenFailureKind::ServerError,
        _ => code.filter(|_| is_considered).and_then(TokenFailureKind::from_code).unwrap_or(TokenFailureKind::Rejected),
    };
    let failure = TokenFailure::of(kind).with_status(status);
    match fields {
        Some(fields) => describe(failure, fields),
        None => failure,
    }
}

/// Adds the server's own code and words. Genesys Cloud sends `description` beside `error_description`.
fn describe(mut failure: TokenFailure, mut fields: Fields) -> TokenFailure {
    if let Some(code) = fields.text("error") {
        failure = failure.with_code(&code);
    }
    match fields.text("error_description").or_else(|| fields.text("description")) {
        Some(description) => failure.with_description(&description),
        None => failure,
    }
}

fn read_lifetime(value: Option<&Value>) -> Result<Span, ExpiresInNote> {
    let secs = match value {
        None | Some(Value::Null) => return Err(ExpiresInNote::Missing),
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
    };
    // `"nan"` parses as a float. `"inf"` does too, and is absurd rather than no number.
    let secs = secs.filter(|secs| !secs.is_nan()).ok_or(ExpiresInNote::NotANumber)?;
    if secs > LIFETIME_LIMIT.as_secs_f64() {
        return Err(ExpiresInNote::Absurd);
    }
    match Duration::try_from_secs_f64(secs) {
        Ok(lifetime) if !lifetime.is_zero() => Ok(Span::from_duration(lifetime)),
        _ => Err(ExpiresInNote::NotPositive),
    }
}

/// Ten years. The longest lifetime a provider offers is 450 days (Genesys Cloud, SCIM clients); the smallest absolute
/// date that a server may send by mistake, this century's Unix time, is above 30 years. Ten lies well between.
const LIFETIME_LIMIT: Span = Span::from_secs(10 * 366 * 86_400);
/// Token answers are a few kilobytes at most.
const BODY_LIMIT: usize = 1 << 20;
/// The most fields of a form that are looked at.
const FORM_LIMIT: usize = 64;

#[cfg(test)]
mod tests;
