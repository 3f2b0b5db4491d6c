//! What the system knows about a process: CPU time, memory, how often it was woken.

use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

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

    /// Asks it to end, and waits for that.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        kill_process(Pid::from_child(&self.0), Signal::TERM)?;
        let status = self.0.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the process ended badly ({status})").into()) }
    }

    /// The CPU time that its threads have used, to the nanosecond.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        let mut sum = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.0.id()))?.flatten() {
            let stat = fs::read_to_string(thread.path().join("schedstat"))?;
            sum += stat.split_whitespace().next().and_then(|nanos| nanos.parse::<u64>().ok()).ok_or("no CPU time")?;
        }
        Ok(Duration::from_nanos(sum))
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

/// The CPU time that the whole machine has used, whoever for, and time that its host took away.
pub(crate) fn machine_cpu() -> Result<Duration, Failure> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().ok_or("no CPU time")?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|field| ticks.get(*field)).sum();
    Ok(TICK * u32::try_from(busy).unwrap_or(u32::MAX))
}

/// The CPU time of this process and of its children that have ended: fields 14 to 17 of its `stat`.
pub(crate) fn own_cpu() -> Result<Duration, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The program's name may hold spaces; fields are counted after its closing parenthesis.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u32>().ok()).sum();
    Ok(TICK * ticks)
}

const TICK: Duration = Duration::from_millis(10);

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
