//! What users read must be true: every command shown in a page exists, with every flag shown.
//!
//! Pages are those at the root, the guide under `docs/` and the examples. In their code blocks each line, and in their prose
//! each piece of code, that calls `evergrant` (also as `cargo run -- ...`) names a subcommand and flags; both must appear in
//! that subcommand's own `--help`. `cargo xtask` is held against its usage in the same way. Each `examples/*.toml` must pass `evergrant config check`. The demo that the README promises is run, in
//! its fast form, and must end without a visible 401 in Evergrant's lane.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::book::listed;
use crate::shell::{self, Failure, capture, command};
use crate::steps::Report;

/// A call of the program as a page shows it.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    line: usize,
    words: Vec<String>,
}

/// The step of `cargo xtask test`.
pub(crate) fn step() -> Result<Report, Failure> {
    capture(&mut command("cargo", ["build", "--locked", "-p", "evergrant-cli"]))?;
    let program = shell::target().join("debug/evergrant").display().to_string();
    let mut helps = BTreeMap::new();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in pages()? {
        let text = std::fs::read_to_string(shell::root().join(&page)).unwrap_or_default();
        // What a release said of an older program stays as it was.
        let text = if page == "CHANGELOG.md" { unreleased(&text) } else { text };
        for call in calls(&text).into_iter().chain(mentioned(&text)) {
            count += 1;
            let what = if let ["xtask", task @ ..] = &call.words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                no_such_task(task)
            } else {
                let key = subcommand(&call.words);
                let help = helps.entry(key.clone()).or_insert_with(|| help(&program, &key));
                objection(&call, help.as_deref())
            };
            wrong.extend(what.map(|what| format!("{}:{}: {what}", page, call.line)));
        }
    }
    if !wrong.is_empty() {
        return Err(Failure::new("pages show commands that do not exist", wrong.join("\n")));
    }
    for example in listed("examples/*.toml")? {
        capture(&mut command(&program, ["config", "check", "--config", &example]))?;
    }
    demo(&program)?;
    Ok(Report::note(format!("{count} commands, and the demo")))
}

/// All pages, also those that are no part of the book, and the examples for a shell.
fn pages() -> Result<Vec<String>, Failure> {
    let mut pages = listed("**/*.md")?;
    pages.extend(listed("examples/**/*.sh")?);
    Ok(pages)
}

/// The part of a changelog that speaks of the program as it is.
fn unreleased(changelog: &str) -> String {
    let is_release = |line: &str| line.starts_with("## ") && line != "## Unreleased";
    changelog.lines().take_while(|line| !is_release(line)).collect::<Vec<_>>().join("\n")
}

/// The help of a subcommand, if the program has it.
fn help(program: &str, subcommand: &str) -> Option<String> {
    let words = subcommand.split(' ').filter(|word| !word.is_empty()).chain(["--help"]);
    shell::stdout(&mut command(program, words)).ok().filter(|help| !help.is_empty())
}

/// The calls in a page's blocks of shell commands; lines joined by a backslash are one call.
fn calls(text: &str) -> Vec<Call> {
    let mut found = Vec::new();
    let is_script = text.starts_with("#!");
    let (mut is_code, mut joined, mut start) = (is_script, String::new(), 0);
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let language = language.split(' ').next();
            is_code = !is_code && matches!(language, Some("console" | "sh" | "bash"));
            continue;
        }
        if !is_code {
            continue;
        }
        if joined.is_empty() {
            start = number;
        }
        match line.strip_suffix('\\') {
            Some(part) => joined.push_str(part),
            None => {
                joined.push_str(line);
                found.extend(call(start, &joined));
                joined.clear();
            }
        }
    }
    found
}

/// The calls in the prose of a page: pieces of code, which may go on in the next line.
fn mentioned(text: &str) -> Vec<Call> {
    let (mut found, mut is_block, mut open) = (Vec::new(), false, None::<(usize, String)>);
    for (number, line) in (1..).zip(text.lines()) {
        let is_fence = line.trim_start().starts_with("```");
        is_block ^= is_fence;
        if is_fence || is_block || line.trim().is_empty() {
            open = None;
            continue;
        }
        if let Some((_, piece)) = &mut open {
            piece.push(' ');
        }
        for (index, part) in line.split('`').enumerate() {
            if index > 0 {
                open = match open.take() {
                    None => Some((number, String::new())),
                    Some((start, piece)) => {
                        found.extend(call(start, &piece));
                        None
                    }
                };
            }
            if let Some((_, piece)) = &mut open {
                piece.push_str(part);
            }
        }
    }
    found
}

/// What is wrong with a task that a page names, if anything is.
fn no_such_task(words: &[&str]) -> Option<String> {
    let task = words.first()?;
    let Some(known) = flags_of(crate::USAGE, task) else { return Some(format!("there is no `cargo xtask {task}`")) };
    let unknown = words.iter().find(|word| word.starts_with("--") && !known.contains(word))?;
    Some(format!("`cargo xtask {task}` has no flag {unknown}"))
}

/// The flags that a usage names of a task: in its lines, which are two spaces in, and in those further in that follow them.
fn flags_of<'a>(usage: &'a str, task: &str) -> Option<Vec<&'a str>> {
    let (mut flags, mut is_of_it, mut is_there) = (Vec::new(), false, false);
    for line in usage.lines() {
        if line.starts_with("  ") && !line.starts_with("   ") {
            is_of_it = line.split_whitespace().next() == Some(task);
            is_there |= is_of_it;
        }
        if is_of_it {
            let words = line.split(|c: char| c.is_whitespace() || matches!(c, '[' | ']' | '|' | ';' | ','));
            flags.extend(words.filter(|word| word.starts_with("--")));
        }
    }
    is_there.then_some(flags)
}

fn call(line: usize, text: &str) -> Option<Call> {
    let text = text.trim().trim_start_matches("$ ");
    let words: Vec<_> = text.split(" #").next()?.split_whitespace().collect();
    // Settings may stand before the program: `EVERGRANT_REGION=... evergrant token`.
    let from = words.iter().position(|word| !word.contains('='))?;
    let rest = match &words[from..] {
        ["evergrant", rest @ ..] => rest,
        ["cargo", rest @ ..] if rest.first() == Some(&"xtask") => rest,
        ["cargo", "run", rest @ ..] => &rest[rest.iter().position(|word| *word == "--")? + 1..],
        _ => return None,
    };
    // What follows a bare `--` is somebody else's command; what follows a pipe too.
    let own = rest.iter().take_while(|word| !matches!(**word, "--" | "|" | ">" | "&" | "&&" | ";"));
    Some(Call { line, words: own.map(|word| (*word).to_owned()).collect() })
}

/// The words up to the first that cannot be a subcommand: `config check`, `store move`, `token`.
fn subcommand(words: &[String]) -> String {
    let nested = words.first().is_some_and(|first| matches!(first.as_str(), "config" | "secret" | "store"));
    let names = words.iter().take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()));
    names.take(if nested { 2 } else { 1 }).cloned().collect::<Vec<_>>().join(" ")
}

fn objection(call: &Call, help: Option<&str>) -> Option<String> {
    let Some(help) = help else {
        return Some(format!("there is no `evergrant {}`", subcommand(&call.words)));
    };
    let flags = call.words.iter().filter_map(|word| word.starts_with("--").then(|| word.split('=').next()).flatten());
    let known =
        |flag: &str| help.split(|c: char| c.is_whitespace() || matches!(c, ',' | '=' | '[')).any(|word| word == flag);
    let unknown = flags.into_iter().find(|flag| !known(flag))?;
    Some(format!("`evergrant {}` has no flag {unknown}", subcommand(&call.words)))
}

/// The demo ends with the promise of the README: none of Evergrant's callers saw a 401.
fn demo(program: &str) -> Result<(), Failure> {
    let said = shell::stdout(&mut command(program, ["demo", "--fast", "--json"]))?;
    let last: Value = said.trim().lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let whole: Value = serde_json::from_str(&said).unwrap_or(last);
    let visible = |lane: usize| whole["lanes"][lane]["visible_401"].as_u64();
    match (visible(0), visible(1)) {
        (Some(1..), Some(0)) => Ok(()),
        _ => Err(Failure::new("the demo must show 401s in the first lane and none in the second", said)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<String>> {
        calls(text).into_iter().map(|call| call.words).collect()
    }

    #[test]
    fn calls_are_found_in_code_blocks_alone() {
        let page = "evergrant is\n```console\n$ evergrant token --json # why\n```\nevergrant api\n\
                    ```text\nevergrant  expired 12\n```\n";
        let found = calls(page);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0], Call { line: 3, words: vec!["token".into(), "--json".into()] });
    }

    #[test]
    fn settings_joined_lines_and_foreign_commands_are_understood() {
        let page = "```sh\nEVERGRANT_REGION=x evergrant exec \\\n  --gateway -- curl --fail\ncargo run -- demo\ncargo run\n```";
        assert_eq!(words(page), [vec!["exec", "--gateway"], vec!["demo"]]);
    }

    #[test]
    fn pieces_of_code_in_prose_are_calls_too_and_may_go_on_in_the_next_line() {
        let page = "Say `evergrant token\n--json` or `evergrant`s own. `cargo xtask\nsoak --worlds 9`\n\n`open\n\n`evergrant doctor`\n\
                    ```text\n`evergrant x`\n```\n";
        let found: Vec<_> = mentioned(page).into_iter().map(|call| (call.line, call.words.join(" "))).collect();
        let expected = [(1, "token --json"), (2, ""), (2, "xtask soak --worlds 9"), (7, "doctor")];
        assert_eq!(found, expected.map(|(line, words)| (line, words.to_owned())));
    }

    #[test]
    fn tasks_are_held_against_the_usage() {
        assert_eq!(no_such_task(&["soak", "--worlds", "9", "--first", "2"]), None);
        assert_eq!(no_such_task(&["dist", "--unguided"]), None);
        for (task, flag) in [("soak", "--hours"), ("soak", "--unguided"), ("sock", "sock"), ("simulated", "simulated")]
        {
            assert!(no_such_task(&[task, flag]).is_some_and(|what| what.contains(flag)), "{task} {flag}");
        }
    }

    #[test]
    fn of_a_changelog_only_what_is_not_released_is_held_against_the_program() {
        assert_eq!(unreleased("# C\n## Unreleased\na\n## 0.1.0 - 2030-01-31\nb\n"), "# C\n## Unreleased\na");
    }

    #[test]
    fn unknown_flags_and_subcommands_are_objected_to() {
        let call = Call { line: 1, words: vec!["token".into(), "--json".into(), "--min-remaining=10m".into()] };
        assert_eq!(objection(&call, Some("  --json\n  --min-remaining <TIME>")), None);
        assert!(objection(&call, Some("  --json-lines")).is_some_and(|what| what.contains("--json")));
        assert!(objection(&call, None).is_some_and(|what| what.contains("token")));
    }

    #[test]
    fn nested_subcommands_are_two_words() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(subcommand(&words("config check --json")), "config check");
        assert_eq!(subcommand(&words("api GET /x")), "api");
        assert_eq!(subcommand(&words("--version")), "");
    }
}
