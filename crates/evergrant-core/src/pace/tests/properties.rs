//! What holds whatever the provider, the programs and the network are like.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
struct Setting {
    allowed: u32,
    window_secs: i64,
    rounds_up: bool,
    waits_for_first: bool,
    delay_ms: i64,
    programs: Vec<(usize, u32)>,
}

fn setting() -> impl Strategy<Value = Setting> {
    let programs = prop::collection::vec((1_usize..10, 1_u32..5), 1..7);
    (30_u32..600, 4_i64..61, any::<bool>(), any::<bool>(), 1_i64..200, programs).prop_map(
        |(allowed, window_secs, rounds_up, waits_for_first, delay_ms, programs)| Setting {
            allowed,
            window_secs,
            rounds_up,
            waits_for_first,
            delay_ms,
            programs,
        },
    )
}

fn world(setting: &Setting) -> World {
    let mut provider = Provider::new(setting.allowed, Span::from_secs(setting.window_secs));
    (provider.rounds_up, provider.waits_for_first) = (setting.rounds_up, setting.waits_for_first);
    let named = |n: usize| format!("p{n}");
    let programs =
        setting.programs.iter().enumerate().map(|(n, (connections, _))| Program::eager(&named(n), *connections));
    let weights = setting.programs.iter().enumerate().map(|(n, (_, weight))| (named(n), *weight)).collect();
    let rules = PaceRules { weights, ..PaceRules::default() };
    World::new(rules, provider, programs.collect(), Span::from_millis(setting.delay_ms))
}

/// What each program got for its weight in four windows, after two in which the limit is learned.
fn got_in_four_windows(setting: &Setting) -> (World, Vec<f64>) {
    let mut world = world(setting);
    let window = Span::from_secs(setting.window_secs);
    world.run(window.scaled(2, 1));
    let before = world.done.clone();
    world.run(window.scaled(4, 1));
    let got = |(n, (_, weight)): (usize, &(usize, u32))| f64::from(world.done[n] - before[n]) / f64::from(*weight);
    let got = setting.programs.iter().enumerate().map(got).collect();
    (world, got)
}

fn smallest(of: &[f64]) -> f64 {
    of.iter().copied().fold(f64::MAX, f64::min)
}

fn largest(of: &[f64]) -> f64 {
    of.iter().copied().fold(0.0, f64::max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_429_once_the_limit_is_known_and_the_windows_are_used(setting in setting()) {
        let mut world = world(&setting);
        world.run(Span::from_secs(setting.window_secs).scaled(6, 1));
        prop_assert_eq!(world.refused_late, 0, "{:?}", world.provider.served);
        prop_assert_eq!(world.visible, 0);
        let connections: usize = setting.programs.iter().map(|(connections, _)| connections).sum();
        // What the programs could send at all in a window; the rounding of the end costs up to two seconds of spread.
        let could = connections as f64 * setting.window_secs as f64 * 1_000.0 / (2.0 * setting.delay_ms as f64);
        let round_trip = 2.0 * setting.delay_ms as f64 / 1_000.0;
        let uses = 0.98 - (1.3 + round_trip) / setting.window_secs as f64;
        let least = (f64::from(setting.allowed) * uses).min(could * 0.7).floor();
        for served in &world.provider.served[1..world.provider.served.len() - 1] {
            prop_assert!(f64::from(*served) + 3.0 >= least, "{} of {least}: {:?}", served, world.provider.served);
        }
    }

    #[test]
    fn callers_who_always_want_more_get_the_same_for_their_weight(setting in setting()) {
        let (world, got) = got_in_four_windows(&setting);
        let weights: u32 = setting.programs.iter().map(|(_, weight)| weight).sum();
        let sent: u32 = world.provider.served.iter().sum();
        let in_window = f64::from(sent) / world.provider.served.len() as f64;
        let share = |weight: u32| in_window * f64::from(weight) / f64::from(weights);
        let round_trip = 2.0 * setting.delay_ms as f64 / 1_000.0;
        let could = |connections: usize| connections as f64 * setting.window_secs as f64 / round_trip;
        // Only programs that could send several times their share use it up whenever they get it.
        let is_eager = |(connections, weight): (usize, u32)| could(connections) > 4.0 * share(weight);
        // And only those that send their part of the burst within two round trips have always something waiting. The
        // others leave paced turns at a window's beginning to them, which are nobody's loss and not given back.
        let is_backlogged = |(connections, weight): (usize, u32)| 4.0 * connections as f64 >= share(weight);
        let those = |wanted: &dyn Fn((usize, u32)) -> bool| -> Vec<f64> {
            setting.programs.iter().zip(&got).filter(|(program, _)| wanted(**program)).map(|(_, got)| *got).collect()
        };

        let (eager, backlogged) = (those(&is_eager), those(&|program| is_eager(program) && is_backlogged(program)));
        let (least, most) = (smallest(&backlogged), largest(&backlogged));
        // A tenth, and two requests for each window's beginning and end.
        let is_same = backlogged.len() < 2 || most - least <= most * 0.1 + 12.0;
        prop_assert!(is_same, "{backlogged:?} of {got:?} by {:?}", setting.programs);
        let due = 4.0 * share(1);
        let nobody_lacks = eager.is_empty() || smallest(&eager) >= due * 0.9 - 12.0;
        prop_assert!(nobody_lacks, "{eager:?} of {got:?} by {:?}, where {due} are due", setting.programs);
    }

    #[test]
    fn nobody_waits_longer_than_its_deadline_and_all_places_are_given_back(
        setting in setting(), patience_ms in 1_i64..5_000, outside in 0_u32..400,
    ) {
        let mut world = world(&setting);
        world.patience = Span::from_millis(patience_ms);
        for _ in 0..outside {
            _ = world.provider.answer(world.now);
        }
        world.run(Span::from_secs(setting.window_secs).scaled(2, 1));
        prop_assert!(world.longest_wait <= world.patience);
        world.events.clear();
        let tickets: Vec<_> = world.tickets.keys().copied().collect();
        tickets.into_iter().for_each(|ticket| world.pacer.handle_cancel(ticket));
        let later = world.now + Span::from_secs(3_600);
        prop_assert_eq!(world.pacer.poll(later), None);
        prop_assert_eq!(world.pacer.timeout(later), None);
        prop_assert_eq!(world.pacer.status(later).waiting, 0);
    }
}

/// With eight connections a program takes the turns that one with six, all on their way, cannot take at a window's
/// beginning. It ends up with more than its part, and the others still have theirs.
#[test]
fn turns_that_the_others_leave_are_nobodys_loss() {
    let programs = vec![(1, 2), (8, 1), (6, 4)];
    let setting =
        Setting { allowed: 508, window_secs: 5, rounds_up: false, waits_for_first: false, delay_ms: 13, programs };
    let (world, got) = got_in_four_windows(&setting);
    let sent: u32 = world.provider.served.iter().sum();
    let due = 4.0 * f64::from(sent) / world.provider.served.len() as f64 / 7.0;
    assert!(got[1] > due * 1.2, "{got:?}, where {due} are due");
    assert!(smallest(&got) > due * 0.95, "{got:?}, where {due} are due");
}
