//! `cargo xtask bench`: speed and memory as a table, never asserted in a test.
//!
//! The measuring is the `bench` package's. This task installs what it needs, builds it and the program for release in
//! one go, so that both share their dependencies, and hands the table through.

use crate::setup;
use crate::shell::{self, Failure, capture, command};

/// Measures everything, or one part of it, and prints the table.
pub(crate) fn run(only: Option<&str>) -> Result<(), Failure> {
    setup::packages(&setup::FOR_BENCH)?;
    eprintln!("building for release ...");
    capture(&mut command("cargo", ["build", "--locked", "--release", "-p", "evergrant-cli", "-p", "bench"]))?;
    let built = shell::target().join("release");
    let program = built.join("evergrant").display().to_string();
    let args = std::iter::once(program.as_str()).chain(only);
    let ended = command(&built.join("bench").display().to_string(), args).status();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("the bench ended early ({status})"), "")),
        Err(error) => Err(Failure::new(format!("the bench did not start: {error}"), "")),
    }
}
