//! A seed is a bug report only if it replays: two runs of one seed give the same log, byte by byte.

use std::sync::atomic::{AtomicBool, Ordering};

use evergrant_sim::space;
use evergrant_sim::world::run_watched;

fn log(seed: u64) -> String {
    run_watched(&space::drawn(seed), seed, None, true).log.unwrap_or_default()
}

#[test]
fn a_seed_replays_byte_by_byte_alone_and_beside_busy_threads() {
    let seeds = 100..130;
    let alone: Vec<String> = seeds.clone().map(log).collect();
    assert!(alone.iter().all(|log| log.lines().count() > 100), "the runs are worth comparing");
    let is_over = AtomicBool::new(false);
    let again: Vec<String> = std::thread::scope(|scope| {
        for other in 0..4 {
            let is_over = &is_over;
            scope.spawn(move || {
                let mut seed = 1_000 * (other + 1);
                while !is_over.load(Ordering::Relaxed) {
                    seed += 1;
                    std::hint::black_box(log(seed));
                }
            });
        }
        let again = seeds.clone().map(log).collect();
        is_over.store(true, Ordering::Relaxed);
        again
    });
    for ((seed, alone), again) in seeds.zip(alone).zip(again) {
        assert!(alone == again, "seed {seed} does not replay");
    }
}
