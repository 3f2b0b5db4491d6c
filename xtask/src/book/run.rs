//! What is done with each block of code: run, compared, compiled or parsed.
//!
//! Commands run in the page's [`Sandbox`]. Settings pass `evergrant config check`, worlds are simulated, JSON is held
//! against what a command prints. Python is compiled here and run by the tests of its package; Rust is compiled as
//! documentation of the library; YAML, INI and XML are read by parsers of Python's, and PromQL by Prometheus' own.
//! A language without a check is refused, as is a command that has no form to run in: there is no block that nothing checks.

use serde_json::{Value, json};

use super::block::Block;
use super::output;
use super::page::Page;
use super::sandbox::{Ran, Sandbox};
use crate::shell::{self, Failure, capture, command};

/// What was done with the blocks.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Commands that ran.
    pub(super) ran: usize,
    /// Outputs and objects that were compared.
    pub(super) compared: usize,
    /// Blocks that were parsed or compiled.
    pub(super) parsed: usize,
    /// What is wrong.
    pub(super) wrong: Vec<String>,
    /// Blocks for the parsers of Python's.
    pub(super) foreign: Vec<Value>,
}

impl Tally {
    /// Both together.
    pub(super) fn add(&mut self, other: Self) {
        self.ran += other.ran;
        self.compared += other.compared;
        self.parsed += other.parsed;
        self.wrong.extend(other.wrong);
        self.foreign.extend(other.foreign);
    }
}

/// Checks all blocks of a page.
pub(super) fn page(page: &Page) -> Result<Tally, Failure> {
    let blocks = page.blocks();
    let mut tally = Tally::default();
    if let Some(line) = page.stray() {
        return Err(Failure::new(
            format!("line {line}: write the block with ``` at the beginning of its lines, and close it"),
            "",
        ));
    }
    if let Some(name) = unread(&blocks) {
        return Err(Failure::new(format!("no command reads `{name}`"), ""));
    }
    if blocks.is_empty() {
        return Ok(tally);
    }
    let mut visit = Visit { page, sandbox: Sandbox::open(page)?, last: None, tally: &mut tally };
    for block in &blocks {
        if let Err(failure) = visit.block(block) {
            let place = format!("{}:{}", page.path, block.line);
            visit.tally.wrong.push(format!("{place}: {failure}"));
        }
    }
    Ok(tally)
}

/// A capture that is written to a file which no block reads.
fn unread(blocks: &[Block]) -> Option<&str> {
    let captures = blocks.iter().filter(|block| block.language == "http");
    let mut names = captures.filter_map(|block| block.wishes.file.as_deref());
    let reads = |block: &Block, name: &str| {
        block.text.contains(name) || block.wishes.like.as_ref().is_some_and(|call| call.contains(name))
    };
    names.find(|name| !blocks.iter().any(|block| reads(block, name)))
}

struct Visit<'a> {
    page: &'a Page,
    sandbox: Sandbox,
    /// What the last command printed.
    last: Option<String>,
    tally: &'a mut Tally,
}

impl Visit<'_> {
    fn block(&mut self, block: &Block) -> Result<(), Failure> {
        let wishes = &block.wishes;
        if let Some(unknown) = wishes.unknown.first() {
            return Err(Failure::new(
                format!("`{unknown}` after the language means nothing; see xtask/src/book/block.rs"),
                "",
            ));
        }
        if let Some(fault) = &block.fault {
            self.sandbox.happen(fault)?;
        }
        if let Some(name) = &wishes.file {
            let text = if block.language == "http" { block.text.clone() } else { self.sandbox.real(&block.text) };
            self.sandbox.keep(name, &text)?;
        }
        match block.language.as_str() {
            "console" => self.console(block),
            "sh" | "bash" => self.command(&block.text, wishes.exit).map(|ran| self.last = Some(ran.printed)),
            "text" => self.text(block),
            "toml" => self.toml(block),
            "json" => self.json(block),
            "http" if wishes.file.is_some() => Ok(()),
            "rust" => self.rust(),
            "python" | "yaml" | "ini" | "xml" | "csv" => {
                let place = format!("{}:{}", self.page.path, block.line);
                self.tally.foreign.push(json!({"language": block.language, "text": block.text, "place": place}));
                Ok(())
            }
            "promql" => self.promql(block),
            "" => Err(Failure::new("the block has no language", "")),
            other => Err(Failure::new(format!("there is no check for `{other}`; write one"), "")),
        }
    }

    /// Commands after `$ `, each with what it prints.
    fn console(&mut self, block: &Block) -> Result<(), Failure> {
        let calls = calls(&block.text);
        if calls.is_empty() {
            return Err(Failure::new("no line begins with `$ `", ""));
        }
        let count = calls.len();
        for (number, (call, shown)) in (1..).zip(calls) {
            let exit = if number == count { block.wishes.exit } else { 0 };
            let ran = self.command(&call, exit)?;
            if !shown.is_empty() {
                self.compare(&call, &shown, &ran.printed, block.wishes.is_similar)?;
            }
            self.last = Some(ran.printed);
        }
        Ok(())
    }

    fn command(&mut self, script: &str, exit: i32) -> Result<Ran, Failure> {
        let ran = self.sandbox.run(script, false)?;
        self.tally.ran += 1;
        if ran.code == exit {
            Ok(ran)
        } else {
            Err(Failure::new(format!("exit code {} instead of {exit} of\n{script}", ran.code), ran.printed))
        }
    }

    fn compare(&mut self, call: &str, shown: &str, printed: &str, is_similar: bool) -> Result<(), Failure> {
        self.tally.compared += 1;
        if output::agrees(shown, printed, is_similar) {
            return Ok(());
        }
        Err(Failure::new(
            format!("`{call}` does not print this"),
            format!("--- shown\n{shown}\n--- printed\n{printed}"),
        ))
    }

    fn text(&mut self, block: &Block) -> Result<(), Failure> {
        if block.wishes.is_drawing {
            self.tally.parsed += 1;
            return Ok(());
        }
        if !block.wishes.is_output {
            return Err(Failure::new(
                "say `output` if the last command prints it, or `drawing` if no command does",
                "",
            ));
        }
        let printed = self.last.clone().ok_or_else(|| Failure::new("no command ran before this output", ""))?;
        self.compare("the last command", &block.text, &printed, block.wishes.is_similar)
    }

    /// Settings, which are checked for all their profiles, or a world, which is simulated.
    fn toml(&mut self, block: &Block) -> Result<(), Failure> {
        let parsed: toml::Table =
            block.text.parse().map_err(|error: toml::de::Error| Failure::new(error.to_string(), ""))?;
        let name = format!("block-{}.toml", block.line);
        self.sandbox.keep(&name, &self.sandbox.real(&block.text))?;
        if block.wishes.is_world {
            return self.command(&format!("evergrant simulate {name} --strategy evergrant"), 0).map(|_| ());
        }
        let profiles = parsed.get("profile").and_then(toml::Value::as_table);
        let profiles: Vec<&str> = profiles.into_iter().flat_map(|table| table.keys().map(String::as_str)).collect();
        let chosen = if profiles.is_empty() { String::new() } else { format!("--profile {}", profiles.join(",")) };
        self.command(&format!("evergrant config check --config {name} {chosen}"), 0).map(|_| ())
    }

    fn json(&mut self, block: &Block) -> Result<(), Failure> {
        let not_json = |error: serde_json::Error| Failure::new(format!("this is no JSON: {error}"), "");
        let shown: Value = serde_json::from_str(&block.text).map_err(not_json)?;
        let Some(call) = &block.wishes.like else {
            self.tally.parsed += 1;
            return Ok(());
        };
        let ran = self.sandbox.run(call, true)?;
        self.tally.ran += 1;
        self.tally.compared += 1;
        let last = ran.printed.trim().lines().last().unwrap_or_default();
        let printed = serde_json::from_str(&ran.printed).or_else(|_| serde_json::from_str(last));
        let printed: Value = printed
            .map_err(|_| Failure::new(format!("`{call}` ({}) prints no JSON", ran.code), ran.printed.clone()))?;
        match output::lacking(&shown, &printed, "") {
            None => Ok(()),
            Some(what) => Err(Failure::new(format!("`{call}` prints something else: {what}"), ran.printed)),
        }
    }

    /// The library compiles the page as documentation of its own.
    fn rust(&mut self) -> Result<(), Failure> {
        let list = std::fs::read_to_string(shell::root().join(COMPILED)).unwrap_or_default();
        if !list.contains(&format!("/{}\")", self.page.path)) {
            return Err(Failure::new(format!("name the page in {COMPILED}, which compiles its blocks"), ""));
        }
        self.tally.parsed += 1;
        Ok(())
    }

    /// Queries, with blank lines between them, as rules that Prometheus' own checker reads.
    fn promql(&mut self, block: &Block) -> Result<(), Failure> {
        let queries = block.text.split("\n\n").map(str::trim).filter(|query| !query.is_empty());
        let rules: Vec<Value> = queries.map(|query| json!({"record": "page:shown", "expr": query})).collect();
        if rules.is_empty() {
            return Err(Failure::new("there is no query", ""));
        }
        // A record may stand once in a group.
        let groups = (1..).zip(rules).map(|(number, rule)| json!({"name": format!("query {number}"), "rules": [rule]}));
        let file = self.sandbox.state("rules.yaml");
        std::fs::write(&file, json!({"groups": groups.collect::<Vec<_>>()}).to_string())
            .map_err(|error| Failure::new(format!("{}: {error}", file.display()), ""))?;
        let promtool = shell::target().join("test-tools/prometheus/usr/bin/promtool").display().to_string();
        capture(&mut command(&promtool, ["check", "rules", &file.display().to_string()]))?;
        self.tally.parsed += 1;
        Ok(())
    }
}

/// Where the pages are named whose Rust is compiled.
const COMPILED: &str = "crates/evergrant/src/book.rs";

/// Hands blocks of other languages to their parsers, all at once.
pub(super) fn foreign(blocks: &[Value]) -> Result<(), Failure> {
    let python = shell::target().join("test-tools/py/bin/python").display().to_string();
    let file = shell::target().join("book/foreign.json");
    let text = serde_json::to_string(blocks).unwrap_or_default();
    std::fs::write(&file, text).map_err(|error| Failure::new(format!("{}: {error}", file.display()), ""))?;
    capture(&mut command(&python, ["tests/parts/blocks.py", &file.display().to_string()])).map(|_| ())
}

/// The commands of a console with the lines that follow each; a backslash at the end joins lines.
fn calls(text: &str) -> Vec<(String, String)> {
    let mut calls: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        let is_joined = calls.last().is_some_and(|(call, shown)| shown.is_empty() && call.ends_with('\\'));
        match (line.strip_prefix("$ "), calls.last_mut()) {
            (Some(call), _) => calls.push((call.to_owned(), String::new())),
            (None, Some((call, _))) if is_joined => {
                call.push('\n');
                call.push_str(line);
            }
            (None, Some((_, shown))) => {
                shown.push_str(line);
                shown.push('\n');
            }
            (None, None) => {}
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_may_have_several_lines_and_an_output() {
        let found = calls("$ a \\\n    b\n$ c # why\none\n\ntwo\n");
        assert_eq!(found, [("a \\\n    b".into(), String::new()), ("c # why".into(), "one\n\ntwo\n".into())]);
    }
}
