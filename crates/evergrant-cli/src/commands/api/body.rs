//! The body of a request: from the flag, from a file, or from standard input.
//!
//! Without the flag a method that usually has a body takes it from standard input, if that is a pipe or a file. A pipe
//! that stays open and silent ends the wait at the timeout with a word about it.

use std::io::Read;
use std::sync::mpsc;

use bytes::Bytes;
use evergrant::core::time::Span;
use http::Method;
use rustix::fs::{FileType, fstat};

use crate::exit;
use crate::failure::Failure;

const MAX_BODY_BYTES: u64 = 64 << 20;

/// The body, or `None` if the request has none.
pub(super) fn read(data: Option<&str>, method: &Method, timeout: Span) -> Result<Option<Bytes>, Failure> {
    match data {
        Some("-" | "@-") => from_stdin(timeout).map(Some),
        Some(text) => match text.strip_prefix('@') {
            Some(path) => from_file(path).map(Some),
            None => Ok((!text.is_empty()).then(|| Bytes::copy_from_slice(text.as_bytes()))),
        },
        None if takes_body(method) && stdin_holds_data() => {
            let body = from_stdin(timeout)?;
            Ok((!body.is_empty()).then_some(body))
        }
        None => Ok(None),
    }
}

fn takes_body(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
}

fn stdin_holds_data() -> bool {
    let kind = fstat(std::io::stdin()).map(|stat| FileType::from_raw_mode(stat.st_mode));
    matches!(kind, Ok(FileType::Fifo | FileType::RegularFile | FileType::Socket))
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
            .hint("give the body with --data, an empty one with --data '', or close it with </dev/null"))
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
