//! Plots as pieces of a web page: lines and bands in SVG, every word beside them in HTML.
//!
//! The SVG is stretched to the room there is, which differs between a desk and a phone; its lines keep their width and
//! its dots their shape, because they are strokes that do not scale. Words would be stretched with it, so they stand
//! outside, placed by percentages.

use std::fmt::Write;

/// One axis: its ends, and where it is marked.
pub(super) struct Axis {
    low: f64,
    high: f64,
    marks: Vec<(f64, String)>,
    /// Is zero a line of its own, and not just a mark?
    shows_zero: bool,
}

impl Axis {
    /// An axis around all values with round marks. With `zero` it also holds zero, unless that is far away.
    pub(super) fn around(values: &[f64], zero: bool, unit: &str) -> Self {
        let (low, high) = ends(values);
        let width = (high - low).max(LEAST_WIDTH);
        let (low, high) = (low - width * 0.1, high + width * 0.1);
        let is_near = zero && low.abs().min(high.abs()) < FAR * width;
        let (low, high) = if is_near { (low.min(0.0), high.max(0.0)) } else { (low, high) };
        let marks = ticks(low, high).into_iter().map(|at| (at, format!("{} {unit}", short(at)))).collect();
        Self { low, high, marks, shows_zero: zero }
    }

    /// Seconds from zero to the last value.
    pub(super) fn seconds(values: &[f64]) -> Self {
        let high = values.iter().copied().fold(0.1, f64::max) * 1.04;
        let marks = ticks(0.0, high).into_iter().map(|at| (at, format!("{} s", short(at)))).collect();
        Self { low: 0.0, high, marks, shows_zero: false }
    }

    /// Powers of ten of milliseconds.
    pub(super) fn powers(values: &[f64]) -> Self {
        let (low, high) = ends(values);
        let (low, high) = ((low.floor() - 0.1).min(-0.1), (high.ceil() + 0.1).max(1.1));
        let marks = (-1..=6).map(|power| (f64::from(power), power_of_ten(power)));
        let marks = marks.filter(|(at, _)| low <= *at && *at <= high).collect();
        Self { low, high, marks, shows_zero: false }
    }

    /// Thousandths of the way from the low end to the high one.
    fn place(&self, value: f64) -> f64 {
        (1000.0 * (value - self.low) / (self.high - self.low)).clamp(-20.0, 1020.0)
    }
}

/// A plot under construction.
pub(super) struct Plot {
    x: Axis,
    y: Axis,
    shapes: String,
}

impl Plot {
    /// An empty plot with its grid.
    pub(super) fn new(x: Axis, y: Axis) -> Self {
        let mut plot = Self { x, y, shapes: String::new() };
        let lines: Vec<f64> = plot.y.marks.iter().map(|(at, _)| *at).collect();
        for at in lines {
            let class = if at == 0.0 && plot.y.shows_zero { "zero" } else { "grid" };
            let y = plot.down(at);
            plot.add(&format!("<path class=\"{class}\" d=\"M0 {y:.1}H1000\"/>"));
        }
        plot
    }

    /// An interval over time. A single moment is drawn as a short piece.
    pub(super) fn band(&mut self, class: &str, points: &[(f64, f64, f64)]) {
        let Some((first, last)) = points.first().zip(points.last()) else { return };
        let mut points = points.to_vec();
        if self.x.place(last.0) - self.x.place(first.0) < SHORTEST {
            points.insert(0, (first.0 - (self.x.high - self.x.low) * SHORTEST / 1000.0, first.1, first.2));
        }
        let upper = points.iter().map(|(x, _, hi)| (*x, *hi));
        let lower = points.iter().rev().map(|(x, lo, _)| (*x, *lo));
        let outline = self.path(upper.clone().chain(lower.clone()));
        let (upper, lower) = (self.path(upper), self.path(lower));
        self.add(&format!("<path class=\"band {class}\" d=\"{outline}Z\"/>"));
        self.add(&format!("<path class=\"stroke {class}\" d=\"{upper}{lower}\"/>"));
    }

    /// A dot; `shape` is `round` or `square`.
    pub(super) fn dot(&mut self, class: &str, shape: &str, x: f64, y: f64) {
        let (x, y) = (self.x.place(x), self.down(y));
        self.add(&format!("<path class=\"dot {shape} {class}\" d=\"M{x:.1} {y:.1}h.01\"/>"));
    }

    /// The plot as HTML; `words` is what somebody hears who cannot see it.
    pub(super) fn finish(self, words: &str) -> String {
        let mut html = format!(
            "<div class=\"plot\"><svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">{}</svg>",
            escape(words),
            self.shapes
        );
        for (at, label) in &self.y.marks {
            let top = (1000.0 - self.y.place(*at)) / 10.0;
            push(
                &mut html,
                &format!("<span class=\"y\" style=\"top:{top:.2}%\" aria-hidden=\"true\">{}</span>", escape(label)),
            );
        }
        for (at, label) in &self.x.marks {
            let left = self.x.place(*at) / 10.0;
            push(
                &mut html,
                &format!("<span class=\"x\" style=\"left:{left:.2}%\" aria-hidden=\"true\">{}</span>", escape(label)),
            );
        }
        html.push_str("</div>");
        html
    }

    fn down(&self, value: f64) -> f64 {
        1000.0 - self.y.place(value)
    }

    fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        for (index, (x, y)) in points.enumerate() {
            let letter = if index == 0 { 'M' } else { 'L' };
            push(&mut path, &format!("{letter}{:.1} {:.1}", self.x.place(x), self.down(y)));
        }
        path
    }

    fn add(&mut self, shape: &str) {
        self.shapes.push_str(shape);
    }
}

/// Text as it may stand in HTML, also in an attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() && c != '\n' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

fn push(text: &mut String, more: &str) {
    // Writing to a string cannot fail.
    let _ = text.write_str(more);
}

fn ends(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// Three to six round numbers between two ends.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 4.0;
    let size = 10_f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * size).find(|step| *step >= rough).unwrap_or(rough);
    let first = (low / step - 1e-9).ceil();
    (0..12)
        .map(|n| (first + f64::from(n)) * step)
        .take_while(|at| *at <= high + step * 1e-9)
        .map(|at| at + 0.0)
        .collect()
}

/// At most four digits, and no minus before zero.
fn short(value: f64) -> String {
    let rounded = (value * 1000.0).round() / 1000.0;
    if rounded == 0.0 { "0".to_owned() } else { format!("{rounded}") }
}

fn power_of_ten(power: i32) -> String {
    match power {
        ..=2 => format!("{} ms", 10_f64.powi(power)),
        _ => format!("{} s", 10_f64.powi(power - 3)),
    }
}

/// Narrower than this there is nothing to see.
const LEAST_WIDTH: f64 = 0.02;
/// Zero further away than so many widths would flatten the plot.
const FAR: f64 = 4.0;
/// The shortest piece of a band, in thousandths of the plot.
const SHORTEST: f64 = 24.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_few() {
        for (low, high) in [(0.0, 1.0), (-3.7, 9.1), (3598.0, 3602.5), (-0.01, 0.02), (0.0, 2.31)] {
            let marks = ticks(low, high);
            assert!((2..=7).contains(&marks.len()), "{low} {high}: {marks:?}");
            assert!(marks.iter().all(|at| low - 1e-6 <= *at && *at <= high + 1e-6), "{marks:?}");
        }
        assert_eq!([short(-0.0), short(0.25), short(3600.0)], ["0", "0.25", "3600"]);
        assert_eq!([power_of_ten(-1), power_of_ten(2), power_of_ten(3)], ["0.1 ms", "100 ms", "1 s"]);
    }

    #[test]
    fn zero_is_shown_unless_it_would_flatten_the_plot() {
        assert!(Axis::around(&[-1.0, 2.0], true, "s").low < 0.0);
        assert!(Axis::around(&[1.0, 2.0], true, "s").low <= 0.0);
        assert!(Axis::around(&[3600.0, 3602.0], true, "s").low > 3000.0);
    }

    #[test]
    fn a_plot_of_nothing_or_of_one_moment_is_a_plot() {
        let mut plot = Plot::new(Axis::seconds(&[]), Axis::around(&[], true, "s"));
        plot.band("a", &[]);
        plot.band("a", &[(0.05, 0.2, 0.4)]);
        plot.dot("b", "round", 0.05, 0.3);
        let html = plot.finish("two \"things\"");
        assert!(
            html.contains("aria-label=\"two &quot;things&quot;\"") && !html.contains("NaN") && !html.contains("inf")
        );
    }

    #[test]
    fn words_of_servers_are_text_and_never_markup() {
        assert_eq!(escape("<script>'&\"\u{1b}"), "&lt;script&gt;&#39;&amp;&quot;\u{fffd}");
    }
}
