//! Finds requests that announce their length twice.
//!
//! A head with both `Transfer-Encoding` and `Content-Length` is how requests are smuggled past a proxy that believes
//! the other field (RFC 9112 section 6.3). The HTTP parser drops `Content-Length` there, so the head that the service
//! sees looks innocent. [`HeadScan`] looks at the bytes before the parser does, line by line, until the empty line that
//! ends the head.
//!
//! It sees a head only where bytes arrive while no request is in progress. A head that came pipelined behind another
//! is not seen; a chunked request of that kind is served, and its connection is closed after the answer, which leaves
//! nothing behind to smuggle (RFC 9112 section 6.1).

/// What is known about the fields that frame one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// The head was seen and has at most one way to end.
    Clear,
    /// The head has a `Content-Length` beside its `Transfer-Encoding`.
    Conflicting,
    /// The head was not seen.
    Unseen,
}

/// Reads one head as its bytes arrive.
#[derive(Debug, Default)]
pub(crate) struct HeadScan {
    /// The beginning of the current line, as far as it tells a name.
    line: [u8; LONGEST],
    length: usize,
    lines: u32,
    announces_length: bool,
    announces_coding: bool,
    complete: bool,
}

impl HeadScan {
    /// Takes the next bytes; `Some` once the empty line after the head was among them.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Option<Framing> {
        while !self.complete {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            self.extend(&bytes[..end.unwrap_or(bytes.len())]);
            bytes = &bytes[end? + 1..];
            self.end_line();
        }
        Some(if self.announces_length && self.announces_coding { Framing::Conflicting } else { Framing::Clear })
    }

    fn extend(&mut self, part: &[u8]) {
        let count = part.len().min(LONGEST - self.length);
        self.line[self.length..self.length + count].copy_from_slice(&part[..count]);
        self.length += count;
    }

    fn end_line(&mut self) {
        let line = &self.line[..self.length];
        if line.is_empty() || line == b"\r" {
            // Empty lines before the request line are skipped, as the parser skips them.
            self.complete = self.lines > 0;
        } else {
            self.lines += 1;
            self.announces_length |= is_field(line, b"content-length");
            self.announces_coding |= is_field(line, b"transfer-encoding");
        }
        self.length = 0;
    }
}

fn is_field(line: &[u8], name: &[u8]) -> bool {
    line.len() > name.len()
        && line[..name.len()].eq_ignore_ascii_case(name)
        && matches!(line[name.len()], b':' | b' ' | b'\t')
}

/// Room for `transfer-encoding` and the byte after it.
const LONGEST: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    const CONFLICT: &str =
        "\r\nPOST / HTTP/1.1\r\nHost: x\r\nContent-length: 4\r\nTRANSFER-Encoding:chunked\r\n\r\nrest";

    #[test]
    fn a_length_beside_a_coding_is_a_conflict() {
        assert_eq!(HeadScan::default().feed(CONFLICT.as_bytes()), Some(Framing::Conflicting));
    }

    #[test]
    fn one_of_them_is_clear() {
        for gone in ["Content-length: 4\r\n", "TRANSFER-Encoding:chunked\r\n"] {
            let text = CONFLICT.replace(gone, "");
            assert_eq!(HeadScan::default().feed(text.as_bytes()), Some(Framing::Clear));
        }
    }

    #[test]
    fn a_name_inside_a_value_or_a_body_is_no_field() {
        let text = "POST /content-length: HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX: Content-Length: 4\r\n\r\nContent-Length: 4\r\n\r\n";
        assert_eq!(HeadScan::default().feed(text.as_bytes()), Some(Framing::Clear));
    }

    #[test]
    fn every_split_of_a_head_gives_the_same_result() {
        for at in 0..CONFLICT.len() - "rest".len() {
            let mut scan = HeadScan::default();
            assert_eq!(scan.feed(&CONFLICT.as_bytes()[..at]), None, "{at}");
            assert_eq!(scan.feed(&CONFLICT.as_bytes()[at..]), Some(Framing::Conflicting), "{at}");
        }
    }
}
