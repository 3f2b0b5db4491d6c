//! Why an export cannot go on.

use std::fmt;

use evergrant_core::time::Span;
use evergrant_core::verdict::Verdict;
use http::{Method, StatusCode};

use crate::client::ClientError;

/// What is wrong with an answer that should have been a page.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PageError {
    /// It is no JSON.
    #[error("the answer is no JSON: line {line}, column {column}")]
    NotJson {
        /// Where in the body.
        line: usize,
        /// Where in the line.
        column: usize,
    },
    /// None of its fields is known to hold the items.
    #[error("no list of items is found in the answer; its fields are {}", shown(fields))]
    NoItems {
        /// The names of its fields.
        fields: Vec<String>,
    },
    /// There is something else where the items should be, or nothing.
    #[error("there is no list at `{path}` of the answer; its fields are {}", shown(fields))]
    NotAList {
        /// Where the items should be, as a JSON pointer.
        path: String,
        /// The names of the answer's fields.
        fields: Vec<String>,
    },
    /// The next page's address leads to another origin.
    #[error("the next page is said to be at {asked}, and the token is for {own} alone")]
    ForeignLink {
        /// Where it leads.
        asked: String,
        /// Where the pages came from.
        own: String,
    },
    /// The next page's address cannot be read.
    #[error("the address of the next page cannot be read")]
    BadLink,
    /// The answer to the creation of a job names none.
    #[error("the answer names no job")]
    NoJob,
    /// A job ended without results.
    #[error("the job {} ended as {state}{}", one_line(id), reason.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    JobFailed {
        /// The job.
        id: String,
        /// Its state in the API's word.
        state: String,
        /// What the API says about it.
        reason: Option<String>,
    },
}

/// Why an export stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// Only GET and POST are paged.
    #[error("{0} is not paged: collections are read with GET, queries and jobs with POST")]
    Method(Method),
    /// The body of a POST is to be changed from page to page, so it must be an object.
    #[error("the body of a paged POST must be a JSON object")]
    Body,
    /// The style is not one of this method.
    #[error("the style {style} is for {expected}, not for {method}")]
    StyleOfMethod {
        /// The style asked for.
        style: super::Style,
        /// Its method.
        expected: Method,
        /// The method asked for.
        method: Method,
    },
    /// No answer came, after as many tries as make sense.
    #[error("{error}")]
    Unanswered {
        /// The last failure.
        error: ClientError,
        /// How often it was tried.
        tries: u32,
        /// May the request have been executed, so that it was not sent again?
        in_doubt: bool,
    },
    /// An answer with an error status, after as many tries as make sense.
    #[error("the API answered {status}")]
    Status {
        /// The status.
        status: StatusCode,
        /// What a refusal means.
        verdict: Option<Box<Verdict>>,
        /// The beginning of the answer's body.
        body: ErrorBody,
        /// How often it was tried.
        tries: u32,
        /// May the request have been executed, so that it was not sent again?
        in_doubt: bool,
    },
    /// The next request was sent before, its answer is not known, and it must not be sent twice. Nothing was sent now.
    #[error("this request was sent before and may have been executed; it is not sent again")]
    InDoubt,
    /// A page is longer than what is held in memory.
    #[error("a page has more than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
        /// Was it the answer to a request that must not be sent twice?
        in_doubt: bool,
    },
    /// An answer is no page, or leads nowhere.
    #[error("{error}")]
    Page {
        /// What is wrong with it.
        error: PageError,
        /// The media type that the answer claims.
        media_type: Option<String>,
        /// Was it the answer to a request that must not be sent twice?
        in_doubt: bool,
    },
    /// A job was not done in time. It goes on without us.
    #[error("the job {} was not done within {waited}", one_line(id))]
    JobUnfinished {
        /// The job.
        id: String,
        /// How long it was waited for.
        waited: Span,
    },
    /// An item is of another form than the caller's type. The error holds nothing of it.
    #[error("item {number} of the page is of another form: line {line}, column {column} of it")]
    Item {
        /// Which of the page, from 1.
        number: usize,
        /// Where in the item.
        line: usize,
        /// Where in the line.
        column: usize,
    },
}

/// The beginning of the body of an answer with an error status.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ErrorBody(pub(super) Vec<u8>);

impl ErrorBody {
    /// The bytes as they came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ErrorBody {
    /// Without its content, which may be anybody's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorBody({} bytes)", self.0.len())
    }
}

impl PagesError {
    /// May the last request have been executed although it brought no page, so that it must not be sent again? Until the
    /// caller says that it only reads, [`Pages`](super::Pages) does not send it again either.
    #[must_use]
    pub const fn is_in_doubt(&self) -> bool {
        match self {
            Self::InDoubt => true,
            Self::Unanswered { in_doubt, .. }
            | Self::Status { in_doubt, .. }
            | Self::TooLarge { in_doubt, .. }
            | Self::Page { in_doubt, .. } => *in_doubt,
            Self::Method(_)
            | Self::Body
            | Self::StyleOfMethod { .. }
            | Self::JobUnfinished { .. }
            | Self::Item { .. } => false,
        }
    }
}

/// Names for a message: not more than a person reads, and cut where a name is long.
fn shown(fields: &[String]) -> String {
    let mut names: Vec<String> = fields.iter().take(SHOWN_FIELDS).map(|name| one_line(name)).collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    if fields.len() > SHOWN_FIELDS {
        names.push("...".to_owned());
    }
    names.join(", ")
}

/// A name that an API made up, for a message.
fn one_line(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(SHOWN_NAME).collect()
}

const SHOWN_FIELDS: usize = 12;
const SHOWN_NAME: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_api_named_writes_nowhere_else_on_a_terminal() {
        let id = || "a\u{1b}[2J\n\u{9b}b".to_owned();
        let failed = PageError::JobFailed { id: id(), state: "FAILED".to_owned(), reason: None };
        assert_eq!(failed.to_string(), "the job a[2Jb ended as FAILED");
        let unfinished = PagesError::JobUnfinished { id: id(), waited: Span::from_secs(1) };
        assert_eq!(unfinished.to_string(), "the job a[2Jb was not done within 1.0 s");
    }
}
