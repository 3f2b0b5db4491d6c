//! A command that ends when we are killed.
//!
//! A private gateway or a token file is of no use once nobody keeps it: the command would go on with a port where nobody
//! listens, or worse, where somebody else does. Every other signal that ends us is passed on, but SIGKILL cannot be
//! caught. So the system is asked to send the command a SIGTERM when we are gone.
//!
//! Only a process can ask that for itself, and the command does not know of it. So our own program is started in its
//! place, asks, and then becomes the command (`execve` keeps the wish, and the process id). It is told what to do by the
//! name that it is started under.
//!
//! Limits: Linux only. The signal reaches the command itself and not what it has started; a program that changes its
//! user (set-user-ID) loses the wish. A script without a first line that names its interpreter is run by `sh`, as `env` and
//! `timeout` do, where a command that is started directly is refused.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use tokio::process::Command;

use super::child::spawn_failure;
use crate::exit;

/// The command, to be started as it is.
pub(super) fn free(program: &OsStr, arguments: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// The command, which ends when this process is killed. It must be started by a thread that lives as long as we do: for
/// the system the parent is a thread.
#[cfg(target_os = "linux")]
pub(super) fn leashed(program: &OsStr, arguments: &[OsString]) -> Command {
    if !std::path::Path::new(OURSELVES).exists() {
        return free(program, arguments);
    }
    let mut command = Command::new(OURSELVES);
    command.arg0(NAME).arg(std::process::id().to_string()).arg(program).args(arguments);
    command
}

/// The command; this system cannot be asked to end it.
#[cfg(not(target_os = "linux"))]
pub(super) fn leashed(program: &OsStr, arguments: &[OsString]) -> Command {
    free(program, arguments)
}

/// Becomes a command if that is what this process was started for; gives the exit code if it cannot.
pub(crate) fn become_command(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if arguments.next()? != NAME {
        return None;
    }
    let parent = arguments.next()?;
    let program = arguments.next()?;
    if !holds_on_to(&parent) {
        return Some(ExitCode::from(exit::FAILED));
    }
    let error = std::process::Command::new(&program).args(arguments).exec();
    let failure = spawn_failure(&program, &error);
    failure.print();
    Some(ExitCode::from(failure.code))
}

/// Ties this process to its parent; `false` if that is gone already.
#[cfg(target_os = "linux")]
fn holds_on_to(parent: &OsStr) -> bool {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};

    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        tracing::debug!(%error, "cannot ask for a signal when the parent is gone");
    }
    // It may have been killed before the wish was known.
    getppid().is_some_and(|now| parent.to_str() == Some(now.as_raw_nonzero().to_string().as_str()))
}

#[cfg(not(target_os = "linux"))]
fn holds_on_to(_: &OsStr) -> bool {
    true
}

/// Our own program, also after another version has taken its place on the disk.
#[cfg(target_os = "linux")]
const OURSELVES: &str = "/proc/self/exe";
const NAME: &str = "evergrant-leashed";
