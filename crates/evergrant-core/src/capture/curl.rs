//! What `curl -v` writes: `>` before what was sent, `<` before what came, `*` before what curl thinks.
//!
//! The log goes to one output and the body to the other. In a file of both, the body stands somewhere behind its head,
//! often glued to the next line of the log, and with `-i` the head stands there once more. `--trace-time` puts the time
//! of day before each line, without date or zone, and the progress meter writes over its line.
//!
//! The time of day becomes an instant with the help of the first `Date`: the zone is taken to be the quarter of an hour
//! that brings both closest. A clock that is wrong by more than half of that looks less wrong than it is.
//!
//! Source: curl's manual for `--verbose`, `--trace-time` and `--trace-ids`.

use super::draft::Draft;
use super::exchange::Exchange;
use super::field::Field;
use super::lines::Lines;
use super::literal::{Literals, Token};
use super::start_line::{request_line, status_line};
use crate::time::{Span, Wall};

/// Reads a log.
#[derive(Clone, Default)]
pub(super) struct CurlLog {
    lines: Lines,
    read: Read,
}

#[derive(Clone, Default)]
struct Read {
    draft: Draft,
    part: Part,
    last: Option<Field>,
    clock: DayClock,
    /// Was the last line only a part of one?
    in_line: bool,
    /// Why curl gave up, in its number for it.
    gave_up: Option<u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Part {
    #[default]
    Between,
    RequestHead,
    Waiting,
    AnswerHead,
    AnswerBody,
}

/// What a line of the log is.
enum Line<'a> {
    Sent(&'a str),
    Came(&'a str),
    Thought,
    Other(&'a str),
}

impl CurlLog {
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<Exchange>) {
        let Self { lines, read } = self;
        lines.push(bytes, |line, is_end| read.line(line, is_end, out));
    }

    pub(super) fn end(&mut self, out: &mut Vec<Exchange>) {
        let Self { lines, read } = self;
        lines.end(|line, is_end| read.line(line, is_end, out));
        read.finish(out);
    }

    /// Are the times of the log known up to whole quarters of an hour only?
    pub(super) fn has_times(&self) -> bool {
        self.read.clock.shift.is_some()
    }

    /// With which of its numbers curl gave up, if it did.
    pub(super) fn gave_up(&self) -> Option<u16> {
        self.read.gave_up
    }
}

/// Is this a line of such a log, with a message's start?
pub(super) fn is_curl_line(line: &str) -> bool {
    match without_stamp(without_meter(line)).1 {
        text if text.starts_with("< ") => status_line(&text[2..]).is_some(),
        text if text.starts_with("> ") => request_line(&text[2..]).is_some(),
        _ => false,
    }
}

impl Read {
    fn line(&mut self, line: &str, is_end: bool, out: &mut Vec<Exchange>) {
        if std::mem::replace(&mut self.in_line, !is_end) {
            return self.body(line, is_end);
        }
        let (stamp, text) = without_stamp(without_meter(line));
        match kind_of(text) {
            Line::Sent(text) => self.sent(text, is_end, stamp, out),
            Line::Came(text) => self.came(text, is_end, stamp, out),
            Line::Thought => {}
            Line::Other(text) => self.other(text, is_end),
        }
    }

    fn sent(&mut self, text: &str, is_end: bool, stamp: Option<Span>, out: &mut Vec<Exchange>) {
        if let Some((method, target)) = request_line(text) {
            self.finish(out);
            self.draft.request_line(method, target);
            self.draft.shows_request = true;
            self.draft.sent = self.clock.read(stamp);
            self.part = Part::RequestHead;
        } else if self.part == Part::RequestHead {
            self.head_line(text, is_end);
            if text.is_empty() {
                self.part = Part::Waiting;
            }
        }
    }

    fn came(&mut self, text: &str, is_end: bool, stamp: Option<Span>, out: &mut Vec<Exchange>) {
        if let Some(status) = status_line(text) {
            self.keep_last();
            if self.draft.status.is_some_and(|before| before >= 200) {
                self.finish(out);
            }
            self.draft.status = Some(status);
            self.draft.received = self.clock.read(stamp);
            self.part = Part::AnswerHead;
        } else if self.part == Part::AnswerHead {
            self.head_line(text, is_end);
            if text.is_empty() {
                self.part = Part::AnswerBody;
            }
        }
    }

    fn other(&mut self, text: &str, is_end: bool) {
        if let Some(number) = text.strip_prefix("curl: (").and_then(|rest| rest.split(')').next()) {
            self.gave_up = number.parse().ok();
            return;
        }
        match self.part {
            // A field's value that was broken over lines.
            Part::RequestHead if !text.is_empty() => {
                if let Some(field) = &mut self.last {
                    field.go_on(text, is_end);
                }
            }
            Part::AnswerBody => self.body(text, is_end),
            Part::Between | Part::RequestHead | Part::Waiting | Part::AnswerHead => {}
        }
    }

    fn body(&mut self, text: &str, is_end: bool) {
        self.draft.answer_body(&text.as_bytes()[..end_of_body(text)]);
        if is_end {
            self.draft.answer_body(b"\n");
        }
    }

    fn head_line(&mut self, line: &str, is_end: bool) {
        self.keep_last();
        self.last = Field::of(line, is_end);
    }

    fn keep_last(&mut self) {
        let Some(field) = self.last.take() else { return };
        match self.part {
            Part::RequestHead | Part::Waiting => self.draft.request_field(&field.name, &field.value),
            Part::AnswerHead | Part::AnswerBody => field.answer(&mut self.draft),
            Part::Between => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<Exchange>) {
        self.keep_last();
        self.part = Part::Between;
        let mut draft = std::mem::take(&mut self.draft);
        let body = without_head(draft.body());
        let body = object_in(body.as_deref().unwrap_or_else(|| draft.body()));
        draft.replace_body(body);
        if let Some(mut exchange) = draft.finish() {
            self.clock.set_by(&mut exchange);
            out.push(exchange);
        }
    }
}

fn kind_of(text: &str) -> Line<'_> {
    match text.as_bytes() {
        [b'>', b' ', ..] => Line::Sent(&text[2..]),
        [b'<', b' ', ..] => Line::Came(&text[2..]),
        b">" => Line::Sent(""),
        b"<" => Line::Came(""),
        [b'*', b' ', ..] | b"*" => Line::Thought,
        [b'{' | b'}', b' ', b'[', b'0'..=b'9', ..] => Line::Thought,
        _ => Line::Other(text),
    }
}

/// A line without the progress meter that was written over.
fn without_meter(line: &str) -> &str {
    let Some(at) = line.rfind('\r') else { return line };
    let line = &line[at + 1..];
    let is_meter = line.starts_with([' ', '1']) && line.contains(":--");
    let marks = ["* ", "< ", "> ", "{ [", "} ["];
    let start = marks.iter().filter_map(|mark| line.find(mark)).min();
    if is_meter { start.map_or("", |start| &line[start..]) } else { line }
}

/// The time of day before a line, and the line. Numbers of transfer and connection, which may follow it, are dropped.
fn without_stamp(line: &str) -> (Option<Span>, &str) {
    let stamp = line.get(..15).and_then(time_of_day);
    let text = if stamp.is_some() { line[15..].trim_start_matches(' ') } else { line };
    let ids = text.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    let is_ids = |ids: &str| !ids.is_empty() && ids.bytes().all(|byte| byte.is_ascii_digit() || b"-x".contains(&byte));
    (stamp, ids.filter(|(ids, _)| is_ids(ids)).map_or(text, |(_, rest)| rest))
}

/// Reads `22:43:11.854344`.
fn time_of_day(text: &str) -> Option<Span> {
    let bytes = text.as_bytes();
    let is_form = bytes.len() == 15 && bytes[2] == b':' && bytes[5] == b':' && bytes[8] == b'.';
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse().ok()
    };
    if !is_form {
        return None;
    }
    let secs = number(0, 2)? * 3600 + number(3, 5)? * 60 + number(6, 8)?;
    Some(Span::from_secs(secs) + Span::from_micros(number(9, 15)?))
}

/// Turns times of day into instants.
#[derive(Clone, Default)]
struct DayClock {
    /// How many midnights were passed.
    days: i64,
    last: Option<Span>,
    /// From the log's midnight to the epoch, once a date is known.
    shift: Option<Span>,
}

impl DayClock {
    /// An instant, counted from the midnight before the log as long as no date is known.
    fn read(&mut self, stamp: Option<Span>) -> Option<Wall> {
        let mut stamp = stamp?;
        // curl takes the second from one clock and its fraction from another: of two runs the later one may show a second less.
        // The order of the log is right.
        let is_a_second_less = |last: Span| (ORDER_OF_LINES..=SECOND).contains(&(last - stamp));
        if self.last.is_some_and(is_a_second_less) {
            stamp += SECOND;
        } else if self.last.is_some_and(|last| is_a_second_less(last + DAY)) {
            // And midnight came between.
            stamp = stamp + SECOND - DAY;
        }
        // A log goes forward; only midnight takes it far back.
        if self.last.is_some_and(|last| last - stamp > HALF_A_DAY) {
            self.days += 1;
        }
        self.last = Some(stamp);
        let since = DAY.scaled(self.days, 1) + stamp;
        Some(Wall::from_nanos(0) + since + self.shift.unwrap_or_default())
    }

    /// Learns the date from an exchange that has one, and takes the times off those before it.
    fn set_by(&mut self, exchange: &mut Exchange) {
        if self.shift.is_some() {
            return;
        }
        let shift = exchange.date.zip(exchange.received).filter(|_| !exchange.is_cached).map(|(date, received)| {
            let apart = date.as_nanos().saturating_sub(received.as_nanos());
            let quarter = QUARTER.as_nanos();
            Span::from_nanos((apart.saturating_add(quarter / 2)).div_euclid(quarter).saturating_mul(quarter))
        });
        self.shift = shift;
        exchange.sent = exchange.sent.zip(shift).map(|(sent, shift)| sent + shift);
        exchange.received = exchange.received.zip(shift).map(|(received, shift)| received + shift);
    }
}

/// Where a line of the body ends, if curl wrote its next thought right behind it.
fn end_of_body(text: &str) -> usize {
    let ends = text.match_indices("* ").filter_map(|(at, _)| {
        let before = &text[..at];
        let stamp = at.checked_sub(16).filter(|from| {
            before.get(*from..).is_some_and(|tail| tail.ends_with(' ') && time_of_day(&tail[..15]).is_some())
        });
        stamp.or_else(|| before.ends_with(['}', ']', '>']).then_some(at))
    });
    ends.min().unwrap_or(text.len())
}

/// A JSON body up to its last bracket: the next transfer's progress may stand behind it. Any other body as it is.
fn object_in(body: &[u8]) -> Vec<u8> {
    let text = body.trim_ascii_start();
    if !text.starts_with(b"{") {
        return body.to_vec();
    }
    let (mut literals, mut depth) = (Literals::new(), 0_u32);
    let end = literals.push(text, |token| {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            Token::Key(_) | Token::Text(..) | Token::Word(_) | Token::Comma => {}
        }
        depth > 0
    });
    text[..end].to_vec()
}

/// A body without the head that `-i` puts before it.
fn without_head(body: &[u8]) -> Option<Vec<u8>> {
    let text = body.trim_ascii_start();
    if !text.starts_with(b"HTTP/") {
        return None;
    }
    let end = text.windows(2).position(|pair| pair == b"\n\n")?;
    let rest = &text[end + 2..];
    Some(without_head(rest).unwrap_or_else(|| rest.to_vec()))
}

const SECOND: Span = Span::from_secs(1);
const DAY: Span = Span::from_secs(24 * 3600);
/// Lines of one run may be written in another order than they happened.
const ORDER_OF_LINES: Span = Span::from_millis(2);
const HALF_A_DAY: Span = Span::from_secs(12 * 3600);
const QUARTER: Span = Span::from_secs(900);

#[cfg(test)]
mod tests;
