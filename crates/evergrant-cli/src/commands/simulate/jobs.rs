//! Runs on all cores, with a progress bar where a person is looking; their order in the result is the order asked for.

use std::io::IsTerminal as _;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use evergrant_sim::comparison::Tally;
use evergrant_sim::scenario::Scenario;
use evergrant_sim::strategy::Strategy;
use indicatif::{ProgressBar, ProgressStyle};

/// One tally for each run, in order.
pub(super) fn tallies(runs: &[(Strategy, &Scenario)], seeds: &[u64]) -> Vec<Tally> {
    let bar = bar(runs.len());
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(runs.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((index, (strategy, scenario))) = take(&next, runs) {
                    let tally = Tally::of(*strategy, scenario, seeds);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, tally));
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, tally)| tally).collect()
}

fn take<'a, T>(next: &AtomicUsize, runs: &'a [T]) -> Option<(usize, &'a T)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    runs.get(index).map(|run| (index, run))
}

fn bar(length: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("  {bar:40} {pos}/{len} runs, {eta} left");
    ProgressBar::new(length as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
