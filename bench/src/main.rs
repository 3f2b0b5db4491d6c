//! Measures speed and memory and prints one table: `cargo xtask bench`.
//!
//! Every number has its yardstick beside it, measured in the same run on the same machine: one atomic load for a token,
//! nginx for a request, the direct call for a latency. Rounds alternate between the two, so that both see the same
//! neighbours, and the round with the median ratio is shown. `--write FILE` puts the table into a page. The goals are for a
//! reader to compare with: a busy machine may miss them, and nothing fails if it does. `--quick` takes a third of the rounds of the gateway's part, to see
//! that everything works, and a tenth of the fleets.
//!
//! `train` measures nothing: it makes the gateway do what it usually does, for a compiler that counts.
//!
//! Linux only: the numbers about processes come from `/proc`. It needs `nginx`, `wrk` and `redis-server`, which the task
//! installs.
#![expect(clippy::print_stdout, reason = "the table is the output")]

use std::path::Path;
use std::process::ExitCode;

mod bare;
mod cpu;
mod fleet;
mod gateway;
mod idle;
mod latency;
mod pace;
mod page;
mod peers;
mod process;
mod scale;
mod table;
mod token;
mod train;
mod verdict;
mod waits;

/// Why nothing could be measured; a bench has nobody to recover for.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    Full,
    Quick,
}

impl Effort {
    /// How many rounds, of those that a full measurement has.
    fn rounds(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Quick => full.div_ceil(3),
        }
    }
}

/// The parts, in the order in which they are measured: from the quietest to the loudest.
const PARTS: [&str; 6] = ["token", "verdict", "latency", "fleet", "scale", "gateway"];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let [bare::WORD, port, api] = args.as_slice() {
        return ended(bare::run(port, api));
    }
    if let [program, "train"] = args.as_slice() {
        return ended(train::run(Path::new(program)));
    }
    let effort = if args.contains(&"--quick") { Effort::Quick } else { Effort::Full };
    args.retain(|arg| *arg != "--quick");
    let page = match args.as_slice() {
        [.., "--write", page] => Some(Path::new(*page)),
        _ => None,
    };
    if page.is_some() {
        args.truncate(args.len() - 2);
    }
    let measured = match args.as_slice() {
        [program] => measure(Path::new(program), &PARTS, effort),
        [program, part] if PARTS.contains(part) => measure(Path::new(program), &[part], effort),
        _ => Err(format!("usage: bench PATH-OF-EVERGRANT [{}] [--quick] [--write FILE]", PARTS.join("|")).into()),
    };
    let shown = measured.and_then(|rows| {
        let tables = rows.iter().map(|(_, sheet)| sheet.render()).collect::<Vec<_>>();
        print!("{}", tables.join("\n"));
        page.map_or(Ok(()), |page| page::write(page, rows, effort))
    });
    ended(shown)
}

fn ended(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The tables of these parts: the fleet's, the two of ten thousand replicas, and that of all others.
fn measure(program: &Path, parts: &[&str], effort: Effort) -> Result<Vec<(page::Table, table::Sheet)>, Failure> {
    let (mut rows, mut of_fleet, mut of_scale) = (Vec::new(), Vec::new(), Vec::new());
    let mut tables = Vec::new();
    for part in parts {
        eprintln!("measuring {part} ...");
        match *part {
            "token" => rows.extend(token::rows()?),
            "verdict" => rows.extend(verdict::rows()?),
            "latency" => rows.extend(latency::rows(program)?),
            "fleet" => of_fleet.extend(fleet::rows(effort)?),
            "scale" => {
                let (rows, of_rules) = scale::measure(effort)?;
                of_scale.extend(rows);
                tables.push((page::Table::Rules, of_rules));
            }
            _ => rows.extend(gateway::rows(program, effort)?),
        }
    }
    let of_rows = [(page::Table::Speed, rows), (page::Table::Fleet, of_fleet), (page::Table::Scale, of_scale)];
    let of_rows = of_rows.into_iter().filter(|(_, rows)| !rows.is_empty());
    Ok(of_rows.map(|(table, rows)| (table, table::Sheet::of(&rows))).chain(tables).collect())
}
