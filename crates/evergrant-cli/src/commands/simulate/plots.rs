//! `evergrant simulate --plots DIR`: one thing after another is varied, and what came of it is drawn.
//!
//! Each plot is an SVG with a file of its data beside it, and a page holds them all. The data are what is true; a plot is
//! made of nothing else, so a plot that differs from its data can be found out.

use std::path::Path;

use evergrant_sim::comparison::{Place, Point, Sweep, Tally, faults};
use evergrant_sim::strategy::Strategy;
use serde_json::json;

use super::jobs;
use super::svg::{Panel, Scale, heat, panels};
use crate::args::SimulateArgs;
use crate::commands::doctor::plot::escape;
use crate::exit;
use crate::failure::Failure;
use crate::render;

/// One plot: what it is called, and what it shows.
pub(super) struct Sheet {
    /// The files' name without an ending.
    pub(super) name: &'static str,
    title: &'static str,
    axis: &'static str,
    value: Value,
    /// One row for each client, one number for each label.
    rows: Vec<(String, Vec<f64>)>,
    labels: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    Visible401,
    FailedFirsts,
    PerLifetime,
    Heat,
}

/// Varies, draws and writes.
pub(super) fn run(args: &SimulateArgs, folder: &Path) -> Result<u8, Failure> {
    std::fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))?;
    let (strategies, seeds) = (args.strategies(), args.all_seeds());
    let mut rows: Vec<(&'static str, Vec<Point>)> = Sweep::ALL.map(|sweep| (sweep.name(), sweep.points())).into();
    rows.push(("faults", faults()));
    let runs: Vec<_> = rows
        .iter()
        .flat_map(|(_, points)| points)
        .flat_map(|point| strategies.iter().map(|strategy| (*strategy, Place::World(&point.scenario))))
        .collect();
    let sums = jobs::sums(&runs, &seeds);
    let mut tallies = runs.iter().zip(sums).map(|((strategy, _), sum)| sum.tally(*strategy));
    let mut sheets = Vec::new();
    for (name, points) in &rows {
        let labels: Vec<&str> = points.iter().map(|point| point.label).collect();
        let table: Vec<Vec<Tally>> = points.iter().map(|_| tallies.by_ref().take(strategies.len()).collect()).collect();
        sheets.extend(sheets_of(name, &labels, &table, &strategies));
    }
    let mut written = Vec::new();
    for sheet in &sheets {
        written.push(write(folder, &format!("{}.csv", sheet.name), &sheet.csv())?);
        written.push(write(folder, &format!("{}.svg", sheet.name), &sheet.svg())?);
    }
    written.push(write(folder, "index.html", &page(&sheets, &seeds))?);
    if args.json {
        render::json(&json!({"files": written}))?;
    } else {
        render::data(format!("{}\n", written.join("\n")).as_bytes())?;
    }
    Ok(exit::OK)
}

fn sheets_of(name: &str, labels: &[&str], table: &[Vec<Tally>], strategies: &[Strategy]) -> Vec<Sheet> {
    let rows = |of: fn(&Tally) -> f64| -> Vec<(String, Vec<f64>)> {
        let row = |index: usize| table.iter().map(|point| point.get(index).map_or(0.0, of)).collect();
        strategies.iter().enumerate().map(|(index, strategy)| (strategy.name().to_owned(), row(index))).collect()
    };
    let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
    let of = |kind: &Kind| {
        let rows = match kind.value {
            Value::PerLifetime => rows(|tally| tally.token_requests_per_lifetime),
            Value::FailedFirsts => rows(|tally| tally.failed_firsts_percent),
            Value::Visible401 | Value::Heat => rows(Tally::visible_401_percent),
        };
        let &Kind { name, title, axis, value, .. } = kind;
        Sheet { name, title, axis, value, rows, labels: labels.clone() }
    };
    KINDS.iter().filter(|kind| kind.from == name).map(of).collect()
}

/// What is drawn of which row of worlds.
struct Kind {
    name: &'static str,
    from: &'static str,
    title: &'static str,
    axis: &'static str,
    value: Value,
}

const KINDS: [Kind; 6] = [
    Kind {
        name: "propagation",
        from: "propagation",
        title: "First requests after a refresh that end with a 401, by how late a node learns of the token",
        axis: Sweep::Propagation.axis(),
        value: Value::FailedFirsts,
    },
    Kind {
        name: "skew",
        from: "skew",
        title: "Calls that end with a 401, by how far this machine's clock is off",
        axis: Sweep::Skew.axis(),
        value: Value::Visible401,
    },
    Kind {
        name: "revocation",
        from: "revocation",
        title: "Calls that end with a 401, by how often tokens are revoked",
        axis: Sweep::Revocation.axis(),
        value: Value::Visible401,
    },
    Kind {
        name: "lifetime",
        from: "lifetime",
        title: "Calls that end with a 401, by how long a token lives",
        axis: Sweep::Lifetime.axis(),
        value: Value::Visible401,
    },
    Kind {
        name: "token-requests",
        from: "lifetime",
        title: "Token requests for each lifetime of a token",
        axis: Sweep::Lifetime.axis(),
        value: Value::PerLifetime,
    },
    Kind {
        name: "faults",
        from: "faults",
        title: "Calls that end with a 401, in percent: every client and every fault",
        axis: "tokens of an hour, eight nodes, a call every five seconds, six hours",
        value: Value::Heat,
    },
];

impl Sheet {
    /// The numbers, one client a line.
    pub(super) fn csv(&self) -> String {
        let mut text = format!("client,{}\n", self.labels.join(","));
        for (name, values) in &self.rows {
            let values: Vec<_> = values.iter().map(f64::to_string).collect();
            text.push_str(&format!("{name},{}\n", values.join(",")));
        }
        text
    }

    /// The sheet of this name from its data; `None` if they are no such data.
    #[cfg(test)]
    fn from_csv(name: &str, csv: &str) -> Option<Self> {
        let kind = KINDS.iter().find(|kind| kind.name == name)?;
        let mut lines = csv.lines();
        let labels = lines.next()?.split(',').skip(1).map(str::to_owned).collect();
        let row = |line: &str| {
            let (name, values) = line.split_once(',')?;
            Some((name.to_owned(), values.split(',').map(str::parse).collect::<Result<_, _>>().ok()?))
        };
        let rows = lines.map(row).collect::<Option<_>>()?;
        let &Kind { name, title, axis, value, .. } = kind;
        Some(Self { name, title, axis, value, rows, labels })
    }

    /// The plot.
    pub(super) fn svg(&self) -> String {
        let labels: Vec<&str> = self.labels.iter().map(String::as_str).collect();
        let scale = match self.value {
            Value::Heat => {
                let rows: Vec<_> = self.rows.iter().map(|(name, values)| (name.as_str(), values.clone())).collect();
                return heat(self.title, self.axis, &labels, &rows);
            }
            Value::Visible401 | Value::FailedFirsts => Scale::PERCENT,
            Value::PerLifetime => Scale::PER_LIFETIME,
        };
        let drawn: Vec<_> = self
            .rows
            .iter()
            .map(|(name, values)| Panel { title: name, values: values.clone(), is_ours: name == "evergrant" })
            .collect();
        panels(self.title, self.axis, &labels, scale, &drawn)
    }

    /// The numbers as a table for who cannot see the plot.
    fn html(&self) -> String {
        let head: String = self.labels.iter().map(|label| format!("<th>{}</th>", escape(label))).collect();
        let rows: String = self
            .rows
            .iter()
            .map(|(name, values)| {
                let cells: String = values.iter().map(|value| format!("<td>{value}</td>")).collect();
                format!("<tr><th>{}</th>{cells}</tr>", escape(name))
            })
            .collect();
        format!(
            "<div class=\"scroll\"><table><thead><tr><th>client</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        )
    }
}

fn page(sheets: &[Sheet], seeds: &[u64]) -> String {
    let seeds: Vec<_> = seeds.iter().map(u64::to_string).collect();
    let sections: String = sheets
        .iter()
        .map(|sheet| {
            format!(
                "<section>{svg}<details><summary>The numbers ({name}.csv)</summary>{table}</details></section>\n",
                svg = sheet.svg(),
                name = sheet.name,
                table = sheet.html(),
            )
        })
        .collect();
    let clients: String = Strategy::ALL
        .into_iter()
        .map(|strategy| format!("<dt>{}</dt><dd>{}</dd>", strategy.name(), escape(strategy.about())))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Evergrant simulate</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <style>{css}</style>\n</head>\n<body>\n<main>\n<h1>Who sees a 401, and when</h1>\n\
         <p>Every client meets the same callers, network, clocks and provider, in virtual time. Seeds {seeds}; version {version}.</p>\n\
         {sections}<section><h2>The clients</h2><dl>{clients}</dl></section>\n</main>\n</body>\n</html>\n",
        css = include_str!("simulate.css"),
        seeds = seeds.join(", "),
        version = env!("CARGO_PKG_VERSION"),
    )
}

fn write(folder: &Path, name: &str, text: &str) -> Result<String, Failure> {
    let path = folder.join(name);
    std::fs::write(&path, text).map_err(|error| cannot_write(&path, &error))?;
    Ok(path.display().to_string())
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(exit::FAILED, "cannot write the plots")
        .at(path.display())
        .because(error)
        .hint("name a folder that you may write to with --plots DIR")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The README's plot and its data are in the repository. The plot must be drawn from these data, and the data must be
    /// what the simulation says: one world of the row is run again for two clients.
    #[test]
    fn the_plot_of_the_readme_is_what_the_simulation_says() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/simulation");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let again = "the plots are out of date: cargo run --release -- simulate --plots docs/simulation";
        for kind in &KINDS {
            let sheet = Sheet::from_csv(kind.name, &read(&format!("{}.csv", kind.name))).unwrap();
            assert!(sheet.svg() == read(&format!("{}.svg", kind.name)), "{}: {again}", kind.name);
        }
        let sheet = Sheet::from_csv("propagation", &read("propagation.csv")).unwrap();
        let (index, point) = Sweep::Propagation.points().into_iter().enumerate().nth(4).unwrap();
        for strategy in [Strategy::Evergrant, Strategy::Snippet] {
            let (_, values) = sheet.rows.iter().find(|(name, _)| name == strategy.name()).unwrap();
            let tally = Tally::of(strategy, &point.scenario, &[1, 2, 3]);
            assert_eq!(tally.failed_firsts_percent, values[index], "{}: {again}", strategy.name());
        }
    }
}
