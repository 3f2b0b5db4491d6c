//! A real browser, told what to do and asked what it shows.

use std::cell::Cell;
use std::io::Write as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::parts::{part, tool};
use crate::process::Process;

/// A browser with one page.
pub(crate) struct Browser {
    process: Process,
    commands: Cell<u64>,
}

impl Browser {
    /// Starts Debian's Chromium without a screen.
    pub(crate) fn start(home: &std::path::Path) -> Self {
        let mut command = Command::new("node");
        // A script finds its packages beside itself, so it runs from where they were installed.
        let script = tool("node/node_modules").parent().unwrap().join("browser.mjs");
        std::fs::copy(part("browser.mjs"), &script).unwrap();
        command.arg(script).arg("/usr/bin/chromium").env("HOME", home);
        Self { process: Process::start("the browser", &mut command), commands: Cell::new(0) }
    }

    /// Does one thing and returns what came of it; panics with the browser's words if nothing did.
    pub(crate) fn tell(&self, what: &str, mut with: Value) -> Value {
        let number = self.commands.get() + 1;
        self.commands.set(number);
        with["do"] = what.into();
        with["number"] = number.into();
        writeln!(self.process.input(), "{with}").unwrap();
        let answer = self.process.line_within(PATIENCE, |line| {
            let answer: Value = serde_json::from_str(line).ok()?;
            (answer["number"] == number).then_some(answer)
        });
        assert!(answer["error"].is_null(), "{what} {with}: {}", answer["error"]);
        answer
    }

    /// Waits until an element with this role and name shows this text.
    pub(crate) fn see(&self, role: &str, name: Option<&str>, text: &str) {
        self.tell("see", json!({ "role": role, "name": name, "text": text }));
    }
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(90);
