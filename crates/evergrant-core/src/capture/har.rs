//! HTTP Archives, the files that browsers and debugging proxies write: one JSON object, often of hundreds of megabytes.
//!
//! The file is never held as a whole. [`Literals`] walks over it, and only what stands at one of a few places is looked
//! at: an entry's times, the request's method, URL and fields, the answer's status and fields, the beginning of both
//! bodies. Everything else, such as pictures and scripts in Base64, is walked over.
//!
//! Browsers leave `Authorization` and cookies out of a HAR unless asked ("with sensitive data"), and do not say so. A
//! HAR in which no request at all shows such a field is therefore taken to be silent about them.
//!
//! Limits: where an entry ends early, what there is of it is read. Source: HAR 1.2 (W3C Web Performance Working Group).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::draft::{BODY_LIMIT, Draft};
use super::exchange::Exchange;
use super::literal::{Literals, Token};
use super::moment::parse_moment;
use crate::time::Span;

/// Reads an archive.
#[derive(Clone)]
pub(super) struct Archive {
    literals: Literals,
    read: Read,
}

#[derive(Clone, Default)]
struct Read {
    path: Vec<Name>,
    /// How many levels below the known ones are open.
    deeper: u32,
    next: Name,
    entry: Entry,
    entries: usize,
    creator: Option<String>,
    shows_credentials: bool,
}

/// One entry while it is read.
#[derive(Clone, Default)]
struct Entry {
    draft: Draft,
    took: Option<Span>,
    field_name: Option<String>,
    field_value: Option<String>,
    is_base64: bool,
    body: Option<String>,
    form: Vec<u8>,
}

/// The names that matter, wherever they stand.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Name {
    /// A member of a list, or any other name.
    #[default]
    Other,
    Log,
    Creator,
    Entries,
    Started,
    Time,
    Request,
    Response,
    Method,
    Url,
    Status,
    Headers,
    PostData,
    Params,
    Content,
    Text,
    Encoding,
    Label,
    Value,
}

impl Archive {
    pub(super) fn new() -> Self {
        Self { literals: Literals::new(), read: Read::default() }
    }

    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<Exchange>) {
        let Self { literals, read } = self;
        literals.push(bytes, |token| {
            read.token(token, out);
            true
        });
    }

    /// Ends the input; an entry that was not whole is judged by what there is of it.
    pub(super) fn end(&mut self, out: &mut Vec<Exchange>) {
        let Self { literals, read } = self;
        literals.end(|token| {
            read.token(token, out);
            true
        });
        if literals.depth() > 0 {
            read.finish_entry(out);
        }
    }

    /// Did the file end before its JSON did?
    pub(super) fn is_torn(&self) -> bool {
        self.literals.depth() > 0
    }

    /// How many whole entries there were.
    pub(super) fn entries(&self) -> usize {
        self.read.entries
    }

    /// The program that wrote it.
    pub(super) fn creator(&self) -> Option<&str> {
        self.read.creator.as_deref()
    }

    /// Does any request show a credential or a cookie?
    pub(super) fn shows_credentials(&self) -> bool {
        self.read.shows_credentials
    }
}

impl Read {
    fn token(&mut self, token: Token<'_>, out: &mut Vec<Exchange>) {
        match token {
            Token::Key(name) => self.next = name_of(name),
            Token::Comma => self.next = Name::Other,
            Token::Open => self.open(),
            Token::Close => self.close(out),
            Token::Text(text, is_whole) => self.value(text, is_whole),
            Token::Word(word) => self.value(word, true),
        }
    }

    fn open(&mut self) {
        let name = std::mem::take(&mut self.next);
        if self.deeper > 0 || self.path.len() >= DEEPEST {
            self.deeper += 1;
            return;
        }
        self.path.push(name);
        if matches!(self.path[..], [_, Name::Log, Name::Entries, _]) {
            self.entry = Entry::default();
        }
    }

    fn close(&mut self, out: &mut Vec<Exchange>) {
        self.next = Name::Other;
        if self.deeper > 0 {
            self.deeper -= 1;
            return;
        }
        match self.path[..] {
            [_, Name::Log, Name::Entries, _] => {
                self.finish_entry(out);
                self.entries += 1;
            }
            [_, _, _, _, Name::Request, Name::Headers, _] => self.request_field(),
            [_, _, _, _, Name::Response, Name::Headers, _] => {
                if let Some((name, value)) = self.entry.field() {
                    self.entry.draft.answer_field(&name, &value);
                }
            }
            [_, _, _, _, Name::Request, Name::PostData, Name::Params, _] => {
                if let Some((name, value)) = self.entry.field() {
                    let pair = form_urlencoded::Serializer::new(String::new()).append_pair(&name, &value).finish();
                    let separator: &[u8] = if self.entry.form.is_empty() { b"" } else { b"&" };
                    if self.entry.form.len() + pair.len() < BODY_LIMIT {
                        self.entry.form.extend_from_slice(separator);
                        self.entry.form.extend_from_slice(pair.as_bytes());
                    }
                }
            }
            _ => {}
        }
        self.path.pop();
    }

    fn request_field(&mut self) {
        let Some((name, value)) = self.entry.field() else { return };
        self.shows_credentials |= ["authorization", "cookie"].iter().any(|known| name.eq_ignore_ascii_case(known));
        self.entry.draft.shows_request = true;
        self.entry.draft.request_field(&name, &value);
    }

    fn value(&mut self, text: &str, is_whole: bool) {
        if self.deeper > 0 {
            return;
        }
        let entry = &mut self.entry;
        match (&self.path[..], self.next) {
            ([_, Name::Log, Name::Creator], Name::Label) => {
                self.creator = Some(text.chars().filter(|c| !c.is_control()).take(40).collect());
            }
            ([_, Name::Log, Name::Entries, _], Name::Started) => entry.draft.sent = parse_moment(text),
            ([_, Name::Log, Name::Entries, _], Name::Time) => entry.took = parse_millis(text),
            ([_, Name::Log, Name::Entries, _, Name::Request], Name::Method) => entry.draft.method(text),
            ([_, Name::Log, Name::Entries, _, Name::Request], Name::Url) => entry.draft.target(text),
            ([_, Name::Log, Name::Entries, _, Name::Response], Name::Status) => {
                entry.draft.status = text.parse().ok();
            }
            ([_, Name::Log, Name::Entries, _, Name::Response, Name::Content], Name::Text) => {
                entry.body = Some(text.to_owned());
            }
            ([_, Name::Log, Name::Entries, _, Name::Response, Name::Content], Name::Encoding) => {
                entry.is_base64 = text.eq_ignore_ascii_case("base64");
            }
            ([_, Name::Log, Name::Entries, _, Name::Request, Name::PostData], Name::Text) => {
                entry.draft.request_body(text.as_bytes());
            }
            (
                [_, Name::Log, Name::Entries, _, _, Name::Headers, _]
                | [_, Name::Log, Name::Entries, _, _, Name::PostData, Name::Params, _],
                name,
            ) => {
                let kept = if name == Name::Label { &mut entry.field_name } else { &mut entry.field_value };
                if is_whole && matches!(name, Name::Label | Name::Value) {
                    *kept = Some(text.to_owned());
                }
            }
            _ => {}
        }
    }

    fn finish_entry(&mut self, out: &mut Vec<Exchange>) {
        let Entry { mut draft, took, is_base64, body, form, .. } = std::mem::take(&mut self.entry);
        if !form.is_empty() {
            draft.request_body(&form);
        }
        if let Some(body) = body {
            draft.answer_body(&if is_base64 { from_base64(&body) } else { body.into_bytes() });
        }
        draft.received = draft.sent.zip(took).map(|(sent, took)| sent + took);
        out.extend(draft.finish());
    }
}

impl Entry {
    fn field(&mut self) -> Option<(String, String)> {
        let (name, value) = (self.field_name.take(), self.field_value.take());
        name.zip(value)
    }
}

/// Reads milliseconds, possibly with a fraction.
fn parse_millis(text: &str) -> Option<Span> {
    let secs = text.parse::<f64>().ok()? / 1000.0;
    Duration::try_from_secs_f64(secs).ok().map(Span::from_duration)
}

/// The bytes of a text in Base64; a text that was cut still has its beginning.
fn from_base64(text: &str) -> Vec<u8> {
    let whole = &text.as_bytes()[..text.len() / 4 * 4];
    STANDARD.decode(whole).unwrap_or_default()
}

fn name_of(name: &str) -> Name {
    match name {
        "log" => Name::Log,
        "creator" => Name::Creator,
        "entries" => Name::Entries,
        "startedDateTime" => Name::Started,
        "time" => Name::Time,
        "request" => Name::Request,
        "response" => Name::Response,
        "method" => Name::Method,
        "url" => Name::Url,
        "status" => Name::Status,
        "headers" => Name::Headers,
        "postData" => Name::PostData,
        "params" => Name::Params,
        "content" => Name::Content,
        "text" => Name::Text,
        "encoding" => Name::Encoding,
        "name" => Name::Label,
        "value" => Name::Value,
        _ => Name::Other,
    }
}

/// Nothing that matters stands deeper.
const DEEPEST: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::credential::Credential;

    fn entry(status: u16, request: &str, response: &str) -> String {
        format!(
            r#"{{"startedDateTime":"2026-11-28T22:43:29.377Z","time":14.8,"request":{{"method":"GET","url":"https://api.mypurecloud.de/api/v2/users/me?x=s3cr3t","headers":[{{"name":"Accept","value":"*/*"}}{request}]}},"response":{{"status":{status},"headers":[{{"name":"Date","value":"Sat, 28 Nov 2026 22:43:29 GMT"}}]{response}}},"cache":{{}}}}"#
        )
    }

    fn har(entries: &[String]) -> String {
        format!(
            r#"{{"log":{{"version":"1.2","creator":{{"name":"Firefox","version":"1"}},"pages":[{{"id":"p"}}],"entries":[{}]}}}}"#,
            entries.join(",")
        )
    }

    fn read(text: &str) -> (Archive, Vec<Exchange>) {
        let (mut archive, mut out) = (Archive::new(), Vec::new());
        archive.push(text.as_bytes(), &mut out);
        archive.end(&mut out);
        (archive, out)
    }

    const TOKEN: &str = r#",{"name":"Authorization","value":"Bearer s3cr3t-s3cr3t"}"#;
    const BODY: &str = r#","content":{"size":1,"text":"{\"code\":\"bad.credentials\"}"}"#;

    #[test]
    fn an_entry_becomes_an_exchange() {
        let (archive, found) = read(&har(&[entry(401, TOKEN, BODY)]));
        let [exchange] = &found[..] else { panic!() };
        assert_eq!((exchange.status, exchange.host()), (401, Some("api.mypurecloud.de")));
        assert_eq!(exchange.route.as_ref().unwrap().to_string(), "GET /api/v2/users/me");
        assert_eq!(exchange.received.unwrap() - exchange.sent.unwrap(), Span::from_micros(14_800));
        assert_eq!(exchange.refusal.as_ref().unwrap().error_code.as_deref(), Some("bad.credentials"));
        assert_eq!(exchange.credential.token().unwrap().shape.length, 13);
        assert!(!format!("{exchange:?}").contains("s3cr3t"));
        assert_eq!((archive.creator(), archive.entries()), (Some("Firefox"), 1));
        assert!(archive.shows_credentials() && !archive.is_torn());
    }

    #[test]
    fn base64_bodies_and_form_parameters_are_read() {
        let body = format!(r#","content":{{"text":"{}","encoding":"base64"}}"#, STANDARD.encode(r#"{"code":"x.y"}"#));
        let (_, found) = read(&har(&[entry(401, TOKEN, &body)]));
        assert_eq!(found[0].refusal.as_ref().unwrap().error_code.as_deref(), Some("x.y"));
        let form = r#"],"postData":{"mimeType":"application/x-www-form-urlencoded","params":[{"name":"grant_type","value":"refresh_token"}]},"x":["#;
        let (_, found) = read(&har(&[entry(400, form, "")]));
        assert_eq!(found[0].mint.as_ref().unwrap().grant.as_deref(), Some("refresh_token"));
    }

    #[test]
    fn a_torn_archive_keeps_what_came_before_and_the_beginning_of_the_last_entry() {
        let whole = har(&[entry(200, TOKEN, ""), entry(401, TOKEN, BODY)]);
        let cut = whole.rfind("\"cache\"").unwrap();
        let (archive, found) = read(&whole[..cut]);
        assert!(archive.is_torn());
        assert_eq!(archive.entries(), 1);
        assert_eq!(found.iter().map(|exchange| exchange.status).collect::<Vec<_>>(), [200, 401]);
    }

    #[test]
    fn an_archive_without_credentials_says_so() {
        let (archive, found) = read(&har(&[entry(401, "", BODY)]));
        assert!(!archive.shows_credentials());
        assert_eq!(found[0].credential, Credential::Nothing);
    }

    #[test]
    fn a_request_that_was_never_answered_is_no_exchange() {
        let (archive, found) = read(&har(&[entry(0, TOKEN, "")]));
        assert_eq!((archive.entries(), found.len()), (1, 0));
    }

    #[test]
    fn the_same_names_elsewhere_mean_nothing() {
        let (_, found) =
            read(&har(&[entry(200, "", r#","_x":{"status":401,"headers":[{"name":"Age","value":"1"}]}"#)]));
        assert_eq!((found[0].status, found[0].is_cached), (200, false));
    }
}
