//! Hand-made cases, as they stand in `tests/verdicts/*.toml`.
//!
//! A case begins with what was answered: `answer` (an API's, read as any other), `token_answer` (a token endpoint's), or
//! a plain `status` and `subject`. Every other key is a field of [`Evidence`]; spans are in seconds. `like` names a table
//! of fields to begin with, `authorization` is a header of which only the shape is taken. What is expected stands under
//! `verdict`: cause, confidence, fault, and a part of the remedy and of one sentence of the evidence.

use evergrant_core::attempt::{Refusal, Route, Subject};
use evergrant_core::evidence::{Carried, Evidence};
use evergrant_core::profile::{Profile, Region};
use evergrant_core::time::Boot;
use evergrant_core::verdict::{Cause, Confidence, Fault};
use evergrant_core::wire::{TokenShape, parse_challenges, parse_token_answer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// One case with the verdict that it must get.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) evidence: Evidence,
    pub(crate) expected: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    pub(crate) cause: Cause,
    pub(crate) confidence: Confidence,
    pub(crate) fault: Fault,
    /// A part of the remedy.
    pub(crate) remedy: String,
    /// A part of one sentence of the evidence.
    pub(crate) fact: Option<String>,
}

/// An answer of an API to a GET.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    status: u16,
    #[serde(default)]
    www_authenticate: Option<String>,
    #[serde(default)]
    body: String,
}

/// An answer of a token endpoint.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenAnswer {
    status: u16,
    body: String,
}

/// All cases of one file.
pub(crate) fn read(text: &str) -> Vec<Case> {
    let Value::Object(mut file) = from_toml(text) else { unreachable!("a TOML file is a table") };
    let like = file.remove("like").unwrap_or_else(|| json!({}));
    let cases: Vec<Map<String, Value>> = take(&mut file, "case").expect("cases");
    assert!(file.is_empty(), "unknown tables: {file:?}");
    cases.into_iter().map(|case| read_case(case, &like)).collect()
}

fn read_case(mut case: Map<String, Value>, like: &Value) -> Case {
    let name: String = take(&mut case, "name").expect("a name");
    let expected: Expected = take(&mut case, "verdict").unwrap_or_else(|| panic!("{name}: no verdict"));
    let mut fields = match take::<String>(&mut case, "like") {
        Some(base) => like[&base].as_object().unwrap_or_else(|| panic!("{name}: like {base}?")).clone(),
        None => Map::new(),
    };
    fields.extend(case);
    let authorization: Option<String> = take(&mut fields, "authorization");
    let mut evidence = base(&mut fields);
    if let Some(shape) = authorization.and_then(|value| TokenShape::of_authorization(&value)) {
        evidence = evidence.with_shape(shape);
    }
    let mut whole = serde_json::to_value(&evidence).expect("evidence is JSON");
    overlay(&mut whole, in_nanoseconds(Value::Object(fields)));
    let evidence = serde_json::from_value(whole).unwrap_or_else(|error| panic!("{name}: {error}"));
    Case { name, evidence, expected }
}

/// The evidence that the answer alone is.
fn base(fields: &mut Map<String, Value>) -> Evidence {
    let carried = take(fields, "carried").unwrap_or(Carried::Ours);
    let provider: Option<String> = take(fields, "provider");
    let profile = match provider.as_deref() {
        Some("genesys") => Profile::genesys(Region::EuCentral1),
        _ => Profile::oauth2(),
    };
    if let Some(TokenAnswer { status, body }) = take(fields, "token_answer") {
        let mut failure = parse_token_answer(status, body.as_bytes()).expect_err("an answer without a token");
        profile.classify_token_failure(&mut failure);
        return Evidence::of_token_request(&failure);
    }
    if let Some(Answer { status, www_authenticate, body }) = take(fields, "answer") {
        let challenges = parse_challenges(www_authenticate.iter().map(String::as_bytes));
        let route = Route::new("api.example", "GET", "/api/v2/users/17");
        let refusal = Refusal::read(&profile, status, &challenges, body.as_bytes(), route, Boot::from_secs(0));
        return Evidence::of_refusal(&refusal.expect("an answer that refuses something"), carried);
    }
    let (status, subject) = (take(fields, "status").unwrap_or(401), take(fields, "subject").unwrap_or(Subject::Token));
    Evidence::of_answer(status, subject, carried)
}

/// Replaces what the case names; tables are joined with tables.
fn overlay(whole: &mut Value, fields: Value) {
    match (whole, fields) {
        (Value::Object(whole), Value::Object(fields)) => {
            for (name, value) in fields {
                overlay(whole.entry(name).or_insert(Value::Null), value);
            }
        }
        (whole, value) => *whole = value,
    }
}

/// Spans are written in seconds, and kept in nanoseconds.
fn in_nanoseconds(value: Value) -> Value {
    let convert = |(name, value): (String, Value)| {
        let value = if SPANS.contains(&name.as_str()) { nanoseconds(value) } else { in_nanoseconds(value) };
        (name, value)
    };
    if let Value::Object(fields) = value {
        return Value::Object(fields.into_iter().map(convert).collect());
    }
    value
}

fn nanoseconds(value: Value) -> Value {
    if let Value::Array(values) = value {
        return Value::Array(values.into_iter().map(nanoseconds).collect());
    }
    let nanoseconds = value.as_f64().expect("seconds") * 1e9;
    #[expect(clippy::cast_possible_truncation, reason = "hand-made seconds fit")]
    let whole = nanoseconds.round() as i64;
    json!(whole)
}

fn take<T: DeserializeOwned>(fields: &mut Map<String, Value>, name: &str) -> Option<T> {
    let value = fields.remove(name)?;
    Some(serde_json::from_value(value).unwrap_or_else(|error| panic!("{name}: {error}")))
}

fn from_toml(text: &str) -> Value {
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}"));
    serde_json::to_value(table).expect("a table is JSON")
}

/// The fields that are spans, or pairs of them.
const SPANS: [&str; 15] = [
    "age",
    "newest_age",
    "to_dead",
    "to_gone",
    "settle",
    "idle",
    "idle_limit",
    "server_jump",
    "local_minus_server",
    "retry_after",
    "to_exp",
    "to_nbf",
    "to_start",
    "to_end",
    "sent_before",
];
