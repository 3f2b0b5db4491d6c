//! What a person reads when something went wrong.
//!
//! Every failure answers four questions, one a line: what failed, where, why, and what to do next. It carries the exit
//! code and never a secret. A settings file adds an excerpt that points at the place. Control characters are left out: what
//! a file or a server says must not be able to write elsewhere on the terminal.
//!
//! ```text
//! error: the region is not known
//!   in: EVERGRANT_REGION
//!   cause: `eu-central-9` is none of the Genesys Cloud regions, nor one of their domains
//! hint: did you mean `eu-central-1`?
//! ```

use std::borrow::Cow;
use std::fmt;

use anstyle::{AnsiColor, Style};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// A failure, or a warning, as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    /// The exit code of a run that ends with it.
    pub(crate) code: u8,
    /// What failed.
    pub(crate) what: String,
    /// The flag, variable, file position, URL or path that it is about.
    pub(crate) place: Option<String>,
    /// Why, the outermost reason first.
    pub(crate) causes: Vec<String>,
    /// An excerpt of a file, already rendered.
    pub(crate) excerpt: Option<Box<str>>,
    /// What to do next.
    pub(crate) hints: Vec<String>,
}

impl Failure {
    /// A failure that ends the run with this code.
    pub(crate) fn new(code: u8, what: impl Into<String>) -> Self {
        Self { code, what: what.into(), place: None, causes: Vec::new(), excerpt: None, hints: Vec::new() }
    }

    /// Says where.
    #[must_use]
    pub(crate) fn at(mut self, place: impl fmt::Display) -> Self {
        self.place = Some(place.to_string());
        self
    }

    /// Says why.
    #[must_use]
    pub(crate) fn because(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }

    /// Says what to do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Prints it to standard error as what ended the run.
    pub(crate) fn print(&self) {
        anstream::eprint!("{}", self.render("error", ERROR));
    }

    /// Prints it to standard error as something that the run goes on despite.
    pub(crate) fn print_warning(&self) {
        anstream::eprint!("{}", self.render("warning", WARNING));
    }

    /// All of it in one line, for a log or a status page.
    pub(crate) fn line(&self) -> String {
        let place = self.place.iter().map(|place| format!("{place}: "));
        let causes = self.causes.iter().map(|cause| format!(": {cause}"));
        let hint = self.hints.first().map(|hint| format!(" ({hint})"));
        place.chain([self.what.clone()]).chain(causes).chain(hint).collect()
    }

    /// The text without colours.
    #[cfg(test)]
    pub(crate) fn plain(&self) -> String {
        anstream::adapter::strip_str(&self.render("error", ERROR)).to_string()
    }

    fn render(&self, label: &str, style: Style) -> String {
        let mut text = format!("{style}{label}:{style:#} {}\n", shown(&self.what));
        if let Some(place) = &self.place {
            text.push_str(&format!("  in: {}\n", shown(place)));
        }
        for cause in &self.causes {
            text.push_str(&format!("  cause: {}\n", shown(cause)));
        }
        if let Some(excerpt) = &self.excerpt {
            text.push_str(excerpt);
        }
        for hint in &self.hints {
            text.push_str(&format!("{HINT}hint:{HINT:#} {}\n", shown(hint)));
        }
        text
    }
}

fn shown(text: &str) -> Cow<'_, str> {
    let moves_the_cursor = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    match text.contains(moves_the_cursor) {
        true => Cow::Owned(text.replace(moves_the_cursor, "")),
        false => Cow::Borrowed(text),
    }
}

/// Everything that ended a run, in the order in which it is shown; the first decides the exit code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failures(pub(crate) Vec<Failure>);

impl Failures {
    /// Prints all and returns the exit code.
    pub(crate) fn print(&self) -> u8 {
        for failure in &self.0 {
            failure.print();
        }
        self.0.first().map_or(crate::exit::INTERNAL, |failure| failure.code)
    }
}

impl From<Failure> for Failures {
    fn from(failure: Failure) -> Self {
        Self(vec![failure])
    }
}

/// The name in `known` that is most like `given`, if one is like it at all.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}
