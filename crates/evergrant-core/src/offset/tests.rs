//! The promise of this module, tested in simulated worlds and against a model short enough to believe.

use proptest::prelude::*;

use super::*;
use crate::time::{Boot, Now, Offset, OffsetInterval, Server, Span, Wall};

mod disturbances;
mod model;
mod promise;

const SECOND: Span = Span::from_secs(1);

/// A server with its own clock, seen through a network.
#[derive(Clone, Debug)]
struct World {
    boot: Boot,
    theta: Offset,
    rate_ppm: i64,
    resolution: Span,
}

/// How one request goes: all within the assumptions, as fractions of a million.
#[derive(Clone, Copy, Debug)]
struct Trip {
    pause_ms: i64,
    up_ms: i64,
    down_ms: i64,
    lag: i64,
    spread: i64,
    bounds_above: bool,
}

impl World {
    fn new(theta_ms: i64) -> Self {
        Self {
            boot: Boot::from_secs(1_000),
            theta: Offset::from_nanos(0) + Span::from_millis(theta_ms),
            rate_ppm: 0,
            resolution: SECOND,
        }
    }

    /// Lets time pass; the server's clock drifts meanwhile.
    fn pass(&mut self, span: Span) {
        self.boot = self.boot + span;
        self.theta = self.theta + span.scaled(self.rate_ppm, 1_000_000);
    }

    fn step(&mut self, jump: Span) {
        self.theta = self.theta + jump;
    }

    fn ask(&mut self, trip: Trip, assumptions: &Assumptions) -> Sample {
        self.pass(Span::from_millis(trip.pause_ms));
        let sent = self.boot;
        self.pass(Span::from_millis(trip.up_ms));
        let spread = assumptions.node_spread.scaled(trip.spread, 1_000_000);
        let lag = assumptions.date_lag.scaled(trip.lag, 1_000_000);
        let node = ((self.boot + self.theta) + spread - lag).as_nanos();
        let server = Server::from_nanos(node - node.rem_euclid(self.resolution.as_nanos()));
        self.pass(Span::from_millis(trip.down_ms));
        Sample { sent, received: self.boot, server, resolution: self.resolution, bounds_above: trip.bounds_above }
    }

    fn now(&self) -> Now {
        Now { boot: self.boot, wall: Wall::from_nanos(self.boot.as_nanos()) + Span::from_secs(1_000_000) }
    }
}

/// A quick, exact, ordinary request some time after the last one.
fn after(pause_ms: i64) -> Trip {
    Trip { pause_ms, up_ms: 20, down_ms: 20, lag: 0, spread: 0, bounds_above: true }
}

prop_compose! {
    fn any_trip()(
        pause_ms in prop_oneof![0_i64..200, 0_i64..5_000, 0_i64..120_000],
        up_ms in prop_oneof![0_i64..50, 0_i64..3_000],
        down_ms in prop_oneof![0_i64..50, 0_i64..3_000],
        lag in 0_i64..=1_000_000,
        spread in -1_000_000_i64..=1_000_000,
        bounds_above in prop::bool::weighted(0.9),
    ) -> Trip {
        Trip { pause_ms, up_ms, down_ms, lag, spread, bounds_above }
    }
}
