//! Who keeps this machine's calendar clock right, by its own account.
//!
//! A wrong clock is mended by its time service, so a report about one should say whether there is one and whether it
//! believes to be synchronised. The kernel's own word on that needs a system call that no safe library offers; so the
//! service's client program is asked, or systemd's: with fixed arguments, no input, and at most a second's patience.
//!
//! Limits: a container sees neither the processes nor the sockets of its host. What cannot be read is unknown, never
//! "none" and never zero.

use std::process::Stdio;
use std::time::Duration;

use evergrant_core::time::Span;
use tokio::process::Command;

/// What is known about the service that keeps this machine's calendar clock.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TimeService {
    /// The service's program, as `chronyd`; unknown if none is visible.
    pub name: Option<&'static str>,
    /// Does it, or the system, say that the clock is synchronised?
    pub is_synchronised: Option<bool>,
    /// This machine's clock minus the time it believes in.
    pub local_minus_source: Option<Span>,
    /// The program that told.
    pub told_by: Option<&'static str>,
}

impl TimeService {
    /// Asks this machine.
    pub async fn read() -> Self {
        let name = running();
        let asked = match name {
            Some("chronyd") => output("chronyc", &["-n", "-c", "tracking"]).await.and_then(|text| of_chronyc(&text)),
            Some("ntpd") => output("ntpq", &["-c", "rv 0 leap,stratum,offset"]).await.and_then(|text| of_ntpq(&text)),
            Some(_) | None => None,
        };
        let told = match asked {
            Some(told) => told,
            None => {
                let text = output("timedatectl", &["show", "-p", "NTP", "-p", "NTPSynchronized"]).await;
                text.and_then(|text| of_timedatectl(&text)).unwrap_or_default()
            }
        };
        Self { name, ..told }
    }

    /// It in words.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = self.name.unwrap_or("unknown").to_owned();
        match self.is_synchronised {
            Some(true) => words.push_str(", synchronised"),
            Some(false) => words.push_str(", NOT synchronised"),
            None if self.name.is_some() => words.push_str(", synchronised or not: unknown"),
            None => {}
        }
        if let Some(offset) = self.local_minus_source {
            let way = if offset.is_negative() { "behind" } else { "ahead of" };
            words.push_str(&format!(", {:.6} s {way} its source", offset.abs().as_secs_f64()));
        }
        if let Some(by) = self.told_by {
            words.push_str(&format!(" ({by})"));
        }
        words
    }
}

/// The first known service among the visible processes.
fn running() -> Option<&'static str> {
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let is_process = |name: &std::ffi::OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let commands = processes.filter(|entry| is_process(&entry.file_name()));
    let mut names = commands.filter_map(|entry| std::fs::read_to_string(entry.path().join("comm")).ok());
    names.find_map(|comm| SERVICES.iter().find(|(seen, _)| *seen == comm.trim_end()).map(|(_, name)| *name))
}

async fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Reads `chronyc -c tracking`: the fifth field says how much the clock is slow, the last one the leap status.
fn of_chronyc(text: &str) -> Option<TimeService> {
    let fields: Vec<_> = text.lines().next()?.split(',').collect();
    let slow = seconds(fields.get(4)?)?;
    let leap = fields.get(13)?.trim();
    Some(TimeService {
        is_synchronised: Some(leap != "Not synchronised"),
        local_minus_source: (leap != "Not synchronised").then_some(-slow),
        told_by: Some("chronyc"),
        ..TimeService::default()
    })
}

/// Reads `ntpq -c rv`: the offset is in milliseconds and says how far its source is ahead.
fn of_ntpq(text: &str) -> Option<TimeService> {
    let value = |name: &str| {
        text.split([',', '\n']).find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('=').map(str::trim))
    };
    let is_synchronised = value("leap")? != "11" && value("stratum") != Some("16");
    let ahead = value("offset").and_then(seconds).map(|offset| offset.scaled(1, 1_000));
    Some(TimeService {
        is_synchronised: Some(is_synchronised),
        local_minus_source: ahead.filter(|_| is_synchronised).map(|ahead| -ahead),
        told_by: Some("ntpq"),
        ..TimeService::default()
    })
}

/// Reads `timedatectl show`.
fn of_timedatectl(text: &str) -> Option<TimeService> {
    let value = text.lines().find_map(|line| line.strip_prefix("NTPSynchronized="))?;
    let is_synchronised = match value.trim() {
        "yes" => true,
        "no" => false,
        _ => return None,
    };
    Some(TimeService { is_synchronised: Some(is_synchronised), told_by: Some("timedatectl"), ..TimeService::default() })
}

#[expect(clippy::cast_possible_truncation, reason = "a float saturates, and no clock is 292 years off")]
fn seconds(text: &str) -> Option<Span> {
    let secs: f64 = text.trim().parse().ok()?;
    secs.is_finite().then(|| Span::from_nanos((secs * 1e9) as i64))
}

/// Processes as the kernel names them, cut to 15 characters, and the services they are.
const SERVICES: [(&str, &str); 6] = [
    ("chronyd", "chronyd"),
    ("ntpd", "ntpd"),
    ("systemd-timesyn", "systemd-timesyncd"),
    ("ntp-daemon", "ntpd-rs"),
    ("openntpd", "openntpd"),
    ("timemaster", "timemaster"),
];
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chronyc_tells_by_how_much_the_clock_is_slow() {
        let line =
            "C0248F97,192.0.2.1,2,1792567591.25,0.000250000,-0.0001,0.0002,-12.5,0.001,0.02,0.012,0.001,64.4,Normal\n";
        let told = of_chronyc(line).unwrap();
        assert_eq!((told.is_synchronised, told.local_minus_source), (Some(true), Some(Span::from_micros(-250))));
        let lost = "7F7F0101,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised\n";
        let told = of_chronyc(lost).unwrap();
        assert_eq!((told.is_synchronised, told.local_minus_source), (Some(false), None));
        assert_eq!(of_chronyc("506 Cannot talk to daemon"), None);
    }

    #[test]
    fn ntpq_tells_how_far_its_source_is_ahead() {
        let told = of_ntpq("leap=00, stratum=3, offset=1.500\n").unwrap();
        assert_eq!((told.is_synchronised, told.local_minus_source), (Some(true), Some(Span::from_micros(-1_500))));
        assert_eq!(of_ntpq("leap=11, stratum=16, offset=0.000\n").unwrap().is_synchronised, Some(false));
        assert_eq!(of_ntpq("ntpq: read: Connection refused"), None);
    }

    #[test]
    fn systemd_says_yes_or_no() {
        assert_eq!(of_timedatectl("NTP=yes\nNTPSynchronized=yes\n").unwrap().is_synchronised, Some(true));
        assert_eq!(of_timedatectl("NTP=no\nNTPSynchronized=no\n").unwrap().is_synchronised, Some(false));
        assert_eq!(of_timedatectl("NTP=no\n"), None);
    }

    #[test]
    fn what_is_not_known_is_called_so() {
        assert_eq!(TimeService::default().words(), "unknown");
        let known = TimeService { name: Some("chronyd"), ..TimeService::default() };
        assert_eq!(known.words(), "chronyd, synchronised or not: unknown");
        let slow = of_chronyc("0,0,2,0,0.00025,0,0,0,0,0,0,0,0,Normal").unwrap();
        let slow = TimeService { name: Some("chronyd"), ..slow };
        assert_eq!(slow.words(), "chronyd, synchronised, 0.000250 s behind its source (chronyc)");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_tells_nothing() {
        assert_eq!(output("no-such-program-of-evergrant", &[]).await, None);
    }
}
