//! The gateway at rest: time to its first answer, memory, wake-ups.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::peers::{Gateway, Nginx, connect};
use crate::table::{Goal, Row, median};
use crate::{Effort, Failure};

const STARTS: usize = 9;
const SETTLED: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 10_000;
/// Files that both ends need beside their connections.
const OTHER_FILES: u64 = 200;

pub(crate) fn rows(program: &Path, effort: Effort) -> Result<Vec<Row>, Failure> {
    allow_connections()?;
    let upstream = Nginx::upstream()?;
    let mut starts = Vec::new();
    for _ in 0..effort.rounds(STARTS) {
        starts.push(Gateway::before(program, &upstream)?.first_answer.as_secs_f64() * 1e3);
    }
    let gateway = Gateway::before(program, &upstream)?;
    // A new token is watched more closely for ten seconds; that is not rest yet.
    std::thread::sleep(SETTLED);
    let alone = gateway.process.resident_mib()?;
    let before = gateway.process.wakeups()?;
    std::thread::sleep(IDLE);
    let woken = gateway.process.wakeups()? - before;
    let connections = (0..CONNECTIONS).map(|_| connect(gateway.port)).collect::<Result<Vec<_>, _>>()?;
    std::thread::sleep(Duration::from_secs(1));
    let crowded = gateway.process.resident_mib()?;
    drop(connections);
    let row = |what, unit, measured, most| Row { what, unit, measured, beside: None, goal: Goal::AtMost(most) };
    Ok(vec![
        row("start to first answer, token request included", "ms", median(starts), 20.0),
        row("memory idle", "MiB", alone, 12.0),
        row("wake-ups in 10 s idle", "", woken, 12.0),
        row("memory with 10,000 idle connections", "MiB", crowded, 150.0),
    ])
}

/// Lets this process, and those that it starts, have as many open files as the connections need.
fn allow_connections() -> Result<(), Failure> {
    let needed = CONNECTIONS as u64 + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|most| most < needed) {
        return Err(format!("{CONNECTIONS} connections need {needed} open files (ulimit -Hn)").into());
    }
    if limit.current.is_some_and(|now| now < needed) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum })?;
    }
    Ok(())
}
