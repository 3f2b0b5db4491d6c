//! What a caller waits for: the time that the gateway adds to a request at half load, and at a token refresh.
//!
//! Half load is half of what the gateway can do on this machine, measured just before. Slices alternate between the
//! upstream itself, nginx and the gateway; each number is the median over the slices. For the refresh a second gateway has
//! tokens that live some seconds. Only requests within a tenth of a second after a new token was given out count, and for
//! nginx all requests of its slices: it has nothing to refresh.

use std::path::Path;
use std::time::Duration;

use crate::pace::{Timed, paced, quantile};
use crate::peers::{Gateway, Nginx};
use crate::table::{Goal, Pair, Row, median};
use crate::{Effort, Failure};

const ROUNDS: usize = 9;
const SLICE: Duration = Duration::from_secs(1);
/// Long enough for a refresh or two of tokens that live six seconds.
const REFRESH_SLICE: Duration = Duration::from_secs(6);
const REFRESH_ROUNDS: usize = 6;
const AROUND_A_REFRESH: Duration = Duration::from_millis(100);

/// The rows about time at half load.
pub(crate) fn at_half_load(
    upstream: &Nginx,
    peer: &Nginx,
    gateway: &Gateway,
    per_second: f64,
    effort: Effort,
) -> Result<Vec<Row>, Failure> {
    let (mut direct, mut ours, mut theirs) = (Side::default(), Side::default(), Side::default());
    for _ in 0..effort.rounds(ROUNDS) {
        direct.note(&paced(upstream.port, true, per_second / 2.0, SLICE)?);
        theirs.note(&paced(peer.port, false, per_second / 2.0, SLICE)?);
        ours.note(&paced(gateway.port, false, per_second / 2.0, SLICE)?);
    }
    let row = |what, of: fn(&Side) -> &Vec<f64>, most| Row {
        what,
        unit: "us",
        measured: added(of(&ours), of(&direct)),
        beside: Some((added(of(&theirs), of(&direct)), "nginx")),
        goal: Goal::AtMost(most),
    };
    Ok(vec![
        row("added p50 at half load", |side| &side.p50, 100.0),
        row("added p99 at half load", |side| &side.p99, 1000.0),
    ])
}

/// The row about time at a refresh.
pub(crate) fn at_a_refresh(
    program: &Path,
    upstream: &Nginx,
    peer: &Nginx,
    per_second: f64,
    effort: Effort,
) -> Result<Row, Failure> {
    let gateway = Gateway::refreshing(program, upstream)?;
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds(REFRESH_ROUNDS) {
        let beside = quantile(&paced(peer.port, false, per_second / 2.0, SLICE)?, 990);
        let timed = paced(gateway.port, false, per_second / 2.0, REFRESH_SLICE)?;
        let mints = upstream.mints()?;
        let is_near = |timed: &&Timed| {
            mints.iter().any(|mint| timed.at.duration_since(*mint).is_ok_and(|since| since < AROUND_A_REFRESH))
        };
        let near: Vec<Timed> = timed.iter().filter(is_near).copied().collect();
        if !near.is_empty() {
            rounds.push(Pair { measured: quantile(&near, 990), beside });
        }
    }
    let Pair { measured, beside } = Pair::median(rounds).ok_or("no token was refreshed")?;
    let what = "p99 in the 100 ms after a token refresh";
    Ok(Row { what, unit: "us", measured, beside: Some((beside, "nginx")), goal: Goal::Times(1.5) })
}

/// One side's quantiles, slice by slice, in microseconds.
#[derive(Default)]
struct Side {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Side {
    fn note(&mut self, timed: &[Timed]) {
        self.p50.push(quantile(timed, 500));
        self.p99.push(quantile(timed, 990));
    }
}

/// The median of what was added to the direct way, round by round.
fn added(through: &[f64], direct: &[f64]) -> f64 {
    median(through.iter().zip(direct).map(|(through, direct)| through - direct).collect())
}
