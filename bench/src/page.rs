//! Puts a table into a page of the documentation, with where and from what it was measured.
//!
//! The page keeps its words; only what stands between the two marks of a table is replaced.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::table::Sheet;
use crate::{Effort, Failure};

/// A table of the page.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Table {
    /// Of tokens, verdicts and the gateway.
    Speed,
    /// Of a fleet.
    Fleet,
    /// Of ten thousand replicas.
    Scale,
    /// Of the same with other rules.
    Rules,
}

impl Table {
    fn marks(self) -> [&'static str; 2] {
        match self {
            Self::Speed => ["<!-- measured: begin -->\n", "<!-- measured: end -->"],
            Self::Fleet => ["<!-- measured fleet: begin -->\n", "<!-- measured fleet: end -->"],
            Self::Scale => ["<!-- measured scale: begin -->\n", "<!-- measured scale: end -->"],
            Self::Rules => ["<!-- measured rules: begin -->\n", "<!-- measured rules: end -->"],
        }
    }
}

/// Replaces these tables of the page.
pub(crate) fn write(page: &Path, tables: Vec<(Table, Sheet)>, effort: Effort) -> Result<(), Failure> {
    let mut text = fs::read_to_string(page).map_err(|error| format!("{}: {error}", page.display()))?;
    let rounds = if effort == Effort::Quick { " A small part of it (`--quick`)." } else { "" };
    for (table, sheet) in tables {
        let measured = format!("\n{}{rounds}\n\n{}\n", machine(), sheet.markdown());
        text = with(&text, table, &measured).ok_or("the page has no marks for a table")?;
    }
    fs::write(page, text)?;
    Ok(())
}

fn with(text: &str, table: Table, measured: &str) -> Option<String> {
    let [begin, end] = table.marks();
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}{measured}{end}{after}"))
}

/// The processor, its count, the kernel and the commit.
fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = said("uname", &["-sr"]);
    format!("{count} processors of {model}, {kernel}, commit {}.", said("git", &["rev-parse", "--short", "HEAD"]))
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let [begin, end] = Table::Speed.marks();
        let page = |speed: &str| format!("# Title\n{begin}{speed}\n{end}\nWords.\n");
        assert_eq!(with(&page("old"), Table::Speed, "new\n").unwrap(), page("new"));
        assert_eq!(with(&page("old"), Table::Fleet, "new\n"), None);
    }
}
