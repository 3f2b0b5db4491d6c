//! The `evergrant` command: arguments -> settings -> command -> render.
//!
//! Data goes to standard output, everything else to standard error. The exit codes are in `exit`.

#![allow(dead_code, reason = "the commands that use the settings follow")]

mod args;
mod commands;
mod exit;
mod failure;
mod harden;
mod logging;
mod render;
mod settings;

use std::process::ExitCode;

use args::{Cli, Command, Stop};
use failure::Failures;

fn main() -> ExitCode {
    let before = harden::process();
    let code = match Cli::read(std::env::args_os()) {
        Ok(cli) => run(cli.command, &before).unwrap_or_else(|failures| failures.print()),
        Err(Stop::Failure(failure)) => Failures::from(failure).print(),
        Err(Stop::Clap(error)) => {
            // Help that cannot be printed leaves nothing to say and nowhere to say it.
            let _ = error.print();
            if error.use_stderr() { exit::USAGE } else { exit::OK }
        }
    };
    ExitCode::from(code)
}

fn run(command: Command, _before: &harden::Before) -> Result<u8, Failures> {
    match command {
        Command::Config(command) => commands::config::run(command),
        Command::Completions { shell } => Ok(commands::completions::run(shell)?),
        Command::Man { dir } => Ok(commands::man::run(dir.as_deref())?),
        Command::Token(_) | Command::Exec(_) | Command::Api(_) | Command::Gateway(_) => Ok(0),
    }
}
