//! Measures speed and memory and prints one table: `cargo xtask bench`.
//!
//! Every number has its yardstick beside it, measured in the same run on the same machine: one atomic load for a token,
//! nginx for a request, the direct call for a latency. Rounds alternate between the two, so that both see the same
//! neighbours, and the round with the median ratio is shown. The goals are for a reader to compare with: a busy machine
//! may miss them, and nothing fails if it does.
//!
//! Linux only: the numbers about processes come from `/proc`. It needs `nginx` and `wrk`, which the task installs.
#![expect(clippy::print_stdout, reason = "the table is the output")]

use std::path::Path;
use std::process::ExitCode;

mod gateway;
mod idle;
mod latency;
mod peers;
mod process;
mod table;
mod token;

/// Why nothing could be measured; a bench has nobody to recover for.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The parts, in the order in which they are measured: from the quietest to the loudest.
const PARTS: [&str; 4] = ["token", "idle", "latency", "gateway"];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let measured = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [program] => measure(Path::new(program), &PARTS),
        [program, part] if PARTS.contains(part) => measure(Path::new(program), &[part]),
        _ => Err(format!("usage: bench PATH-OF-EVERGRANT [{}]", PARTS.join("|")).into()),
    };
    match measured {
        Ok(rows) => {
            print!("{}", table::render(&rows));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measure(program: &Path, parts: &[&str]) -> Result<Vec<table::Row>, Failure> {
    let mut rows = Vec::new();
    for part in parts {
        eprintln!("measuring {part} ...");
        rows.extend(match *part {
            "token" => token::rows()?,
            "idle" => idle::rows(program)?,
            "latency" => latency::rows(program)?,
            _ => gateway::rows(program)?,
        });
    }
    Ok(rows)
}
