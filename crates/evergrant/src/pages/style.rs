//! How a collection is read page by page.
//!
//! | style | what the answer says | where the next page is asked for |
//! |---|---|---|
//! | number | `pageNumber`, `pageCount` or `total` | `pageNumber` of the query |
//! | cursor | `cursor`, `cursors.after`, `nextCursor` | `cursor` or `after` of the query |
//! | link | `nextUri`, `next`, `@odata.nextLink` | the link itself |
//! | scim | `startIndex`, `totalResults`, `Resources` | `startIndex` of the query |
//! | query | a list, `totalHits` or `pageCount` | `paging.pageNumber` of the POST's body |
//! | job | `jobId`, or `id` and `state` | the results of the job, by cursor |
//!
//! The first page shows the style. Page numbers come before links where an answer has both: their end is stated, and
//! links of some routes have none.
//!
//! Source: the models of Genesys Cloud's SDKs; RFC 7644 section 3.4.2.4.

use std::fmt;
use std::str::FromStr;

use http::Method;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::text::{Json, JsonPath};

/// A way to page through a collection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// Numbered pages.
    Number,
    /// A cursor of the answer goes into the next query.
    Cursor,
    /// The answer holds the next page's address.
    Link,
    /// SCIM's `startIndex`.
    Scim,
    /// A POST whose body holds the number of the page.
    Query,
    /// A POST that makes a job, whose results come later.
    Job,
}

impl Style {
    /// All styles.
    pub const ALL: [Self; 6] = [Self::Number, Self::Cursor, Self::Link, Self::Scim, Self::Query, Self::Job];

    /// Its name on the command line and in a resume file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Cursor => "cursor",
            Self::Link => "link",
            Self::Scim => "scim",
            Self::Query => "query",
            Self::Job => "job",
        }
    }

    /// The method of its first request.
    #[must_use]
    pub const fn method(self) -> Method {
        match self {
            Self::Number | Self::Cursor | Self::Link | Self::Scim => Method::GET,
            Self::Query | Self::Job => Method::POST,
        }
    }

    /// What the first answer shows; `None` if nothing in it speaks of more pages.
    pub(super) fn of(method: &Method, page: &Answer<'_>) -> Option<Self> {
        let says = |name: &str| page.get(name);
        if method == Method::POST {
            return Some(if job_id(page).is_some() { Self::Job } else { Self::Query });
        }
        if says("Resources").is_some() || (says("totalResults").is_some() && says("startIndex").is_some()) {
            return Some(Self::Scim);
        }
        // A count of none beside a cursor or a link is no count: some routes with these leave it at zero.
        let counts = |name: &str| page.number(name).is_some_and(|count| count > 0);
        if says("pageNumber").is_some() && (counts("pageCount") || counts("total")) {
            return Some(Self::Number);
        }
        if cursor(page).is_some() {
            return Some(Self::Cursor);
        }
        if link(page).is_some() {
            return Some(Self::Link);
        }
        says("pageNumber").map(|_| Self::Number)
    }
}

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Style {
    type Err = UnknownStyle;

    fn from_str(text: &str) -> Result<Self, UnknownStyle> {
        Self::ALL.into_iter().find(|style| style.name() == text).ok_or(UnknownStyle)
    }
}

/// No style has this name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no style of paging has this name; there are number, cursor, link, scim, query and job")]
pub struct UnknownStyle;

/// The cursor of an answer, and the parameter of the query that takes it.
pub(super) fn cursor(page: &Answer<'_>) -> Option<(&'static str, String)> {
    CURSORS.into_iter().find_map(|(path, parameter)| {
        let value = page.at(&JsonPath::new(path))?;
        // A number serves as well as a text; the empty text is the end.
        let text = value.as_text().or_else(|| value.as_number().map(|number| number.to_string()))?;
        (!text.is_empty()).then_some((parameter, text))
    })
}

/// The address of the next page in an answer.
pub(super) fn link(page: &Answer<'_>) -> Option<String> {
    let text = |path: &str| page.at(&JsonPath::new(path)).and_then(Json::as_text);
    LINKS.into_iter().find_map(|path| text(path).filter(|text| !text.is_empty()))
}

/// The id of the job that an answer says was made. An answer that holds a list is a page.
pub(super) fn job_id(page: &Answer<'_>) -> Option<String> {
    page.text("jobId").or_else(|| page.text("state").and_then(|_| page.text("id")).filter(|_| page.lists().is_empty()))
}

const CURSORS: [(&str, &str); 5] = [
    ("cursor", "cursor"),
    ("cursors.after", "after"),
    ("after", "after"),
    ("nextCursor", "cursor"),
    ("next_cursor", "cursor"),
];

const LINKS: [&str; 5] = ["nextUri", "next", "/@odata.nextLink", "links.next", "_links.next.href"];

#[cfg(test)]
mod tests {
    use super::*;

    fn style(page: &str) -> Option<Style> {
        Style::of(&Method::GET, &Answer::parse(page).unwrap())
    }

    #[test]
    fn the_first_page_shows_the_style() {
        let numbered = r#"{"entities":[],"pageNumber":1,"pageCount":3,"total":60,"nextUri":"/x?pageNumber=2"}"#;
        for (page, expected) in [
            (numbered, Some(Style::Number)),
            (r#"{"entities":[],"cursor":"abc"}"#, Some(Style::Cursor)),
            (r#"{"entities":[],"cursors":{"after":"abc"}}"#, Some(Style::Cursor)),
            (r#"{"entities":[],"nextUri":"/x?after=2","pageSize":25}"#, Some(Style::Link)),
            (r#"{"entities":[1],"pageNumber":1,"pageCount":0,"total":0,"nextUri":"/x?after=2"}"#, Some(Style::Link)),
            (r#"{"entities":[],"pageNumber":1,"pageCount":0,"total":0}"#, Some(Style::Number)),
            (r#"{"totalResults":2,"startIndex":1}"#, Some(Style::Scim)),
            (r#"{"value":[],"@odata.nextLink":"https://x/y"}"#, Some(Style::Link)),
            (r#"{"entities":[],"cursor":null,"nextUri":""}"#, None),
            ("[1,2]", None),
        ] {
            assert_eq!(style(page), expected, "{page}");
        }
    }

    #[test]
    fn a_post_is_a_query_unless_it_made_a_job() {
        for (page, expected) in [
            (r#"{"conversations":[],"totalHits":3}"#, Style::Query),
            (r#"{"jobId":"a"}"#, Style::Job),
            (r#"{"id":"a","state":"Queued"}"#, Style::Job),
            (r#"{"id":"a","state":"x","entities":[]}"#, Style::Query),
        ] {
            assert_eq!(Style::of(&Method::POST, &Answer::parse(page).unwrap()), Some(expected), "{page}");
        }
    }

    #[test]
    fn every_style_is_read_by_its_name() {
        for style in Style::ALL {
            assert_eq!(style.name().parse(), Ok(style));
        }
        assert_eq!("page".parse::<Style>(), Err(UnknownStyle));
    }
}
