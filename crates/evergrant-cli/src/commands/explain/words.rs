//! The explanation in words, one block for each refused exchange.

use std::fmt::Write as _;

use evergrant_core::capture::{Explained, Explanation, show_moment};

/// One line on the whole: what it is, and how much of it was refused.
pub(super) fn summary(explanation: &Explanation, place: &str) -> String {
    let exchanges = counted(explanation.exchanges, "exchange");
    let refused = match explanation.verdicts.len() {
        0 => "nothing was refused".to_owned(),
        count => format!("{count} refused"),
    };
    let mut text = format!("{place} is {} with {exchanges}; {refused}", explanation.kind.words());
    for note in &explanation.notes {
        let _ = write!(text, "\n  {note}");
    }
    text
}

/// The verdicts, and the clocks where they show.
pub(super) fn of(explanation: &Explanation) -> String {
    let mut blocks: Vec<String> = explanation.verdicts.iter().map(block).collect();
    let clocks: String = explanation.clocks.iter().map(|skew| format!("{}\n", skew.words())).collect();
    if !blocks.is_empty() && !clocks.is_empty() {
        blocks.push(clocks);
    }
    blocks.join("\n")
}

fn block(explained: &Explained) -> String {
    let verdict = &explained.verdict;
    let fault = serde_json::to_value(verdict.fault).unwrap_or_default();
    let fault = fault.as_str().unwrap_or_default().replace('_', " ");
    let mut text = format!("{}\n", place_of(explained));
    let _ = writeln!(text, "{} ({}, fault: {fault})", verdict.cause, verdict.confidence.name());
    let heading = format!("{} answered {}", explained.evidence.route, explained.exchange.status);
    for fact in verdict.evidence.iter().filter(|fact| **fact != heading) {
        let _ = writeln!(text, "  {fact}");
    }
    for missing in &explained.missing {
        let _ = writeln!(text, "  not known: {missing}");
    }
    let _ = writeln!(text, "  what to do: {}", verdict.remedy);
    text
}

/// Which exchange it is: its number, what was asked for, where and when.
fn place_of(explained: &Explained) -> String {
    let exchange = &explained.exchange;
    let mut text = format!("{}. {} answered {}", explained.number, explained.evidence.route, exchange.status);
    if let Some(host) = exchange.host() {
        let _ = write!(text, ", at {host}");
    }
    match (exchange.received.or(exchange.sent), exchange.date) {
        (Some(local), _) => {
            let _ = write!(text, ", {}", show_moment(local.as_nanos()));
        }
        (None, Some(date)) => {
            let _ = write!(text, ", {} by the server's clock", show_moment(date.as_nanos()));
        }
        (None, None) => {}
    }
    text
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
