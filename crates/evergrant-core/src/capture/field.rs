//! A field of a head that is read line by line: it may go on with the next line, and the capture may cut it.

use super::draft::Draft;

/// A field and its value so far.
#[derive(Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: String,
    /// Does its last line lack its end?
    is_cut: bool,
}

impl Field {
    /// The field in a line, or in a part of one; a line that holds none has none.
    pub(super) fn of(line: &str, is_end: bool) -> Option<Self> {
        let at = line.as_bytes().iter().skip(1).position(|byte| *byte == b':')? + 1;
        let (name, value) = (&line[..at], &line[at + 1..]);
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&byte));
        let value = value.trim_matches([' ', '\t', '\r']);
        is_name.then(|| Self { name: name.to_owned(), value: value.to_owned(), is_cut: !is_end })
    }

    /// Takes another line that the value goes on with.
    pub(super) fn go_on(&mut self, line: &str, is_end: bool) {
        if self.value.len() + line.len() < VALUE_LIMIT {
            self.value.push('\n');
            self.value.push_str(line);
        }
        self.is_cut = !is_end;
    }

    /// Gives it to an answer.
    ///
    /// The words of a challenge that was cut may end in half a token, which no cleaning knows for what it is; they are
    /// left out.
    pub(super) fn answer(&self, draft: &mut Draft) {
        let has_words = self.name.to_ascii_lowercase().ends_with("-authenticate");
        if !(self.is_cut && has_words) {
            draft.answer_field(&self.name, &self.value);
        }
    }
}

const VALUE_LIMIT: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn field(line: &str) -> Option<(String, String)> {
        Field::of(line, true).map(|field| (field.name, field.value))
    }

    #[test]
    fn fields_are_names_and_values() {
        let pair = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(field("Date: Sat, 28 Nov 2026 22:43:10 GMT"), pair("Date", "Sat, 28 Nov 2026 22:43:10 GMT"));
        assert_eq!(field(":authority: api.example.org"), pair(":authority", "api.example.org"));
        assert_eq!(field("not a field: x"), None);
        assert_eq!(field(""), None);
        assert_eq!(field("\u{e9}:x"), None);
    }
}
