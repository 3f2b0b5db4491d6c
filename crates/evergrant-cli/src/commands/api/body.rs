//! The body of a request: from the flag, or from the file or the standard input that the flag names.
//!
//! Without the flag there is none, and standard input is left alone: in a script it may be the list that a loop reads. A
//! pipe that is named, and stays open and silent, ends the wait at the timeout with a word about it.

use std::io::Read;
use std::sync::mpsc;

use bytes::Bytes;
use evergrant::core::time::Span;

use crate::exit;
use crate::failure::Failure;

const MAX_BODY_BYTES: u64 = 64 << 20;

/// The body, or `None` if the request has none.
pub(super) fn read(data: Option<&str>, timeout: Span) -> Result<Option<Bytes>, Failure> {
    match data {
        Some("-" | "@-") => from_stdin(timeout).map(Some),
        Some(text) => match text.strip_prefix('@') {
            Some(path) => from_file(path).map(Some),
            None => Ok((!text.is_empty()).then(|| Bytes::copy_from_slice(text.as_bytes()))),
        },
        None => Ok(None),
    }
}

fn from_file(path: &str) -> Result<Bytes, Failure> {
    let open = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    bounded(open, path)
}

fn from_stdin(timeout: Span) -> Result<Bytes, Failure> {
    let (sender, receiver) = mpsc::channel();
    // A thread of its own: a read that never returns must not keep this process.
    std::thread::spawn(move || sender.send(bounded(std::io::stdin(), "standard input")));
    receiver.recv_timeout(timeout.to_duration()).unwrap_or_else(|_elapsed| {
        Err(Failure::new(exit::USAGE, "the body did not arrive")
            .at("standard input")
            .because(format!("it was not closed within {timeout}"))
            .hint("give the body with --data TEXT or --data @FILE, or close what writes it"))
    })
}

fn bounded(reader: impl Read, place: &str) -> Result<Bytes, Failure> {
    let mut body = Vec::new();
    reader.take(MAX_BODY_BYTES + 1).read_to_end(&mut body).map_err(|error| unreadable(place, &error))?;
    if body.len() as u64 > MAX_BODY_BYTES {
        return Err(Failure::new(exit::USAGE, "the body is too large")
            .at(place)
            .because("it has more than 64 MiB, and is kept in memory to be sent again")
            .hint("send it with curl through `evergrant gateway`, which streams"));
    }
    Ok(Bytes::from(body))
}

fn unreadable(place: &str, error: &std::io::Error) -> Failure {
    Failure::new(exit::USAGE, "cannot read the body")
        .at(place)
        .because(error)
        .hint("write --data @FILE, or --data TEXT")
}
