//! What goes to standard output: data, and nothing but data.

use std::io::Write;

use crate::exit;
use crate::failure::Failure;

/// Writes data. A reader that has gone away, as in `evergrant man | head`, is no failure.
pub(crate) fn data(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(exit::FAILED, "cannot write to standard output")
                .because(error)
                .hint("check the file or pipe that the output goes to"))
        }
        _ => Ok(()),
    }
}

/// Writes one JSON value and a line break.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    data(format!("{value}\n").as_bytes())
}
