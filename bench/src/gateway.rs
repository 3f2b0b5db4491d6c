//! CPU time for a small request, through the gateway and through nginx with a fixed header.
//!
//! Both answer the same page of the same upstream to the same load generator, one after the other, in rounds. CPU time
//! for a request is the fair number on a busy machine: it is what the process itself used, whoever else was running.

use std::path::Path;

use crate::Failure;
use crate::peers::{Gateway, Load, Nginx, load};
use crate::process::Process;
use crate::table::{Goal, Pair, Row, median};

const ROUNDS: usize = 7;
const ROUND_SECS: u32 = 3;
const WARM_UP_SECS: u32 = 12;

pub(crate) fn rows(program: &Path) -> Result<Vec<Row>, Failure> {
    let upstream = Nginx::upstream()?;
    let peer = Nginx::peer(upstream.port)?;
    let gateway = Gateway::before(program, &upstream)?;
    load(peer.port, 1, false)?;
    // A token is watched more closely until it has settled, which takes ten seconds.
    load(gateway.port, WARM_UP_SECS, false)?;
    let (mut cpu, mut direct_p99, mut peer_p99, mut our_p99, mut ours) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let (beside, peers) = cpu_us(&peer.process, peer.port)?;
        let (measured, load_of_ours) = cpu_us(&gateway.process, gateway.port)?;
        cpu.push(Pair { measured, beside });
        direct_p99.push(load(upstream.port, 1, true)?.p99_ms);
        peer_p99.push(peers.p99_ms);
        our_p99.push(load_of_ours.p99_ms);
        ours.push(Pair { measured: load_of_ours.per_second, beside: peers.per_second });
    }
    let cpu = Pair::median(cpu).ok_or("no round")?;
    let speed = Pair::median(ours).ok_or("no round")?;
    let busy = gateway.process.resident_mib()?;
    let row = |what, unit, measured, beside, goal| Row { what, unit, measured, beside, goal };
    Ok(vec![
        row("gateway, CPU for a small request", "us", cpu.measured, Some((cpu.beside, "nginx")), Goal::Times(1.6)),
        row("gateway, requests a second", "", speed.measured, Some((speed.beside, "nginx")), Goal::None),
        row("gateway, p99 under full load", "ms", median(our_p99), Some((median(peer_p99), "nginx")), Goal::None),
        row("direct, p99 under full load", "ms", median(direct_p99), None, Goal::None),
        row("gateway, memory after full load", "MiB", busy, None, Goal::None),
    ])
}

fn cpu_us(process: &Process, port: u16) -> Result<(f64, Load), Failure> {
    let before = process.cpu()?;
    let load = load(port, ROUND_SECS, false)?;
    let used = process.cpu()?.saturating_sub(before);
    Ok((used.as_secs_f64() * 1e6 / load.requests, load))
}
