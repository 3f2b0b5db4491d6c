//! Collections that are longer than one answer.
//!
//! An export of many pages lives longer than a token, meets rate limits and servers in trouble, and is stopped in the
//! middle. [`Client::pages`](crate::Client::pages) reads one whatever the API's way of paging is ([`Style`]): tokens that
//! die are the client's business, a page that does not come is asked for again where that is safe ([`Retries`]), and
//! [`Pages::position`] is all that another process needs to go on.
//!
//! ```no_run
//! # async fn run(client: evergrant::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use evergrant::reqwest::Method;
//!
//! #[derive(serde::Deserialize)]
//! struct User {
//!     id: String,
//!     name: String,
//! }
//!
//! let mut users = client.pages(Method::GET, "/api/v2/users?pageSize=100").read()?.items::<User>();
//! while let Some(user) = users.next().await? {
//!     println!("{} {}", user.id, user.name);
//! }
//! # Ok(()) }
//! ```
//!
//! Items can be had as they were written ([`Json`]), digit for digit. One page is in memory at a time.
//!
//! What must not happen twice does not: a POST that may have been executed is not sent again unless it is known to only
//! read, or the caller says so ([`PagesBuilder::repeats_post`]), whether a call failed, was dropped, or another process
//! goes on ([`Position::in_doubt`]). The id of a job is in the position as soon as it is known.
//!
//! The walk from page to page is pure ([`Walk`]); [`Pages`] sends and waits.

mod answer;
mod error;
mod items;
mod page;
mod reader;
mod request;
mod retry;
mod style;
mod text;
mod walk;

pub use error::{ErrorBody, PageError, PagesError};
pub use page::{Items, Page};
pub use reader::{Pages, PagesBuilder, Progress};
pub use request::PageRequest;
pub use retry::Retries;
pub use style::{Style, UnknownStyle};
pub use text::{Json, JsonPath};
pub use walk::{Ended, Next, Position, Rules, Step, Walk};
