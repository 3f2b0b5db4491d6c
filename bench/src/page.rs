//! Puts a table into a page of the documentation, with where and from what it was measured.
//!
//! The page keeps its words; only what stands between two marks is replaced.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::table::{Row, markdown};
use crate::{Effort, Failure};

const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->";

/// Replaces the table of this page.
pub(crate) fn write(page: &Path, rows: &[Row], effort: Effort) -> Result<(), Failure> {
    let text = fs::read_to_string(page).map_err(|error| format!("{}: {error}", page.display()))?;
    let rounds = if effort == Effort::Quick { " A third of the rounds." } else { "" };
    let measured = format!("\n{}{rounds}\n\n{}\n", machine(), markdown(rows));
    fs::write(page, with(&text, &measured).ok_or("the page has no marks for a table")?)?;
    Ok(())
}

fn with(text: &str, measured: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{measured}{END}{after}"))
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
        let page = format!("# Title\n{BEGIN}old\n{END}\nWords.\n");
        assert_eq!(with(&page, "new\n").unwrap(), format!("# Title\n{BEGIN}new\n{END}\nWords.\n"));
        assert_eq!(with("# Title\n", "new\n"), None);
    }
}
