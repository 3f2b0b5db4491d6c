//! `cargo xtask bench`: speed and memory as a table, never asserted in a test.
//!
//! The measuring is the `bench` package's. This task installs what it needs, builds the program as `cargo xtask dist`
//! ships it ([`profile`]), and hands the table through.

use std::path::PathBuf;

use crate::shell::{Failure, command};
use crate::{profile, setup};

/// Measures everything, or one part of it, prints the table and perhaps puts it into a page.
pub(crate) fn run(options: &[&str]) -> Result<(), Failure> {
    setup::packages(&setup::FOR_BENCH)?;
    let needs_program = !options.first().is_some_and(|part| WITHOUT_PROGRAM.contains(part));
    let program = if needs_program { profile::program(&profile::host()?, None)? } else { PathBuf::new() };
    eprintln!("building the bench ...");
    let bench = profile::bench()?;
    let ended = command(&bench, [program.display().to_string().as_str()]).args(options).status();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("the bench ended early ({status})"), "")),
        Err(error) => Err(Failure::new(format!("the bench did not start: {error}"), "")),
    }
}

/// The parts that measure the library alone.
const WITHOUT_PROGRAM: [&str; 4] = ["token", "verdict", "fleet", "scale"];
