//! `evergrant completions SHELL`: a completion script on standard output.

use crate::args;
use crate::exit;
use crate::failure::Failure;
use crate::render;

/// Prints the script.
pub(crate) fn run(shell: clap_complete::Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "evergrant", &mut script);
    render::data(&script)?;
    Ok(exit::OK)
}
