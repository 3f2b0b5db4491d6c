//! Plots as files of their own: small panels that share their axes, and a heat map.
//!
//! Each client has a panel, so that fourteen lines never lie on one another. The scale is logarithmic with a place for
//! zero: what fails once in ten thousand calls and what always fails are in one picture. Colours follow the reader's
//! scheme, and every panel and cell carries its number, so nothing is said by colour alone.

use std::fmt::Write as _;

use crate::commands::doctor::plot::escape;

/// One client's line.
pub(super) struct Panel<'a> {
    /// Whose.
    pub(super) title: &'a str,
    /// One value for each label of the axis.
    pub(super) values: Vec<f64>,
    /// Is it the one to look at?
    pub(super) is_ours: bool,
}

/// What the upright axis shows.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    /// The smallest value that is told from zero, as a power of ten.
    pub(super) least: i32,
    /// The top, as a power of ten.
    pub(super) most: i32,
    /// What stands behind a number.
    pub(super) unit: &'static str,
}

impl Scale {
    /// Percent of calls.
    pub(super) const PERCENT: Self = Self { least: -2, most: 2, unit: " %" };
    /// A number for each lifetime.
    pub(super) const PER_LIFETIME: Self = Self { least: -1, most: 3, unit: "" };

    /// The part of the height, 0 at the bottom.
    fn place(self, value: f64) -> f64 {
        if value <= 0.0 {
            return 0.0;
        }
        let part = (value.log10() - f64::from(self.least)) / f64::from(self.most - self.least);
        (0.08 + 0.92 * part).clamp(0.04, 1.0)
    }
}

/// Panels in rows of four, over the same axis.
pub(super) fn panels(title: &str, axis: &str, labels: &[&str], scale: Scale, panels: &[Panel<'_>]) -> String {
    let rows = panels.len().div_ceil(PER_ROW);
    let height = TOP + rows * ROW + BOTTOM;
    let mut svg = begin(title, WIDTH, height);
    for (index, panel) in panels.iter().enumerate() {
        let (x, y) = (LEFT + (index % PER_ROW) * COLUMN, TOP + (index / PER_ROW) * ROW);
        svg.push_str(&draw(panel, labels, scale, x, y));
    }
    text(&mut svg, "quiet middle", WIDTH / 2, height - 8, axis);
    svg.push_str("</svg>\n");
    svg
}

fn draw(panel: &Panel<'_>, labels: &[&str], scale: Scale, x: usize, y: usize) -> String {
    let mut svg = String::new();
    let top = y + 22;
    let down = |value: f64| (top + PLOT_H) as f64 - scale.place(value) * PLOT_H as f64;
    let class = if panel.is_ours { "ours" } else { "rival" };
    text(&mut svg, if panel.is_ours { "name strong" } else { "name" }, x, y + 14, panel.title);
    let most = panel.values.iter().copied().fold(0.0, f64::max);
    text(&mut svg, "quiet end", x + PLOT_W, y + 14, &format!("{}{}", number(most), scale.unit));
    push(&mut svg, format_args!("<path class=\"axis\" d=\"M{x} {}h{PLOT_W}\"/>", top + PLOT_H));
    for power in (scale.least + 1)..=scale.most {
        let at = down(10_f64.powi(power));
        push(&mut svg, format_args!("<path class=\"grid\" d=\"M{x} {at:.1}h{PLOT_W}\"/>"));
        if x == LEFT {
            push(&mut svg, format_args!("<text class=\"tick end\" x=\"{}\" y=\"{:.1}\">", x - 6, at + 3.5));
            push(&mut svg, format_args!("{}{}</text>", number(10_f64.powi(power)), scale.unit));
        }
    }
    let across = |index: usize| {
        let last = labels.len().saturating_sub(1).max(1);
        x as f64 + PLOT_W as f64 * index as f64 / last as f64
    };
    let points: Vec<(f64, f64)> =
        panel.values.iter().enumerate().map(|(index, value)| (across(index), down(*value))).collect();
    let line: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    push(&mut svg, format_args!("<path class=\"line {class}\" d=\"M{}\"/>", line.join("L")));
    for ((x, y), value) in points.iter().zip(&panel.values) {
        let shape = if *value > 0.0 { 2.6 } else { 1.6 };
        push(&mut svg, format_args!("<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{shape}\"/>"));
    }
    for index in [0, labels.len() / 2, labels.len().saturating_sub(1)] {
        let anchor = if index == 0 {
            ""
        } else if index + 1 == labels.len() {
            " end"
        } else {
            " middle"
        };
        push(
            &mut svg,
            format_args!("<text class=\"tick{anchor}\" x=\"{:.1}\" y=\"{}\">", across(index), top + PLOT_H + 12),
        );
        push(&mut svg, format_args!("{}</text>", escape(labels.get(index).copied().unwrap_or(""))));
    }
    svg
}

/// A row for each client, a column for each label, the number in each cell.
pub(super) fn heat(title: &str, axis: &str, labels: &[&str], rows: &[(&str, Vec<f64>)]) -> String {
    let (left, top, cell_w, cell_h) = (150, 176, 58, 25);
    let height = top + rows.len() * cell_h + BOTTOM;
    let mut svg = begin(title, WIDTH, height);
    for (index, label) in labels.iter().enumerate() {
        let x = left + index * cell_w + cell_w / 2;
        push(&mut svg, format_args!("<text class=\"tick\" transform=\"translate({x} {}) rotate(-50)\">", top - 8));
        push(&mut svg, format_args!("{}</text>", escape(label)));
    }
    for (row, (name, values)) in rows.iter().enumerate() {
        let y = top + row * cell_h;
        text(&mut svg, if row == 0 { "name end strong" } else { "name end" }, left - 8, y + 17, name);
        for (column, value) in values.iter().enumerate() {
            let (x, heat) = (left + column * cell_w, degree(*value));
            push(&mut svg, format_args!("<rect class=\"h{heat}\" x=\"{x}\" y=\"{y}\" width=\"{}\"", cell_w - 2));
            push(&mut svg, format_args!(" height=\"{}\" rx=\"3\"/>", cell_h - 2));
            text(&mut svg, &format!("cell t{heat} middle"), x + cell_w / 2 - 1, y + 16, &number(*value));
        }
    }
    text(&mut svg, "quiet middle", WIDTH / 2, height - 8, axis);
    svg.push_str("</svg>\n");
    svg
}

fn degree(percent: f64) -> usize {
    [0.0, 0.1, 1.0, 10.0].iter().filter(|limit| percent > **limit).count()
}

fn begin(title: &str, width: usize, height: usize) -> String {
    let title = escape(title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\
         <title>{title}</title><style>{STYLE}</style><rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>"
    );
    push(&mut svg, format_args!("<text class=\"title\" x=\"{LEFT}\" y=\"26\">{title}</text>"));
    svg
}

fn text(svg: &mut String, class: &str, x: usize, y: usize, words: &str) {
    push(svg, format_args!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escape(words)));
}

fn push(svg: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = svg.write_fmt(more);
}

/// At most three digits that matter.
fn number(value: f64) -> String {
    match value {
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => trimmed(format!("{value:.1}")),
        _ => trimmed(format!("{value:.2}")),
    }
}

fn trimmed(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

const WIDTH: usize = 960;
const PER_ROW: usize = 4;
const LEFT: usize = 58;
const TOP: usize = 40;
const BOTTOM: usize = 30;
const COLUMN: usize = 228;
const ROW: usize = 134;
const PLOT_W: usize = 194;
const PLOT_H: usize = 78;

const STYLE: &str = "\
:root{color-scheme:light dark}\
text{font:12px system-ui,'Segoe UI','DejaVu Sans',sans-serif;fill:#17202a}\
.title{font-size:15px;font-weight:600}.strong{font-weight:700;fill:#0b6b3a}\
.quiet,.tick{fill:#51606f}.tick{font-size:10px}.end{text-anchor:end}.middle{text-anchor:middle}\
.ground{fill:#fff}.grid{stroke:#e3e8ee;fill:none}.axis{stroke:#9aa7b4;fill:none}\
.line{fill:none;stroke-width:2;stroke-linejoin:round}.line.rival{stroke:#b8730a}.line.ours{stroke:#0b6b3a;stroke-width:2.5}\
.dot.rival{fill:#b8730a}.dot.ours{fill:#0b6b3a}\
.cell{font-size:11px;font-variant-numeric:tabular-nums}\
.h0{fill:#e3f4ea}.h1{fill:#fdf0dc}.h2{fill:#f6c98d}.h3{fill:#dd7a45}.h4{fill:#a3231b}.t3,.t4{fill:#fff}.t3{fill:#1a0d05}\
@media (prefers-color-scheme:dark){\
text{fill:#e6edf3}.strong{fill:#6ddc9b}.quiet,.tick{fill:#a2b1c0}.ground{fill:#0f1419}.grid{stroke:#222c37}.axis{stroke:#51606f}\
.line.rival{stroke:#f0ab3c}.line.ours{stroke:#6ddc9b}.dot.rival{fill:#f0ab3c}.dot.ours{fill:#6ddc9b}\
.h0{fill:#12301f}.h1{fill:#372711}.h2{fill:#6b4413}.h3{fill:#b4562a}.h4{fill:#f2685e}.t3{fill:#fff}.t4{fill:#1a0505}}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_a_place_of_its_own_and_nothing_leaves_the_panel() {
        let scale = Scale::PERCENT;
        assert_eq!(scale.place(0.0), 0.0);
        let places = [0.001, 0.01, 0.5, 10.0, 100.0, 1e9].map(|value| scale.place(value));
        assert!(places.is_sorted() && places[0] > 0.0 && places[5] <= 1.0, "{places:?}");
    }

    #[test]
    fn numbers_have_three_digits_that_matter() {
        assert_eq!([0.0, 0.02, 1.5, 12.34, 100.0, 3599.6].map(number), ["0", "0.02", "1.5", "12.3", "100", "3600"]);
        assert_eq!([0.0, 0.05, 0.1, 0.5, 5.0, 50.0].map(degree), [0, 1, 1, 2, 3, 4]);
    }

    #[test]
    fn names_are_text_and_a_plot_of_nothing_is_a_plot() {
        let panel = Panel { title: "<b>", values: vec![0.0], is_ours: true };
        let svg = panels("a & b", "axis", &["x"], Scale::PERCENT, &[panel]);
        assert!(svg.contains("&lt;b&gt;") && svg.contains("a &amp; b") && !svg.contains("NaN"), "{svg}");
        assert!(heat("t", "a", &[], &[]).ends_with("</svg>\n"));
    }
}
