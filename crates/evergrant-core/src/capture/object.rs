//! A printed error object: what SDKs reject with, as Node, Python or a JSON log shows it.
//!
//! Such objects differ in everything but the names of what matters, and nest the same answer several times over: an
//! axios error has the request in `config` and again in `request`, and the answer's body in `response.data`. So names
//! decide, together with the names above them. An error body is put together again from its members and handed to the
//! same readers that take bodies off the wire.
//!
//! Limits: of two values for the same thing the first counts. Names are looked at down to [`DEEPEST`] levels.

use serde_json::{Map, Value};

use super::draft::Draft;
use super::literal::{Literals, Token};
use super::start_line::status_code;

/// Reads one object, from its first bracket to its last.
#[derive(Clone)]
pub(super) struct ErrorObject {
    literals: Literals,
    read: Read,
}

#[derive(Clone, Default)]
struct Read {
    draft: Draft,
    path: Vec<String>,
    deeper: u32,
    next: Option<String>,
    /// Members of something that is called a body, and members of anything else.
    body: Map<String, Value>,
    others: Map<String, Value>,
    /// A body that was printed as text.
    text: Option<String>,
    base: Option<String>,
    path_only: Option<String>,
    closed: bool,
}

/// What stands in the object.
pub(super) struct Found {
    /// The exchange, without a body.
    pub(super) draft: Draft,
    /// The body of the answer.
    pub(super) body: Vec<u8>,
}

impl ErrorObject {
    /// An object that was announced by a name, such as `headers`; often by none.
    pub(super) fn named(name: &str) -> Self {
        let read = Read { next: Some(name.to_owned()), ..Read::default() };
        Self { literals: Literals::new(), read }
    }

    /// Reads on; `Some` with how much of the text belonged to the object if it ends here.
    pub(super) fn push(&mut self, text: &str) -> Option<usize> {
        let Self { literals, read } = self;
        let at = literals.push(text.as_bytes(), |token| {
            read.token(token);
            !read.closed
        });
        // A bracket that closes is one byte, so the end is the end of a character.
        self.read.closed.then_some(at)
    }

    /// What was found, whether the object has ended or not.
    pub(super) fn finish(mut self) -> Found {
        let Self { literals, read } = &mut self;
        literals.end(|token| {
            read.token(token);
            true
        });
        let mut read = self.read;
        if let Some(path) = read.path_only.take() {
            read.draft.target(&path);
        }
        if let Some(base) = read.base.take() {
            let mut of_base = Draft::default();
            of_base.target(&base);
            read.draft.adopt_host(&of_base);
        }
        let members = if read.body.is_empty() { read.others } else { read.body };
        let body = match read.text {
            Some(text) => text.into_bytes(),
            None if members.is_empty() => Vec::new(),
            None => Value::Object(members).to_string().into_bytes(),
        };
        Found { draft: read.draft, body }
    }
}

impl Read {
    fn token(&mut self, token: Token<'_>) {
        match token {
            Token::Key(name) => self.next = Some(name.chars().take(40).collect::<String>().to_ascii_lowercase()),
            Token::Comma => self.next = None,
            Token::Open => {
                let name = self.next.take().unwrap_or_default();
                if self.deeper > 0 || self.path.len() >= DEEPEST {
                    self.deeper += 1;
                } else {
                    self.path.push(name);
                }
            }
            Token::Close => {
                if self.deeper > 0 {
                    self.deeper -= 1;
                } else {
                    // Node puts the class of an object in brackets before it: the name is still the name.
                    self.next = self.path.pop();
                    self.closed = self.path.is_empty();
                }
            }
            Token::Text(text, is_whole) => self.value(text, is_whole, true),
            Token::Word(word) => self.value(word, true, false),
        }
    }

    fn value(&mut self, text: &str, is_whole: bool, is_text: bool) {
        let Some(name) = self.next.clone().filter(|_| self.deeper == 0 && is_whole) else { return };
        let parent = self.path.last().map_or("", String::as_str);
        let of_request = self.path.iter().any(|name| REQUEST.contains(&name.as_str()));
        if HEADERS.contains(&parent) {
            if of_request {
                self.draft.shows_request = true;
                self.draft.request_field(&name, text);
            } else {
                self.draft.answer_field(&name, text);
            }
            return;
        }
        match name.as_str() {
            "status" | "statuscode" | "status_code" | "httpstatus" | "http_status" if !of_request => {
                self.draft.status = self.draft.status.or_else(|| status_code(text));
            }
            "code" if !is_text && !of_request && self.draft.status.is_none() => {
                self.draft.status = status_code(text);
            }
            "method" => self.draft.method(text),
            "url" | "uri" | "requesturl" if text.contains("://") => self.draft.target(text),
            "url" | "path" if is_text && of_request && text.starts_with('/') => {
                self.path_only.get_or_insert_with(|| text.to_owned());
            }
            "baseurl" | "host" | "hostname" if is_text && of_request => {
                let base = if text.contains("://") { text.to_owned() } else { format!("http://{text}/") };
                self.base.get_or_insert(base);
            }
            "data" | "body" | "text" | "responsebody"
                if is_text && !of_request && text.trim_start().starts_with('{') =>
            {
                self.text.get_or_insert_with(|| text.to_owned());
            }
            _ => {}
        }
        self.member(&name, text, of_request);
    }

    /// Keeps what an error body consists of.
    fn member(&mut self, name: &str, text: &str, of_request: bool) {
        let Some(known) = MEMBERS.iter().find(|known| known.eq_ignore_ascii_case(name)) else { return };
        let is_errno = *known == "code" && (text.starts_with("ERR_") || (text.starts_with('E') && is_upper(text)));
        if of_request || is_errno {
            return;
        }
        let of_body = self.path.iter().any(|name| BODIES.contains(&name.as_str()));
        let members = if of_body { &mut self.body } else { &mut self.others };
        members.entry(*known).or_insert_with(|| Value::String(text.to_owned()));
    }
}

fn is_upper(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

const DEEPEST: usize = 32;
/// Names of what was sent.
const REQUEST: [&str; 4] = ["config", "request", "options", "_options"];
/// Names of fields.
const HEADERS: [&str; 4] = ["headers", "header", "response_headers", "responseheaders"];
/// Names of an answer's body.
const BODIES: [&str; 4] = ["data", "body", "responsebody", "response_body"];
/// Members of error bodies, as [`crate::wire::parse_api_error`] knows them.
const MEMBERS: [&str; 13] = [
    "code",
    "error",
    "errorCode",
    "type",
    "message",
    "error_description",
    "description",
    "detail",
    "title",
    "contextId",
    "correlationId",
    "correlation_id",
    "requestId",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::exchange::Exchange;

    fn read(text: &str) -> Exchange {
        let mut object = ErrorObject::named("");
        assert_eq!(object.push(text), Some(text.trim_end().len()));
        let Found { mut draft, body } = object.finish();
        draft.answer_body(&body);
        draft.finish().unwrap()
    }

    #[test]
    fn what_an_sdk_rejects_with_is_read() {
        let exchange = read(
            "{\n  message: 'Invalid login credentials.',\n  code: 'bad.credentials',\n  status: 401,\n  contextId: 'id-1',\n  details: [],\n  errors: []\n}",
        );
        assert_eq!(
            (exchange.status, exchange.refusal.as_ref().unwrap().correlation_id.as_deref()),
            (401, Some("id-1"))
        );
        assert_eq!(exchange.refusal.unwrap().error_code.as_deref(), Some("bad.credentials"));
    }

    #[test]
    fn an_error_of_axios_has_request_and_answer() {
        let exchange = read(
            "{\n code: 'ERR_BAD_REQUEST',\n config: {\n  headers: Object [AxiosHeaders] { Accept: '*/*', Authorization: 'Bearer s3cr3t-s3cr3t' },\n  baseURL: 'https://api.mypurecloud.de', method: 'get', url: '/api/v2/users/me', validateStatus: [Function: validateStatus]\n },\n request: <ref *1> ClientRequest { _header: 'GET / HTTP/1.1\\r\\nAuthorization: Bearer s3cr3t\\r\\n', path: '/api/v2/users/me' },\n response: {\n  status: 401,\n  headers: Object [AxiosHeaders] { date: 'Sat, 28 Nov 2026 22:43:10 GMT' },\n  data: { message: 'm', code: 'bad.credentials' }\n },\n message: 'Request failed with status code 401'\n}",
        );
        assert_eq!((exchange.status, exchange.host()), (401, Some("api.mypurecloud.de")));
        assert_eq!(exchange.route.as_ref().unwrap().to_string(), "GET /api/v2/users/me");
        assert_eq!(exchange.credential.token().unwrap().shape.length, 13);
        assert!(exchange.date.is_some());
        assert_eq!(exchange.refusal.unwrap().error_code.as_deref(), Some("bad.credentials"));
    }

    #[test]
    fn the_rest_of_a_line_stays_behind() {
        assert_eq!(ErrorObject::named("").push("{a: {b: 1}} and more"), Some(11));
    }
}
