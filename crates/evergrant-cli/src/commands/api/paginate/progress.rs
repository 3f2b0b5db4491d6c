//! What a person sees while pages are read: how many items, how fast, and how long it still takes.
//!
//! Nothing is shown in pipes, nor where the items themselves go to the terminal.

use std::fmt;
use std::io::IsTerminal as _;
use std::time::Duration;

use evergrant::core::time::Span;
use evergrant::pages::Position;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// The progress on standard error.
pub(super) struct Screen {
    bar: ProgressBar,
}

impl Screen {
    /// A screen for an export that stands there, live if a person is looking.
    pub(super) fn new(output_is_terminal: bool, position: &Position) -> Self {
        let is_live = std::io::stderr().is_terminal() && !output_is_terminal;
        let bar = if is_live { ProgressBar::no_length() } else { ProgressBar::hidden() };
        bar.enable_steady_tick(Duration::from_millis(200));
        // What an earlier run read says nothing of how fast this one is.
        let bar = bar.with_position(position.items);
        bar.reset_eta();
        let screen = Self { bar };
        screen.show(position);
        screen
    }

    /// Shows where the export stands.
    pub(super) fn show(&self, position: &Position) {
        if self.bar.is_hidden() {
            return;
        }
        match position.last_total {
            Some(total) => self.bar.set_length(total.max(position.items)),
            None => self.bar.unset_length(),
        }
        self.bar.set_style(style(position.last_total.is_some()));
        self.bar.set_position(position.items);
        self.bar.set_message(format!("page {}", position.pages));
    }

    /// Says that a page did not come.
    pub(super) fn wait(&self, why: &str, wait: Span) {
        self.bar.set_message(format!("{why}, again in {wait}"));
    }

    /// Says how a job is.
    pub(super) fn job(&self, state: Option<&str>) {
        self.bar
            .set_message(state.map_or_else(|| "the job was made".to_owned(), |state| format!("the job is {state}")));
    }

    /// Leaves the terminal as it was found.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(has_total: bool) -> ProgressStyle {
    let template = if has_total {
        "  {bar:30} {human_pos}/{human_len} items, {rate}, {eta} left, {wide_msg}"
    } else {
        "  {spinner} {human_pos} items, {rate}, {elapsed}, {wide_msg}"
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("rate", |state: &ProgressState, text: &mut dyn fmt::Write| {
        // A bar that cannot be written to shows nothing anyway.
        let _ = write!(text, "{:.0} a second", state.per_sec());
    })
}
