//! What a person sees: a table with both lanes and the course of each, live on a terminal.
//!
//! Every line is text that means the same without colours: a count says how much failed, and the course rises from dots
//! to bars. Without a terminal there is no picture, only a line on standard error whenever something changes.

use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::meter::{BARS, GOOD, SLOTS};
use super::plan::Plan;
use super::report::LaneReport;

/// Colours, where they are wanted.
pub(super) struct Paint {
    colours: bool,
}

impl Paint {
    /// No colours.
    #[cfg(test)]
    pub(super) const NONE: Self = Self { colours: false };

    /// The colours that this stream and `NO_COLOR` allow.
    pub(super) fn of(stream: &impl anstream::stream::RawStream) -> Self {
        Self { colours: AutoStream::choice(stream) != ColorChoice::Never }
    }

    fn with(&self, style: Style, text: &str) -> String {
        if self.colours { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// A count of what should not be.
    fn failures(&self, count: u64, width: usize) -> String {
        let style = if count == 0 { AnsiColor::Green.on_default() } else { AnsiColor::Red.on_default().bold() };
        self.with(style, &format!("{count:>width$}"))
    }
}

/// What the lanes are.
pub(super) fn who_is_who() -> [String; 3] {
    [
        format!("{:<10} refreshes after a 401, without a lock, and retries once, at once", "snippet"),
        format!("{:<10} sends the same calls through a gateway that keeps the token", "evergrant"),
        String::new(),
    ]
}

/// Both lanes as a table and as their course.
pub(super) fn table(lanes: &[LaneReport], paint: &Paint) -> Vec<String> {
    let mut lines = vec![paint.with(
        Style::new().bold(),
        &format!(
            "{:<10}{:>8}{:>15}{:>17}{:>17}{:>11}",
            "", "calls", "visible 401s", "other failures", "token requests", "p99"
        ),
    )];
    for lane in lanes {
        lines.push(format!(
            "{}{:>8}{}{}{:>17}{:>11}",
            paint.with(Style::new().bold(), &format!("{:<10}", lane.name)),
            lane.calls,
            paint.failures(lane.visible_401, 15),
            paint.failures(lane.other_failures, 17),
            lane.token_requests,
            format!("{:.0} ms", lane.p99_ms),
        ));
    }
    lines.push(String::new());
    for lane in lanes {
        lines.push(format!("{:<10} {}", lane.name, painted_course(&lane.course, paint)));
    }
    let [least, .., most] = BARS;
    lines.push(paint.with(
        Style::new().dimmed(),
        &format!("{:<10} {GOOD} all calls good   {least} some failed   {most} all failed", ""),
    ));
    lines
}

fn painted_course(course: &str, paint: &Paint) -> String {
    let bad = AnsiColor::Red.on_default();
    course
        .chars()
        .map(|mark| if BARS.contains(&mark) { paint.with(bad, &mark.to_string()) } else { mark.to_string() })
        .collect()
}

/// Shows how the demo goes.
pub(super) enum Screen {
    /// On a terminal: lines that are written over.
    Live { lines: Vec<ProgressBar>, all: MultiProgress, paint: Paint },
    /// Elsewhere: one line per moment of the plan.
    Plain { told: usize },
}

impl Screen {
    /// A screen for standard error; `live` if a person is looking.
    pub(super) fn new(live: bool) -> Self {
        if live {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(FRAMES_PER_SEC));
            Self::Live { lines: Vec::new(), all, paint: Paint::of(&std::io::stderr()) }
        } else {
            Self::Plain { told: 0 }
        }
    }

    /// Shows this moment.
    pub(super) fn show(&mut self, plan: &Plan, elapsed: Duration, lanes: impl FnOnce() -> Vec<LaneReport>) {
        match self {
            Self::Live { lines, all, paint } => {
                for (index, text) in picture(plan, elapsed, &lanes(), paint).into_iter().enumerate() {
                    if lines.len() == index {
                        lines.push(all.add(ProgressBar::new_spinner().with_style(line_style())));
                    }
                    lines[index].set_message(text);
                    lines[index].tick();
                }
            }
            Self::Plain { told } => {
                for moment in plan.moments.iter().skip(*told).take_while(|moment| moment.after <= elapsed) {
                    anstream::eprintln!("{:>5.1} s  {}", moment.after.as_secs_f64(), moment.words);
                    *told += 1;
                }
            }
        }
    }

    /// Takes the picture away, so that the summary stands alone.
    pub(super) fn clear(self) {
        if let Self::Live { lines, all, .. } = self {
            lines.iter().for_each(ProgressBar::finish_and_clear);
            // A terminal that cannot be cleared any more has gone away.
            let _ = all.clear();
        }
    }
}

/// The whole picture, line by line, at most 79 columns wide.
fn picture(plan: &Plan, elapsed: Duration, lanes: &[LaneReport], paint: &Paint) -> Vec<String> {
    let elapsed = elapsed.min(plan.duration);
    let share = elapsed.as_secs_f64() / plan.duration.as_secs_f64();
    let done = (0..SLOTS).filter(|slot| ((*slot + 1) as f64) <= share * SLOTS as f64).count();
    let bar = format!("{}{}", "━".repeat(done), "─".repeat(SLOTS - done));
    let clock = format!("{:.1}/{} s", elapsed.as_secs_f64(), plan.duration.as_secs());
    let now = paint.with(AnsiColor::Yellow.on_default().bold(), plan.at(elapsed));
    let mut lines = vec![
        // The `^C` that a terminal writes at an interrupt moves the picture by a line, and one is not cleared.
        String::new(),
        format!("{clock:<10} {}", paint.with(AnsiColor::Cyan.on_default(), &bar)),
        format!("{:<10} {now}", "now"),
        String::new(),
    ];
    lines.extend(who_is_who());
    lines.extend(table(lanes, paint));
    lines
}

fn line_style() -> ProgressStyle {
    // The template is a constant without mistakes; the default would show the line as well.
    ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

const FRAMES_PER_SEC: u8 = 15;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn lane(name: &'static str, visible_401: u64) -> LaneReport {
        LaneReport {
            name,
            calls: 1998,
            visible_401,
            token_requests: 433,
            p99_ms: 612.34,
            other_failures: 0,
            refused: BTreeMap::new(),
            verdicts: None,
            course: format!("··▂█{}", " ".repeat(SLOTS - 4)),
        }
    }

    #[test]
    fn the_table_lines_up_and_reads_without_colours() {
        let lines = table(&[lane("snippet", 57), lane("evergrant", 0)], &Paint::NONE);
        insta::assert_snapshot!(lines.iter().map(|line| format!("{}\n", line.trim_end())).collect::<String>(), @r"
                     calls   visible 401s   other failures   token requests        p99
        snippet       1998             57                0              433     612 ms
        evergrant     1998              0                0              433     612 ms

        snippet    ··▂█
        evergrant  ··▂█
                   · all calls good   ▂ some failed   █ all failed
        ");
    }

    #[test]
    fn the_picture_fits_eighty_columns_and_keeps_its_height() {
        let plan = Plan::full();
        let lanes = [lane("snippet", 57), lane("evergrant", 0)];
        let mut heights = std::collections::BTreeSet::new();
        for tenth in 0..=420 {
            let lines = picture(&plan, Duration::from_millis(tenth * 100), &lanes, &Paint::NONE);
            heights.insert(lines.len());
            assert!(lines.iter().all(|line| line.chars().count() < 80), "{lines:#?}");
        }
        assert_eq!(heights.len(), 1);
    }

    #[test]
    fn colours_change_no_text() {
        let (lanes, plan) = ([lane("snippet", 57), lane("evergrant", 0)], Plan::full());
        let show = |paint: &Paint| picture(&plan, Duration::from_secs(7), &lanes, paint).join("\n");
        let painted = show(&Paint { colours: true });
        assert_ne!(painted, show(&Paint::NONE));
        assert_eq!(anstream::adapter::strip_str(&painted).to_string(), show(&Paint::NONE));
    }
}
