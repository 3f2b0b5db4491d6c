//! What a person sees while the checks run: a spinner for each that is under way, a line for each that has ended.
//!
//! Without a terminal nothing is shown: the report that follows says everything.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use evergrant::doctor::{Name, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text;

/// The progress on standard error.
pub(super) struct Screen {
    live: Option<Live>,
}

struct Live {
    all: MultiProgress,
    running: Mutex<BTreeMap<Name, ProgressBar>>,
}

impl Screen {
    /// A screen, live if a person is looking.
    pub(super) fn new() -> Self {
        let live = std::io::stderr().is_terminal().then(|| Live {
            all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)),
            running: Mutex::default(),
        });
        Self { live }
    }

    /// Shows one step.
    pub(super) fn show(&self, progress: Progress<'_>) {
        let Some(live) = &self.live else { return };
        let mut running = live.running.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Progress::Began(name) => {
                let spinner = live.all.add(ProgressBar::new_spinner().with_message(name.title()));
                // A template without placeholders for numbers cannot be wrong; the default would do as well.
                let style = ProgressStyle::with_template("  {spinner} {msg}");
                spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                spinner.enable_steady_tick(Duration::from_millis(120));
                running.insert(name, spinner);
            }
            Progress::Ended(check) => {
                if let Some(spinner) = running.remove(&check.name) {
                    spinner.finish_and_clear();
                    live.all.remove(&spinner);
                }
                // A line that cannot be shown is in the report all the same.
                let _ = live.all.println(text::progress_line(check));
            }
        }
    }

    /// Leaves the terminal as it was found, below the lines.
    pub(super) fn end(&self) {
        if let Some(live) = &self.live {
            // Nothing is left to lose.
            let _ = live.all.clear();
        }
    }
}
