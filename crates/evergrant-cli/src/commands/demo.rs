//! `evergrant demo`: what the common snippet does to its callers, and what Evergrant does, side by side.
//!
//! Two lanes run in this process on loopback, without an account, a network or a setting. Each has a simulated provider
//! of its own, of the same configuration and seed, and the same faults at the same moments. Both send the same calls at
//! the same times, and one meter counts what the callers saw. The first lane is the snippet that most scripts have:
//! refresh after a 401, no lock, one retry. The second sends its calls, without any token, through the real gateway.
//!
//! Nothing in the result is known beforehand: a 401 that got through Evergrant ends the demo with an exit code of its
//! own.

mod lane;
mod meter;
mod plan;
mod report;
mod screen;
mod snippet;

use std::io::IsTerminal as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until};

use crate::args::DemoArgs;
use crate::failure::{Failure, Failures};
use crate::launch;
use crate::render;
use lane::Lane;
use plan::Plan;
use report::Report;
use screen::{Paint, Screen};

/// Runs the demo to its end, or until it is interrupted.
pub(crate) fn run(args: &DemoArgs) -> Result<u8, Failures> {
    let plan = if args.fast { Plan::fast() } else { Plan::full() };
    let live = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
    let runtime = launch::runtime(tokio::runtime::Builder::new_multi_thread().worker_threads(2))?;
    let report = runtime.block_on(drive(&plan, live))?;
    // What is left are answers to calls that nobody waits for.
    runtime.shutdown_background();
    let text = if args.json { report.json() } else { report.text(&Paint::of(&std::io::stdout())) };
    render::data(text.as_bytes())?;
    Ok(report.exit_code())
}

async fn drive(plan: &Plan, live: bool) -> Result<Report, Failure> {
    let mut interrupted = pin!(launch::interrupted()?);
    let lanes = [Lane::snippet(plan).await?, Lane::evergrant(plan).await?];
    let mut screen = Screen::new(live);
    let start = Instant::now();
    lanes.iter().for_each(|lane| lane.play(plan));
    let mut calls = JoinSet::new();
    let (mut pace, mut frames) = (interval(plan.gap), interval(FRAME));
    let mut over = pin!(sleep_until(start + plan.duration));
    let mut sending = true;
    let complete = loop {
        tokio::select! {
            _signal = &mut interrupted => break false,
            () = &mut over, if sending => sending = false,
            _ = pace.tick(), if sending => {
                for lane in &lanes {
                    let lane = Arc::clone(lane);
                    calls.spawn(async move { lane.call(start).await });
                }
            }
            _ = frames.tick() => {
                screen.show(plan, start.elapsed(), || lanes.iter().map(|lane| lane.report()).collect());
                while calls.try_join_next().is_some() {}
                if !sending && calls.is_empty() {
                    break true;
                }
            }
        }
    };
    let seconds = start.elapsed().min(plan.duration).as_secs_f64();
    calls.shutdown().await;
    screen.clear();
    Ok(Report { seconds: (seconds * 10.0).round() / 10.0, complete, lanes: lanes.map(|lane| lane.report()) })
}

const FRAME: Duration = Duration::from_millis(100);
