//! Data as programs write it down: JSON, Python's `repr`, and what Node prints for an object.
//!
//! A HAR is JSON, a Python exception quotes its headers as a dictionary, and Node shows a rejected error with class
//! names, comments and unquoted keys. What all three have in common is enough to find a status, a header or a body:
//! brackets, and `name: value`. So one reader takes all of them, leniently: what it cannot read it skips, and it never
//! refuses. Bytes are pushed in as they come, tokens come out as soon as they are whole, and nothing grows with the
//! input: a text is kept up to [`TEXT_LIMIT`] bytes and the rest of it only walked over.
//!
//! Limits: a text in single quotes or backticks ends with its line, because an apostrophe in a sentence would otherwise
//! swallow the rest. Numbers, `true`, `None` and other bare words come out as they stand.
//!
//! Source: RFC 8259; Python's `repr`; Node's `util.inspect`.

/// What a text may hold at most; the rest of a longer one is skipped.
pub(super) const TEXT_LIMIT: usize = 16 << 10;

/// One piece of written data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token<'a> {
    /// An object or a list begins.
    Open,
    /// It ends.
    Close,
    /// The name of the next value.
    Key(&'a str),
    /// A text in quotes; `false` if its end was cut off.
    Text(&'a str, bool),
    /// A bare word: a number, `true`, `null`, the name of a class.
    Word(&'a str),
    /// The next member begins.
    Comma,
}

/// The reader. It holds at most one text.
#[derive(Clone, Debug)]
pub(super) struct Literals {
    state: State,
    /// The text or word that is being read, or that waits to be known as a key or a value.
    held: Vec<u8>,
    is_whole: bool,
    waiting: Waiting,
    depth: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Between,
    Word,
    Text {
        quote: u8,
    },
    Escape {
        quote: u8,
    },
    Hex {
        quote: u8,
        left: u8,
        value: u32,
    },
    /// After the first half of a surrogate pair.
    HalfPair {
        quote: u8,
        high: u32,
    },
    HalfPairEscape {
        quote: u8,
        high: u32,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Waiting {
    Nothing,
    Word,
    Text,
    /// A text and a plus: Node breaks a long text into such pieces.
    MoreText,
}

impl Literals {
    pub(super) fn new() -> Self {
        Self { state: State::Between, held: Vec::new(), is_whole: true, waiting: Waiting::Nothing, depth: 0 }
    }

    /// How many objects and lists are open.
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    /// Reads some bytes and hands every token that they complete to `take`, until it says `false` or they end.
    ///
    /// Returns how many bytes were read.
    pub(super) fn push(&mut self, bytes: &[u8], mut take: impl FnMut(Token<'_>) -> bool) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if let State::Text { quote } = self.state {
                at += self.take_plain(&bytes[at..], quote);
                let Some(&byte) = bytes.get(at) else { break };
                at += 1;
                self.end_or_escape(byte, quote);
                continue;
            }
            let byte = bytes[at];
            at += 1;
            if !self.step(byte, &mut take) {
                break;
            }
        }
        at
    }

    /// Ends the input: what was held comes out as a value.
    pub(super) fn end(&mut self, mut take: impl FnMut(Token<'_>) -> bool) {
        if !matches!(self.state, State::Between) {
            self.is_whole &= self.state == State::Word;
            self.waiting = if self.state == State::Word { Waiting::Word } else { Waiting::Text };
        }
        self.state = State::Between;
        self.release(&mut take);
    }

    /// Copies what has no meaning of its own, and says how much that was.
    fn take_plain(&mut self, bytes: &[u8], quote: u8) -> usize {
        let ends = |byte: &u8| *byte == quote || *byte == b'\\' || (*byte == b'\n' && quote != b'"');
        let plain = bytes.iter().position(ends).unwrap_or(bytes.len());
        self.keep(&bytes[..plain]);
        plain
    }

    fn end_or_escape(&mut self, byte: u8, quote: u8) {
        if byte == b'\\' {
            self.state = State::Escape { quote };
        } else {
            self.state = State::Between;
            self.waiting = Waiting::Text;
        }
    }

    /// One byte outside of plain text.
    fn step(&mut self, byte: u8, take: &mut impl FnMut(Token<'_>) -> bool) -> bool {
        match self.state {
            State::Between => return self.between(byte, take),
            State::Word if is_word(byte) => self.keep(&[byte]),
            State::Word => {
                self.state = State::Between;
                self.waiting = Waiting::Word;
                return self.between(byte, take);
            }
            State::Text { .. } => {}
            State::Escape { quote } => self.escape(byte, quote),
            State::Hex { quote, left, value } => self.hex(byte, quote, left, value),
            State::HalfPair { quote, .. } if byte != b'\\' => {
                self.keep_char(char::REPLACEMENT_CHARACTER);
                self.state = State::Text { quote };
                self.text_byte(byte, quote);
            }
            State::HalfPair { quote, high } => self.state = State::HalfPairEscape { quote, high },
            State::HalfPairEscape { quote, high } if byte == b'u' => {
                // The high half travels in the upper bits, where no code of four digits reaches.
                self.state = State::Hex { quote, left: 4, value: high << 16 };
            }
            State::HalfPairEscape { quote, .. } => {
                self.keep_char(char::REPLACEMENT_CHARACTER);
                self.escape(byte, quote);
            }
        }
        true
    }

    fn text_byte(&mut self, byte: u8, quote: u8) {
        if self.take_plain(&[byte], quote) == 0 {
            self.end_or_escape(byte, quote);
        }
    }

    fn between(&mut self, byte: u8, take: &mut impl FnMut(Token<'_>) -> bool) -> bool {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b'(' | b')' => true,
            b'"' | b'\'' | b'`' => {
                let goes_on = self.waiting == Waiting::MoreText || {
                    let goes_on = self.release(take);
                    self.clear();
                    goes_on
                };
                self.waiting = Waiting::Nothing;
                self.state = State::Text { quote: byte };
                goes_on
            }
            b'+' if self.waiting == Waiting::Text => {
                self.waiting = Waiting::MoreText;
                true
            }
            b':' => self.release_key(take),
            b',' => self.release(take) && take(Token::Comma),
            b'{' | b'[' => {
                // A word before a bracket is the name of a class.
                let goes_on = self.waiting == Waiting::Word || self.release(take);
                self.clear();
                self.depth = self.depth.saturating_add(1);
                goes_on && take(Token::Open)
            }
            b'}' | b']' => {
                let goes_on = self.release(take);
                self.depth = self.depth.saturating_sub(1);
                goes_on && take(Token::Close)
            }
            _ if is_word(byte) => {
                let goes_on = self.waiting == Waiting::Word || self.release(take);
                self.clear();
                self.state = State::Word;
                self.keep(&[byte]);
                goes_on
            }
            _ => self.release(take),
        }
    }

    fn escape(&mut self, byte: u8, quote: u8) {
        self.state = State::Text { quote };
        match byte {
            b'n' => self.keep(b"\n"),
            b'r' => self.keep(b"\r"),
            b't' => self.keep(b"\t"),
            b'b' | b'f' => self.keep(b" "),
            b'u' => self.state = State::Hex { quote, left: 4, value: 0 },
            b'x' => self.state = State::Hex { quote, left: 2, value: 0 },
            _ => self.keep(&[byte]),
        }
    }

    fn hex(&mut self, byte: u8, quote: u8, left: u8, value: u32) {
        let Some(digit) = char::from(byte).to_digit(16) else {
            self.keep_char(char::REPLACEMENT_CHARACTER);
            self.state = State::Text { quote };
            return self.text_byte(byte, quote);
        };
        let (high, low) = (value >> 16, (value & 0xffff) << 4 | digit);
        if left > 1 {
            self.state = State::Hex { quote, left: left - 1, value: high << 16 | low };
            return;
        }
        self.state = State::Text { quote };
        match (high, low) {
            (0, 0xd800..=0xdbff) => self.state = State::HalfPair { quote, high: low },
            (0, code) => self.keep_char(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)),
            (high, 0xdc00..=0xdfff) => {
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                self.keep_char(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (_, code) => {
                self.keep_char(char::REPLACEMENT_CHARACTER);
                self.keep_char(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
    }

    fn keep_char(&mut self, c: char) {
        self.keep(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = TEXT_LIMIT - self.held.len();
        self.is_whole &= bytes.len() <= room;
        self.held.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn clear(&mut self) {
        self.held.clear();
        self.is_whole = true;
        self.waiting = Waiting::Nothing;
    }

    fn release_key(&mut self, take: &mut impl FnMut(Token<'_>) -> bool) -> bool {
        let goes_on = match self.waiting {
            Waiting::Nothing => true,
            Waiting::Word | Waiting::Text | Waiting::MoreText => take(Token::Key(&text_of(&self.held))),
        };
        self.clear();
        goes_on
    }

    fn release(&mut self, take: &mut impl FnMut(Token<'_>) -> bool) -> bool {
        let goes_on = match self.waiting {
            Waiting::Nothing => true,
            Waiting::Word => take(Token::Word(&text_of(&self.held))),
            Waiting::Text | Waiting::MoreText => take(Token::Text(&text_of(&self.held), self.is_whole)),
        };
        self.clear();
        goes_on
    }
}

fn text_of(held: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(held)
}

/// What a bare word is made of: names, numbers, and the dates that Node prints without quotes.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.' | b'-' | b'*') || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokens_in(parts: &[&[u8]]) -> Vec<String> {
        let mut literals = Literals::new();
        let mut tokens = Vec::new();
        for part in parts {
            let read = literals.push(part, |token| {
                tokens.push(format!("{token:?}"));
                true
            });
            assert_eq!(read, part.len());
        }
        literals.end(|token| {
            tokens.push(format!("{token:?}"));
            true
        });
        tokens
    }

    fn tokens(text: &str) -> String {
        tokens_in(&[text.as_bytes()]).join(" ")
    }

    #[test]
    fn json_python_and_node_come_out_alike() {
        let expected =
            r#"Open Key("status") Word("401") Comma Key("h") Open Key("Date") Text("x\"y", true) Close Close"#;
        for text in [
            r#"{"status":401,"h":{"Date":"x\"y"}}"#,
            r#"{'status': 401, 'h': HTTPHeaderDict({'Date': 'x"y'})}"#,
            "{\n  status: 401,\n  h: AxiosHeaders {\n    Date: 'x' +\n      '\"y'\n  }\n}",
        ] {
            assert_eq!(tokens(text), expected, "{text}");
        }
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(tokens(r#""a\u00e9\ud83d\ude00\n\\""#), r#"Text("aé😀\n\\", true)"#);
        assert_eq!(tokens(r"'\x41\'b'"), r#"Text("A'b", true)"#);
        for broken in [r#""\ud83d""#, r#""\ud83dx""#, r#""\ud83d\u0041""#, r#""\u12"#, r#""\ud83d\n""#] {
            assert!(tokens(broken).contains('\u{fffd}') || broken.len() < 7, "{broken}: {}", tokens(broken));
        }
    }

    #[test]
    fn an_apostrophe_swallows_one_line_at_most() {
        assert_eq!(tokens("it's late\n{a:1}"), r#"Word("it") Text("s late", true) Open Key("a") Word("1") Close"#);
    }

    #[test]
    fn a_long_text_is_cut_and_said_to_be() {
        let text = format!("{{\"a\":\"{}\",\"b\":1}}", "x".repeat(TEXT_LIMIT + 1));
        let found = tokens(&text);
        assert!(found.contains(", false)") && found.ends_with(r#"Key("b") Word("1") Close"#), "{found}");
        assert!(tokens(&format!("\"{}\"", "x".repeat(TEXT_LIMIT))).ends_with(", true)"));
    }

    proptest! {
        #[test]
        fn the_same_bytes_in_any_pieces_give_the_same_tokens(
            text in r#"[{}\[\]:,"'`\\ux0-9ad8+\n ]{0,60}"#,
            cut in 0_usize..60,
        ) {
            let bytes = text.as_bytes();
            let whole = tokens_in(&[bytes]);
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(&whole, &tokens_in(&[left, right]));
            prop_assert_eq!(&whole, &tokens_in(&bytes.chunks(1).collect::<Vec<_>>()));
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_hold_little(bytes: Vec<u8>) {
            let mut literals = Literals::new();
            literals.push(&bytes, |_| true);
            prop_assert!(literals.held.len() <= TEXT_LIMIT);
            literals.end(|_| true);
        }

        #[test]
        fn every_json_text_comes_back(text: String) {
            let json = serde_json::to_string(&text).unwrap();
            let mut found = None;
            let mut literals = Literals::new();
            literals.push(json.as_bytes(), |_| true);
            literals.end(|token| {
                if let Token::Text(text, true) = token {
                    found = Some(text.to_owned());
                }
                true
            });
            let plain = text.replace(['\u{8}', '\u{c}'], " ");
            prop_assert_eq!(found, Some(plain));
        }
    }
}
