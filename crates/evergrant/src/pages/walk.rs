//! The way through a collection: given a page, which request is next, or that this was the last.
//!
//! A [`Walk`] is pure: it neither sends nor waits nor knows the time. Its [`Position`] is all that it learns, and with
//! the first request it is all that is needed to go on in another process: it can be written down after every page.
//!
//! Nor is the size that was asked for a measure of where numbered pages end, since servers have a longest page of their own:
//! where no answer counts pages, what came is held against the total. An end that comes before is told
//! ([`Position::missing`]).
//!
//! Servers cannot be trusted to end a collection: links of some routes lead to empty pages for ever, or back to the page
//! that held them. So besides the end that the style itself has, a walk ends when a page is the one before it again,
//! when a request was made before, when several pages in a row are empty, and at the bounds that the caller set. It says
//! which of these it was ([`Ended`]).
//!
//! Pages that are counted (number, scim, query) shift when things are deleted meanwhile: what moves to a page already
//! read is missed. A total that falls is the sign of it, and is told with the page.

use std::collections::VecDeque;
use std::ops::Range;

use http::Method;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::error::PageError;
use super::items;
use super::request::PageRequest;
use super::style::{self, Style};
use super::text::JsonPath;

/// What the caller says about an export.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// The style, if the first page shall not show it.
    pub style: Option<Style>,
    /// Where the items are in an answer, if not at a place that is known.
    pub items: Option<JsonPath>,
    /// Stop after so many pages.
    pub max_pages: Option<u64>,
    /// Stop after so many items.
    pub max_items: Option<u64>,
    /// So many empty pages in a row are the end.
    pub max_empty_pages: u32,
    /// A POST does nothing but read: pages may be asked for of which nobody has spoken.
    pub only_reads: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { style: None, items: None, max_pages: None, max_items: None, max_empty_pages: 3, only_reads: false }
    }
}

/// Where an export stands. It holds neither a token nor a field of the header.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The style, once it is known.
    pub style: Option<Style>,
    /// Where the items are, once it is known, as a JSON pointer.
    pub items_at: Option<String>,
    /// What comes next.
    pub next: Next,
    /// The next request has been sent, may have been executed, and must not be sent twice. It is set before such a request
    /// is sent; only its page, or the certainty that it was not executed, unsets it.
    #[serde(default)]
    pub in_doubt: bool,
    /// How it ended, if it did.
    pub ended: Option<Ended>,
    /// Pages read.
    pub pages: u64,
    /// Items read.
    pub items: u64,
    /// How many there are in all, as the first page said.
    pub first_total: Option<u64>,
    /// How many there are in all, as the last page said.
    pub last_total: Option<u64>,
    /// How many fewer items came than the last total, where the API says that this is all and it was read from its beginning.
    #[serde(default)]
    pub missing: u64,
    /// Empty pages since the last that was not.
    empty_pages: u32,
    /// What the last page held.
    last_page: Option<String>,
    /// The last requests.
    recent: VecDeque<String>,
}

impl Position {
    /// Is there nothing left to ask for? An end that was a bound on pages, or on empty ones, is none under a higher one.
    #[must_use]
    pub fn is_done(&self, rules: &Rules) -> bool {
        self.ended.is_some_and(|ended| match ended {
            Ended::MaxPages => rules.max_pages.is_some_and(|most| most <= self.pages),
            Ended::EmptyPages => rules.max_empty_pages <= self.empty_pages,
            Ended::Complete | Ended::MaxItems | Ended::Repeated => true,
        })
    }
}

/// What is asked for next.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Next {
    /// The first request, as the caller made it.
    #[default]
    First,
    /// A page by its number in the query.
    Number(u64),
    /// A page by its number in the body.
    BodyNumber {
        /// The number.
        number: u64,
        /// Does it stand within `paging`?
        nested: bool,
    },
    /// What follows a cursor.
    Cursor {
        /// The parameter of the query.
        parameter: String,
        /// Its value.
        value: String,
    },
    /// What is at an address.
    Link(String),
    /// What begins at an index.
    Index(u64),
    /// The state of a job.
    Job(String),
    /// The results of a job.
    Results {
        /// The job.
        job: String,
        /// What they follow; nothing for the first.
        cursor: Option<String>,
    },
}

/// Why an export has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The API says that this is all.
    Complete,
    /// The caller wanted no more pages.
    MaxPages,
    /// The caller wanted no more items.
    MaxItems,
    /// The API names a next page, and several in a row were empty.
    EmptyPages,
    /// The API names a page as the next one that was read already.
    Repeated,
}

impl Ended {
    /// Its name in a summary.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::MaxPages => "max_pages",
            Self::MaxItems => "max_items",
            Self::EmptyPages => "empty_pages",
            Self::Repeated => "repeated",
        }
    }
}

/// What an answer was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A page.
    Page {
        /// Where in the body each of its items is.
        items: Vec<Range<usize>>,
        /// By how much the total fell since the page before.
        lost: u64,
    },
    /// The state of a job, in the API's word; `None` if it was just made.
    Job(Option<String>),
    /// Nothing new: the same page again.
    Nothing,
}

/// The way through one collection.
#[derive(Clone, Debug)]
pub struct Walk {
    first: PageRequest,
    rules: Rules,
    position: Position,
}

impl Walk {
    /// A walk from the first page, or from where another one stood.
    #[must_use]
    pub fn new(first: PageRequest, rules: Rules, mut position: Position) -> Self {
        if !position.is_done(&rules) {
            position.ended = None;
        }
        Self { first, rules, position }
    }

    /// Where it stands.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Says whether the next request, which must not be sent twice, may have been executed.
    pub(super) fn set_in_doubt(&mut self, in_doubt: bool) {
        self.position.in_doubt = in_doubt;
    }

    /// The next request; `None` at the end. Whether it may be sent is another question: [`Position::in_doubt`].
    ///
    /// # Errors
    /// When the position holds a link that is none, or one of another origin.
    pub fn next_request(&self) -> Result<Option<PageRequest>, PageError> {
        if self.position.ended.is_some() {
            return Ok(None);
        }
        let first = &self.first;
        Ok(Some(match &self.position.next {
            Next::First => first.clone(),
            Next::Number(number) => first.with_parameter("pageNumber", &number.to_string()),
            Next::BodyNumber { number, nested } => first.with_body_page(*number, *nested),
            Next::Cursor { parameter, value } => first.with_parameter(parameter, value),
            Next::Link(link) => first.linked(link)?,
            Next::Index(index) => first.with_parameter("startIndex", &index.to_string()),
            Next::Job(job) => first.below(&[job]),
            Next::Results { job, cursor: None } => first.below(&[job, "results"]),
            Next::Results { job, cursor: Some(cursor) } => {
                first.below(&[job, "results"]).with_parameter("cursor", cursor)
            }
        }))
    }

    /// Takes the body of a good answer to [`next_request`](Self::next_request).
    ///
    /// # Errors
    /// When it is no page, or its successor may not be asked for. The position is unchanged then.
    pub fn handle_answer(&mut self, body: &str) -> Result<Step, PageError> {
        let step = self.take(body)?;
        self.position.in_doubt = false;
        Ok(step)
    }

    fn take(&mut self, body: &str) -> Result<Step, PageError> {
        let answer = Answer::parse(body)?;
        if let Next::Job(job) = &self.position.next {
            let job = job.clone();
            return self.handle_state(job, &answer);
        }
        let style = self.position.style.or(self.rules.style).or_else(|| Style::of(&self.first.method, &answer));
        if style == Some(Style::Job) && self.position.next == Next::First {
            let job = style::job_id(&answer).ok_or(PageError::NoJob)?;
            self.position.style = style;
            self.position.next = Next::Job(job);
            return Ok(Step::Job(None));
        }
        self.handle_page(style, &answer, body)
    }

    fn handle_page(&mut self, style: Option<Style>, answer: &Answer<'_>, body: &str) -> Result<Step, PageError> {
        let total = items::total(answer);
        let place = self.position.items_at.as_deref().map(JsonPath::new);
        let place = self.rules.items.clone().or(place);
        let is_first = self.position.pages == 0;
        let (items_at, found) = items::find(answer, place.as_ref(), is_first && total != Some(0))?;
        let digest = items::digest(&found);
        // Where the answer says itself where the end is, equal pages are no sign of anything.
        // A total of none beside items is no total.
        let stated = total.filter(|total| *total > 0 || found.is_empty());
        let has_stated_end = stated.is_some() && is_counted(style);
        let is_same = digest.is_some() && digest == self.position.last_page;
        if self.is_other_page(style, answer) || (is_same && !has_stated_end) {
            self.position.ended = Some(Ended::Repeated);
            return Ok(Step::Nothing);
        }
        let next = self.successor(style, answer, stated, found.len())?;
        let mut items: Vec<_> = found.iter().map(|item| range_within(body, item.text())).collect();
        let lost = match (self.position.last_total, total) {
            (Some(before), Some(now)) if is_counted(style) => before.saturating_sub(now),
            (_, _) => 0,
        };
        let position = &mut self.position;
        position.style = style;
        position.items_at = items_at.or_else(|| position.items_at.take());
        position.last_page = digest;
        position.first_total = position.first_total.or(total);
        position.last_total = total.or(position.last_total);
        position.pages += 1;
        position.empty_pages = if items.is_empty() { position.empty_pages + 1 } else { 0 };
        self.go_on(next, &mut items);
        self.position.missing = self.missing();
        Ok(Step::Page { items, lost })
    }

    /// Moves to the next page, or ends.
    fn go_on(&mut self, next: Option<Next>, items: &mut Vec<Range<usize>>) {
        let (before, rules) = (self.position.items, &self.rules);
        let room = rules.max_items.map_or(u64::MAX, |most| most.saturating_sub(before));
        let is_cut = (items.len() as u64) > room;
        items.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        let position = &mut self.position;
        position.items = before + items.len() as u64;
        position.ended = match &next {
            _ if is_cut => Some(Ended::MaxItems),
            None => Some(Ended::Complete),
            Some(_) if rules.max_items.is_some_and(|most| position.items >= most) => Some(Ended::MaxItems),
            Some(_) if position.empty_pages >= rules.max_empty_pages.max(1) => Some(Ended::EmptyPages),
            Some(_) if rules.max_pages.is_some_and(|most| position.pages >= most) => Some(Ended::MaxPages),
            Some(_) => None,
        };
        if let Some(next) = next {
            let digest = items::digest_of(format!("{next:?}").as_bytes());
            if position.recent.contains(&digest) {
                position.ended = Some(Ended::Repeated);
            }
            position.recent.push_back(digest);
            while position.recent.len() > RECENT {
                position.recent.pop_front();
            }
            position.next = next;
        }
    }

    /// What follows a page; `None` if nothing does.
    fn successor(
        &self,
        style: Option<Style>,
        answer: &Answer<'_>,
        total: Option<u64>,
        count: usize,
    ) -> Result<Option<Next>, PageError> {
        let count = count as u64;
        let number = |name: &str| answer.number(name);
        let Some(style) = style else { return Ok(None) };
        Ok(match style {
            Style::Number | Style::Query => {
                let asked = self.asked_number(answer);
                let is_last = self.is_last_number(asked, answer, total, count) || self.is_all_there_is(answer, total);
                // An answer with the number at its top has it there in the body too, as Genesys Cloud's searches.
                let nested = self.first.nests_paging() && number("pageNumber").is_none();
                let next = asked.saturating_add(1);
                (!is_last).then_some(match style {
                    Style::Query => Next::BodyNumber { number: next, nested },
                    Style::Number | Style::Cursor | Style::Link | Style::Scim | Style::Job => Next::Number(next),
                })
            }
            Style::Scim => {
                let start = number("startIndex").unwrap_or_else(|| self.asked_index()).max(1);
                let next = start.saturating_add(count);
                let is_last = count == 0 || total.is_some_and(|total| next > total);
                (!is_last).then_some(Next::Index(next))
            }
            Style::Cursor => {
                style::cursor(answer).map(|(parameter, value)| Next::Cursor { parameter: parameter.to_owned(), value })
            }
            Style::Link => match style::link(answer) {
                Some(link) => {
                    let here = self.next_request()?;
                    Some(Next::Link(here.as_ref().unwrap_or(&self.first).linked(&link)?.url.into()))
                }
                None => None,
            },
            Style::Job => match &self.position.next {
                Next::Results { job, .. } => {
                    style::cursor(answer).map(|(_, cursor)| Next::Results { job: job.clone(), cursor: Some(cursor) })
                }
                Next::First
                | Next::Number(_)
                | Next::BodyNumber { .. }
                | Next::Cursor { .. }
                | Next::Link(_)
                | Next::Index(_)
                | Next::Job(_) => None,
            },
        })
    }

    /// Is the page of this number, which holds so many items, the last one?
    fn is_last_number(&self, asked: u64, answer: &Answer<'_>, total: Option<u64>, count: u64) -> bool {
        if let Some(pages) = answer.number("pageCount").filter(|pages| *pages > 0) {
            // Only the API itself can have said that its first page is page zero: then its number is that of pages before it.
            let is_from_zero = self.named_number().is_none() && asked == self.position.pages;
            return asked.saturating_add(u64::from(is_from_zero)) >= pages;
        }
        let Some(total) = total else { return count == 0 };
        let size = answer.number("pageSize").or_else(|| self.page_size()).filter(|size| *size > 0);
        // An empty page may stand between others, where nothing on it may be seen; never beyond the total.
        let is_beyond = size.is_none_or(|size| asked.saturating_mul(size) >= total);
        self.position.items.saturating_add(count) >= total || (count == 0 && is_beyond)
    }

    /// As [`Position::missing`]. The totals of cursors and links are seldom counts of what these lead to.
    fn missing(&self) -> u64 {
        let Position { style, ended, items, last_total, .. } = &self.position;
        let named = if *style == Some(Style::Scim) { self.first.number("startIndex") } else { self.named_number() };
        let is_whole = *ended == Some(Ended::Complete) && named.is_none_or(|number| number <= 1);
        let is_told = style.is_none() || is_counted(*style);
        if is_whole && is_told { last_total.unwrap_or(0).saturating_sub(*items) } else { 0 }
    }

    /// Is this the answer to a POST of which nobody said that it has pages? A second POST might make a second something.
    fn is_all_there_is(&self, answer: &Answer<'_>, total: Option<u64>) -> bool {
        let is_told = total.is_some() || ["pageCount", "pageNumber"].into_iter().any(|name| answer.get(name).is_some());
        let is_asked_for = self.rules.style.is_some() || self.first.asks_for_a_page();
        let may_have_effect = self.first.method == Method::POST && !self.rules.only_reads;
        may_have_effect && self.position.next == Next::First && !is_told && !is_asked_for
    }

    fn handle_state(&mut self, job: String, answer: &Answer<'_>) -> Result<Step, PageError> {
        let text = |name: &str| answer.text(name);
        let state = text("state").or_else(|| text("status")).unwrap_or_else(|| "unknown".to_owned());
        let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(&state));
        if is(&DONE) {
            self.position.next = Next::Results { job, cursor: None };
        } else if is(&FAILED) {
            let reason = text("errorMessage").or_else(|| text("message"));
            return Err(PageError::JobFailed { id: job, state: shown(&state), reason: reason.as_deref().map(shown) });
        }
        Ok(Step::Job(Some(shown(&state))))
    }

    /// Is this another page than the one that was asked for? Some servers answer with the last one for ever.
    fn is_other_page(&self, style: Option<Style>, answer: &Answer<'_>) -> bool {
        let told = answer.number("pageNumber");
        style == Some(Style::Number)
            && self.position.next != Next::First
            && told.is_some_and(|told| told < self.asked_number(answer))
    }

    /// The number of the page that was asked for; of a first page for which none was named, the one that it tells.
    fn asked_number(&self, answer: &Answer<'_>) -> u64 {
        if let Next::Number(number) | Next::BodyNumber { number, .. } = &self.position.next {
            return *number;
        }
        self.named_number().or_else(|| answer.number("pageNumber")).unwrap_or(1)
    }

    /// The number of the first page, if the caller names one.
    fn named_number(&self) -> Option<u64> {
        match self.first.method {
            Method::POST => self.first.body_number("pageNumber"),
            _ => self.first.number("pageNumber"),
        }
    }

    fn page_size(&self) -> Option<u64> {
        self.first.body_number("pageSize").or_else(|| self.first.number("pageSize"))
    }

    fn asked_index(&self) -> u64 {
        match &self.position.next {
            Next::Index(index) => *index,
            Next::First
            | Next::Number(_)
            | Next::BodyNumber { .. }
            | Next::Cursor { .. }
            | Next::Link(_)
            | Next::Job(_)
            | Next::Results { .. } => self.first.number("startIndex").unwrap_or(1),
        }
    }
}

/// Are its pages counted from the beginning, so that they shift when something is deleted?
fn is_counted(style: Option<Style>) -> bool {
    matches!(style, Some(Style::Number | Style::Scim | Style::Query))
}

/// A server's words for a person: in one line, and not too many.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect()
}

/// Where `part` is within `whole`, of which it is a part.
fn range_within(whole: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

const DONE: [&str; 4] = ["FULFILLED", "SUCCEEDED", "COMPLETED", "COMPLETE"];
const FAILED: [&str; 5] = ["FAILED", "CANCELLED", "CANCELED", "EXPIRED", "ERROR"];
const SHOWN: usize = 300;
/// A circle of so many pages is found at once; a longer one ends at the caller's bounds.
const RECENT: usize = 64;

#[cfg(test)]
mod tests;
