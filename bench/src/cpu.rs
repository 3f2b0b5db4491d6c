//! CPU time for a request, through the gateway and through nginx with a fixed header.
//!
//! Both answer the same pages of the same upstream to the same load generator, in short slices by turns: first the one,
//! then the other, and the next time with another one first. CPU time for a request is the fair number on a busy machine:
//! it is what the process itself used, whoever else was running. It is not untouched by others, who share the caches;
//! so a slice during which others used more than a little of the machine is repeated, a few times, and how many stayed
//! disturbed is told.
//!
//! A proxy that does nothing, on the gateway's libraries ([`crate::bare`]), takes its turns too: how far the goals are
//! from what these libraries can do at best.

use std::time::Instant;

use crate::bare::Bare;
use crate::peers::{Gateway, Kind, Nginx, load};
use crate::process::{Process, machine_cpu, own_cpu};
use crate::table::{Goal, Pair, Row, median};
use crate::{Effort, Failure};

/// Load, what it is called, its connections, its goal, and what the same is called without a gateway's work.
const LOADS: [(&str, Kind, u32, f64, Option<&str>); 4] = [
    (
        "CPU for a request, 100 B, 16 connections",
        Kind::Small,
        16,
        1.25,
        Some("the same through a proxy of hyper and tokio alone, 16 connections"),
    ),
    (
        "CPU for a request, 100 B, 128 connections",
        Kind::Small,
        128,
        1.25,
        Some("the same through a proxy of hyper and tokio alone, 128 connections"),
    ),
    ("CPU for a POST of 4 KiB with its copy for a replay", Kind::Post, 16, 1.25, None),
    ("CPU for a request, 64 KiB, nginx's default buffers", Kind::Large, 16, 0.65, None),
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
    pub(crate) bare: &'a Bare,
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
        for (what, kind, connections, most, bare) in LOADS {
            let peer = (&self.peer.process, self.peer.port);
            let gateway = (&self.gateway.process, self.gateway.port);
            let sides: Vec<_> =
                [peer, gateway].into_iter().chain(bare.map(|_| (&self.bare.process, self.bare.port))).collect();
            let mut slices: Vec<Vec<Slice>> = sides.iter().map(|_| Vec::new()).collect();
            for round in 0..effort.rounds(ROUNDS) {
                for turn in 0..sides.len() {
                    let side = (round + turn) % sides.len();
                    let (process, port) = sides[side];
                    slices[side].push(self.slice(process, port, kind, connections)?);
                }
            }
            disturbed += slices.iter().flatten().filter(|slice| slice.is_disturbed).count();
            all += slices.iter().flatten().count();
            speeds.push(median(slices[1].iter().map(|slice| slice.per_second).collect()));
            let mut row = |what, side: usize, goal| {
                let pairs = slices[side].iter().zip(&slices[0]);
                let pairs = pairs.map(|(ours, beside)| Pair { measured: ours.cpu_us, beside: beside.cpu_us });
                let Pair { measured, beside } = Pair::median(pairs.collect())?;
                rows.push(Row { what, unit: "us", measured, beside: Some((beside, "nginx")), goal });
                Some(())
            };
            row(what, 1, Goal::Times(most)).ok_or("no round")?;
            if let Some(bare) = bare {
                row(bare, 2, Goal::None).ok_or("no round")?;
            }
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
        let ours = [&self.upstream.process, &self.peer.process, &self.gateway.process, &self.bare.process];
        let ours = ours.into_iter().map(Process::cpu).sum::<Result<std::time::Duration, _>>()?;
        Ok(machine_cpu()?.as_secs_f64() - own_cpu()?.as_secs_f64() - ours.as_secs_f64())
    }
}
