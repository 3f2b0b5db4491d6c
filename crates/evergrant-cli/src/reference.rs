//! The reference of the guide, made from the tables that the program itself is made from.
//!
//! Commands come from the command line's own description, settings from their table, exit codes from theirs. A page has
//! words of its own and between two comments what is made here. A test compares the two and fails when they differ;
//! `cargo xtask reference` writes them anew. Nothing of this is in the program: it is compiled for the tests alone.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command, CommandFactory as _};

use crate::args;
use crate::exit;
use crate::settings::catalog::{Kind, SPECS, Spec};

const BEGIN: &str = "<!-- generated: cargo xtask reference -->\n";
const END: &str = "<!-- end -->\n";

/// Holds a page's generated part against what it should be, or writes it.
fn hold(page: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let text = std::fs::read_to_string(&path).expect("the page is there");
    let (before, rest) = text.split_once(BEGIN).expect("the page has a place for what is generated");
    let (_, after) = rest.split_once(END).expect("the generated part has an end");
    let wanted = format!("{before}{BEGIN}\n{}\n\n{END}{after}", made.trim());
    if std::env::var_os("EVERGRANT_BLESS").is_some() {
        std::fs::write(&path, &wanted).expect("the page can be written");
    } else {
        assert!(text == wanted, "docs/{page} is out of date: cargo xtask reference");
    }
}

#[test]
fn the_page_of_commands_says_what_the_help_says() {
    let mut command = args::command().bin_name("evergrant").disable_help_subcommand(true);
    command.build();
    let mut text = String::new();
    // Hiding what a command does not need changes their order; a reader meets them in that of the help.
    for first in args::Cli::command().get_subcommands() {
        let sub = command.find_subcommand(first.get_name()).expect("a command of the same name");
        describe(&mut text, sub, sub.get_name());
    }
    hold("reference/commands.md", &text);
}

fn describe(text: &mut String, command: &Command, name: &str) {
    let nested: Vec<_> = command.get_subcommands().collect();
    if !nested.is_empty() {
        for sub in nested {
            describe(text, sub, &format!("{name} {}", sub.get_name()));
        }
        return;
    }
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().bin_name(format!("evergrant {name}")).render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    line(text, format_args!("## {name}\n\n{about}.\n\n```text drawing\n{usage}\n```\n"));
    let shown = |arg: &&Arg| !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version");
    let (settings, own): (Vec<&Arg>, Vec<&Arg>) =
        command.get_arguments().filter(shown).partition(|arg| arg.get_help_heading() == Some("Settings"));
    if !own.is_empty() {
        line(text, format_args!("| argument | |\n|---|---|"));
        for arg in own {
            line(text, format_args!("| `{}` | {} |", spelled(arg), cell(&explained(arg))));
        }
        line(text, format_args!(""));
    }
    if !settings.is_empty() {
        line(text, format_args!("Settings: {}.\n", taken(&settings)));
    }
}

/// The settings that a command takes, or where they are most of all, those that it does not.
fn taken(settings: &[&Arg]) -> String {
    let is_taken = |flag: &str| settings.iter().any(|arg| arg.get_id() == flag);
    let flags = SPECS
        .iter()
        .filter(|spec| spec.kind != Kind::ForeignSecret)
        .map(|spec| if spec.kind == Kind::Secret { format!("{}-file", spec.name) } else { spec.name.to_owned() });
    let others: Vec<String> = flags.filter(|flag| !is_taken(flag)).map(|flag| link(&flag)).collect();
    let links: Vec<String> = settings.iter().map(|arg| link(arg.get_id().as_str())).collect();
    match others.len() {
        0 => "all of them".to_owned(),
        few if few < links.len() => format!("all but {}", others.join(", ")),
        _ => links.join(", "),
    }
}

/// The argument as it is typed.
fn spelled(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let value = names.first().filter(|_| arg.get_action().takes_values()).map_or_else(String::new, |name| {
        let is_optional = arg.get_num_args().is_some_and(|range| range.min_values() == 0);
        if is_optional { format!(" [{name}]") } else { format!(" {name}") }
    });
    match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}{value}"),
        (None, Some(long)) => format!("--{long}{value}"),
        (Some(short), None) => format!("-{short}{value}"),
        (None, None) => value.trim().to_owned(),
    }
}

fn explained(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set() && arg.get_action().takes_values())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !values.is_empty() {
        let _ = write!(text, ": {}", values.join(", "));
    }
    let default: Vec<String> = arg.get_default_values().iter().map(|value| value.to_string_lossy().into()).collect();
    if !default.is_empty() && arg.get_action().takes_values() {
        let _ = write!(text, "; `{}` if not given", default.join(" "));
    }
    text
}

/// A setting's flag, as a link to its section.
fn link(flag: &str) -> String {
    let key = flag.replace('-', "_");
    let is_setting = |key: &str| SPECS.iter().any(|spec| spec.file_key() == key);
    let section = key.strip_suffix("_file").filter(|key| is_setting(key)).unwrap_or(&key);
    let section = if is_setting(section) { section } else { "which-settings" };
    format!("[`--{flag}`](settings.md#{section})")
}

#[test]
fn the_page_of_settings_has_every_setting() {
    let mut text = String::new();
    for spec in SPECS {
        line(&mut text, format_args!("## {}\n\n{}.\n", spec.file_key(), sentence(spec)));
        for row in spellings(spec) {
            line(&mut text, format_args!("- {row}"));
        }
        line(&mut text, format_args!(""));
    }
    hold("reference/settings.md", &text);
}

fn sentence(spec: &Spec) -> String {
    let is_secret = spec.kind == Kind::Secret;
    let words = spec.help.strip_prefix("the ").filter(|_| is_secret).map(|rest| format!("The {rest}"));
    let words = words.or_else(|| spec.help.strip_prefix("a ").filter(|_| is_secret).map(|rest| format!("A {rest}")));
    let words = words.or_else(|| spec.help.strip_prefix("an ").filter(|_| is_secret).map(|rest| format!("An {rest}")));
    cell(&words.unwrap_or_else(|| spec.help.to_owned()))
}

fn spellings(spec: &Spec) -> Vec<String> {
    let (flag, variable, key) = (spec.flag(), spec.env(), spec.file_key());
    let mut rows = match spec.kind {
        Kind::Text | Kind::List => {
            vec![format!("`{flag} {}`, `{variable}`, `{key}` in a settings file", spec.placeholder)]
        }
        Kind::Switch => vec![format!("`{flag}`, `{variable}=true`, `{key} = true` in a settings file")],
        Kind::Secret => vec![
            format!("`{variable}` in the environment"),
            format!(
                "in a file: `{flag}-file FILE`, `{variable}_FILE`, `{key}_file` in a settings file; `-` is standard input"
            ),
        ],
        Kind::ForeignSecret => Vec::new(),
    };
    if !spec.also.is_empty() {
        let also: Vec<String> = spec.also.iter().map(|name| format!("`{name}`")).collect();
        let words = if spec.kind == Kind::ForeignSecret { "from" } else { "also from" };
        rows.push(format!("{words} {}", also.join(", ")));
    }
    rows.extend(spec.default.map(|default| format!("`{default}` if not given")));
    let example = Some(spec.example).filter(|example| !example.is_empty() && spec.default != Some(example));
    rows.extend(example.map(|example| format!("for example `{example}`")));
    rows
}

#[test]
fn the_page_of_exit_codes_has_every_code() {
    let mut text = String::from("| code | meaning |\n|---|---|\n");
    for (code, meaning) in exit::TABLE {
        line(&mut text, format_args!("| {code} | {meaning} |"));
    }
    hold("reference/exit-codes.md", &text);
}

#[test]
fn the_page_of_variables_has_every_variable() {
    let mut text = String::from("| variable | setting |\n|---|---|\n");
    for spec in SPECS {
        let key = spec.file_key();
        let mut names = spec.variables();
        if spec.kind == Kind::Secret {
            names.insert(1, format!("{}_FILE", spec.env()));
        }
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        line(&mut text, format_args!("| {} | [{key}](settings.md#{key}) |", names.join(", ")));
    }
    hold("reference/environment.md", &text);
}

/// What the comparison shows of the simulation: the file of numbers, its column, and the heading.
const MEASURED: [(&str, &str, &str); 9] = [
    ("propagation", "1s", "node 1 s late"),
    ("propagation", "3s", "node 3 s late"),
    ("faults", "clock 5 min FAST until set right", "clock FAST"),
    ("faults", "clock 5 min SLOW until set right", "clock SLOW"),
    ("faults", "a refresh revokes", "refresh revokes"),
    ("faults", "revoked early", "revoked early"),
    ("faults", "evicted by others", "evicted"),
    ("token-requests", "5m", "requests, 5 min"),
    ("token-requests", "1h", "requests, 1 h"),
];

#[test]
fn the_comparison_shows_the_numbers_of_the_simulation() {
    let read = |name: &str| -> Vec<Vec<String>> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/simulation/{name}.csv"));
        let text = std::fs::read_to_string(path).expect("the simulation's numbers are there");
        text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
    };
    let columns: Vec<Vec<String>> = MEASURED
        .iter()
        .map(|(file, column, _)| {
            let rows = read(file);
            let at = rows[0].iter().position(|name| name == column).expect("the column is there");
            rows[1..].iter().map(|row| row[at].clone()).collect()
        })
        .collect();
    let headings: Vec<&str> = MEASURED.iter().map(|(_, _, heading)| *heading).collect();
    let mut text = format!("| client | {} |\n|---|{}\n", headings.join(" | "), "---:|".repeat(headings.len()));
    for (index, row) in read("faults")[1..].iter().enumerate() {
        let cells: Vec<&str> = columns.iter().map(|column| column[index].as_str()).collect();
        line(&mut text, format_args!("| `{}` | {} |", row[0], cells.join(" | ")));
    }
    hold("comparison.md", &text);
}

/// Text that may stand in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{words}");
}
