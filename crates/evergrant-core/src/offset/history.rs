//! How this machine's clock stood to the provider's over the last minutes, for a plot.
//!
//! A point is noted when a sample arrived, at most one a second, so that a gateway at rest keeps nothing up to date and
//! needs no timer for it; a step of a clock is noted at once, because its edge is what a person looks for. The list is
//! bounded: 600 points, ten minutes of steady traffic.

use std::collections::VecDeque;

use crate::time::{Boot, SkewInterval, Span};

/// What was known at one moment: this machine's calendar clock minus the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkewPoint {
    /// When.
    pub at: Boot,
    /// The interval; positive is fast.
    pub skew: SkewInterval,
}

/// The last points, oldest first.
#[derive(Clone, Debug, Default)]
pub struct SkewHistory {
    points: VecDeque<SkewPoint>,
}

impl SkewHistory {
    /// Notes what is known now, unless the last point is younger than a second and nothing stepped.
    pub fn note(&mut self, point: SkewPoint, has_stepped: bool) {
        if !has_stepped && self.points.back().is_some_and(|last| point.at - last.at < SPACING) {
            return;
        }
        if self.points.len() == KEPT {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }

    /// The points, oldest first.
    pub fn points(&self) -> impl Iterator<Item = SkewPoint> + '_ {
        self.points.iter().copied()
    }
}

const SPACING: Span = Span::from_secs(1);
/// How many points are kept.
const KEPT: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    fn point(millis: i64) -> SkewPoint {
        SkewPoint { at: Boot::from_millis(millis), skew: SkewInterval { lo: Span::ZERO, hi: Span::from_secs(1) } }
    }

    #[test]
    fn points_are_a_second_apart_unless_a_clock_stepped() {
        let mut history = SkewHistory::default();
        history.note(point(0), false);
        history.note(point(999), false);
        assert_eq!(history.points().count(), 1);
        history.note(point(999), true);
        assert_eq!(history.points().count(), 2);
        history.note(point(1_999), false);
        assert_eq!(history.points().count(), 3);
    }

    #[test]
    fn the_history_is_bounded() {
        let mut history = SkewHistory::default();
        (0..2_000).for_each(|n| history.note(point(n * 1_000), false));
        assert_eq!(history.points().count(), KEPT);
        assert_eq!(history.points().last(), Some(point(1_999_000)));
    }
}
