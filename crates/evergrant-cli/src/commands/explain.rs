//! `evergrant explain`: what a refusal means, from a capture or from a running gateway.
//!
//! With `--last` a gateway is asked; otherwise a file or standard input is read. Reading needs no settings and sends
//! nothing, so it is kept apart from everything that could.

mod capture;
pub(crate) mod last;
mod shape;
mod words;

use crate::args::ExplainArgs;
use crate::failure::Failures;

/// Explains a capture.
pub(crate) fn capture(args: &ExplainArgs) -> Result<u8, Failures> {
    Ok(capture::run(args)?)
}
