//! Runs on all cores, with a progress bar where a person is looking; their order in the result is the order asked for.

use std::io::IsTerminal as _;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use evergrant_sim::comparison::{Place, Sum};
use evergrant_sim::strategy::Strategy;
use indicatif::{ProgressBar, ProgressStyle};

/// One sum for each run, in order; each run is every seed, and many seeds are shared out between the cores.
pub(super) fn sums(runs: &[(Strategy, Place<'_>)], seeds: &[u64]) -> Vec<Sum> {
    let chunks = || seeds.chunks(SEEDS_AT_ONCE);
    let jobs: Vec<_> =
        runs.iter().enumerate().flat_map(|(index, run)| chunks().map(move |seeds| (index, run, seeds))).collect();
    let bar = bar(jobs.len());
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(jobs.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((number, (index, (strategy, place), seeds))) = take(&next, &jobs) {
                    let mut sum = Sum::default();
                    seeds.iter().for_each(|seed| sum.run(*strategy, *place, *seed));
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((number, *index, sum));
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, ..)| *number);
    let mut sums = vec![Sum::default(); runs.len()];
    done.into_iter().for_each(|(_, index, sum)| sums[index].merge(sum));
    sums
}

fn take<'a, T>(next: &AtomicUsize, runs: &'a [T]) -> Option<(usize, &'a T)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    runs.get(index).map(|run| (index, run))
}

fn bar(length: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("  {bar:40} {pos}/{len} parts, {eta} left");
    ProgressBar::new(length as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// So many seeds of one run are one job.
const SEEDS_AT_ONCE: usize = 25;
