//! The comparison as a table for people.

use evergrant_sim::comparison::Tally;
use evergrant_sim::scenario::Scenario;
use evergrant_sim::strategy::Strategy;

use super::{DRAWN, Told};

/// One row for each client.
pub(super) fn table(told: &Told<'_>) -> String {
    let seeds = match told.seeds {
        [one] => format!("seed {one}"),
        [first, .., last] => format!("seeds {first} to {last}"),
        [] => String::new(),
    };
    let secs = told.simulated_secs;
    let time = if secs < 600 { format!("{secs} s") } else { format!("{:.1} h", secs as f64 / 3_600.0) };
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(told.tallies.iter().map(row));
    let mut text = format!("{}: {}\n{time} of virtual time, {seeds}\n\n", told.name, told.about);
    text.push_str(&aligned(&rows));
    if told.name == DRAWN {
        text.push_str(&format!("\npromises broken by evergrant: {}\n", told.broken.len()));
    }
    for (seed, broken) in told.broken.iter().take(SHOWN) {
        text.push_str(&format!("  seed {seed}: {broken}\n    again: evergrant simulate {DRAWN} --seed {seed}\n"));
    }
    text
}

/// So many broken promises are shown.
const SHOWN: usize = 20;

/// Worlds and clients by name.
pub(super) fn list(scenarios: &[Scenario]) -> String {
    let mut text = String::from("worlds\n");
    for scenario in scenarios {
        text.push_str(&format!("  {:<30} {}\n", scenario.name, scenario.about));
    }
    text.push_str(&format!("  {DRAWN:<30} a world of faults drawn from each seed\n"));
    text.push_str("\nclients\n");
    for strategy in Strategy::ALL {
        text.push_str(&format!("  {:<30} {}\n", strategy.name(), strategy.about()));
    }
    text
}

const HEAD: [&str; 9] = [
    "client",
    "calls",
    "visible 401",
    "first after refresh",
    "no answer",
    "other errors",
    "token requests",
    "per lifetime",
    "p99",
];

fn row(tally: &Tally) -> [String; 9] {
    let doubled = match tally.duplicated_effects {
        0 => String::new(),
        count => format!(", {count} effects doubled"),
    };
    [
        tally.strategy.to_owned(),
        tally.calls.to_string(),
        tally.visible_401.to_string(),
        format!("{:.1} %", tally.failed_firsts_percent),
        tally.unanswered.to_string(),
        tally.other_errors.to_string(),
        tally.token_requests.to_string(),
        format!("{:.2}", tally.token_requests_per_lifetime),
        format!("{} ms{doubled}", tally.p99_ms),
    ]
}

/// The first column to the left, the others to the right.
fn aligned(rows: &[[String; 9]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..9).map(width).collect();
    let line = |row: &[String; 9]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
