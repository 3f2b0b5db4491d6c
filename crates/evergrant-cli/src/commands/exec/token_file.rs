//! A file with the token that works now, for a command that reads it again.
//!
//! The environment of a running command cannot be changed, but a file can. The keeper runs on beside the command as it
//! does in a gateway, and each token that takes over is put into the file at once. The file holds the token and nothing
//! else, without a line break, as `$(cat FILE)` and every other reader of such files expect it.
//!
//! Limits: a 401 that the command gets is not seen here. A token that the provider ends early stays in the file until
//! it would have been refreshed anyway; only a gateway does better.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use evergrant::{TokenGuard, TokenSource};
use evergrant_core::token::Generation;

use super::folder::replace;
use crate::exit;
use crate::failure::Failure;

/// Puts a token into the file.
pub(super) fn write(path: &Path, token: &TokenGuard) -> Result<(), Failure> {
    replace(path, token.expose().as_bytes()).map_err(|cause| {
        Failure::new(exit::FAILED, "cannot write the file with the token")
            .at(path.display())
            .because(cause)
            .hint("check that the disk has room, or set XDG_RUNTIME_DIR or TMPDIR to a folder on another one")
    })
}

/// Puts every token that takes over into the file; never ends.
pub(super) async fn keep(path: &Path, source: &TokenSource, mut written: Generation) -> Infallible {
    let mut events = source.watch_events();
    loop {
        // Asking is also what makes the keeper look whether something is due.
        if let Ok(token) = source.token().await
            && token.generation() != written
        {
            match write(path, &token) {
                Ok(()) => written = token.generation(),
                Err(failure) => failure.print_warning(),
            }
        }
        // The pause is for what no event tells of, and for a disk that is full for a while.
        let _ = tokio::time::timeout(LOOK_EVERY, events.changed()).await;
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(30);
