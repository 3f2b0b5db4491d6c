//! What is said of an export at its end: a summary, warnings, and why it stopped before.

use std::path::Path;
use std::time::Duration;

use evergrant::core::time::Span;
use evergrant::pages::{Ended, Next, PageError, PagesError, Position};
use rustix::process::Signal;
use serde_json::{Value, json};
use url::Url;

use super::output::Target;
use crate::commands::api::{client, refused_with};
use crate::ending::code_of_signal;
use crate::exit;
use crate::failure::Failure;
use crate::settings::resolve::Settings;
use crate::settings::values;

/// What an export has done.
pub(super) struct Tally<'a> {
    pub(super) position: &'a Position,
    pub(super) target: &'a Target,
    pub(super) bytes: u64,
    /// Where it began, if it went on from an earlier run.
    pub(super) resumed_at: Option<u64>,
    pub(super) retried: u64,
    /// By how much the total fell.
    pub(super) deleted: u64,
    pub(super) took: Duration,
}

impl Tally<'_> {
    /// The summary for a program.
    pub(super) fn json(&self) -> Value {
        let position = self.position;
        let total = json!({"first": position.first_total, "last": position.last_total});
        json!({
            "items": position.items,
            "pages": position.pages,
            "total": total,
            "style": position.style.map(|style| style.name()),
            "ended": position.ended.map(Ended::name),
            "output": self.target.shown(),
            "bytes": self.bytes,
            "resumed_at_page": self.resumed_at,
            "retried": self.retried,
            "deleted": self.deleted,
            "missing": position.missing,
            "took_s": self.took.as_secs_f64(),
        })
    }

    /// The summary for a person.
    pub(super) fn line(&self) -> String {
        let position = self.position;
        let mut line = format!(
            "{} and {} in {}, into {}",
            counted(position.items, "item"),
            counted(position.pages, "page"),
            Span::from_millis(i64::try_from(self.took.as_millis()).unwrap_or(i64::MAX)),
            self.target.shown()
        );
        if let Some(page) = self.resumed_at {
            line.push_str(&format!("; went on after page {page}"));
        }
        if self.retried > 0 {
            line.push_str(&format!("; {} sent again", counted(self.retried, "request")));
        }
        line
    }
}

/// What a person should know of an export that ended in this way.
pub(super) fn ended(position: &Position) -> Option<Failure> {
    let failure = |what: &str| Failure::new(exit::OK, what);
    match position.ended? {
        Ended::Complete | Ended::MaxPages | Ended::MaxItems => None,
        Ended::EmptyPages => Some(
            failure("the API names a next page for ever")
                .because("several pages in a row were empty, which was taken for the end")
                .hint("if items are missing, allow more with --max-empty-pages"),
        ),
        Ended::Repeated => Some(
            failure("the API names a page as the next one that was read already")
                .because("this was taken for the end; nothing was written twice")
                .hint("if items are missing, choose the way of paging with --style"),
        ),
    }
}

/// What a person should know when the collection shrinks while it is read.
pub(super) fn shrunk(lost: u64, position: &Position) -> Failure {
    Failure::new(exit::OK, format!("{} deleted during the export", counted_were(lost)))
        .because(format!(
            "the total fell to {} at page {}; what moved to a page already read is missing",
            position.last_total.unwrap_or_default(),
            position.pages
        ))
        .hint("export again when nothing is deleted, or sort so that what is deleted comes last")
}

/// What a person should know of a collection that has fewer items than it says.
pub(super) fn missing(position: &Position) -> Option<Failure> {
    let total = position.last_total.filter(|_| position.missing > 0)?;
    let failure =
        Failure::new(exit::OK, format!("the API counts {}, and {} came", counted(total, "item"), position.items))
            .because("it names no further page, so this was taken for the end");
    Some(match position.style {
        Some(_) => failure.hint("some may be hidden from this client; compare an export with smaller pages"),
        None => failure.hint("if it has more pages, say how they are asked for with --style, as --style number"),
    })
}

/// Fields that a CSV does not show.
pub(super) fn unshown(fields: &[&str]) -> Option<Failure> {
    (!fields.is_empty()).then(|| {
        Failure::new(exit::OK, "some items have fields that the first one had not")
            .because(format!("no column shows {}", one_line(&fields.join(", "))))
            .hint("name the columns, as --csv id,name")
    })
}

/// Why an export stopped, how far it got, and how to go on.
pub(super) struct Stopped<'a> {
    pub(super) place: &'a str,
    pub(super) url: &'a Url,
    pub(super) settings: &'a Settings,
    pub(super) has_resume_file: bool,
}

impl Stopped<'_> {
    /// A failure that ended it.
    pub(super) fn by_failure(&self, error: PagesError, position: &Position, target: &Target) -> Failure {
        // A job that failed has no results, however often it is asked for them.
        let is_over = matches!(&error, PagesError::Page { error: PageError::JobFailed { .. }, .. });
        let failure = self.cause(error);
        if is_over { failure } else { self.how_to_go_on(failure, position, target) }
    }

    /// A signal that ended it. The exit code is the one that a shell reports for a program without a handler.
    pub(super) fn by_signal(&self, signal: Signal, position: &Position, target: &Target) -> Failure {
        let name = match signal {
            Signal::HUP => "SIGHUP",
            Signal::QUIT => "SIGQUIT",
            Signal::TERM => "SIGTERM",
            _ => "SIGINT",
        };
        let failure = Failure::new(code_of_signal(signal), format!("{name} stopped the export")).at(self.place);
        self.how_to_go_on(failure, position, target)
    }

    fn how_to_go_on(&self, failure: Failure, position: &Position, target: &Target) -> Failure {
        let far = format!(
            "so far {} of {} are in {}",
            counted(position.items, "item"),
            counted(position.pages, "page"),
            target.shown()
        );
        let failure = if position.pages > 0 { failure.because(far) } else { failure };
        match &position.next {
            _ if position.in_doubt => {
                let failure = failure.because("the POST may have been executed, so it was not sent again");
                failure.hint(
                    "look whether it was; --retry-post sends it again after any failure, where it does nothing but read",
                )
            }
            Next::First => failure,
            _ if self.has_resume_file => failure.hint("the same command goes on from there"),
            Next::Number(number) => failure.hint(format!(
                "go on with pageNumber={number} in the query; with --resume FILE the same command would go on by itself"
            )),
            Next::Job(job) | Next::Results { job, .. } => failure.hint(format!(
                "the job goes on: read {}/{}/results with GET and --paginate; --resume FILE remembers it",
                self.url.path(),
                one_line(job)
            )),
            Next::BodyNumber { .. } | Next::Cursor { .. } | Next::Link(_) | Next::Index(_) => {
                failure.hint("start again with --resume FILE: then the same command goes on from where it stopped")
            }
        }
    }

    /// The failure alone.
    pub(super) fn cause(&self, error: PagesError) -> Failure {
        let failure = |code, what: &str| Failure::new(code, what).at(self.place);
        match &error {
            PagesError::Unanswered { error, tries, .. } => {
                let failure = client::unanswered(error, self.url, self.settings);
                if *tries > 1 { failure.because(format!("it was tried {tries} times")) } else { failure }
            }
            PagesError::Status { status, verdict, body, tries, .. } => {
                let failure = refused_with(*status, verdict.as_deref(), body.as_bytes(), self.place);
                if *tries > 1 { failure.because(format!("it was tried {tries} times")) } else { failure }
            }
            PagesError::Page { error: wrong, media_type, .. } => {
                let failure = failure(exit::NO_PAGE, "the answer is no page").because(&error);
                match (wrong, media_type) {
                    (PageError::NotJson { .. }, Some(media_type)) => failure
                        .because(format!(
                            "it is {}",
                            media_type.chars().filter(|c| !c.is_control()).collect::<String>()
                        ))
                        .hint("look at it with the same command without --paginate"),
                    (PageError::NotJson { .. }, None) => {
                        failure.hint("look at it with the same command without --paginate")
                    }
                    (PageError::NoItems { .. } | PageError::NotAList { .. }, _) => {
                        failure.hint("say where they are with --items, as --items data.users")
                    }
                    (PageError::ForeignLink { .. } | PageError::BadLink, _) => {
                        failure.hint("the token stays at the upstream; another --style may need no link")
                    }
                    (PageError::NoJob, _) => failure.hint("leave --style job out if this POST makes none"),
                    (PageError::JobFailed { .. }, _) => failure.hint("change the request and begin a new export"),
                }
            }
            PagesError::InDoubt => failure(exit::FAILED, "the POST is not sent again").because(&error),
            PagesError::TooLarge { .. } => {
                failure(exit::NO_PAGE, "a page is too large").because(&error).hint("ask for smaller pages")
            }
            PagesError::JobUnfinished { .. } => {
                failure(exit::UNREACHABLE, "the job is not done").because(&error).hint("wait longer with --job-wait")
            }
            PagesError::Method(_) | PagesError::StyleOfMethod { .. } => {
                failure(exit::USAGE, "this request is not paged").because(&error)
            }
            PagesError::Body => failure(exit::USAGE, "the body cannot be paged").at("--data").because(&error),
            PagesError::Item { .. } => failure(exit::INTERNAL, "an item cannot be read").because(&error),
        }
    }
}

/// Why an export that was stopped while its POST was under way does not begin again.
pub(super) fn in_doubt(place: &str, resume: &Path) -> Failure {
    Failure::new(exit::FAILED, "an earlier run sent this POST, and its answer is not known")
        .at(place)
        .because("it may have been executed, so it is not sent again")
        .because(format!("{} was written before it was sent", resume.display()))
        .hint("look whether it was; then remove the resume file, or say --retry-post if it does nothing but read")
}

/// Where the export's requests go, for a person.
pub(super) fn place(method: &http::Method, url: &Url) -> String {
    format!("{method} {}", values::shown(url))
}

/// What an API named, for a person: it must not look like a line of ours.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn counted(count: u64, noun: &str) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} {noun}{}", if count == 1 { "" } else { "s" })
}

fn counted_were(count: u64) -> String {
    format!("{} {}", counted(count, "item"), if count == 1 { "was" } else { "were" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_named_without_its_control_characters() {
        let said = unshown(&["a\u{1b}[2J", "b\nhint: c", "d\u{9b}"]).unwrap().plain();
        assert!(said.contains("no column shows a [2J, b hint: c, d \n"), "{said}");
    }

    #[test]
    fn counts_are_read_at_a_glance() {
        assert_eq!(counted(1, "page"), "1 page");
        assert_eq!(counted(999, "item"), "999 items");
        assert_eq!(counted(1_234_567, "item"), "1,234,567 items");
        assert_eq!(counted_were(1), "1 item was");
    }
}
