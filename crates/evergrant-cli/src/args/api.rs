//! `evergrant api`.

use std::path::PathBuf;

use clap::Args;
use evergrant::pages::Style;
use evergrant_core::time::Span;

use super::span;
use crate::settings::flags::Flags;

/// `evergrant api`.
#[derive(Args, Debug)]
pub(crate) struct ApiArgs {
    /// The request method
    pub(crate) method: String,
    /// The path below the upstream, or a URL of the upstream
    pub(crate) path: String,
    /// The body: text, @FILE, or - for standard input; without it there is none
    #[arg(long, short, value_name = "BODY", allow_hyphen_values = true)]
    pub(crate) data: Option<String>,
    /// A request header, as 'Name: value'; may be repeated
    #[arg(long, short = 'H', value_name = "HEADER")]
    pub(crate) header: Vec<String>,
    /// Print a JSON object with the status, the headers and the body; with --paginate, about the export
    #[arg(long)]
    pub(crate) json: bool,
    /// Pages.
    #[command(flatten)]
    pub(crate) pages: PagesArgs,
    /// Settings.
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// What belongs to `--paginate`.
#[derive(Args, Debug)]
pub(crate) struct PagesArgs {
    /// Read all pages of a collection and print its items, one JSON value a line
    #[arg(long)]
    pub(crate) paginate: bool,
    /// Write the items to this file instead of standard output
    #[arg(long, short, value_name = "FILE", requires = "paginate")]
    pub(crate) output: Option<PathBuf>,
    /// Keep in this file how far the export is, and go on from there if it exists
    #[arg(long, value_name = "FILE", requires = "paginate")]
    pub(crate) resume: Option<PathBuf>,
    /// Print items as CSV with these columns, as id,division.name; without them those of the first item
    #[arg(long, value_name = "COLUMNS", num_args = 0..=1, default_missing_value = "", requires = "paginate")]
    pub(crate) csv: Option<String>,
    /// Print items as '{id} {division.name}'
    #[arg(long, value_name = "TEXT", requires = "paginate", conflicts_with = "csv", allow_hyphen_values = true)]
    pub(crate) template: Option<String>,
    /// How the collection is paged, if the first page shall not show it: number, cursor, link, scim, query or job
    #[arg(long, value_name = "STYLE", requires = "paginate")]
    pub(crate) style: Option<Style>,
    /// Where the items are in an answer, if not at a place that is known, as data.users or /data/users
    #[arg(long, value_name = "PATH", requires = "paginate")]
    pub(crate) items: Option<String>,
    /// Stop after so many pages
    #[arg(long, value_name = "N", requires = "paginate")]
    pub(crate) max_pages: Option<u64>,
    /// Stop after so many items
    #[arg(long, value_name = "N", requires = "paginate")]
    pub(crate) max_items: Option<u64>,
    /// Take so many empty pages in a row for the end; 3 if not given
    #[arg(long, value_name = "N", requires = "paginate", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_empty_pages: Option<u32>,
    /// Say that the POST only reads, so that it may be sent again after a lost answer
    #[arg(long, requires = "paginate")]
    pub(crate) retry_post: bool,
    /// How long to wait for a job, as 2h; 1h if not given
    #[arg(long, value_name = "DURATION", value_parser = span, requires = "paginate")]
    pub(crate) job_wait: Option<Span>,
}
