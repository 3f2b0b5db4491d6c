//! The orphans of a container, where this process is number 1.
//!
//! A process whose parent has ended becomes a child of process 1. If nobody asks for its end, an entry in the process table
//! stays for ever, and in a container that runs for weeks the table fills up until nothing can be started any more. An
//! init such as `tini` asks. Whoever puts `exec` in its place should not have to put one before it.
//!
//! The kernel gives the end of any child to whoever asks for any, and the command is one of them: its end may arrive
//! here instead of where it is waited for. So it is handed back, and each end is asked for once.
//!
//! Limits: what ends while the first token is awaited is asked for when the command starts. When the command ends, so
//! does process 1, and the kernel ends what is left, as with other inits.
//!
//! Source: `pid_namespaces(7)`, `wait(2)`.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::{Pid, WaitOptions, getpid, wait};

/// Takes in every child that has ended, if this is process 1; gives the end of the command if it was among them.
pub(super) fn take_in(command: Option<Pid>) -> Option<ExitStatus> {
    if !getpid().is_init() {
        return None;
    }
    // Each turn takes one entry out of the process table, so it ends.
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if Some(pid) == command {
            return Some(ExitStatus::from_raw(status.as_raw()));
        }
        tracing::debug!(pid = pid.as_raw_nonzero().get(), "an orphan has ended");
    }
    None
}
