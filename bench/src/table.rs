//! The table: what was measured, the yardstick beside it, the goal, and whether it is met.

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was measured, and of what.
    pub(crate) what: &'static str,
    /// The unit of both numbers; empty for a count.
    pub(crate) unit: &'static str,
    /// The number.
    pub(crate) measured: f64,
    /// The yardstick's number of the same run.
    pub(crate) beside: Option<(f64, &'static str)>,
    /// What the number should be.
    pub(crate) goal: Goal,
}

/// What a number should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// For information.
    None,
    /// At most this.
    AtMost(f64),
    /// At most this many times the yardstick.
    Times(f64),
    /// At most this much more than the yardstick.
    More(f64),
}

/// A measurement and its yardstick of the same round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pair {
    pub(crate) measured: f64,
    pub(crate) beside: f64,
}

impl Pair {
    pub(crate) fn ratio(self) -> f64 {
        self.measured / self.beside
    }

    /// The round whose ratio is the median of all rounds.
    pub(crate) fn median(mut rounds: Vec<Self>) -> Option<Self> {
        rounds.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
        rounds.get(rounds.len() / 2).copied()
    }
}

/// The median of some numbers.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Row {
    fn cells(&self) -> [String; 6] {
        let unit = |number: f64| number_text(number, self.unit);
        let (beside, ratio) = match self.beside {
            Some((number, name)) => (format!("{} {name}", unit(number)), format!("{:.2}", self.measured / number)),
            None => (String::new(), String::new()),
        };
        let goal = match self.goal {
            Goal::None => String::new(),
            Goal::AtMost(most) => format!("<= {}", unit(most)),
            Goal::Times(most) => format!("<= {most} x"),
            Goal::More(most) => format!("<= +{}", unit(most)),
        };
        let met = match self.is_met() {
            None => "",
            Some(true) => "ok",
            Some(false) => "OVER",
        };
        [self.what.to_owned(), unit(self.measured), beside, ratio, goal, met.to_owned()]
    }

    /// Is the goal met, if there is one?
    fn is_met(&self) -> Option<bool> {
        let beside = self.beside.map(|(number, _)| number);
        match self.goal {
            Goal::None => None,
            Goal::AtMost(most) => Some(self.measured <= most),
            Goal::Times(most) => Some(self.measured <= most * beside?),
            Goal::More(most) => Some(self.measured <= most + beside?),
        }
    }
}

/// A table as it is shown: its heads, and its lines of as many cells.
#[derive(Debug)]
pub(crate) struct Sheet {
    pub(crate) heads: Vec<&'static str>,
    /// Which columns end at their right.
    pub(crate) is_number: Vec<bool>,
    pub(crate) lines: Vec<Vec<String>>,
}

impl Sheet {
    /// What was measured, line by line, with yardstick and goal.
    pub(crate) fn of(rows: &[Row]) -> Self {
        Self {
            heads: vec!["what", "measured", "beside it", "ratio", "goal", ""],
            is_number: vec![false, true, false, true, false, false],
            lines: rows.iter().map(|row| row.cells().to_vec()).collect(),
        }
    }

    /// The table in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule: String = self.is_number.iter().map(|is_number| if *is_number { "|---:" } else { "|---" }).collect();
        let heads: Vec<_> = self.heads.iter().map(|head| (*head).to_owned()).collect();
        let lines: String = self.lines.iter().map(|cells| line(cells)).collect();
        format!("{}{rule}|\n{lines}", line(&heads))
    }

    /// The lines under their heads, in columns.
    pub(crate) fn render(&self) -> String {
        let heads = self.heads.iter().map(|head| (*head).to_owned()).collect();
        let lines: Vec<&Vec<String>> = std::iter::once(&heads).chain(&self.lines).collect();
        let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.heads.len()).map(width).collect();
        let mut out = String::new();
        for line in lines {
            let columns = line.iter().zip(&widths).zip(&self.is_number);
            let cells = columns.map(|((cell, width), is_number)| match is_number {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
            out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            out.push('\n');
        }
        out
    }
}

/// A number with its unit. A count has a fraction only if it is a mean, and then it is shown.
pub(crate) fn number_text(number: f64, unit: &str) -> String {
    match unit {
        "" if number.fract() == 0.0 || number >= 100.0 => format!("{number:.0}"),
        "" => format!("{number:.2}"),
        _ => format!("{number:.1} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(measured: f64, goal: Goal) -> Row {
        Row { what: "a call", unit: "ns", measured, beside: Some((40.0, "a load")), goal }
    }

    #[test]
    fn a_number_at_its_goal_meets_it_and_one_above_does_not() {
        for (goal, most) in [(Goal::AtMost(60.0), 60.0), (Goal::Times(1.5), 60.0), (Goal::More(10.0), 50.0)] {
            assert_eq!(row(most, goal).is_met(), Some(true), "{goal:?}");
            assert_eq!(row(most + 0.1, goal).is_met(), Some(false), "{goal:?}");
        }
        assert_eq!(row(1.0, Goal::None).is_met(), None);
    }

    #[test]
    fn columns_line_up() {
        let rows =
            [row(61.0, Goal::Times(1.5)), Row { what: "requests", unit: "", beside: None, ..row(7.0, Goal::None) }];
        let expected = "what      measured  beside it       ratio  goal\n\
                        a call     61.0 ns  40.0 ns a load   1.52  <= 1.5 x  OVER\n\
                        requests         7\n";
        assert_eq!(Sheet::of(&rows).render(), expected);
    }

    #[test]
    fn a_mean_shows_by_how_little_it_misses_its_goal() {
        let mean = Row { unit: "", ..row(2.04, Goal::AtMost(2.0)) };
        assert_eq!(mean.cells()[1..], ["2.04", "40 a load", "0.05", "<= 2", "OVER"].map(str::to_owned));
        assert_eq!(number_text(422.6, ""), "423");
    }

    #[test]
    fn markdown_has_numbers_at_the_right() {
        let sheet =
            Sheet { heads: vec!["what", "a"], is_number: vec![false, true], lines: vec![vec!["x".into(), "1".into()]] };
        assert_eq!(sheet.markdown(), "| what | a |\n|---|---:|\n| x | 1 |\n");
    }

    #[test]
    fn the_median_round_is_a_round() {
        let rounds = [(3.0, 1.0), (10.0, 5.0), (1.0, 1.0)].map(|(measured, beside)| Pair { measured, beside });
        assert_eq!(Pair::median(rounds.to_vec()), Some(Pair { measured: 10.0, beside: 5.0 }));
        assert_eq!(Pair::median(Vec::new()), None);
    }
}
