//! Texts of exceptions and logs: a status in a sentence, and perhaps headers and a body behind it.
//!
//! Python's Genesys client prints `(401)`, a reason, a dictionary of headers and the body; requests, httpx, axios and
//! Go each have a sentence of their own; a log of a web server has the request line in quotes. Each such [`Sentence`]
//! begins an exchange. Brackets behind it are read as an [`ErrorObject`] and add what they show.
//!
//! Limits: a sentence is found within one line. A number alone is no status; it needs words that make it one.
//!
//! Source: the texts of the Genesys Cloud SDKs for Python, JavaScript and Go, requests, httpx, axios, golang.org/x/oauth2
//! and curl.

use super::draft::Draft;
use super::exchange::Exchange;
use super::lines::Lines;
use super::object::{ErrorObject, Found};
use super::start_line::{request_line, status_code};

/// Reads a text.
#[derive(Clone, Default)]
pub(super) struct Prose {
    lines: Lines,
    read: Read,
}

#[derive(Clone, Default)]
struct Read {
    draft: Draft,
    /// Has the exchange at hand taken an object in?
    has_object: bool,
    object: Option<ErrorObject>,
    at_line_start: bool,
}

/// What one line says about an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Sentence<'a> {
    status: u16,
    url: Option<&'a str>,
    method: Option<&'a str>,
    code: Option<(&'a str, &'a str)>,
}

impl Prose {
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<Exchange>) {
        let Self { lines, read } = self;
        lines.push(bytes, |line, is_end| read.line(line, is_end, out));
    }

    pub(super) fn end(&mut self, out: &mut Vec<Exchange>) {
        let Self { lines, read } = self;
        lines.end(|line, is_end| read.line(line, is_end, out));
        read.end_object(out);
        read.finish(out);
    }
}

/// Does the line state that a request failed?
pub(super) fn has_sentence(line: &str) -> bool {
    Sentence::find(line).is_some()
}

impl Read {
    fn line(&mut self, line: &str, is_end: bool, out: &mut Vec<Exchange>) {
        // Printed objects are indented. A word at the margin is no part of one, whatever its brackets say.
        let begins = std::mem::replace(&mut self.at_line_start, is_end);
        if begins && line.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            self.end_object(out);
        }
        let mut rest = line;
        loop {
            if let Some(object) = &mut self.object {
                let Some(end) = object.push(rest) else { break };
                self.end_object(out);
                rest = rest.get(end..).unwrap_or_default();
            }
            let start = rest.find('{').unwrap_or(rest.len());
            let (words, object) = rest.split_at(start);
            if let Some(sentence) = Sentence::find(words) {
                self.take(sentence, out);
            }
            if object.is_empty() {
                return;
            }
            self.object = Some(ErrorObject::named(announced(words)));
            rest = object;
        }
        if is_end && let Some(object) = &mut self.object {
            // The line break may end a text that is in no quotes.
            if object.push("\n").is_some() {
                self.end_object(out);
            }
        }
    }

    fn take(&mut self, sentence: Sentence<'_>, out: &mut Vec<Exchange>) {
        // Several sentences about one failure follow each other, each wrapped into the next.
        let is_other = self.draft.status.is_some_and(|status| status != sentence.status) || self.has_object;
        if is_other || (self.draft.status.is_some() && sentence.method.is_some()) {
            self.finish(out);
        }
        self.draft.status = Some(sentence.status);
        if let Some(method) = sentence.method {
            self.draft.method(method);
        }
        if let Some(url) = sentence.url {
            self.draft.target(url);
        }
        if let Some((code, words)) = sentence.code {
            let body = serde_json::json!({ "error": code, "error_description": words });
            self.draft.answer_body(body.to_string().as_bytes());
        }
    }

    /// Adds what an object showed to the exchange at hand.
    fn end_object(&mut self, out: &mut Vec<Exchange>) {
        let Some(object) = self.object.take() else { return };
        let Found { mut draft, body } = object.finish();
        let status = draft.status.or_else(|| status_of_body(&body));
        let is_other = status.is_some() && self.draft.status.is_some_and(|known| Some(known) != status);
        if is_other || (self.has_object && status.is_some() && !self.draft.body().is_empty()) {
            self.finish(out);
        }
        if self.draft.status.is_none() && status.is_none() {
            return;
        }
        self.has_object = true;
        draft.status = self.draft.status.or(status);
        self.draft.adopt(draft);
        if self.draft.body().is_empty() {
            self.draft.answer_body(&body);
        }
    }

    fn finish(&mut self, out: &mut Vec<Exchange>) {
        self.has_object = false;
        out.extend(std::mem::take(&mut self.draft).finish());
    }
}

/// What the words before an object call it.
fn announced(words: &str) -> &'static str {
    let words = words.to_ascii_lowercase();
    if words.contains("headers") { "headers" } else { "" }
}

/// The status that an error body without one must have come with.
fn status_of_body(body: &[u8]) -> Option<u16> {
    let code = crate::wire::parse_api_error(body)?.code?;
    Some(match code.as_str() {
        "invalid_token"
        | "bad.credentials"
        | "credentials.expired"
        | "authentication.required"
        | "ip.not.authorized"
        | "use_dpop_nonce" => 401,
        "insufficient_scope" | "not.authorized" | "missing.permissions" | "missing.any.permissions" => 403,
        "too.many.requests" | "too.many.requests.retry.after" => 429,
        "invalid_client"
        | "invalid_grant"
        | "unauthorized_client"
        | "unsupported_grant_type"
        | "invalid_scope"
        | "invalid_request" => 400,
        _ => return None,
    })
}

impl<'a> Sentence<'a> {
    /// The first sentence of a line that states a failed request.
    fn find(line: &'a str) -> Option<Self> {
        if line.len() < 5 || !line.bytes().any(|byte| byte.is_ascii_digit()) {
            return None;
        }
        access_log(line)
            .or_else(|| go(line))
            .or_else(|| with_url(line))
            .or_else(|| in_parentheses(line))
            .or_else(|| after_words(line))
            .or_else(|| before_reason(line))
    }
}

/// `"GET /api/v2/users/me HTTP/1.1" 401 165`, of a web server or of urllib3, which puts the origin before it.
fn access_log(line: &str) -> Option<Sentence<'_>> {
    let (before, rest) = line.split_once('"')?;
    let (request, after) = rest.split_once('"')?;
    let (method, target) = request_line(request)?;
    let status = status_code(after.trim_start().split(' ').next()?)?;
    let origin = before.rsplit(' ').find(|word| word.contains("://"));
    // The origin is a URL without a path; whoever has one knows the host, and the path is the same without it.
    let url = if target.starts_with('/') { Some(target) } else { origin.or(Some(target)) };
    Some(Sentence { status, url, method: Some(method), code: None })
}

/// `Auth Error: 400 - invalid_request (rate limit exceeded; ...)`, of the Genesys client for Go.
fn go(line: &str) -> Option<Sentence<'_>> {
    let at = ["Auth Error: ", "API Error: "].iter().find_map(|start| line.find(start).map(|at| at + start.len()))?;
    let rest = &line[at..];
    let (status, rest) = rest.split_once(" - ").unwrap_or((rest, ""));
    let status = status_code(status.trim())?;
    let (code, words) = rest.split_once(" (").unwrap_or((rest, ""));
    // Without their end, the words may end in half a secret.
    let words = words.rsplit_once(')').map_or("", |(words, _)| words);
    let is_code = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    Some(Sentence { status, code: is_code.then_some((code, words)), ..Sentence::default() })
}

/// `401 Client Error: Unauthorized for url: ...` of requests, `Client error '401 Unauthorized' for url '...'` of httpx.
fn with_url(line: &str) -> Option<Sentence<'_>> {
    let (before, url) = line.split_once(" for url").or_else(|| line.split_once(" for URL"))?;
    let url = url.trim_start_matches([':', ' ', '\'', '"']).split(['\'', '"', ' ']).next()?;
    let status = before.split([' ', '\'', '"']).rev().find_map(status_code)?;
    Some(Sentence { status, url: Some(url), ..Sentence::default() })
}

/// `(401)`, which Python's Genesys client begins with.
fn in_parentheses(line: &str) -> Option<Sentence<'_>> {
    let line = line.trim_end();
    let rest = line.strip_suffix(')')?;
    let (before, status) = rest.rsplit_once('(')?;
    let is_alone = before.trim().is_empty() || before.trim_end().ends_with(':');
    Some(Sentence { status: status_code(status).filter(|_| is_alone)?, ..Sentence::default() })
}

/// A status behind words that announce one.
fn after_words(line: &str) -> Option<Sentence<'_>> {
    let lower = line.to_ascii_lowercase();
    ANNOUNCED.iter().find_map(|words| {
        let at = lower.find(words)? + words.len();
        let rest = line.get(at..)?.trim_start_matches([' ', ':', '=', '"', '\'', '<', '[', '(']);
        let digits = rest.get(..3).and_then(status_code)?;
        let is_end = !rest[3..].starts_with(|c: char| c.is_ascii_alphanumeric());
        is_end.then_some(Sentence { status: digits, ..Sentence::default() })
    })
}

/// A status before the reason that belongs to it.
fn before_reason(line: &str) -> Option<Sentence<'_>> {
    let (status, reason) = REASONS.iter().find(|(status, reason)| {
        let digits = status.to_string();
        line.find(reason).is_some_and(|at| line[..at].trim_end_matches([' ', '-', ':', '(']).ends_with(&digits))
    })?;
    debug_assert!(!reason.is_empty(), "every status has its reason");
    Some(Sentence { status: *status, ..Sentence::default() })
}

const ANNOUNCED: [&str; 10] = [
    "status code",
    "statuscode",
    "status_code",
    "http status",
    "returned error",
    "response code",
    "responded with",
    "http error",
    "status=",
    "http/1.1",
];

const REASONS: [(u16, &str); 5] = [
    (401, "Unauthorized"),
    (403, "Forbidden"),
    (407, "Proxy Authentication Required"),
    (429, "Too Many Requests"),
    (400, "Bad Request"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Exchange> {
        let (mut prose, mut out) = (Prose::default(), Vec::new());
        prose.push(text.as_bytes(), &mut out);
        prose.end(&mut out);
        out
    }

    fn code(exchange: &Exchange) -> Option<&str> {
        exchange.refusal.as_ref().and_then(|refusal| refusal.error_code.as_deref())
    }

    #[test]
    fn an_exception_of_the_python_client_is_one_exchange() {
        let found = read(
            "Traceback (most recent call last):\n  File \"x.py\", line 208, in request\n    raise ApiException(http_resp=r)\nPureCloudPlatformClientV2.rest.ApiException: (401)\nReason: Unauthorized\nHTTP response headers: HTTPHeaderDict({'Date': 'Sat, 28 Nov 2026 22:43:10 GMT', 'ININ-Correlation-Id': 'id-1'})\nHTTP response body: {\"message\": \"Invalid login credentials.\", \"code\": \"bad.credentials\", \"status\": 401}\n",
        );
        let [exchange] = &found[..] else { panic!("{found:#?}") };
        assert_eq!((exchange.status, code(exchange)), (401, Some("bad.credentials")));
        assert_eq!(exchange.refusal.as_ref().unwrap().correlation_id.as_deref(), Some("id-1"));
        assert!(exchange.date.is_some());
    }

    #[test]
    fn the_sentences_of_other_clients_are_known() {
        for (text, status, host) in [
            (
                "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://api.example.org/v1?t=s3cr3t",
                401,
                Some("api.example.org"),
            ),
            (
                "httpx.HTTPStatusError: Client error '403 Forbidden' for url 'https://api.example.org/v1'",
                403,
                Some("api.example.org"),
            ),
            ("AxiosError: Request failed with status code 429", 429, None),
            ("curl: (22) The requested URL returned error: 401", 401, None),
            ("oauth2: cannot fetch token: 401 Unauthorized", 401, None),
            ("rejected: HTTP status 407", 407, None),
            ("urllib.error.HTTPError: HTTP Error 401: Unauthorized", 401, None),
            ("HttpRequestException: Response status code does not indicate success: 401 (Unauthorized).", 401, None),
        ] {
            let found = read(text);
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!((found[0].status, found[0].host()), (status, host), "{text}");
        }
    }

    #[test]
    fn the_limit_of_the_token_endpoint_is_known_in_go() {
        let found = read("Error: Auth Error: 400 - invalid_request (rate limit exceeded; too many tokens)\n");
        let failure = found[0].mint.as_ref().unwrap().outcome.as_ref().unwrap_err();
        assert_eq!(failure.description.as_deref(), Some("rate limit exceeded; too many tokens"));
    }

    #[test]
    fn each_line_of_an_access_log_is_an_exchange() {
        let found = read(
            "DEBUG https://api.example.org:443 \"GET /api/v2/users/17 HTTP/1.1\" 200 9\nDEBUG https://api.example.org:443 \"GET /api/v2/users/18 HTTP/1.1\" 401 165\n",
        );
        assert_eq!(found.iter().map(|exchange| exchange.status).collect::<Vec<_>>(), [200, 401]);
        assert_eq!(found[1].route.as_ref().unwrap().to_string(), "GET /api/v2/users/{id}");
    }

    #[test]
    fn an_error_body_alone_is_an_exchange() {
        for (text, status) in [
            (r#"{"type":"about:blank","title":"Unauthorized","status":401}"#, 401),
            (r#"{"error":"invalid_client","error_description":"authentication failed"}"#, 400),
            (r#"{"error":"invalid_token"}"#, 401),
            (r#"{"message":"no","code":"missing.permissions"}"#, 403),
        ] {
            assert_eq!(read(text).iter().map(|exchange| exchange.status).collect::<Vec<_>>(), [status], "{text}");
        }
    }

    #[test]
    fn a_bracket_that_never_closes_swallows_nothing() {
        let found = read(
            "at handler (x.js:1) {\nAxiosError: Request failed with status code 401\nAxiosError: Request failed with status code 403\n",
        );
        assert_eq!(found.iter().map(|exchange| exchange.status).collect::<Vec<_>>(), [401, 403]);
    }

    #[test]
    fn text_without_a_refusal_is_nothing() {
        for text in
            ["", "401", "the answer is 42", "{\"a\": 1}", "it took 401 ms", "status: ok", "{'x': {'status': 'fine'}}"]
        {
            assert!(read(text).is_empty(), "{text}");
        }
    }
}
