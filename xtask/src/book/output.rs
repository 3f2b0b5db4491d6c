//! What a page shows of an output, held against what was printed.
//!
//! A line that is `...` stands for any number of lines, and `...` within a line for any text, which is also how a reader
//! takes them. Where an output is said to be similar, numbers may differ in their digits, and the bars of a small plot in
//! their height, also where nothing was measured: it is the form that is promised. Of a JSON object the form is the
//! names and types of its members.

use serde_json::Value;

/// Does the output look as the page shows it?
pub(super) fn agrees(shown: &str, printed: &str, is_similar: bool) -> bool {
    let lines = |text: &str| -> Vec<String> {
        let lines = text.trim_matches('\n').lines().map(str::trim_end);
        lines.map(|line| if is_similar { levelled(line) } else { line.to_owned() }).collect()
    };
    lines_agree(&lines(shown), &lines(printed))
}

fn lines_agree(shown: &[String], printed: &[String]) -> bool {
    match (shown, printed) {
        ([], []) => true,
        ([first, rest @ ..], _) if first.trim() == "..." => {
            (0..=printed.len()).any(|from| lines_agree(rest, &printed[from..]))
        }
        ([first, rest @ ..], [line, others @ ..]) => line_agrees(first, line) && lines_agree(rest, others),
        _ => false,
    }
}

fn line_agrees(shown: &str, line: &str) -> bool {
    let pieces: Vec<&str> = shown.split("...").collect();
    let [first, middle @ .., last] = pieces.as_slice() else { return shown == line };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for piece in middle {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// The line with each number as `0`, each run of blanks as one, and each run of bars in a plot as `·`.
fn levelled(line: &str) -> String {
    let mut level = String::new();
    for c in line.chars() {
        let (c, is_run) = match c {
            '0'..='9' => ('0', true),
            ' ' => (' ', true),
            '·' | '▁'..='█' => ('·', true),
            other => (other, false),
        };
        if !(is_run && level.ends_with(c)) {
            level.push(c);
        }
    }
    // A busy machine makes no call in some slots of a plot, which stay blank.
    while level.contains("· ·") {
        level = level.replace("· ·", "·");
    }
    level.replace("0.0", "0")
}

/// The first member of the shown object that the printed one lacks, or has with another type, by its path.
pub(super) fn lacking(shown: &Value, printed: &Value, path: &str) -> Option<String> {
    match (shown, printed) {
        (Value::Object(shown), Value::Object(printed)) => shown.iter().find_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match printed.get(name) {
                Some(printed) => lacking(value, printed, &path),
                None => Some(format!("there is no `{path}`")),
            }
        }),
        (Value::Array(shown), Value::Array(printed)) => {
            let path = format!("{path}[]");
            shown.iter().find_map(|value| {
                let lacks = |other: &Value| lacking(value, other, &path);
                if printed.iter().any(|other| lacks(other).is_none()) {
                    return None;
                }
                printed.first().map_or_else(|| Some(format!("`{path}` is empty")), lacks)
            })
        }
        (Value::Null, _) | (_, Value::Null) => None,
        _ if std::mem::discriminant(shown) == std::mem::discriminant(printed) => None,
        _ => Some(format!("`{path}` is of another type: {printed}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dots_stand_for_lines_and_for_words() {
        assert!(agrees("a\n...\nd\n", "a\nb\nc\nd\n", false));
        assert!(agrees("a ... c\n", "a long b c\n", false));
        assert!(!agrees("a\n...\nd\n", "a\nb\n", false));
        assert!(!agrees("a ... c\n", "a b d\n", false));
        assert!(!agrees("a\n", "a\nb\n", false));
    }

    #[test]
    fn a_similar_output_has_other_numbers() {
        assert!(agrees("took 12.5 ms  ▂▃  of 100\n", "took 7 ms ▇· of 2\n", true));
        assert!(!agrees("took 12 ms\n", "took 7 s\n", true));
        assert!(agrees("lane  ··▂▃·\n", "lane  ·  ▃█\n", true));
        assert!(!agrees("lane  ··▂▃·\n", "lane  · x▃█\n", true));
        assert!(!agrees("lane  ··▂▃·\n", "lane  \n", true));
    }

    #[test]
    fn members_and_types_are_compared_and_not_values() {
        let printed = json!({"a": 1, "b": [{"c": "x"}, {"d": null}], "e": 2});
        assert_eq!(lacking(&json!({"a": 7, "b": [{"c": "y"}]}), &printed, ""), None);
        assert_eq!(lacking(&json!({"z": 7}), &printed, ""), Some("there is no `.z`".to_owned()));
        assert_eq!(lacking(&json!({"b": [{"q": 1}]}), &printed, ""), Some("there is no `.b[].q`".to_owned()));
        assert_eq!(lacking(&json!({"a": "1"}), &printed, ""), Some("`.a` is of another type: 1".to_owned()));
    }
}
