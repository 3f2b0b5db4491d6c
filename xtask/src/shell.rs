//! Running other programs: where, with what environment, and what to say when one fails.
//!
//! Output and error output are captured through one pipe, so that a failed step shows them in the order in which they
//! were written. Colour is off: what is captured is read again, by us for the runners' closing lines and by people in
//! logs.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a task stopped: what went wrong, what the program said, and what to do next.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    output: String,
}

impl Failure {
    /// A failure with the text that explains it; the text may be empty.
    pub(crate) fn new(what: impl Into<String>, output: impl Into<String>) -> Self {
        Self { what: what.into(), output: output.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.output.trim().is_empty() {
            writeln!(f, "{}\n", self.output.trim_end())?;
        }
        write!(f, "error: {}", self.what)
    }
}

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The one target folder: cargo's own, where the test tools live too.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// A program, to be run in the workspace's root without colour and without input.
pub(crate) fn command<'a>(program: &str, args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root()).stdin(Stdio::null());
    command.env("CARGO_TERM_COLOR", "never").env("NO_COLOR", "1").env("TERM", "dumb");
    command
}

/// Runs a program to its end; the output is returned if it succeeded and is in the failure if not.
pub(crate) fn capture(command: &mut Command) -> Result<String, Failure> {
    let line = describe(command);
    let mut output = String::new();
    let ended = (|| {
        let (mut reader, writer) = std::io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        let mut child = command.spawn()?;
        // The command holds the pipe's writing ends; while it does, reading would never end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        output = String::from_utf8_lossy(&bytes).into_owned();
        child.wait()
    })();
    match ended {
        Ok(status) if status.success() => Ok(output),
        Ok(status) => Err(Failure::new(format!("`{line}` failed ({status})"), output)),
        Err(error) => Err(Failure::new(format!("`{line}` did not run: {error}"), output)),
    }
}

/// Runs a program and returns what it wrote to its standard output alone.
pub(crate) fn stdout(command: &mut Command) -> Result<String, Failure> {
    let line = describe(command);
    let output =
        command.output().map_err(|error| Failure::new(format!("`{line}` did not run: {error}"), String::new()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::new(format!("`{line}` failed ({})", output.status), said))
    }
}

/// Does the program answer to `--version`?
pub(crate) fn is_installed(program: &str, args: &[&str]) -> bool {
    stdout(&mut command(program, args.iter().copied())).is_ok()
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_error_output_keep_their_order() {
        let said = capture(&mut command("sh", ["-c", "echo one; echo two >&2; echo three"])).unwrap();
        assert_eq!(said, "one\ntwo\nthree\n");
    }

    #[test]
    fn a_failure_shows_what_the_program_said_and_which_command_it_was() {
        let failure = capture(&mut command("sh", ["-c", "echo the reason; exit 3"])).unwrap_err().to_string();
        assert!(failure.starts_with("the reason\n"), "{failure}");
        assert!(failure.ends_with("failed (exit status: 3)"), "{failure}");
    }

    #[test]
    fn a_missing_program_is_a_failure_and_not_a_panic() {
        let failure = capture(&mut command("no-such-program-anywhere", [])).unwrap_err().to_string();
        assert!(failure.contains("did not run"), "{failure}");
        assert!(!is_installed("no-such-program-anywhere", &["--version"]));
    }
}
