//! The terminal while a clock is watched.
//!
//! The picture is drawn on the terminal's second page, which leaves what stood there untouched: when the watch ends, in
//! whatever way a program can notice, the old page is back with the last result below it.

use std::io::{IsTerminal as _, Write as _};

use evergrant::offset::{MeterEvent, Picture, Quality};
use evergrant_core::time::{Boot, Now};

use super::plot::{self, Moment};
use super::report;

/// The second page of a terminal; dropping it brings the first one back.
pub(super) struct Screen {
    moments: Vec<Moment>,
    events: Vec<(Boot, String)>,
}

impl Screen {
    /// Opens the page, if standard output is a terminal that has one.
    pub(super) fn open() -> Option<Self> {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        if is_dumb || !std::io::stdout().is_terminal() {
            return None;
        }
        let screen = Self { moments: Vec::new(), events: Vec::new() };
        screen.enter();
        Some(screen)
    }

    /// Shows the page again, after a pause of this program.
    pub(super) fn enter(&self) {
        put("\x1b[?1049h\x1b[?25l");
    }

    /// Leaves the page.
    pub(super) fn leave(&self) {
        put("\x1b[?25h\x1b[?1049l");
    }

    /// Takes one more moment into the picture.
    pub(super) fn add(&mut self, picture: &Picture, events: &[(Now, MeterEvent)]) {
        if self.moments.len() == KEPT {
            self.moments.remove(0);
        }
        self.moments.push(Moment {
            skew: picture.skew(),
            is_disturbed: picture.quality() == Quality::Disturbed,
            mark: events.last().map(|(_, event)| mark(event)),
        });
        self.events.extend(events.iter().map(|(at, event)| (at.boot, format!("{}  {event}", mark(event)))));
        self.events.drain(..self.events.len().saturating_sub(EVENTS));
    }

    /// Draws everything in the terminal's present size.
    pub(super) fn draw(&self, picture: &Picture) {
        let size = rustix::termios::tcgetwinsize(std::io::stdout());
        let (columns, rows) = match size {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (usize::from(size.ws_col), usize::from(size.ws_row)),
            Ok(_) | Err(_) => (80, 24),
        };
        let lines = self.lines(picture, columns, rows);
        put(&format!("\x1b[H{}\x1b[J", lines.join("\x1b[K\r\n")));
    }

    /// The lines of a picture, none longer and no more than the terminal has.
    fn lines(&self, picture: &Picture, columns: usize, rows: usize) -> Vec<String> {
        let mut below = vec![String::new()];
        below.extend(report::table(picture));
        below.extend(report::notes(picture));
        below.push(String::new());
        below.extend(self.events.iter().rev().map(|(at, words)| {
            let age = (picture.now.boot - *at).as_secs();
            format!("{age:>5} s ago  {words}")
        }));
        let help = "positive is FAST   ▒ disturbed   Ctrl-C ends".to_owned();
        let for_plot = rows.saturating_sub(below.len() + 3).max(LEAST_PLOT);
        let mut lines = vec![picture.words(), String::new()];
        lines.extend(plot::band(&self.moments, columns, for_plot));
        lines.extend(below);
        lines.truncate(rows.saturating_sub(1));
        lines.push(help);
        lines.into_iter().map(|line| line.chars().take(columns).collect()).collect()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

fn mark(event: &MeterEvent) -> char {
    match event.name() {
        "server_step" => 'S',
        "local_step" => 'L',
        "suspend" => 'Z',
        "slew" => 'W',
        "disturbed" => 'D',
        "settled" => 'o',
        "frozen_date" => 'F',
        _ => 'N',
    }
}

/// Writes to the terminal; one that has gone away ends the watch by its own signal.
fn put(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// More moments than any terminal has columns.
const KEPT: usize = 2048;
const EVENTS: usize = 6;
const LEAST_PLOT: usize = 5;
