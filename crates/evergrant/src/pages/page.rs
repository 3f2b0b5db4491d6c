//! What a reader gets: a page as it arrived, and the items of all pages one by one.
//!
//! A page stays the text that it was; its items are places in it. Nothing of either is in debug output.

use std::fmt;
use std::ops::Range;

use serde::de::DeserializeOwned;

use super::error::PagesError;
use super::reader::Pages;
use super::text::Json;

/// One page, as it arrived.
pub struct Page {
    pub(super) body: String,
    pub(super) items: Vec<Range<usize>>,
    pub(super) number: u64,
    pub(super) lost: u64,
}

impl fmt::Debug for Page {
    /// Without its content, which may be anybody's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({}, {} items, {} bytes)", self.number, self.items.len(), self.body.len())
    }
}

impl Page {
    /// Its items, as they were written.
    pub fn items(&self) -> impl ExactSizeIterator<Item = Json<'_>> {
        self.items.iter().map(|range| Json::within(&self.body, range.clone()))
    }

    /// Its items, each as a `T`.
    ///
    /// # Errors
    /// When one is of another form; the error says which and holds nothing of it.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Vec<T>, PagesError> {
        let read = |(index, item): (usize, Json<'_>)| {
            let (number, of) = (index + 1, item.read());
            of.map_err(|error| PagesError::Item { number, line: error.line(), column: error.column() })
        };
        self.items().enumerate().map(read).collect()
    }

    /// Which page it is, from 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// By how much the total fell since the page before: so many items were deleted, and as many may have been missed.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The whole answer.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.body
    }
}

/// The items of a collection, one after the other.
pub struct Items<T> {
    pub(super) pages: Pages,
    pub(super) items: std::vec::IntoIter<T>,
}

impl<T> fmt::Debug for Items<T> {
    /// Without the items.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").field("pages", &self.pages).finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned> Items<T> {
    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// As [`Pages::next`], and when an item is of another form than `T`.
    pub async fn next(&mut self) -> Result<Option<T>, PagesError> {
        loop {
            if let Some(item) = self.items.next() {
                return Ok(Some(item));
            }
            let Some(page) = self.pages.next().await? else { return Ok(None) };
            self.items = page.read()?.into_iter();
        }
    }

    /// The pages that they come from.
    #[must_use]
    pub fn pages(&self) -> &Pages {
        &self.pages
    }
}
