//! The gateway at rest: time to its first answer, memory, wake-ups.

use std::path::Path;
use std::time::Duration;

use crate::Failure;
use crate::peers::{Gateway, Nginx, connect};
use crate::table::{Goal, Row, median};

const STARTS: usize = 9;
const SETTLED: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 1000;

pub(crate) fn rows(program: &Path) -> Result<Vec<Row>, Failure> {
    let upstream = Nginx::upstream()?;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
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
        row("gateway, start to first answer with its token request", "ms", median(starts), 30.0),
        row("gateway, memory idle", "MiB", alone, 15.0),
        row("gateway, memory with 1,000 idle connections", "MiB", crowded, 40.0),
        row("gateway, wake-ups in 10 s idle", "", woken, 12.0),
    ])
}
