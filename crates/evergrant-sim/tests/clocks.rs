//! A measured interval holds the truth or is called disturbed, in every world and for every seed; and the widths that
//! the documentation shows are those that are measured here.

use std::path::Path;

use evergrant_core::offset::{Assumptions, OffsetState, ProbeGoal, Source};
use evergrant_core::time::{OffsetInterval, Span};
use evergrant_sim::measurement::{Cache, ClockWorld, Measured, measure};

const RUNS: u64 = 200;

fn worlds() -> Vec<ClockWorld> {
    let exact = ClockWorld::exact;
    let (fast, slow) = (Span::from_millis(7_300), Span::from_secs(-600));
    let nodes = |millis: &[i64]| millis.iter().copied().map(Span::from_millis).collect();
    let with_source = |source, world| ClockWorld { source, ..world };
    vec![
        exact("+7.3 s, exact dates", fast, 1, 1),
        exact("-600 s, exact dates", slow, 25, 25),
        exact("-600 s, a long way", slow, 100, 100),
        exact("+7.3 s, a lopsided way", fast, 90, 10),
        ClockWorld { drift_ppm: 200, ..exact("drifting, 200 ppm fast", fast, 10, 10) },
        ClockWorld { drift_ppm: -10_000, ..exact("drifting, 1 % slow", fast, 10, 10) },
        ClockWorld { step: Some(Span::from_secs(30)), ..exact("stepping 30 s forward", fast, 10, 10) },
        ClockWorld { step: Some(Span::from_secs(-30)), ..exact("stepping 30 s back", fast, 10, 10) },
        ClockWorld { step: Some(Span::from_secs(-1)), ..exact("stepping 1 s back", fast, 10, 10) },
        ClockWorld { cache: Cache::Absent, ..exact("caching nginx, by query", fast, 10, 10) },
        ClockWorld { cache: Cache::Silent(Span::from_secs(10)), ..exact("caching nginx, no query", fast, 10, 10) },
        ClockWorld { cache: Cache::Honest, ..exact("a cache that says `Age`", fast, 10, 10) },
        ClockWorld { nodes: nodes(&[0, 40, -40]), ..exact("nodes within 40 ms", fast, 10, 10) },
        ClockWorld { nodes: nodes(&[0, 400, -300]), ..exact("nodes 0.7 s apart", fast, 10, 10) },
        ClockWorld { nodes: nodes(&[0, 1_000]), ..exact("nodes 1 s apart", fast, 10, 10) },
        ClockWorld { nodes: nodes(&[0, 5_000, 0]), ..exact("nodes 5 s apart", fast, 10, 10) },
        ClockWorld { lag: Span::from_millis(950), ..exact("dates up to 0.95 s late", fast, 10, 10) },
        with_source(Source::MsEndpoint, exact("milliseconds, near", fast, 2, 3)),
        with_source(Source::MsEndpoint, exact("milliseconds, far", slow, 100, 100)),
        with_source(Source::Ntp, exact("NTP", slow, 15, 15)),
    ]
}

fn runs(world: &ClockWorld, goal: ProbeGoal) -> Vec<Measured> {
    (0..RUNS).map(|seed| measure(world, goal, seed)).collect()
}

#[test]
fn every_run_holds_the_truth_or_says_that_it_is_disturbed() {
    for world in worlds() {
        for (seed, run) in runs(&world, ProbeGoal::THOROUGH).iter().enumerate() {
            assert!(run.is_honest(), "{}, seed {seed}: {run:#?}", world.name);
            assert!(run.asked <= 12 && run.took < Span::from_secs(15), "{}, seed {seed}: {run:?}", world.name);
        }
    }
}

#[test]
fn a_quiet_world_is_never_called_disturbed() {
    let mut settled = worlds();
    settled.retain(|world| world.step.is_none() && world.cache == Cache::Absent && world.lag == Span::ZERO);
    settled.retain(|world| world.nodes.iter().all(|node| node.abs() <= Span::from_millis(40)));
    for world in settled.iter().filter(|world| world.drift_ppm.abs() <= 200) {
        for (seed, run) in runs(world, ProbeGoal::THOROUGH).iter().enumerate() {
            assert!(!run.is_disturbed, "{}, seed {seed}: {run:#?}", world.name);
            assert_eq!(run.reading.state, OffsetState::Settled);
        }
    }
}

#[test]
fn a_quick_look_holds_the_truth_within_the_assumptions() {
    for world in &worlds()[..5] {
        for (seed, run) in runs(world, ProbeGoal::QUICK).iter().enumerate() {
            assert!(run.is_true() && run.asked <= 4, "{}, seed {seed}: {run:#?}", world.name);
        }
    }
}

/// The widths in `docs/clock.md` are these; `EVERGRANT_BLESS=1` writes them.
#[test]
fn the_documented_widths_are_the_measured_ones() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/clock.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has a place for the table");
    let (shown, after) = rest.split_once(END).expect("the place has an end");
    let table = format!("\n{}", table());
    if shown == table {
        return;
    }
    if std::env::var_os("EVERGRANT_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    panic!("docs/clock.md shows other widths; EVERGRANT_BLESS=1 writes these:\n{table}");
}

const BEGIN: &str = "<!-- measured: crates/evergrant-sim/tests/clocks.rs -->";
const END: &str = "<!-- end -->";

fn table() -> String {
    let mut text = String::from(
        "| world | least round trip | unavoidable | width, median | 95 % | questions | took | disturbed |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for world in worlds() {
        let runs = runs(&world, ProbeGoal::THOROUGH);
        let settled: Vec<_> = runs.iter().filter(|run| !run.is_disturbed).collect();
        let widths = settled.iter().filter_map(|run| run.reading.interval).map(OffsetInterval::width).collect();
        let (median, most) = percentiles(widths);
        let asked = runs.iter().map(|run| u64::from(run.asked)).sum::<u64>() as f64 / RUNS as f64;
        let (took, _) = percentiles(runs.iter().map(|run| run.took).collect());
        let disturbed = runs.iter().filter(|run| run.is_disturbed).count() * 100 / runs.len();
        let millis =
            |span: Option<Span>| span.map_or_else(|| "-".to_owned(), |span| format!("{} ms", span.as_millis()));
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {asked:.1} | {} | {disturbed} % |\n",
            world.name,
            millis(Some(world.least_delay())),
            millis(Some(unavoidable(&world))),
            millis(median),
            millis(most),
            took.map_or_else(String::new, |took| format!("{:.1} s", took.as_secs_f64())),
        ));
    }
    text
}

/// What no number of questions can make narrower: the round trip and what the assumptions allow.
fn unavoidable(world: &ClockWorld) -> Span {
    let assumed = Assumptions::default().for_source(world.source);
    world.least_delay() + assumed.date_lag + assumed.node_spread.scaled(2, 1)
}

fn percentiles(mut spans: Vec<Span>) -> (Option<Span>, Option<Span>) {
    spans.sort_unstable();
    let at = |percent: usize| spans.get(spans.len().saturating_sub(1) * percent / 100).copied();
    (at(50), at(95))
}
