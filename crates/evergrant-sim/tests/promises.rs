//! Worlds drawn from seeds, and the promises of the guide held against each of them.
//!
//! `EVERGRANT_SIM_SEED=n` runs one seed and prints its world and its log. `EVERGRANT_SIM_FIRST=n` and
//! `EVERGRANT_SIM_SEEDS=n` choose others than the first five hundred. A failure names its seed; with the fix it goes into
//! `seeds/drawn.txt`, whose seeds run first.

#![expect(clippy::print_stdout, reason = "a world that is replayed is shown")]

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use evergrant_sim::space;
use evergrant_sim::world::check::promises;
use evergrant_sim::world::{Mutant, run_watched};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// What was broken in the world of a seed, one line each.
fn broken(seed: u64, mutant: Option<Mutant>) -> Vec<String> {
    let is_only = number("EVERGRANT_SIM_SEED").is_some();
    let scenario = space::drawn(seed);
    let outcome = run_watched(&scenario, seed, mutant, is_only || mutant == Some(Mutant::LogsTokens));
    if is_only {
        println!("{scenario:#?}\n{}", outcome.log.as_deref().unwrap_or_default());
    }
    let broken = promises(&scenario, &outcome);
    broken.iter().map(|broken| format!("EVERGRANT_SIM_SEED={seed}: {broken}")).collect()
}

fn require(seeds: impl IntoIterator<Item = u64>) {
    let complaints: Vec<_> = seeds.into_iter().flat_map(|seed| broken(seed, None)).collect();
    assert!(complaints.is_empty(), "{} broken promises\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn seeds_that_once_broke_a_promise_are_kept_in_mind() {
    let kept = include_str!("seeds/drawn.txt").lines().filter(|line| !line.starts_with('#'));
    require(kept.filter_map(|line| line.split_whitespace().next()?.parse().ok()));
}

/// The first thousand, in two halves that can run side by side; or those that were asked for.
#[test]
fn the_keeper_keeps_its_promises_in_every_drawn_world() {
    let (first, count) = (number("EVERGRANT_SIM_FIRST").unwrap_or(1), number("EVERGRANT_SIM_SEEDS").unwrap_or(500));
    require(number("EVERGRANT_SIM_SEED").map_or(first..first + count, |seed| seed..seed + 1));
}

#[test]
fn and_in_five_hundred_more() {
    require(501..=1_000);
}

/// Every run of the tests sees some worlds that nobody has seen before.
#[test]
fn and_in_some_that_were_never_drawn_before() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    require((0..100).map(|n| now * 1_000 + n));
}

/// A checker that cannot fail proves nothing: each promise is broken on purpose, and that is found soon.
#[test]
fn a_broken_client_is_found_out_within_a_thousand_worlds() {
    for mutant in Mutant::ALL {
        let number = format!(": {} ", mutant.breaks().number());
        let found = (1..=1_000).find(|seed| broken(*seed, Some(mutant)).iter().any(|words| words.contains(&number)));
        println!("{mutant:?} breaks {} in world {found:?}", mutant.breaks().number());
        assert!(found.is_some(), "{mutant:?} is not found out");
    }
}

/// `cargo xtask soak --worlds N` runs this with all cores, from the seed `--first` on, and tells each failure at once.
#[test]
#[ignore = "cargo xtask soak --worlds N"]
fn soak() {
    let (first, count) =
        (number("EVERGRANT_SIM_FIRST").unwrap_or(1), number("EVERGRANT_SOAK_WORLDS").unwrap_or(10_000));
    let (next, done, failed) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(0));
    let simulated_secs = AtomicU64::new(0);
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let scenario = space::drawn(seed);
                    let outcome = run_watched(&scenario, seed, None, false);
                    for broken in promises(&scenario, &outcome) {
                        failed.fetch_add(1, Ordering::Relaxed);
                        println!("{broken}\n  again: {REPLAY}{seed}");
                    }
                    let secs = u64::try_from(outcome.ran.as_secs()).unwrap_or(0);
                    simulated_secs.fetch_add(secs, Ordering::Relaxed);
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done % 5_000 == 0 {
                        println!("{done} worlds in {:.0} s", started.elapsed().as_secs_f64());
                    }
                }
            });
        }
    });
    let (hours, failed) = (simulated_secs.into_inner() / 3_600, failed.into_inner());
    let core_minutes = started.elapsed().as_secs_f64() / 60.0 * threads as f64;
    println!("worlds {first} to {}: {hours} simulated hours, {failed} broken promises", first + count - 1);
    println!("{:.0} simulated hours for each minute of a core", hours as f64 / core_minutes);
    assert_eq!(failed, 0);
}

const REPLAY: &str = "cargo xtask soak --replay ";
