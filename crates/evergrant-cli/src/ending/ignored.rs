//! The signals that this process was started to ignore.
//!
//! `nohup` and a shell that starts something in the background ask for a command that some signals do not end, by
//! starting it with those signals ignored. What is ignored stays so in a child, but a signal that was caught ends it
//! again: whoever catches an ignored signal undoes the request for everything that it starts. So `exec` looks first and
//! leaves such signals as they are.
//!
//! Limits: Linux only, with `/proc`, since the system call that would tell is out of reach of safe code. Elsewhere
//! nothing counts as ignored. SIGCHLD and SIGPIPE are not asked about: the one tells of the command's end, and the other
//! is set by the language's start.
//!
//! Source: `proc_pid_status(5)`, `execve(2)`; POSIX, Shell Command Language, section 2.11.

use rustix::process::Signal;

/// A set of signals, as it was when this was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ignored(u64);

impl Ignored {
    /// What this process ignores now.
    pub(super) fn now() -> Self {
        let status = if cfg!(target_os = "linux") { std::fs::read_to_string(STATUS).ok() } else { None };
        status.as_deref().and_then(Self::parse).unwrap_or(Self(0))
    }

    /// The set in a process' status.
    fn parse(status: &str) -> Option<Self> {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(mask.trim(), 16).ok().map(Self)
    }

    pub(super) fn has(self, signal: Signal) -> bool {
        // Bit 0 is signal 1.
        u32::try_from(signal.as_raw() - 1).is_ok_and(|bit| self.0.checked_shr(bit).is_some_and(|rest| rest & 1 == 1))
    }
}

const STATUS: &str = "/proc/self/status";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_a_status_is_a_set_of_signals() {
        let status = "SigBlk:\t0000000000000001\nSigIgn:\t0000000000001006\nSigCgt:\t0000000000000001\n";
        let ignored = Ignored::parse(status).unwrap();
        let all = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::PIPE, Signal::TERM];
        assert_eq!(all.map(|signal| ignored.has(signal)), [false, true, true, true, false]);
        for odd in ["", "SigCgt:\t1\n", "SigIgn:\tx\n"] {
            assert_eq!(Ignored::parse(odd), None, "{odd:?}");
        }
    }
}
