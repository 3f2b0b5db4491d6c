//! What is known about the clocks, for a person: the result first, then every source beside the others.

use evergrant::offset::{Picture, Quality, SourcePicture};
use evergrant::time_service::TimeService;
use evergrant_core::offset::Source;
use evergrant_core::time::{SkewInterval, Span};

use crate::exit;
use crate::failure::Failure;

/// The whole report.
pub(super) fn text(picture: &Picture, service: &TimeService) -> String {
    let mut lines = vec![picture.words(), String::new()];
    lines.extend(table(picture));
    lines.push(String::new());
    lines.extend(notes(picture));
    lines.extend(picture.disagreements().iter().map(|pair| disagreement(*pair)));
    lines.extend(who_is_off(picture).map(str::to_owned));
    if let Some(best) = picture.best() {
        lines.push(format!("holds if: {}", best.reading.assumptions));
        if let Some(skew) = best.if_never_late.filter(|_| best.quality == Quality::Settled) {
            lines.push(format!("if {} never writes a date late: {}", best.address, ends(skew)));
        }
    }
    lines.push(format!("time service of this machine: {}", service.words()));
    lines.join("\n") + "\n"
}

/// One line per source under a head.
pub(super) fn table(picture: &Picture) -> Vec<String> {
    let head = ["source", "host", "this machine is", "width", "answers", "round trip", "state"].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(picture.sources.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let line = |row: &[String; 7]| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| match column {
                3..=5 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            })
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn row(picture: &SourcePicture) -> [String; 7] {
    let unknown = || "unknown".to_owned();
    [
        picture.source.name().to_owned(),
        picture.address.clone(),
        picture.skew.map_or_else(unknown, ends),
        picture.skew.map_or_else(unknown, |skew| millis(skew.hi - skew.lo)),
        picture.reading.samples.to_string(),
        picture.delay.map_or_else(unknown, millis),
        picture.quality.name().to_owned(),
    ]
}

/// Both ends and who is ahead.
fn ends(skew: SkewInterval) -> String {
    match skew.direction() {
        Some(word) => format!("{} {word}", skew.range()),
        None => format!("{} ahead", skew.range()),
    }
}

/// A length of time down to a tenth of a millisecond, because a round trip on this machine is that short.
fn millis(span: Span) -> String {
    let millis = span.as_secs_f64() * 1e3;
    if millis < 100.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

/// What there is to say about single sources.
pub(super) fn notes(picture: &Picture) -> impl Iterator<Item = String> + '_ {
    picture.sources.iter().filter_map(|source| Some(format!("{}: {}", source.source, source.note()?)))
}

fn disagreement((left, right): (&SourcePicture, &SourcePicture)) -> String {
    let apart =
        left.skew.zip(right.skew).map_or(Span::ZERO, |(left, right)| (left.lo - right.hi).max(right.lo - left.hi));
    format!("{} and {} disagree: these clocks are at least {apart} apart", left.source, right.source)
}

/// With a witness from outside, whose clock is off: this machine's or the provider's.
pub(super) fn who_is_off(picture: &Picture) -> Option<&'static str> {
    let best = picture.best().filter(|best| best.quality == Quality::Settled)?;
    best.skew?.direction()?;
    let is_witness = |source: &&SourcePicture| matches!(source.source, Source::Ntp | Source::Reference);
    let witness = picture.sources.iter().rev().filter(is_witness).find(|source| source.quality == Quality::Settled)?;
    if witness.source == best.source {
        return None;
    }
    let agrees_with_provider = best.reading.interval?.intersection(witness.reading.interval?).is_some();
    let agrees_with_us = witness.skew?.direction().is_none();
    match (agrees_with_provider, agrees_with_us) {
        (true, false) => Some("the outside witness agrees with the provider: this machine's clock is off"),
        (false, true) => Some("the outside witness agrees with this machine: the provider's clock is off"),
        (false, false) => Some("the outside witness agrees with neither: both clocks are off"),
        (true, true) => None,
    }
}

/// Is the difference certainly larger than this?
pub(super) fn is_far(skew: SkewInterval, warn: Span) -> bool {
    skew.lo > warn || skew.hi < -warn
}

/// What to tell a person whose clock is far off.
pub(super) fn warning(picture: &Picture, warn: Span) -> Option<Failure> {
    picture.skew().filter(|skew| is_far(*skew, warn))?;
    Some(
        Failure::new(exit::OK, format!("the clocks are more than {warn} apart"))
            .because("signed requests, certificates and log times depend on them; tokens that Evergrant keeps do not")
            .hint("if it is this machine's clock, let a time service set it, as `chronyc makestep`; --ntp HOST tells whose it is"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_shown_as_fine_as_they_matter() {
        assert_eq!(millis(Span::from_micros(240)), "0.2 ms");
        assert_eq!(millis(Span::from_micros(1_130_400)), "1130 ms");
    }

    #[test]
    fn far_means_certainly_far() {
        let skew = |lo, hi| SkewInterval { lo: Span::from_secs(lo), hi: Span::from_secs(hi) };
        let warn = Span::from_secs(10);
        assert!(is_far(skew(11, 12), warn) && is_far(skew(-12, -11), warn));
        assert!(!is_far(skew(10, 12), warn) && !is_far(skew(-12, -10), warn) && !is_far(skew(-20, 20), warn));
    }
}
