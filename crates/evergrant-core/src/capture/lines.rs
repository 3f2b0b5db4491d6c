//! Lines out of pieces of any size.
//!
//! A line comes out without its end. One that is longer than [`LINE_LIMIT`] comes out in parts, so that a file without
//! line breaks needs no more memory than any other; only the last part is said to be the end.

/// The longest part of a line.
pub(super) const LINE_LIMIT: usize = 64 << 10;

/// Collects bytes until a line is whole.
#[derive(Clone, Default)]
pub(super) struct Lines {
    held: Vec<u8>,
}

impl Lines {
    /// Takes some bytes and hands out every line, or part of one, that they complete; `true` with the end of a line.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut take: impl FnMut(&str, bool)) {
        while !bytes.is_empty() {
            let room = LINE_LIMIT - self.held.len();
            let end = bytes.iter().take(room).position(|byte| *byte == b'\n');
            let part = end.unwrap_or_else(|| room.min(bytes.len()));
            self.held.extend_from_slice(&bytes[..part]);
            bytes = &bytes[part + usize::from(end.is_some())..];
            if end.is_some() || self.held.len() == LINE_LIMIT {
                self.release(end.is_some(), &mut take);
            }
        }
    }

    /// Hands out what is left when the input ends in the middle of a line, as a part without an end.
    pub(super) fn end(&mut self, mut take: impl FnMut(&str, bool)) {
        if !self.held.is_empty() {
            self.release(false, &mut take);
        }
    }

    fn release(&mut self, is_end: bool, take: &mut impl FnMut(&str, bool)) {
        let line = String::from_utf8_lossy(&self.held);
        take(line.strip_suffix('\r').filter(|_| is_end).unwrap_or(&line), is_end);
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(parts: &[&[u8]]) -> Vec<(usize, bool)> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for part in parts {
            lines.push(part, |line, is_end| found.push((line.len(), is_end)));
        }
        lines.end(|line, is_end| found.push((line.len(), is_end)));
        found
    }

    #[test]
    fn a_line_ends_with_either_end_and_the_last_part_with_none() {
        assert_eq!(lines(&[b"ab\r\n\nc"]), [(2, true), (0, true), (1, false)]);
    }

    #[test]
    fn a_line_at_the_limit_is_whole_and_one_above_comes_in_parts() {
        let long = vec![b'x'; LINE_LIMIT + 1];
        assert_eq!(lines(&[&long[..LINE_LIMIT - 1], b"\n"]), [(LINE_LIMIT - 1, true)]);
        assert_eq!(lines(&[&long]), [(LINE_LIMIT, false), (1, false)]);
    }

    proptest! {
        #[test]
        fn the_same_bytes_in_any_pieces_give_the_same_lines(text in "[a\r\n\u{e9}]{0,40}", cut in 0_usize..40) {
            let (left, right) = text.as_bytes().split_at(cut.min(text.len()));
            prop_assert_eq!(lines(&[text.as_bytes()]), lines(&[left, right]));
        }
    }
}
