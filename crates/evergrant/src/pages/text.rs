//! JSON as it was written, looked into without building it.
//!
//! A page of an export may hold a hundred thousand items, and what is written of them must be what the API said: a
//! number keeps its digits, an object its order. So a page stays the text that arrived, and this type walks over it.
//! Nothing is copied but the names of fields.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON value as it stands in a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// Checks that the text is one JSON value.
    ///
    /// # Errors
    /// When it is not; the error knows line and column.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<&RawValue>(text).map(|raw| Self(raw.get()))
    }

    /// A value that was found in this text before.
    pub(super) fn within(text: &'a str, range: Range<usize>) -> Self {
        Self(text.get(range).unwrap_or("null"))
    }

    /// The value as it was written, white space within it included.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.0
    }

    /// The fields of an object in their order; none of anything else.
    #[must_use]
    pub fn fields(self) -> Vec<(String, Self)> {
        serde_json::from_str::<Fields<'a>>(self.0).map_or_else(|_| Vec::new(), |fields| fields.0)
    }

    /// The elements of an array; `None` of anything else.
    #[must_use]
    pub fn elements(self) -> Option<Vec<Self>> {
        let elements: Vec<&'a RawValue> = serde_json::from_str(self.0).ok()?;
        Some(elements.into_iter().map(|raw| Self(raw.get())).collect())
    }

    /// The value at this place below it.
    #[must_use]
    pub fn at(self, path: &JsonPath) -> Option<Self> {
        path.0.iter().try_fold(self, |value, name| value.child(name))
    }

    /// Is it `null`?
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// The text of a string.
    #[must_use]
    pub fn as_text(self) -> Option<String> {
        serde_json::from_str(self.0).ok()
    }

    /// A whole number that is not negative.
    #[must_use]
    pub fn as_number(self) -> Option<u64> {
        serde_json::from_str(self.0).ok()
    }

    /// Reads it as a type of the caller's.
    ///
    /// # Errors
    /// When it is of another form.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.0)
    }

    /// The value in one line, without the white space between its parts.
    #[must_use]
    pub fn compact(self) -> Cow<'a, str> {
        if !self.0.contains([' ', '\n', '\r', '\t']) {
            return Cow::Borrowed(self.0);
        }
        let (mut is_string, mut is_escaped) = (false, false);
        let keeps = |c: &char| {
            let keeps = is_string || !matches!(c, ' ' | '\n' | '\r' | '\t');
            match c {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = is_string,
                '"' => is_string = !is_string,
                _ => {}
            }
            keeps
        };
        Cow::Owned(self.0.chars().filter(keeps).collect())
    }

    fn child(self, name: &str) -> Option<Self> {
        if self.0.starts_with('[') {
            return self.elements()?.get(name.parse::<usize>().ok()?).copied();
        }
        // As every reader of JSON does, the last of several fields with one name wins.
        self.fields().into_iter().rev().find(|(field, _)| field == name).map(|(_, value)| value)
    }
}

impl fmt::Debug for Json<'_> {
    /// Without its content, which may be anybody's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

/// A place in a JSON value: a pointer as `/division/name` (RFC 6901), or names with dots between as `division.name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct JsonPath(Vec<String>);

impl JsonPath {
    /// Reads a path. The empty one and `.` are the value itself.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let part = |part: &str| part.replace("~1", "/").replace("~0", "~");
        Self(match (text, text.strip_prefix('/')) {
            ("" | ".", _) => Vec::new(),
            (_, Some(pointer)) => pointer.split('/').map(part).collect(),
            (_, None) => text.split('.').map(str::to_owned).collect(),
        })
    }

    /// The field of this name at the top, whatever the name looks like.
    #[must_use]
    pub fn field(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }

    /// Its first name, and the path from there.
    pub(super) fn split_first(&self) -> Option<(&str, Self)> {
        self.0.split_first().map(|(first, rest)| (first.as_str(), Self(rest.to_vec())))
    }
}

impl fmt::Display for JsonPath {
    /// As a pointer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| write!(f, "/{}", part.replace('~', "~0").replace('/', "~1")))
    }
}

/// The fields of an object, in order.
struct Fields<'a>(Vec<(String, Json<'a>)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            fields.push((name, Json(value.get())));
        }
        Ok(Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_as_it_was_written() {
        let json =
            Json::parse(r#" {"b": {"c/d": [10, 1.10e2, {"e.f": "x\u0041"}]}, "a": 9007199254740993.5} "#).unwrap();
        let text = |path| json.at(&JsonPath::new(path)).map(Json::text);
        assert_eq!(text("a"), Some("9007199254740993.5"));
        assert_eq!(text("/b/c~1d/1"), Some("1.10e2"));
        assert_eq!(json.at(&JsonPath::new("/b/c~1d/2/e.f")).unwrap().as_text().as_deref(), Some("xA"));
        assert_eq!((text("b.c/d.0"), text("b.x"), text("b.c/d.9"), text("a.b")), (Some("10"), None, None, None));
        assert_eq!(json.fields().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(text(""), Some(json.text()));
    }

    #[test]
    fn white_space_goes_and_strings_stay() {
        let text = "{ \"a b\" : [ 1 ,\n\t\"c \\\" d\\\\\" ] }";
        assert_eq!(Json::parse(text).unwrap().compact(), r#"{"a b":[1,"c \" d\\"]}"#);
        assert!(matches!(Json::parse("[1,2]").unwrap().compact(), Cow::Borrowed("[1,2]")));
    }

    #[test]
    fn the_last_field_of_a_name_wins() {
        let json = Json::parse(r#"{"a":1,"a":2}"#).unwrap();
        assert_eq!(json.at(&JsonPath::new("a")).unwrap().as_number(), Some(2));
    }

    #[test]
    fn a_path_is_shown_as_a_pointer() {
        assert_eq!(JsonPath::new("a.b").to_string(), "/a/b");
        assert_eq!(JsonPath::new("/a~1b/~0").to_string(), "/a~1b/~0");
    }
}
