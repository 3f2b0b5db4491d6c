//! An answer that should be a page: its fields, looked up without reading it again and again.

use super::error::PageError;
use super::text::{Json, JsonPath};

/// A JSON answer, with its fields at hand.
pub(super) struct Answer<'a> {
    whole: Json<'a>,
    fields: Vec<(String, Json<'a>)>,
}

impl<'a> Answer<'a> {
    pub(super) fn parse(body: &'a str) -> Result<Self, PageError> {
        let whole = Json::parse(body);
        let whole = whole.map_err(|error| PageError::NotJson { line: error.line(), column: error.column() })?;
        Ok(Self { whole, fields: whole.fields() })
    }

    /// The value at this place, as [`Json::at`]; `null` counts as absent.
    pub(super) fn at(&self, path: &JsonPath) -> Option<Json<'a>> {
        let found = match path.split_first() {
            None => Some(self.whole),
            Some(_) if self.fields.is_empty() => self.whole.at(path),
            Some((first, rest)) => self.field(first)?.at(&rest),
        };
        found.filter(|value| !value.is_null())
    }

    /// A field at the top; `null` counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<Json<'a>> {
        self.field(name).filter(|value| !value.is_null())
    }

    /// A whole number at the top.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.as_number()
    }

    /// A text at the top, if it is not empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name)?.as_text().filter(|text| !text.is_empty())
    }

    /// The whole of it.
    pub(super) fn whole(&self) -> Json<'a> {
        self.whole
    }

    /// Its fields that hold lists.
    pub(super) fn lists(&self) -> Vec<(&str, Json<'a>)> {
        let lists = self.fields.iter().filter(|(_, value)| value.text().starts_with('['));
        lists.map(|(name, value)| (name.as_str(), *value)).collect()
    }

    /// The names of its fields.
    pub(super) fn names(&self) -> Vec<String> {
        self.fields.iter().map(|(name, _)| name.clone()).collect()
    }

    fn field(&self, name: &str) -> Option<Json<'a>> {
        self.fields.iter().rev().find(|(field, _)| field == name).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_as_in_the_text_itself() {
        let body = r#"{"a":{"b":[1,null]},"n":null,"a.b":3}"#;
        let answer = Answer::parse(body).unwrap();
        for path in ["a", "a.b", "a.b.0", "/a.b", "x", "a.x", "n", ""] {
            let (path, whole) = (JsonPath::new(path), Json::parse(body).unwrap());
            assert_eq!(answer.at(&path), whole.at(&path).filter(|value| !value.is_null()), "{path}");
        }
        assert_eq!((answer.number("a.b"), answer.get("n"), answer.text("a")), (Some(3), None, None));
        assert_eq!(Answer::parse("[5]").unwrap().at(&JsonPath::new("0")).unwrap().text(), "5");
    }
}
