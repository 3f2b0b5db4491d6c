//! Calls the parsers and linters of other tools.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::parts::{part, tool};

/// What a program prints, if it is content.
pub(crate) fn content(command: &mut Command, input: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program that has complained already may not read to the end; its status says so.
    stdin.write_all(input.as_bytes()).ok();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}: {}\n{out}\n{err}", command.get_program(), output.status);
    out.into_owned()
}

/// A program of the Python tools.
pub(crate) fn python(program: &str) -> Command {
    Command::new(tool("py/bin").join(program))
}

/// A script of `tests/parts` for Node, which finds its modules among the test tools.
pub(crate) fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(part(script)).current_dir(tool("node"));
    command
}

/// The documents of a YAML file.
pub(crate) fn yaml(text: &str) -> Vec<Value> {
    let read = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    let documents = content(python("python").args(["-c", read]), text);
    serde_json::from_str(&documents).unwrap()
}

/// Checks a file against a schema that the tool of that name publishes.
pub(crate) fn schema(name: &str, file: &Path) {
    content(python("check-jsonschema").args(["--builtin-schema", name]).arg(file), "");
}
