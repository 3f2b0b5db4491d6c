//! What the system knows about a process: CPU time, memory, how often it was woken.

use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

use crate::Failure;

/// A child process that ends with its value.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.spawn().map(Self).map_err(|error| format!("{name}: {error}").into())
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// The CPU time that it has used: fields 14 and 15 of its `stat`, in hundredths of a second.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The program's name may hold spaces; fields are counted after its closing parenthesis.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Memory that is in use now.
    pub(crate) fn resident_mib(&self) -> Result<f64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let kib = number(&status, "VmRSS:").ok_or("the process has no memory")?;
        Ok(kib / 1024.0)
    }

    /// How often its threads went to sleep, which is how often they were woken.
    pub(crate) fn wakeups(&self) -> Result<f64, Failure> {
        let mut sum = 0.0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.0.id()))?.flatten() {
            let status = fs::read_to_string(thread.path().join("status"))?;
            sum += number(&status, "voluntary_ctxt_switches:").unwrap_or(0.0);
        }
        Ok(sum)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; both calls then have nothing to do.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn number(status: &str, name: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_memory_threads_and_cpu_time() {
        let child = Process::start(Command::new("sleep").arg("10")).unwrap();
        assert!(child.cpu().unwrap() < Duration::from_secs(1));
        assert!(child.wakeups().is_ok());
        assert!(child.resident_mib().unwrap() > 0.0);
    }
}
