//! CPU time for a request, through the gateway and through nginx with a fixed header.
//!
//! Both answer the same pages of the same upstream to the same load generator, in short slices by turns: first the one,
//! then the other, and the next time the other way round. CPU time for a request is the fair number on a busy machine:
//! it is what the process itself used, whoever else was running. It is not untouched by others, who share the caches;
//! so a slice during which others used more than a little of the machine is repeated, a few times, and how many stayed
//! disturbed is told.

use std::time::Instant;

use crate::peers::{Gateway, Kind, Nginx, load};
use crate::process::{Process, machine_cpu, own_cpu};
use crate::table::{Goal, Pair, Row, median};
use crate::{Effort, Failure};

/// Load, what it is called, its connections and its goal.
const LOADS: [(&str, Kind, u32, f64); 4] = [
    ("CPU for a request, 100 B, 16 connections", Kind::Small, 16, 1.25),
    ("CPU for a request, 100 B, 128 connections", Kind::Small, 128, 1.25),
    ("CPU for a POST of 4 KiB with its copy for a replay", Kind::Post, 16, 1.25),
    ("CPU for a request, 64 KiB, nginx's default buffers", Kind::Large, 16, 0.65),
];
const ROUNDS: usize = 9;
const SLICE_SECS: u32 = 1;
const TRIES: u32 = 3;
/// The share of one processor that others may use in a slice.
const OTHERS: f64 = 0.1;

/// The participants of all slices.
pub(crate) struct Field<'a> {
    pub(crate) upstream: &'a Nginx,
    pub(crate) peer: &'a Nginx,
    pub(crate) gateway: &'a Gateway,
}

/// What came out beside the rows.
pub(crate) struct Outcome {
    pub(crate) rows: Vec<Row>,
    /// Requests a second that the gateway answered at full load.
    pub(crate) per_second: f64,
    /// Slices that others disturbed, of all.
    pub(crate) disturbed: (usize, usize),
}

/// One turn of one side.
struct Slice {
    cpu_us: f64,
    per_second: f64,
    is_disturbed: bool,
}

impl Field<'_> {
    pub(crate) fn measure(&self, effort: Effort) -> Result<Outcome, Failure> {
        let (mut rows, mut speeds, mut disturbed, mut all) = (Vec::new(), Vec::new(), 0, 0);
        for (what, kind, connections, most) in LOADS {
            let (mut cpu, mut speed) = (Vec::new(), Vec::new());
            for round in 0..effort.rounds(ROUNDS) {
                let peer = || self.slice(&self.peer.process, self.peer.port, kind, connections);
                let gateway = || self.slice(&self.gateway.process, self.gateway.port, kind, connections);
                let (beside, ours) = if round % 2 == 0 {
                    let beside = peer()?;
                    (beside, gateway()?)
                } else {
                    let ours = gateway()?;
                    (peer()?, ours)
                };
                cpu.push(Pair { measured: ours.cpu_us, beside: beside.cpu_us });
                speed.push(ours.per_second);
                disturbed += usize::from(beside.is_disturbed) + usize::from(ours.is_disturbed);
                all += 2;
            }
            let Pair { measured, beside } = Pair::median(cpu).ok_or("no round")?;
            rows.push(Row { what, unit: "us", measured, beside: Some((beside, "nginx")), goal: Goal::Times(most) });
            speeds.push(median(speed));
        }
        let per_second = speeds.first().copied().ok_or("no load")?;
        Ok(Outcome { rows, per_second, disturbed: (disturbed, all) })
    }

    /// One turn, again if others were in the way.
    fn slice(&self, process: &Process, port: u16, kind: Kind, connections: u32) -> Result<Slice, Failure> {
        let mut tries = 1;
        loop {
            let slice = self.try_slice(process, port, kind, connections)?;
            if !slice.is_disturbed || tries == TRIES {
                return Ok(slice);
            }
            tries += 1;
        }
    }

    fn try_slice(&self, process: &Process, port: u16, kind: Kind, connections: u32) -> Result<Slice, Failure> {
        let (started, cpu, others) = (Instant::now(), process.cpu()?, self.cpu_of_others()?);
        let load = load(port, kind, connections, SLICE_SECS)?;
        let cpu = process.cpu()?.saturating_sub(cpu);
        let others = (self.cpu_of_others()? - others) / started.elapsed().as_secs_f64();
        let cpu_us = cpu.as_secs_f64() * 1e6 / load.requests;
        Ok(Slice { cpu_us, per_second: load.per_second, is_disturbed: others > OTHERS })
    }

    /// Seconds of CPU time that the machine has spent on anything but this bench.
    fn cpu_of_others(&self) -> Result<f64, Failure> {
        let ours = [&self.upstream.process, &self.peer.process, &self.gateway.process];
        let ours = ours.into_iter().map(Process::cpu).sum::<Result<std::time::Duration, _>>()?;
        Ok(machine_cpu()?.as_secs_f64() - own_cpu()?.as_secs_f64() - ours.as_secs_f64())
    }
}
