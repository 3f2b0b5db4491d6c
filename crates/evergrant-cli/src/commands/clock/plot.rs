//! The skew of the last minutes as a band, drawn with characters.
//!
//! Each column is one moment, the newest on the right; each row is halved by block characters. A disturbed moment is
//! drawn in dots, so that it shows without colours, and a line of letters below says where something happened. The scale
//! holds everything that is visible, so a step makes it jump and forgets it when the step has left on the left.

use evergrant_core::time::{SkewInterval, Span};

/// One moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moment {
    /// This machine minus the server, if it is known.
    pub(super) skew: Option<SkewInterval>,
    /// Is it to be taken with caution?
    pub(super) is_disturbed: bool,
    /// The letter of what happened.
    pub(super) mark: Option<char>,
}

/// The band in this many columns and rows, without a line break: `rows` lines, the last one for the letters.
pub(super) fn band(moments: &[Moment], columns: usize, rows: usize) -> Vec<String> {
    let columns = columns.saturating_sub(LABEL + 1);
    if columns < 2 || rows < 4 {
        return vec![String::new(); rows];
    }
    let shown = &moments[moments.len().saturating_sub(columns)..];
    let scale = Scale::of(shown, rows - 1);
    let mut lines: Vec<String> = (0..rows - 1)
        .map(|row| {
            let cells: String = shown.iter().map(|moment| scale.cell(moment, row)).collect();
            let rest = columns - shown.len();
            format!("{:>LABEL$} {}{cells}", scale.label(row), " ".repeat(rest))
        })
        .collect();
    let marks: String = shown.iter().map(|moment| moment.mark.unwrap_or(' ')).collect();
    lines.push(format!("{:LABEL$} {}{marks}", "", " ".repeat(columns - shown.len())));
    lines
}

/// From seconds to half rows.
struct Scale {
    top: f64,
    per_half: f64,
    rows: usize,
}

impl Scale {
    fn of(shown: &[Moment], rows: usize) -> Self {
        let ends = || shown.iter().filter_map(|moment| moment.skew);
        let lo = ends().map(|skew| skew.lo.as_secs_f64()).fold(f64::INFINITY, f64::min);
        let hi = ends().map(|skew| skew.hi.as_secs_f64()).fold(f64::NEG_INFINITY, f64::max);
        let (lo, hi) = if lo.is_finite() { (lo, hi) } else { (-1.0, 1.0) };
        let room = ((hi - lo) * 0.1).max(LEAST_ROOM);
        Self { top: hi + room, per_half: (hi - lo + 2.0 * room) / (2 * rows) as f64, rows }
    }

    /// The top, the middle and the bottom row say where they are.
    fn label(&self, row: usize) -> String {
        if row != 0 && row != self.rows / 2 && row != self.rows - 1 {
            return String::new();
        }
        let value = self.top - (2 * row + 1) as f64 * self.per_half;
        if self.per_half * 2.0 > 0.05 { format!("{value:+.1} s") } else { format!("{value:+.3} s") }
    }

    fn cell(&self, moment: &Moment, row: usize) -> char {
        let has_zero = self.is_in(row, Span::ZERO);
        let Some(skew) = moment.skew else { return if has_zero { ZERO } else { ' ' } };
        let (upper, lower) = (self.covers(skew, 2 * row), self.covers(skew, 2 * row + 1));
        match (upper, lower) {
            (false, false) if has_zero => ZERO,
            (false, false) => ' ',
            _ if moment.is_disturbed => '▒',
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
        }
    }

    /// Does the band touch this half row?
    fn covers(&self, skew: SkewInterval, half: usize) -> bool {
        let upper = self.top - half as f64 * self.per_half;
        skew.lo.as_secs_f64() <= upper && skew.hi.as_secs_f64() > upper - self.per_half
    }

    fn is_in(&self, row: usize, at: Span) -> bool {
        let upper = self.top - (2 * row) as f64 * self.per_half;
        at.as_secs_f64() <= upper && at.as_secs_f64() > upper - 2.0 * self.per_half
    }
}

/// The width of the labels on the left.
const LABEL: usize = 11;
/// The band never fills the picture.
const LEAST_ROOM: f64 = 0.01;
/// Where both clocks agree.
const ZERO: char = '┄';

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(lo_ms: i64, hi_ms: i64) -> Moment {
        let skew = SkewInterval { lo: Span::from_millis(lo_ms), hi: Span::from_millis(hi_ms) };
        Moment { skew: Some(skew), ..Moment::default() }
    }

    #[test]
    fn a_narrowing_band_a_step_and_a_disturbance_are_seen_without_colours() {
        let mut moments = vec![Moment::default(), moment(-1_000, 1_000), moment(-500, 700), moment(-100, 100)];
        moments.push(Moment { is_disturbed: true, mark: Some('D'), ..moment(-100, 5_000) });
        moments.push(Moment { mark: Some('S'), ..moment(4_900, 5_000) });
        moments.push(moment(4_900, 5_000));
        let lines: String = band(&moments, 22, 9).iter().map(|line| format!("{}\n", line.trim_end())).collect();
        insta::assert_snapshot!(lines, @r"
             +5.1 s        ▒▄▄
                           ▒
                           ▒
                           ▒
             +1.5 s        ▒
                        ██ ▒
                       ┄██▀▒┄┄
             -1.2 s     ▀
                           DS
        ");
    }

    #[test]
    fn every_size_gives_lines_of_that_size() {
        let moments: Vec<_> = (0..500).map(|n| moment(n * 10, n * 10 + 30)).collect();
        for columns in [0, 1, 5, 12, 13, 14, 80, 700] {
            for rows in [0, 1, 3, 4, 5, 50] {
                let lines = band(&moments, columns, rows);
                assert_eq!(lines.len(), rows);
                assert!(lines.iter().all(|line| line.chars().count() <= columns), "{columns} x {rows}");
            }
        }
        assert_eq!(band(&[], 40, 6).len(), 6);
    }

    #[test]
    fn hostile_skews_are_drawn_somewhere() {
        let far = SkewInterval { lo: -Span::MAX, hi: Span::MAX };
        let far = Moment { skew: Some(far), ..Moment::default() };
        assert_eq!(band(&[far, moment(0, 0)], 20, 5).len(), 5);
    }
}
