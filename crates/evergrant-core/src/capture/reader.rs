//! From the bytes of a capture to its exchanges: finds out what the bytes are, and lets the right reader at them.
//!
//! Bytes are pushed in pieces of any size. The beginning, at most [`HEAD_LIMIT`] bytes of it, is held back until it
//! shows what the whole is; from then on every piece goes through at once, and what has been read is a few facts.

use super::curl::{CurlLog, is_curl_line};
use super::encoding::{Encoding, Utf16};
use super::exchange::Exchange;
use super::har::Archive;
use super::message::Messages;
use super::prose::{Prose, has_sentence};
use super::start_line::{request_line, status_line};

/// What a capture turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// HTTP messages as they go over the wire.
    Messages,
    /// A log of `curl -v`.
    CurlLog,
    /// An HTTP Archive.
    Archive,
    /// The text of an exception, or a log.
    Prose,
    /// A JSON error, as a body or as an object that a program printed.
    ErrorObject,
}

impl Kind {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "http",
            Self::CurlLog => "curl",
            Self::Archive => "har",
            Self::Prose => "exception",
            Self::ErrorObject => "json_error",
        }
    }

    /// What it is, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Messages => "HTTP messages",
            Self::CurlLog => "a log of curl -v",
            Self::Archive => "a HAR",
            Self::Prose => "the text of an exception or a log",
            Self::ErrorObject => "a JSON error",
        }
    }
}

/// Why there is nothing to explain in a capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// It has no bytes, or only blanks.
    Empty,
    /// It is packed, and with what.
    Compressed(&'static str),
    /// It is no text.
    Binary,
    /// It is a token, or something as short and as silent.
    Token,
    /// It is text without a trace of HTTP.
    NoHttp,
    /// It shows a request and ends before an answer; with curl's number for why it gave up, if it says.
    NoAnswer(Option<u16>),
    /// It is a HAR without an answered request: with how many entries, and whether it ends in the middle.
    NoAnswerInArchive(usize, bool),
}

/// Reads a capture.
#[derive(Clone)]
pub(super) struct Reader {
    head: Option<Vec<u8>>,
    utf16: Option<Utf16>,
    form: Form,
}

#[derive(Clone)]
enum Form {
    Unknown,
    Useless(Unreadable),
    Messages(Messages),
    CurlLog(CurlLog),
    Archive(Box<Archive>),
    Prose(Box<Prose>, Kind),
}

/// What is known of a capture beside its exchanges.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct About {
    pub(super) kind: Kind,
    pub(super) creator: Option<String>,
    /// Was it UTF-16?
    pub(super) was_utf16: bool,
    /// Does it end in the middle?
    pub(super) is_torn: bool,
    /// How many entries or exchanges are whole.
    pub(super) whole: Option<usize>,
    /// Does it leave credentials out of all requests?
    pub(super) hides_credentials: bool,
    /// Are its local times known up to quarters of an hour only?
    pub(super) has_quarters: bool,
    /// With which of its numbers curl gave up.
    pub(super) gave_up: Option<u16>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { head: Some(Vec::new()), utf16: None, form: Form::Unknown }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8], out: &mut Vec<Exchange>) {
        if let Some(head) = &mut self.head {
            let part = bytes.len().min(HEAD_LIMIT - head.len());
            head.extend_from_slice(&bytes[..part]);
            bytes = &bytes[part..];
            if head.len() == HEAD_LIMIT {
                self.begin(out);
            }
        }
        if self.head.is_none() && !bytes.is_empty() {
            self.go_on(bytes, out);
        }
    }

    pub(super) fn end(mut self, out: &mut Vec<Exchange>) -> Result<About, Unreadable> {
        self.begin(out);
        let was_utf16 = self.utf16.is_some();
        let about = |kind| About {
            kind,
            creator: None,
            was_utf16,
            is_torn: false,
            whole: None,
            hides_credentials: false,
            has_quarters: false,
            gave_up: None,
        };
        match self.form {
            Form::Unknown => Err(Unreadable::Empty),
            Form::Useless(why) => Err(why),
            Form::Messages(mut messages) => {
                messages.end(out);
                Ok(about(Kind::Messages))
            }
            Form::CurlLog(mut log) => {
                log.end(out);
                Ok(About { has_quarters: log.has_times(), gave_up: log.gave_up(), ..about(Kind::CurlLog) })
            }
            Form::Archive(mut archive) => {
                archive.end(out);
                Ok(About {
                    creator: archive.creator().map(str::to_owned),
                    is_torn: archive.is_torn(),
                    whole: Some(archive.entries()),
                    hides_credentials: !archive.shows_credentials(),
                    ..about(Kind::Archive)
                })
            }
            Form::Prose(mut prose, kind) => {
                prose.end(out);
                Ok(about(kind))
            }
        }
    }

    /// Finds out from the beginning what the whole is, and reads it.
    fn begin(&mut self, out: &mut Vec<Exchange>) {
        let Some(head) = self.head.take() else { return };
        match Encoding::of(&head) {
            Encoding::Compressed(with) => self.form = Form::Useless(Unreadable::Compressed(with)),
            Encoding::Binary => self.form = Form::Useless(Unreadable::Binary),
            Encoding::Utf16 { is_big_endian } => {
                let text = Utf16::new(is_big_endian).decode(&head);
                self.utf16 = Some(Utf16::new(is_big_endian));
                self.form = Form::of(&text);
                self.go_on(&head, out);
            }
            Encoding::Utf8 => {
                let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head);
                self.form = Form::of(&String::from_utf8_lossy(head));
                self.go_on(head, out);
            }
        }
    }

    fn go_on(&mut self, bytes: &[u8], out: &mut Vec<Exchange>) {
        let text = self.utf16.as_mut().map(|utf16| utf16.decode(bytes));
        let bytes = text.as_ref().map_or(bytes, |text| text.as_bytes());
        match &mut self.form {
            Form::Unknown | Form::Useless(_) => {}
            Form::Messages(messages) => messages.push(bytes, out),
            Form::CurlLog(log) => log.push(bytes, out),
            Form::Archive(archive) => archive.push(bytes, out),
            Form::Prose(prose, _) => prose.push(bytes, out),
        }
    }
}

impl Form {
    /// What a text that begins like this is.
    fn of(head: &str) -> Self {
        let text = head.trim_start();
        if text.is_empty() {
            return Self::Useless(Unreadable::Empty);
        }
        if text.starts_with('{') && is_archive(text) {
            return Self::Archive(Box::new(Archive::new()));
        }
        // Whichever form shows itself first is the form of the whole.
        for line in text.lines() {
            if is_curl_line(line) {
                return Self::CurlLog(CurlLog::default());
            }
            if status_line(line).is_some() || request_line(line).is_some() {
                return Self::Messages(Messages::default());
            }
            if has_sentence(line) {
                break;
            }
        }
        if text.lines().any(is_curl_line) {
            return Self::CurlLog(CurlLog::default());
        }
        if is_token(text) {
            return Self::Useless(Unreadable::Token);
        }
        let kind = if text.starts_with('{') { Kind::ErrorObject } else { Kind::Prose };
        Self::Prose(Box::default(), kind)
    }
}

/// Is the first name of the JSON that of an archive's one member?
fn is_archive(text: &str) -> bool {
    let mut rest = text[1..].trim_start();
    // A few programs put a member of their own before it; one that holds no brackets is skipped.
    for _ in 0..4 {
        if let Some(after) = rest.strip_prefix("\"log\"") {
            // Docker's log lines have a member of this name too, with a text in it.
            return after.trim_start().strip_prefix(':').is_some_and(|value| value.trim_start().starts_with('{'));
        }
        let Some((member, after)) = rest.split_once(',') else { return false };
        if member.contains(['{', '[', '}', ']']) {
            return false;
        }
        rest = after.trim_start();
    }
    false
}

/// A single long word, or one in quotes or broken over lines: nothing else looks like a token.
fn is_token(text: &str) -> bool {
    let text = text.trim();
    let bare = text.strip_prefix("Bearer ").unwrap_or(text);
    let is_token_char = |c: char| c.is_ascii_alphanumeric() || "-._~+/=*\"'".contains(c);
    let lines: Vec<_> = bare.lines().take(9).collect();
    let has_long = lines.iter().any(|line| line.len() >= SHORTEST_TOKEN);
    has_long && lines.len() < 9 && lines.iter().all(|line| line.trim().chars().all(is_token_char))
}

/// How much of the beginning may be needed to know what the whole is.
const HEAD_LIMIT: usize = 64 << 10;
const SHORTEST_TOKEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &[u8]) -> Result<Kind, Unreadable> {
        let (mut reader, mut out) = (Reader::new(), Vec::new());
        reader.push(text, &mut out);
        reader.end(&mut out).map(|about| about.kind)
    }

    #[test]
    fn each_form_is_known_by_its_beginning() {
        for (text, expected) in [
            ("HTTP/1.1 401 Unauthorized\n\n", Ok(Kind::Messages)),
            ("\n\nGET / HTTP/1.1\nHost: a\n\n", Ok(Kind::Messages)),
            ("  % Total\n* Trying\n> GET / HTTP/1.1\n", Ok(Kind::CurlLog)),
            ("22:43:11.854344 < HTTP/2 401 \n", Ok(Kind::CurlLog)),
            ("{\"log\": {\"entries\": []}}", Ok(Kind::Archive)),
            ("\u{feff}{\n  \"_by\": \"x\",\n  \"log\":{}}", Ok(Kind::Archive)),
            ("{\"error\":\"invalid_token\"}", Ok(Kind::ErrorObject)),
            ("{\"log\":\"x\"", Ok(Kind::ErrorObject)),
            ("ApiException: (401)", Ok(Kind::Prose)),
            ("hello", Ok(Kind::Prose)),
            ("", Err(Unreadable::Empty)),
            (" \n", Err(Unreadable::Empty)),
            ("DCl7jJaGIGQ1M-8dq791twKewbp8", Err(Unreadable::Token)),
            ("\"DCl7jJaGIGQ1M-8dq791\ntwKewbp8\"\n", Err(Unreadable::Token)),
        ] {
            assert_eq!(kind(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(kind(&[0x1f, 0x8b, 8]), Err(Unreadable::Compressed("gzip")));
        assert_eq!(kind(&[0, 1, 2, 3]), Err(Unreadable::Binary));
    }

    #[test]
    fn a_text_in_utf_16_is_read_as_any_other() {
        let text = "HTTP/1.1 401 Unauthorized\r\n\r\n{\"code\":\"bad.credentials\"}";
        let bytes: Vec<u8> = "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let (mut reader, mut out) = (Reader::new(), Vec::new());
        for byte in bytes {
            reader.push(&[byte], &mut out);
        }
        let about = reader.end(&mut out).unwrap();
        assert!(about.was_utf16);
        assert_eq!(out.iter().map(|exchange| exchange.status).collect::<Vec<_>>(), [401]);
    }
}
