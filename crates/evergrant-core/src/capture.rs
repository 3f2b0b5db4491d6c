//! Reading captures: what was recorded of HTTP, by whatever program, and what it means.
//!
//! A person with a failed request has a piece of paper: the output of `curl -v`, a HAR from the browser, the text of an
//! exception. [`Explainer`] takes its bytes in pieces of any size and ends with an [`Explanation`]: what kind of paper
//! it was, every refused exchange with its verdict, and what the paper does not show.
//!
//! ```text
//! bytes -> reader (encoding, kind) -> message, curl, har, prose -> draft -> exchange -> ledger -> judge -> verdict
//! ```
//!
//! Three rules hold throughout. **Nothing secret survives being read**: a token becomes a [`TokenFacts`] at once, a body
//! is dropped with its draft, texts of servers are cleaned, and of a URL the host and the route template remain.
//! **Everything is bounded**: texts, bodies, lines, tokens, refusals; a capture of any size is read in a few megabytes.
//! **The capture's own times decide**, never today's: see `timing`.
//!
//! Limits: English texts; HTTP as text, so no packet captures. A body that was compressed on the wire is not unpacked.

mod credential;
mod curl;
mod draft;
mod encoding;
mod exchange;
mod explainer;
mod field;
mod har;
mod judge;
mod ledger;
mod lines;
mod literal;
mod message;
mod moment;
mod object;
mod prose;
mod reader;
mod skew;
mod start_line;
mod timing;

pub use credential::{Credential, TokenFacts, TokenMark};
pub use exchange::{Exchange, Mint, Minted};
pub use explainer::{Explainer, Explanation};
pub use judge::{Explained, Hints};
pub use moment::{parse_moment, show_moment};
pub use reader::{Kind, Unreadable};
pub use skew::CapturedSkew;
