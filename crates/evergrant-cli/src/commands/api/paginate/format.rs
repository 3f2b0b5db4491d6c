//! What an item becomes in the output: a line of JSON, a record of CSV, or a line made from a template.
//!
//! Values are written as the API wrote them: a number keeps its digits, an object its order. A text is written without its
//! quotes in CSV and templates, objects and arrays as JSON in one line, `null` and what is missing as nothing.

use std::collections::BTreeSet;
use std::io::{self, Write};

use evergrant::pages::{Json, JsonPath};

use crate::args::PagesArgs;
use crate::exit;
use crate::failure::Failure;

/// How items are written.
pub(super) enum Format {
    /// JSON lines.
    Lines,
    /// CSV (RFC 4180) with a header.
    Csv(Table),
    /// A line for each item, after a pattern.
    Template(Vec<Part>),
}

/// The columns of a CSV.
#[derive(Default)]
pub(super) struct Table {
    /// Their names, once they are known: given, or those of the first item.
    columns: Vec<String>,
    are_given: bool,
    is_headed: bool,
    /// Fields that some item has and no column shows.
    unshown: BTreeSet<String>,
}

/// A part of a template.
#[derive(PartialEq, Debug)]
pub(super) enum Part {
    /// Text as it is.
    Text(String),
    /// The value at a place of the item.
    Value(JsonPath),
}

impl Format {
    /// What the command line asks for.
    pub(super) fn of(args: &PagesArgs) -> Result<Self, Failure> {
        match (&args.csv, &args.template) {
            (_, Some(text)) => parts(text).map(Self::Template),
            (Some(columns), None) => table(columns).map(Self::Csv),
            (None, None) => Ok(Self::Lines),
        }
    }

    /// Its columns, if their header has been written.
    pub(super) fn written_columns(&self) -> Option<Vec<String>> {
        match self {
            Self::Csv(table) if table.is_headed => Some(table.columns.clone()),
            Self::Csv(_) | Self::Lines | Self::Template(_) => None,
        }
    }

    /// Goes on where a header with these columns has been written.
    pub(super) fn go_on(&mut self, written: Option<Vec<String>>) {
        if let (Self::Csv(table), Some(columns)) = (self, written) {
            table.columns = columns;
            table.is_headed = true;
        }
    }

    /// Writes items.
    pub(super) fn write<'a>(
        &mut self,
        items: impl Iterator<Item = Json<'a>>,
        output: &mut impl Write,
    ) -> io::Result<()> {
        match self {
            Self::Lines => items.into_iter().try_for_each(|item| {
                output.write_all(item.compact().as_bytes())?;
                output.write_all(b"\n")
            }),
            Self::Csv(table) => table.write(items, output),
            Self::Template(parts) => items.into_iter().try_for_each(|item| {
                for part in parts.iter() {
                    match part {
                        Part::Text(text) => output.write_all(text.as_bytes())?,
                        // An item is a line, whatever its values hold.
                        Part::Value(path) => {
                            output.write_all(cell(item, path).replace(['\n', '\r'], " ").as_bytes())?
                        }
                    }
                }
                output.write_all(b"\n")
            }),
        }
    }

    /// Writes what stands in an output without items.
    pub(super) fn end(&mut self, output: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Csv(table) if table.are_given => table.write(std::iter::empty(), output),
            Self::Csv(_) | Self::Lines | Self::Template(_) => Ok(()),
        }
    }

    /// Fields that items have and the output does not, because the first item did not have them.
    pub(super) fn unshown(&self) -> Vec<&str> {
        match self {
            Self::Csv(table) => table.unshown.iter().map(String::as_str).collect(),
            Self::Lines | Self::Template(_) => Vec::new(),
        }
    }
}

impl Table {
    fn write<'a>(&mut self, items: impl Iterator<Item = Json<'a>>, output: &mut impl Write) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(output);
        let mut items = items.peekable();
        if !self.is_headed {
            match items.peek() {
                Some(first) if !self.are_given => {
                    self.columns = first.fields().into_iter().map(|(name, _)| name).collect();
                    if self.columns.is_empty() {
                        // An item that is no object is a column of its own.
                        self.columns.push(".".to_owned());
                    }
                }
                None if !self.are_given => return Ok(()),
                Some(_) | None => {}
            }
            writer.write_record(&self.columns)?;
            self.is_headed = true;
        }
        let path = |column: &String| if self.are_given { JsonPath::new(column) } else { own_field(column) };
        let paths: Vec<_> = self.columns.iter().map(path).collect();
        for item in items {
            if !self.are_given && self.unshown.len() < UNSHOWN_KEPT {
                let others = item.fields().into_iter().map(|(name, _)| name);
                self.unshown.extend(others.filter(|name| !self.columns.contains(name)));
            }
            writer.write_record(paths.iter().map(|path| cell(item, path)))?;
        }
        writer.flush()
    }
}

fn table(columns: &str) -> Result<Table, Failure> {
    if columns.is_empty() {
        return Ok(Table::default());
    }
    let columns: Vec<String> = columns.split(',').map(|column| column.trim().to_owned()).collect();
    if columns.iter().any(String::is_empty) {
        return Err(Failure::new(exit::USAGE, "a column has no name")
            .at("--csv")
            .hint("write --csv id,name,division.name, or --csv alone for the fields of the first item"));
    }
    Ok(Table { columns, are_given: true, ..Table::default() })
}

/// A field of the item itself, or the item.
fn own_field(name: &str) -> JsonPath {
    if name == "." { JsonPath::new(name) } else { JsonPath::field(name) }
}

fn cell(item: Json<'_>, path: &JsonPath) -> String {
    match item.at(path) {
        None => String::new(),
        Some(value) if value.is_null() => String::new(),
        Some(value) => value.as_text().unwrap_or_else(|| value.compact().into_owned()),
    }
}

/// Reads a template: `{path}` is a value, `\n`, `\t`, `\\`, `\{` and `\}` are characters, all else is itself.
fn parts(text: &str) -> Result<Vec<Part>, Failure> {
    let bad = |at: usize, cause: String| {
        Failure::new(exit::USAGE, "the template cannot be read")
            .at(format!("--template, character {}", at + 1))
            .because(cause)
            .hint("write --template '{id}\\t{division.name}'; a brace that is no value is \\{")
    };
    let (mut parts, mut plain) = (Vec::new(), String::new());
    let mut characters = text.chars().enumerate();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => plain.push(match characters.next().map(|(_, escaped)| escaped) {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(escaped @ ('\\' | '{' | '}')) => escaped,
                Some(other) => return Err(bad(at, format!("`\\{other}` means nothing"))),
                None => return Err(bad(at, "a lone `\\` ends it".to_owned())),
            }),
            '{' => {
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                let mut path = String::new();
                loop {
                    match characters.next() {
                        Some((_, '}')) => break,
                        Some((_, '{')) | None => return Err(bad(at, "the brace is not closed".to_owned())),
                        Some((_, character)) => path.push(character),
                    }
                }
                parts.push(Part::Value(JsonPath::new(path.trim())));
            }
            '}' => return Err(bad(at, "no brace is open".to_owned())),
            character => plain.push(character),
        }
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

/// So many names of fields that are not shown are remembered.
const UNSHOWN_KEPT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(mut format: Format, pages: &[&[&str]]) -> String {
        let mut output = Vec::new();
        for page in pages {
            format.write(page.iter().map(|item| Json::parse(item).unwrap()), &mut output).unwrap();
        }
        format.end(&mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    fn csv(columns: &str) -> Format {
        Format::Csv(table(columns).unwrap())
    }

    const ITEMS: &[&str] = &[
        r#"{"id": 9007199254740993, "name": "a \"b\", c", "division": {"name": "Home"}}"#,
        r#"{"id": 1.50, "name": null, "tags": ["x", 1]}"#,
    ];

    #[test]
    fn a_line_is_the_item_without_its_white_space() {
        assert_eq!(
            written(Format::Lines, &[ITEMS]),
            "{\"id\":9007199254740993,\"name\":\"a \\\"b\\\", c\",\"division\":{\"name\":\"Home\"}}\n\
             {\"id\":1.50,\"name\":null,\"tags\":[\"x\",1]}\n"
        );
    }

    #[test]
    fn named_columns_are_paths_and_have_a_header_even_alone() {
        let text = written(csv("id,/division/name,tags,tags.0"), &[ITEMS]);
        assert_eq!(text, "id,/division/name,tags,tags.0\n9007199254740993,Home,,\n1.50,,\"[\"\"x\"\",1]\",x\n");
        assert_eq!(written(csv("id, name"), &[&[]]), "id,name\n");
    }

    #[test]
    fn the_columns_of_the_first_item_serve_all_pages_and_the_others_are_named() {
        let mut format = csv("");
        let mut output = Vec::new();
        for item in ITEMS {
            format.write([Json::parse(item).unwrap()].into_iter(), &mut output).unwrap();
        }
        assert_eq!(
            String::from_utf8(output).unwrap(),
            "id,name,division\n9007199254740993,\"a \"\"b\"\", c\",\"{\"\"name\"\":\"\"Home\"\"}\"\n1.50,,\n"
        );
        assert_eq!(format.unshown(), ["tags"]);
        assert_eq!(written(csv(""), &[&[], &["7"]]), ".\n7\n");
    }

    #[test]
    fn a_resumed_csv_writes_no_second_header() {
        let mut format = csv("");
        format.go_on(Some(vec!["id".to_owned()]));
        assert_eq!(written(format, &[ITEMS]), "9007199254740993\n1.50\n");
    }

    #[test]
    fn a_template_is_a_line_for_each_item() {
        let template = |text: &str| written(Format::Template(parts(text).unwrap()), &[ITEMS]);
        assert_eq!(template(r"{id}\t{name}\{\}"), "9007199254740993\ta \"b\", c{}\n1.50\t{}\n");
        assert_eq!(template("{division}|{missing}"), "{\"name\":\"Home\"}|\n|\n");
        let broken = &[r#"{"a":"x\ny"}"#];
        assert_eq!(written(Format::Template(parts("{a}").unwrap()), &[broken]), "x y\n");
    }

    #[test]
    fn a_bad_template_points_at_the_place() {
        for (text, at) in [("a{b", 2), ("a}b", 2), (r"ab\q", 3), (r"ab\", 3), ("{a{b}}", 1)] {
            let failure = parts(text).unwrap_err();
            assert_eq!(failure.place.as_deref(), Some(format!("--template, character {at}").as_str()), "{text}");
        }
    }
}
