//! What kind of bytes a file consists of, and text out of them.
//!
//! PowerShell's `>` writes UTF-16, browsers save a HAR as UTF-8 with or without a mark, and people hand in compressed
//! files as they are. UTF-16 is turned into UTF-8 on the way; a compressed or binary file is named, not read: whoever
//! has it can unpack it.

/// What a file turns out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    Utf8,
    Utf16 {
        is_big_endian: bool,
    },
    /// Packed, and with what.
    Compressed(&'static str),
    /// No text of any kind.
    Binary,
}

impl Encoding {
    /// What a file that begins like this is.
    pub(super) fn of(head: &[u8]) -> Self {
        if let Some((_, name)) = PACKED.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Self::Compressed(name);
        }
        match head {
            [0xff, 0xfe, ..] => return Self::Utf16 { is_big_endian: false },
            [0xfe, 0xff, ..] => return Self::Utf16 { is_big_endian: true },
            _ => {}
        }
        let zeros = |odd: usize| head.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
        let (even, odd) = (zeros(0), zeros(1));
        let most = head.len() * 2 / 5;
        if head.len() >= 8 && odd > most && even == 0 {
            Self::Utf16 { is_big_endian: false }
        } else if head.len() >= 8 && even > most && odd == 0 {
            Self::Utf16 { is_big_endian: true }
        } else if even + odd > 0 || odd_bytes(head) * 10 > head.len() {
            Self::Binary
        } else {
            Self::Utf8
        }
    }
}

/// Bytes that no text has: control characters, and what is not UTF-8.
fn odd_bytes(head: &[u8]) -> usize {
    let is_control = |byte: &&u8| **byte < 0x20 && !matches!(**byte, b'\t' | b'\n' | b'\r' | 0x1b | 0x0c | 0x08);
    let controls = head.iter().filter(is_control).count();
    controls + head.utf8_chunks().map(|chunk| chunk.invalid().len()).sum::<usize>()
}

/// Turns UTF-16 into UTF-8 piece by piece.
#[derive(Clone, Default)]
pub(super) struct Utf16 {
    is_big_endian: bool,
    /// The first byte of a unit.
    half: Option<u8>,
    /// The first unit of a pair.
    high: Option<u16>,
}

impl Utf16 {
    pub(super) fn new(is_big_endian: bool) -> Self {
        Self { is_big_endian, ..Self::default() }
    }

    pub(super) fn decode(&mut self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len());
        for &byte in bytes {
            let Some(first) = self.half.take() else {
                self.half = Some(byte);
                continue;
            };
            let unit =
                if self.is_big_endian { u16::from_be_bytes([first, byte]) } else { u16::from_le_bytes([first, byte]) };
            self.unit(unit, &mut text);
        }
        text
    }

    fn unit(&mut self, unit: u16, text: &mut String) {
        if let Some(high) = self.high.take() {
            let pair = char::decode_utf16([high, unit]).next();
            if let Some(Ok(c)) = pair {
                text.push(c);
                return;
            }
            text.push(char::REPLACEMENT_CHARACTER);
        }
        match unit {
            0xd800..=0xdbff => self.high = Some(unit),
            0xfeff => {}
            _ => text.push(char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }
}

/// How packed files begin.
const PACKED: [(&[u8], &str); 5] = [
    (&[0x1f, 0x8b], "gzip"),
    (b"PK\x03\x04", "zip"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (b"BZh", "bzip2"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "xz"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utf16(text: &str, is_big_endian: bool) -> Vec<u8> {
        text.encode_utf16()
            .flat_map(|unit| if is_big_endian { unit.to_be_bytes() } else { unit.to_le_bytes() })
            .collect()
    }

    #[test]
    fn files_are_told_apart_by_their_beginning() {
        for (head, encoding) in [
            (&b"HTTP/1.1 401 Unauthorized"[..], Encoding::Utf8),
            ("{\"é\":\"😀\"}".as_bytes(), Encoding::Utf8),
            (b"", Encoding::Utf8),
            (&[0x1f, 0x8b, 8, 0], Encoding::Compressed("gzip")),
            (b"PK\x03\x04...", Encoding::Compressed("zip")),
            (&[0xff, 0xfe, b'a', 0], Encoding::Utf16 { is_big_endian: false }),
            (&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0], Encoding::Binary),
            (&[0x80, 0x81, 0x82, 0x83], Encoding::Binary),
        ] {
            assert_eq!(Encoding::of(head), encoding, "{head:?}");
        }
        for is_big_endian in [false, true] {
            assert_eq!(Encoding::of(&utf16("HTTP/1.1", is_big_endian)), Encoding::Utf16 { is_big_endian });
        }
    }

    proptest! {
        #[test]
        fn utf_16_comes_back_from_any_pieces(text: String, is_big_endian: bool, cut in 0_usize..200) {
            let bytes = utf16(&text, is_big_endian);
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            let mut utf16 = Utf16::new(is_big_endian);
            let decoded = utf16.decode(left) + &utf16.decode(right);
            prop_assert_eq!(decoded, text.replace('\u{feff}', ""));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Encoding::of(&bytes);
            let _ = Utf16::new(false).decode(&bytes);
        }
    }
}
