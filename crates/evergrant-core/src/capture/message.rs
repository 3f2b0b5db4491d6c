//! HTTP messages as they went over the wire: an answer with its head, optionally with the request before it.
//!
//! `curl -i`, HTTPie, a socket's dump and most documentation show this form. Several messages may follow each other;
//! each start line begins the next one. A body has no end of its own in such a text, so it lasts until the next start
//! line, also if that stands right behind the announced length of the body.

use super::draft::Draft;
use super::exchange::Exchange;
use super::field::Field;
use super::lines::Lines;
use super::start_line::{request_line, status_line};

/// Reads messages.
#[derive(Clone, Default)]
pub(super) struct Messages {
    lines: Lines,
    read: Read,
}

#[derive(Clone, Default)]
struct Read {
    draft: Draft,
    part: Part,
    /// The last field of the head, which the next line may go on with.
    last: Option<Field>,
    at_line_start: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Part {
    #[default]
    Before,
    RequestHead,
    RequestBody,
    AnswerHead,
    AnswerBody,
}

impl Messages {
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<Exchange>) {
        let Self { lines, read } = self;
        lines.push(bytes, |line, is_end| read.line(line, is_end, out));
    }

    pub(super) fn end(&mut self, out: &mut Vec<Exchange>) {
        let Self { lines, read } = self;
        lines.end(|line, is_end| read.line(line, is_end, out));
        read.finish(out);
    }
}

impl Read {
    fn line(&mut self, line: &str, is_end: bool, out: &mut Vec<Exchange>) {
        let begins = std::mem::replace(&mut self.at_line_start, is_end) || self.part == Part::Before;
        if begins && let Some((method, target)) = request_line(line) {
            self.finish(out);
            self.draft.request_line(method, target);
            self.draft.shows_request = true;
            self.part = Part::RequestHead;
        } else if begins && let Some(status) = status_line(line) {
            self.answer(status, out);
        } else {
            self.inside(line, is_end, out);
        }
    }

    fn answer(&mut self, status: u16, out: &mut Vec<Exchange>) {
        self.keep_last();
        if self.draft.status.is_some_and(|before| before >= 200) {
            self.finish(out);
        }
        self.draft.status = Some(status);
        self.part = Part::AnswerHead;
    }

    fn inside(&mut self, line: &str, is_end: bool, out: &mut Vec<Exchange>) {
        match self.part {
            Part::Before => {}
            Part::RequestHead | Part::AnswerHead if line.is_empty() => {
                self.keep_last();
                self.part = if self.part == Part::RequestHead { Part::RequestBody } else { Part::AnswerBody };
            }
            Part::RequestHead | Part::AnswerHead => self.head_line(line, is_end),
            Part::RequestBody => self.draft.request_body(line.as_bytes()),
            Part::AnswerBody => {
                let (body, next) = self.split(line);
                self.draft.answer_body(body.as_bytes());
                if is_end && next.is_none() {
                    self.draft.answer_body(b"\n");
                }
                if let Some(status) = next.and_then(status_line) {
                    self.answer(status, out);
                }
            }
        }
    }

    /// A line of the body, and the status line of the next answer if the body ends within this line.
    fn split<'a>(&self, line: &'a str) -> (&'a str, Option<&'a str>) {
        let left = self.draft.content_length.and_then(|length| length.checked_sub(self.draft.body().len()));
        match left.filter(|left| line.get(*left..).is_some_and(|rest| rest.starts_with("HTTP/"))) {
            Some(left) => (&line[..left], Some(&line[left..])),
            None => (line, None),
        }
    }

    fn head_line(&mut self, line: &str, is_end: bool) {
        match Field::of(line, is_end) {
            Some(field) if !line.starts_with([' ', '\t']) => {
                self.keep_last();
                self.last = Some(field);
            }
            // A value that was broken over lines.
            _ => {
                if let Some(field) = &mut self.last {
                    field.go_on(line, is_end);
                }
            }
        }
    }

    fn keep_last(&mut self) {
        let Some(field) = self.last.take() else { return };
        match self.part {
            Part::RequestHead => self.draft.request_field(&field.name, &field.value),
            Part::AnswerHead => field.answer(&mut self.draft),
            Part::Before | Part::RequestBody | Part::AnswerBody => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<Exchange>) {
        self.keep_last();
        out.extend(std::mem::take(&mut self.draft).finish());
        self.part = Part::Before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::credential::Credential;
    use crate::wire::TokenDefect;

    fn read(text: &str) -> Vec<Exchange> {
        let (mut messages, mut out) = (Messages::default(), Vec::new());
        messages.push(text.as_bytes(), &mut out);
        messages.end(&mut out);
        out
    }

    const ANSWER: &str = "HTTP/1.1 401 Unauthorized\r\nDate: Sat, 28 Nov 2026 22:43:10 GMT\r\nWWW-Authenticate: Bearer error=\"invalid_token\"\r\nContent-Length: 26\r\n\r\n{\"code\":\"bad.credentials\"}";

    #[test]
    fn an_answer_alone_is_read() {
        let [exchange] = &read(ANSWER)[..] else { panic!() };
        assert_eq!((exchange.status, &exchange.route), (401, &None));
        assert_eq!(exchange.credential, Credential::NotShown);
        assert_eq!(exchange.refusal.as_ref().unwrap().error_code.as_deref(), Some("invalid_token"));
        assert!(exchange.refusal.as_ref().unwrap().is_exact_auth_error, "the body was read too");
        assert!(exchange.date.is_some());
    }

    #[test]
    fn a_request_before_it_and_an_answer_glued_behind_it_are_read() {
        let request = "POST /oauth/token HTTP/1.1\nHost: login.mypurecloud.de\n\ngrant_type=client_credentials\n";
        let found = read(&format!("{request}{ANSWER}HTTP/2 200\ndate: x\n\nok"));
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].mint.as_ref().unwrap().grant.as_deref(), Some("client_credentials"));
        assert_eq!((found[0].host(), found[1].status), (Some("login.mypurecloud.de"), 200));
    }

    #[test]
    fn an_interim_answer_is_not_the_answer() {
        let found = read("PUT /x HTTP/1.1\nHost: a\n\nHTTP/1.1 100 Continue\n\nHTTP/1.1 403 Forbidden\n\n");
        assert_eq!(found.iter().map(|exchange| exchange.status).collect::<Vec<_>>(), [403]);
    }

    #[test]
    fn a_token_over_two_lines_is_seen_as_such() {
        let found = read("GET / HTTP/1.1\nHost: a\nAuthorization: Bearer abcdef\nghijkl\n\nHTTP/1.1 401 x\n\n");
        let facts = found[0].credential.token().unwrap();
        assert!(facts.shape.defects.contains(&TokenDefect::LineBreak));
    }

    #[test]
    fn a_body_that_quotes_a_status_line_stays_a_body() {
        let found = read("HTTP/1.1 401 x\nContent-Length: 40\n\n{\"message\":\"HTTP/1.1 500 is not meant\"}");
        assert_eq!(found.len(), 1);
    }
}
