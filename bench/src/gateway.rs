//! The gateway beside nginx with a fixed header: everything that a caller or an operator would notice.
//!
//! The two take turns in one run on the same upstream. What is measured is in the modules: CPU time ([`crate::cpu`]),
//! waiting ([`crate::waits`]), start, rest and idle connections ([`crate::idle`]).

use std::path::Path;

use crate::bare::Bare;
use crate::cpu::Field;
use crate::peers::{Gateway, Kind, Nginx, load};
use crate::table::{Goal, Row};
use crate::{Effort, Failure, idle, waits};

/// A token is watched more closely until it has settled.
const WARM_UP_SECS: u32 = 14;

pub(crate) fn rows(program: &Path, effort: Effort) -> Result<Vec<Row>, Failure> {
    let mut rows = idle::rows(program, effort)?;
    let upstream = Nginx::upstream()?;
    let peer = Nginx::peer(upstream.port)?;
    let gateway = Gateway::before(program, &upstream)?;
    let bare = Bare::before(upstream.port)?;
    load(peer.port, Kind::Small, 16, 1)?;
    load(gateway.port, Kind::Small, 16, WARM_UP_SECS)?;
    let outcome = Field { upstream: &upstream, peer: &peer, gateway: &gateway, bare: &bare }.measure(effort)?;
    let (disturbed, all) = outcome.disturbed;
    eprintln!("{disturbed} of {all} slices were disturbed by other processes to the end");
    rows.extend(outcome.rows);
    rows.extend(waits::at_half_load(&upstream, &peer, &gateway, outcome.per_second, effort)?);
    rows.push(waits::at_a_refresh(program, &upstream, &peer, outcome.per_second, effort)?);
    let busy = gateway.process.resident_mib()?;
    let info = |what, unit, measured| Row { what, unit, measured, beside: None, goal: Goal::None };
    rows.push(info("requests a second on one thread, 100 B, 16 connections", "", outcome.per_second));
    rows.push(info("memory after full load", "MiB", busy));
    let share = 100.0 * disturbed as f64 / all as f64;
    rows.push(info("slices disturbed by other processes to the end", "%", share));
    Ok(rows)
}
