//! `cargo xtask bench`: speed and memory as a table, never asserted in a test.
//!
//! The measuring is the `bench` package's. This task installs what it needs, builds the program as `cargo xtask dist`
//! ships it, and the bench in the same way, because both then share what they are made of, and hands the table through.

use crate::setup;
use crate::shell::{self, Failure, capture, command};

/// Measures everything, or one part of it, prints the table and perhaps puts it into a page.
pub(crate) fn run(options: &[&str]) -> Result<(), Failure> {
    setup::packages(&setup::FOR_BENCH)?;
    if !options.first().is_some_and(|part| WITHOUT_PROGRAM.contains(part)) {
        eprintln!("building the program with the dist profile, some minutes ...");
        capture(&mut command("cargo", ["build", "--locked", "--profile", "dist", "-p", "evergrant-cli"]))?;
    }
    eprintln!("building the bench ...");
    capture(&mut command("cargo", ["build", "--locked", "--profile", "dist", "-p", "bench"]))?;
    let built = shell::target().join("dist");
    let program = built.join("evergrant").display().to_string();
    let args = std::iter::once(program.as_str()).chain(options.iter().copied());
    let ended = command(&built.join("bench").display().to_string(), args).status();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("the bench ended early ({status})"), "")),
        Err(error) => Err(Failure::new(format!("the bench did not start: {error}"), "")),
    }
}

/// The parts that measure the library alone.
const WITHOUT_PROGRAM: [&str; 3] = ["token", "verdict", "fleet"];
