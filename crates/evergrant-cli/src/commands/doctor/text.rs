//! The report in words: the faults first, each with its evidence and its remedy, then one line for every other check.

use anstyle::{AnsiColor, Style};
use evergrant::doctor::{Check, Report, State};

use crate::failure::Failure;
use crate::render;

/// Prints the report to standard output.
pub(super) fn print(report: &Report) -> Result<(), Failure> {
    let coloured = wrapped(&in_words(report), width());
    let text = match anstream::AutoStream::choice(&std::io::stdout()) {
        anstream::ColorChoice::Never => anstream::adapter::strip_str(&coloured).to_string(),
        anstream::ColorChoice::Auto | anstream::ColorChoice::AlwaysAnsi | anstream::ColorChoice::Always => coloured,
    };
    render::data(text.as_bytes())
}

/// The columns of the terminal on standard output; nothing if it is none.
fn width() -> Option<usize> {
    #[cfg(unix)]
    let columns = rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col));
    #[cfg(not(unix))]
    let columns = None;
    columns.filter(|columns| *columns > INDENT.len() * 3)
}

/// Breaks indented lines between words, so that every piece keeps the indent.
fn wrapped(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        if !line.starts_with(INDENT) {
            out.push_str(line);
            out.push('\n');
            continue;
        }
        let mut column = 0;
        for word in line.split(' ').filter(|word| !word.is_empty()) {
            let length = anstream::adapter::strip_str(word).to_string().chars().count();
            if column > 0 && column + 1 + length > width {
                out.push('\n');
                column = 0;
            }
            out.push_str(if column == 0 { INDENT } else { " " });
            out.push_str(word);
            column += length + if column == 0 { INDENT.len() } else { 1 };
        }
        out.push('\n');
    }
    out
}

/// A check that has just ended, in a line.
pub(super) fn progress_line(check: &Check) -> String {
    let line = format!("{} {}", label(check.state), check.title);
    match anstream::AutoStream::choice(&std::io::stderr()) {
        anstream::ColorChoice::Never => anstream::adapter::strip_str(&line).to_string(),
        anstream::ColorChoice::Auto | anstream::ColorChoice::AlwaysAnsi | anstream::ColorChoice::Always => line,
    }
}

/// The whole report with colours.
pub(super) fn in_words(report: &Report) -> String {
    let mut text = String::new();
    for check in report.findings() {
        text.push_str(&finding(check));
        text.push('\n');
    }
    for check in report.checks.iter().filter(|check| check.state == State::Ok) {
        text.push_str(&fine(check));
    }
    for check in report.checks.iter().filter(|check| check.state == State::Skipped) {
        let why = check.evidence.first().map_or("", String::as_str);
        text.push_str(&format!("{} {}: {why}\n", label(check.state), check.title));
    }
    text.push('\n');
    text.push_str(&summary(report));
    text
}

fn finding(check: &Check) -> String {
    let bold = Style::new().bold();
    let mut text = format!("{} {bold}{}{bold:#}\n", label(check.state), check.title);
    for fact in &check.evidence {
        text.push_str(&format!("{INDENT}{fact}\n"));
    }
    if let Some(ruling) = &check.verdict {
        text.push_str(&format!("{INDENT}cause: {} ({})\n", ruling.cause.name(), ruling.confidence.name()));
    }
    if let Some(remedy) = &check.remedy {
        let hint = AnsiColor::Cyan.on_default().bold();
        text.push_str(&format!("{INDENT}{hint}do:{hint:#} {remedy}\n"));
    }
    text
}

fn fine(check: &Check) -> String {
    let dimmed = Style::new().dimmed();
    let mut text = format!("{} {}\n", label(check.state), check.title);
    for fact in &check.evidence {
        text.push_str(&format!("{INDENT}{dimmed}{fact}{dimmed:#}\n"));
    }
    text
}

fn summary(report: &Report) -> String {
    let counts = &report.counts;
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let minted = match report.token_requests {
        0 => "no token was requested".to_owned(),
        1 => "one token was requested".to_owned(),
        more => format!("{more} tokens were requested"),
    };
    format!(
        "{}, {}, {} ok, {} skipped, in {:.1} s; {minted}, nothing was changed\n",
        plural(counts.fault, "fault"),
        plural(counts.warning, "warning"),
        counts.ok,
        counts.skipped,
        report.took_ms / 1000.0,
    )
}

/// The state in a column of its own width.
fn label(state: State) -> String {
    let style = match state {
        State::Fault => AnsiColor::Red.on_default().bold(),
        State::Warning => AnsiColor::Yellow.on_default().bold(),
        State::Ok => AnsiColor::Green.on_default(),
        State::Skipped => Style::new().dimmed(),
    };
    format!("{style}{:<7}{style:#}", state.name())
}

const INDENT: &str = "        ";

#[cfg(test)]
mod tests {
    use evergrant::doctor::Name;

    use super::*;

    #[test]
    fn long_lines_keep_their_indent_and_lose_no_word() {
        let text = format!("ok title\n{INDENT}one two three four five six seven\n");
        let narrow = wrapped(&text, Some(28));
        assert_eq!(narrow, format!("ok title\n{INDENT}one two three four\n{INDENT}five six seven\n"));
        assert_eq!(wrapped(&text, None), text);
    }

    #[test]
    fn faults_come_first_and_every_check_is_there() {
        let mut report = Report::of(vec![
            Check::ok(Name::Settings).saw("token_url = x"),
            Check::ok(Name::Clock).saw("this machine is 20.0 s FAST").warning("set it"),
            Check::ok(Name::Store).saw("/x is open to other users").fault("run `chmod 600 /x`"),
            Check::skipped(Name::Gateway, "none runs"),
        ]);
        report.token_requests = 1;
        insta::assert_snapshot!(anstream::adapter::strip_str(&in_words(&report)).to_string(), @r"
        fault   token store
                /x is open to other users
                do: run `chmod 600 /x`

        warning clocks
                this machine is 20.0 s FAST
                do: set it

        ok      settings
                token_url = x
        skipped running gateway: none runs

        1 fault, 1 warning, 1 ok, 1 skipped, in 0.0 s; one token was requested, nothing was changed
        ");
    }
}
