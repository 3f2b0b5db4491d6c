//! The command as a process: signals in, exit code out.
//!
//! The child shares our terminal and standard streams, gets the signals that we get, and its exit code becomes ours,
//! 128 + n if signal n ended it. A signal that a terminal sends goes to the whole foreground group, so the child has it
//! already and it is not sent twice. But one that arrives before there is a child reaches us alone: until then it ends
//! the run, and around the start it is passed on whoever sent it. What we were started to ignore stays ignored, here and
//! in the child (`ending/ignored`).
//!
//! Stopping is the child's choice, as under a shell: SIGTSTP is passed on, and only when the child has stopped do we
//! stop, so that the shell gets its terminal back. A child that is stopped by somebody else, where no shell waits for us,
//! stops alone: nobody would wake us again. SIGCONT wakes both.
//!
//! As process 1 of a container we also take in what the command leaves behind (`orphans`).

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use evergrant::clock::boot;
use evergrant_core::time::{Boot, Span};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpgrp, kill_process, waitid};
use tokio::process::{Child, Command};
use tokio::signal::unix::SignalKind;

use super::orphans;
use crate::ending::{Signals, catch, code_of_signal, look_for_events, stop};
use crate::exit;
use crate::failure::Failure;
use crate::harden::Before;

/// What is passed on to the child.
pub(super) const FORWARDED: [Signal; 9] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
    Signal::WINCH,
    Signal::TSTP,
    Signal::CONT,
];
/// What a terminal sends to everybody at once.
const OF_TERMINALS: [Signal; 4] = [Signal::INT, Signal::QUIT, Signal::WINCH, Signal::TSTP];
/// Runs a command to its end. If it is still there shortly before `token_ends`, a warning says so.
pub(super) async fn supervise(
    mut command: Command,
    program: &OsStr,
    signals: &mut Signals,
    before: &Before,
    token_ends: Option<Boot>,
) -> Result<u8, Failure> {
    if let Err(signal) = signals.unless_ended(look_for_events()).await {
        return Ok(code_of_signal(signal));
    }
    let mut of_child = catch(SignalKind::child())?;
    let mut child = before.restored_for(|| command.spawn()).map_err(|error| spawn_failure(program, &error))?;
    let mut is_told_to_stop = false;
    // Nobody can say whether these came before the child. Twice is better than never.
    for signal in signals.arrived().await {
        is_told_to_stop |= signal == Signal::TSTP;
        pass_on(&child, signal);
    }
    // Before the signals were caught, somebody else may have been this process and have had children.
    if let Some(status) = orphans::take_in(pid_of(&child)) {
        return Ok(exit_code(status));
    }
    let mut warning = std::pin::pin!(warn_before(token_ends));
    loop {
        tokio::select! {
            status = child.wait() => return status.map(exit_code).map_err(|error| {
                Failure::new(exit::INTERNAL, "cannot wait for the command").because(error)
            }),
            signal = signals.next() => {
                is_told_to_stop = signal == Signal::TSTP || (is_told_to_stop && signal != Signal::CONT);
                if !(OF_TERMINALS.contains(&signal) && is_in_foreground()) {
                    pass_on(&child, signal);
                }
            }
            Some(()) = of_child.recv() => {
                if let Some(status) = orphans::take_in(pid_of(&child)) {
                    return Ok(exit_code(status));
                }
                if has_stopped(&child) && (std::mem::take(&mut is_told_to_stop) || is_in_foreground()) {
                    stop();
                }
            }
            // It never ends, so it warns once.
            () = &mut warning => {}
        }
    }
}

/// Warns that the token of a command that goes on is about to end.
async fn warn_before(token_ends: Option<Boot>) {
    if let Some(ends) = token_ends {
        let left = ends - boot();
        let due = ends - WARNING_TIME.min(left.scaled(1, 10));
        while boot() < due {
            // Timers of the runtime stop while the machine is suspended.
            tokio::time::sleep((due - boot()).min(LONGEST_SLEEP).to_duration()).await;
        }
        let left = Span::from_secs((ends - boot()).as_secs());
        let words = if left.is_negative() { "has ended".to_owned() } else { format!("ends in {left}") };
        Failure::new(exit::OK, format!("the token in the command's environment {words}"))
            .because("the command is still running, and its environment cannot be changed")
            .hint("give it a gateway with `exec --gateway`, or let it read the token again with `exec --token-file`")
            .print_warning();
    }
    std::future::pending().await
}

fn pid_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

fn pass_on(child: &Child, signal: Signal) {
    if let Some(pid) = pid_of(child)
        && let Err(error) = kill_process(pid, signal)
    {
        tracing::debug!(%error, ?signal, "cannot pass a signal on");
    }
}

/// Has the child stopped since the last look? Its end is left for whoever waits for it.
fn has_stopped(child: &Child) -> bool {
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
    pid_of(child).is_some_and(|pid| waitid(WaitId::Pid(pid), options).is_ok_and(|status| status.is_some()))
}

/// Does this process belong to the foreground group of its terminal?
fn is_in_foreground() -> bool {
    std::fs::File::open("/dev/tty")
        .is_ok_and(|terminal| rustix::termios::tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
}

/// The code that a shell would report.
fn exit_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(exit::FAILED),
        (None, Some(signal)) => u8::try_from(128 + signal).unwrap_or(exit::FAILED),
        (None, None) => exit::FAILED,
    }
}

/// Why a command does not run.
pub(super) fn spawn_failure(program: &OsStr, error: &std::io::Error) -> Failure {
    let name = OsString::from(program).to_string_lossy().into_owned();
    if error.kind() == std::io::ErrorKind::NotFound {
        return Failure::new(exit::NOT_FOUND, format!("cannot run `{name}`"))
            .because("there is no such command, or its interpreter is missing")
            .hint("check the spelling and PATH");
    }
    Failure::new(exit::NOT_EXECUTABLE, format!("cannot run `{name}`"))
        .because(error)
        .hint("check that it is a program and that you may execute it")
}

/// How long before the end of a token the warning comes, but not before nine tenths of its time are over.
const WARNING_TIME: Span = Span::from_secs(60);
const LONGEST_SLEEP: Span = Span::from_secs(30);

#[cfg(test)]
mod tests {
    use rustix::process::getpid;

    use super::*;

    #[test]
    fn a_signal_becomes_128_and_its_number() {
        assert_eq!(exit_code(ExitStatus::from_raw(15)), 143);
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(0)), 0);
    }

    #[tokio::test]
    async fn a_signal_that_came_while_nobody_looked_ends_a_run_that_has_not_begun() {
        let folder = tempfile::tempdir().unwrap();
        let started = folder.path().join("started");
        let before = crate::harden::process();
        let command = || {
            let mut command = Command::new("touch");
            command.arg(&started);
            command
        };
        let mut signals = Signals::catch(&FORWARDED).unwrap();
        let mut arriving = catch(SignalKind::interrupt()).unwrap();
        kill_process(getpid(), Signal::INT).unwrap();
        arriving.recv().await;
        let program = OsStr::new("touch");
        assert_eq!(supervise(command(), program, &mut signals, &before, None).await.unwrap(), 130);
        assert!(!started.exists());
        assert_eq!(supervise(command(), program, &mut signals, &before, None).await.unwrap(), 0, "it counts once");
        assert!(started.exists());
    }
}
