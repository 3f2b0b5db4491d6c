//! `cargo xtask bench`: speed and memory as a table, never asserted in a test.
//!
//! Two kinds of measurement. A crate's own bench targets (`crates/*/benches/*.rs`, without a harness) print rows as
//! `what<TAB>measured<TAB>goal`, and this task runs each of them. What needs whole processes is measured by [`gateway`].
//! Goals stand beside the numbers for a reader to compare: a busy machine may miss them, and nothing fails if it does.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::shell::{self, Failure, capture, command};

mod gateway;

/// What measures whole processes, beside the bench targets of the crates.
const GATEWAY: &str = "gateway";

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    what: String,
    measured: String,
    goal: String,
}

/// Runs all benches, or those whose name contains `only`, and prints one table.
pub(crate) fn run(only: Option<&str>) -> Result<(), Failure> {
    let metadata =
        shell::stdout(&mut command("cargo", ["metadata", "--locked", "--no-deps", "--format-version", "1"]))?;
    let benches = targets(&metadata);
    let is_chosen = |name: &str| only.is_none_or(|only| name.contains(only));
    let mut rows = Vec::new();
    for (package, name) in benches.iter().filter(|(_, name)| is_chosen(name)) {
        eprintln!("measuring {name} ...");
        let said = capture(&mut command("cargo", ["bench", "--locked", "-p", package, "--bench", name]))?;
        rows.extend(said.lines().filter_map(row));
    }
    if is_chosen(GATEWAY) {
        eprintln!("measuring the gateway beside nginx, about a minute after the build ...");
        rows.extend(gateway::run()?);
    }
    if rows.is_empty() {
        let names: Vec<_> = benches.iter().map(|(_, name)| name.as_str()).chain([GATEWAY]).collect();
        return Err(Failure::new("no bench of that name", format!("benches: {}", names.join(", "))));
    }
    print!("{}", table(&rows));
    Ok(())
}

/// The bench targets of the workspace, as package and name.
fn targets(metadata: &str) -> BTreeSet<(String, String)> {
    let metadata: Value = serde_json::from_str(metadata).unwrap_or_default();
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let of = |package: &Value| {
        let targets = package["targets"].as_array().cloned().unwrap_or_default();
        let benches = targets.into_iter().filter(|target| target["kind"][0] == "bench");
        benches.map(|target| (name(package), name(&target))).collect::<Vec<_>>()
    };
    packages.iter().flat_map(of).collect()
}

fn row(line: &str) -> Option<Row> {
    let mut cells = line.split('\t').map(|cell| cell.trim().to_owned());
    match (cells.next(), cells.next(), cells.next(), cells.next()) {
        (Some(what), Some(measured), Some(goal), None) => Some(Row { what, measured, goal }),
        _ => None,
    }
}

fn table(rows: &[Row]) -> String {
    let width = |cell: fn(&Row) -> &str, head: &str| {
        rows.iter().map(|row| cell(row).chars().count()).chain([head.len()]).max().unwrap_or(0)
    };
    let what = width(|row| &row.what, "what");
    let measured = width(|row| &row.measured, "measured");
    let mut out = format!("{:<what$}  {:>measured$}  goal\n", "what", "measured");
    for row in rows {
        out.push_str(&format!("{:<what$}  {:>measured$}  {}\n", row.what, row.measured, row.goal));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_the_lines_with_three_cells() {
        assert_eq!(row("compiling"), None);
        let parsed = row("token()\t42 ns\twithin 1.5x of 40 ns").unwrap();
        assert_eq!((parsed.what.as_str(), parsed.measured.as_str()), ("token()", "42 ns"));
    }

    #[test]
    fn columns_line_up() {
        let rows = [row("a\t1 ns\tx").unwrap(), row("longer\t100 ns\ty").unwrap()];
        assert_eq!(table(&rows), "what    measured  goal\na           1 ns  x\nlonger    100 ns  y\n");
    }

    #[test]
    fn bench_targets_are_found() {
        let metadata = r#"{"packages":[{"name":"evergrant","targets":[
            {"name":"evergrant","kind":["lib"]},{"name":"token","kind":["bench"]}]}]}"#;
        assert_eq!(targets(metadata).into_iter().collect::<Vec<_>>(), [("evergrant".to_owned(), "token".to_owned())]);
    }
}
