//! Steps on either side, frozen and cached dates, and fleets.

use super::*;

/// Feeds samples of a world and collects what happens.
struct Watch {
    world: World,
    track: Track,
    events: Vec<ClockEvent>,
}

impl Watch {
    fn new(theta_ms: i64) -> Self {
        let track = Track::new(Source::ApiDate, Assumptions::default());
        Self { world: World::new(theta_ms), track, events: Vec::new() }
    }

    /// A watch that has seen a quiet world for a while.
    fn settled(theta_ms: i64) -> Self {
        let mut watch = Self::new(theta_ms);
        watch.ask_times(20, after(450));
        assert_eq!(watch.events, []);
        assert_eq!(watch.reading().state, OffsetState::Settled);
        watch
    }

    fn ask(&mut self, trip: Trip) -> Sample {
        let sample = self.world.ask(trip, &Assumptions::default());
        self.events.extend(self.track.handle_sample(sample, self.world.boot));
        sample
    }

    fn ask_times(&mut self, times: usize, trip: Trip) {
        for _ in 0..times {
            self.ask(trip);
        }
    }

    fn reading(&self) -> Reading {
        self.track.reading(self.world.boot)
    }

    fn is_true(&self) -> bool {
        self.reading().interval.is_some_and(|interval| interval.contains(self.world.theta))
    }
}

proptest! {
    #[test]
    fn a_server_step_is_seen_both_ways(
        jump_ms in prop_oneof![-4_000_000_i64..-5_000, 5_000_i64..4_000_000],
        phase_ms in 0_i64..2_000,
        trips in prop::collection::vec((0_i64..3_000, 0_i64..400, 0_i64..400, -1_000_000_i64..=1_000_000), 12),
    ) {
        let mut watch = Watch::settled(100_000);
        watch.world.pass(Span::from_millis(phase_ms));
        let jump = Span::from_millis(jump_ms);
        watch.world.step(jump);
        for (pause_ms, up_ms, down_ms, spread) in trips {
            watch.ask(Trip { pause_ms: 300 + pause_ms, up_ms, down_ms, lag: 0, spread, bounds_above: true });
            prop_assert!(watch.is_true(), "the hull holds the truth from the first disagreeing sample on");
        }
        let [ClockEvent::ServerStep { source: Source::ApiDate, jump: seen, error, epoch: 1 }] = watch.events[..] else {
            return Err(TestCaseError::fail(format!("one step expected: {:?}", watch.events)));
        };
        prop_assert!((seen - jump).abs() <= error && error < Span::from_secs(3), "{:?} {:?}", seen, error);
        prop_assert_eq!(seen.is_negative(), jump_ms < 0);
        prop_assert_eq!(watch.reading().state, OffsetState::Settled);
        prop_assert!(watch.reading().interval.unwrap().width() < Span::from_secs(4));
    }

    #[test]
    fn local_steps_change_nothing_but_the_skew(
        trips in prop::collection::vec((any_trip(), prop_oneof![Just(0_i64), -4_000_000_i64..4_000_000]), 1..60),
    ) {
        let assumptions = Assumptions::default();
        let mut world = World::new(30_000);
        let (mut still, mut stepped) = (Estimator::new(assumptions), Estimator::new(assumptions));
        let mut moved = Span::ZERO;
        for (trip, jump_ms) in trips {
            let jump = Span::from_millis(jump_ms);
            moved += jump;
            let sample = world.ask(trip, &assumptions);
            let now = world.now();
            let local = Now { wall: now.wall + moved, ..now };
            let is_first = still.best(now).is_none() && still.readings(now).next().is_none();
            prop_assert_eq!(still.handle_sample(Source::ApiDate, sample, now), []);
            let events = stepped.handle_sample(Source::ApiDate, sample, local);
            let is_seen = jump.abs() > Span::from_millis(500) && !is_first;
            prop_assert_eq!(events, if is_seen { vec![ClockEvent::LocalStep { jump }] } else { vec![] });
            let (here, there) = (still.reading(Source::ApiDate, now.boot), stepped.reading(Source::ApiDate, local.boot));
            prop_assert_eq!(here, there);
            if let (Some(here), Some(there)) = (here.skew(now), there.skew(local)) {
                prop_assert_eq!((there.lo - here.lo, there.hi - here.hi), (moved, moved));
            }
        }
    }
}

#[test]
fn three_newcomers_are_a_step_and_two_are_not() {
    for jump in [60, -60] {
        let mut watch = Watch::settled(0);
        watch.world.step(Span::from_secs(jump));
        watch.ask_times(2, after(1_100));
        assert_eq!((watch.events.len(), watch.reading().state), (0, OffsetState::Disturbed));
        assert!(watch.is_true());
        watch.ask(after(1_100));
        assert!(matches!(watch.events[..], [ClockEvent::ServerStep { epoch: 1, .. }]), "{:?}", watch.events);
        assert_eq!(
            (watch.reading().state, watch.reading().epoch, watch.reading().samples),
            (OffsetState::Settled, 1, 3)
        );
    }
}

#[test]
fn a_step_after_a_long_silence_is_still_a_step() {
    let mut watch = Watch::settled(0);
    watch.world.pass(Span::from_secs(3_600));
    assert_eq!(watch.reading().state, OffsetState::Unknown);
    watch.world.step(Span::from_secs(30));
    watch.ask_times(3, after(1_100));
    assert!(matches!(watch.events[..], [ClockEvent::ServerStep { .. }]), "{:?}", watch.events);
    assert!(watch.is_true());
}

#[test]
fn silence_without_a_step_starts_again_quietly() {
    let mut watch = Watch::settled(0);
    watch.world.pass(Span::from_secs(3_600));
    watch.ask(after(0));
    assert_eq!((watch.events.len(), watch.reading().state, watch.reading().epoch), (0, OffsetState::Settled, 0));
    assert!(watch.is_true() && watch.reading().interval.unwrap().width() > Span::from_secs(1));
}

/// The world's answer with the date of another sample.
fn ask_frozen(watch: &mut Watch, trip: Trip, server: Server) {
    let sample = watch.world.ask(trip, &Assumptions::default());
    let sample = Sample { server, ..sample };
    watch.events.extend(watch.track.handle_sample(sample, watch.world.boot));
}

#[test]
fn a_date_frozen_by_a_backward_step_bounds_nothing() {
    for pause_ms in [60, 60 * 7, 5_000] {
        let mut watch = Watch::settled(0);
        let before = watch.reading().interval.unwrap();
        let last = watch.ask(after(300));
        let stepped_at = watch.world.boot;
        watch.world.step(Span::from_secs(-60));
        while watch.world.boot - stepped_at < Span::from_secs(55) {
            ask_frozen(&mut watch, after(pause_ms), last.server);
        }
        assert_eq!(watch.events, [ClockEvent::FrozenDate { source: Source::ApiDate }], "every {pause_ms} ms");
        let reading = watch.reading();
        assert_eq!(reading.state, OffsetState::Disturbed);
        assert!(reading.interval.is_some_and(|now| now.lo <= before.lo), "the false bounds are gone: {reading:?}");
        // The date moves again and shows the step.
        watch.ask_times(5, after(1_100));
        assert!(
            matches!(watch.events[1..], [ClockEvent::ServerStep { epoch: 1, jump, .. }] if jump.is_negative()),
            "{:?}",
            watch.events
        );
        assert!(watch.is_true() && watch.reading().state == OffsetState::Settled);
    }
}

#[test]
fn a_date_frozen_from_the_start_tells_nothing() {
    let mut watch = Watch::new(0);
    let date = Server::from_secs(1_000);
    for _ in 0..100 {
        ask_frozen(&mut watch, after(200), date);
    }
    assert_eq!(watch.events, [ClockEvent::FrozenDate { source: Source::ApiDate }]);
    assert_eq!((watch.reading().state, watch.reading().interval), (OffsetState::Unknown, None));
}

#[test]
fn a_date_that_only_lags_is_not_frozen() {
    let mut watch = Watch::new(500);
    // Every answer within two seconds carries the same date: allowed for a server that renews it each second, late.
    for n in 0..400 {
        let lag = (n % 10) * 100_000;
        watch.ask(Trip { lag, ..after(160) });
    }
    assert_eq!(watch.events, []);
    assert!(watch.is_true());
}

#[test]
fn cached_dates_bound_only_from_below() {
    let mut watch = Watch::new(0);
    watch.world.pass(Span::from_secs(100));
    let cached = watch.world.now().boot + watch.world.theta;
    for _ in 0..50 {
        let sample = watch.world.ask(Trip { bounds_above: false, ..after(2_000) }, &Assumptions::default());
        let sample = Sample { server: cached, ..sample };
        assert_eq!(watch.track.handle_sample(sample, watch.world.boot), None);
    }
    let reading = watch.reading();
    assert_eq!((reading.state, reading.interval), (OffsetState::Settled, None));
    assert!(reading.at_least.unwrap() <= watch.world.theta);
    watch.ask(after(100));
    assert!(watch.is_true());
}

#[test]
fn a_fleet_that_disagrees_is_not_a_step() {
    let mut watch = Watch::settled(0);
    for n in 0..200_i64 {
        // Two nodes 30 s apart take turns without a pattern.
        let is_other = (n * 7 + n / 3) % 5 < 2;
        watch.world.step(Span::from_secs(if is_other { 30 } else { 0 }));
        watch.ask(after(250));
        let truth = watch.world.theta;
        watch.world.step(Span::from_secs(if is_other { -30 } else { 0 }));
        let interval = watch.reading().interval.unwrap();
        assert!(interval.contains(truth) && interval.contains(watch.world.theta), "both nodes are inside");
    }
    assert_eq!(watch.events, [ClockEvent::FleetSpread { source: Source::ApiDate }]);
    assert_eq!((watch.reading().state, watch.reading().epoch), (OffsetState::Disturbed, 0));
    // The odd node leaves: after a minute the other one is believed again.
    watch.ask_times(40, after(2_000));
    assert_eq!((watch.reading().state, watch.events.len()), (OffsetState::Settled, 1));
    assert!(watch.is_true());
}

#[test]
fn a_fleet_on_sticky_connections_stops_looking_like_steps() {
    let mut watch = Watch::settled(0);
    for turn in 0..40 {
        watch.world.step(Span::from_secs(if turn % 2 == 0 { 30 } else { -30 }));
        watch.ask_times(8, after(1_100));
    }
    let steps = watch.events.iter().filter(|event| matches!(event, ClockEvent::ServerStep { .. })).count();
    assert!(steps <= 2, "{:?}", watch.events);
    assert!(watch.events.contains(&ClockEvent::FleetSpread { source: Source::ApiDate }));
    assert_eq!(watch.reading().state, OffsetState::Disturbed);
}

#[test]
fn a_step_and_its_correction_are_both_seen() {
    let mut watch = Watch::settled(0);
    for jump in [7, -7] {
        watch.world.step(Span::from_secs(jump));
        watch.ask_times(10, after(1_100));
        assert!(watch.is_true());
    }
    assert!(
        matches!(watch.events[..], [ClockEvent::ServerStep { epoch: 1, .. }, ClockEvent::ServerStep { epoch: 2, .. }]),
        "{:?}",
        watch.events
    );
}

#[test]
fn one_wild_answer_is_forgotten() {
    let mut watch = Watch::settled(0);
    watch.world.step(Span::from_secs(500));
    watch.ask(after(100));
    watch.world.step(Span::from_secs(-500));
    assert_eq!(watch.reading().state, OffsetState::Disturbed);
    watch.ask_times(200, after(500));
    assert_eq!((watch.reading().state, watch.reading().epoch), (OffsetState::Settled, 0));
    assert!(watch.is_true());
}

#[test]
fn a_clock_that_keeps_running_away_does_not_disturb_for_ever() {
    let mut watch = Watch::settled(0);
    for _ in 0..2_000 {
        watch.world.step(Span::from_secs(5));
        watch.ask(after(1_000));
        if let Some(interval) = watch.reading().interval {
            assert!(interval.width() < Span::from_secs(5 * 700), "{:?}", watch.reading());
        }
    }
    assert!(watch.reading().epoch > 0);
}

#[test]
fn sources_are_kept_apart_and_the_best_is_shown() {
    let assumptions = Assumptions::default();
    let mut estimator = Estimator::new(assumptions);
    let (mut auth, mut api) = (World::new(0), World::new(20_000));
    assert_eq!(estimator.best(api.now()), None);
    let sample = auth.ask(after(0), &assumptions);
    estimator.handle_sample(Source::AuthDate, sample, auth.now());
    assert_eq!(estimator.best(auth.now()).unwrap().0, Source::AuthDate);
    let sample = api.ask(after(0), &assumptions);
    estimator.handle_sample(Source::ApiDate, sample, api.now());
    assert_eq!(estimator.best(api.now()).unwrap().0, Source::ApiDate);
    assert_eq!(estimator.disagreements(api.now()), [(Source::AuthDate, Source::ApiDate)]);
    let mut ms = World { resolution: Span::from_millis(1), ..api.clone() };
    let exact = assumptions.for_source(Source::MsEndpoint);
    let sample = ms.ask(after(0), &exact);
    estimator.handle_sample(Source::MsEndpoint, sample, ms.now());
    let (source, reading) = estimator.best(ms.now()).unwrap();
    assert_eq!(source, Source::MsEndpoint);
    assert!(reading.interval.unwrap().width() < Span::from_millis(150), "{reading:?}");
    assert_eq!(estimator.reading(Source::Ntp, ms.now().boot).state, OffsetState::Unknown);
    ms.pass(Span::from_secs(700));
    assert_eq!(estimator.best(ms.now()), None);
}

const EXACT: Assumptions =
    Assumptions { drift_ppm: 0, node_spread: Span::ZERO, date_lag: Span::ZERO, ttl: Span::from_secs(600) };

/// A sample that claims exactly this interval, in milliseconds, at this second.
fn claim(at_secs: i64, lo_ms: i64, hi_ms: i64) -> Sample {
    let at = Boot::from_secs(at_secs);
    let server = (at + Offset::from_nanos(0)) + Span::from_millis(lo_ms);
    Sample { sent: at, received: at, server, resolution: Span::from_millis(hi_ms - lo_ms), bounds_above: true }
}

fn feed(assumptions: Assumptions, samples: &[Sample]) -> (Option<(i64, i64)>, Option<ClockEvent>) {
    let mut track = Track::new(Source::ApiDate, assumptions);
    let now = samples.iter().map(|sample| sample.received).max().unwrap();
    let event = samples.iter().filter_map(|sample| track.handle_sample(*sample, now)).last();
    let millis = |offset: Offset| (offset - Offset::from_nanos(0)).as_millis();
    (track.reading(now).interval.map(|interval| (millis(interval.lo), millis(interval.hi))), event)
}

#[test]
fn a_sample_that_fits_both_sides_proves_neither() {
    let samples = [claim(1, 0, 1_000), claim(2, 3_000, 5_000), claim(3, 900, 4_000)];
    assert_eq!(feed(EXACT, &samples), (Some((0, 5_000)), None));
}

#[test]
fn every_side_of_a_larger_quarrel_stays_in_the_hull() {
    let samples = [claim(1, 0, 1_000), claim(2, 30_000, 31_000), claim(3, -9_000, -8_000)];
    assert_eq!(feed(EXACT, &samples), (Some((-9_000, 31_000)), None));
}

#[test]
fn a_late_answer_ages_like_the_others() {
    let drifting = Assumptions { drift_ppm: 1_000, ..EXACT };
    let youngest = Sample { bounds_above: false, ..claim(100, -5_000, 0) };
    let (interval, _) = feed(drifting, &[youngest, claim(50, 0, 1_000)]);
    let (lo, hi) = interval.unwrap();
    assert!(lo <= -50 && hi >= 1_050, "{lo} {hi}");
}

#[test]
fn a_frozen_date_never_passes_for_a_backward_step() {
    // Narrow evidence, and a date first seen at the end of its second: it contradicts long before it is found out.
    let mut track = Track::new(Source::ApiDate, EXACT);
    let mut world = World::new(0);
    for _ in 0..30 {
        let sample = world.ask(after(1_578), &EXACT);
        assert_eq!(track.handle_sample(sample, world.boot), None);
    }
    let into_second = (world.boot + world.theta).as_nanos().rem_euclid(SECOND.as_nanos());
    world.pass(Span::from_millis(2_900) - Span::from_nanos(into_second));
    let frozen = world.ask(after(0), &EXACT);
    let mut events: Vec<_> = track.handle_sample(frozen, world.boot).into_iter().collect();
    world.step(Span::from_secs(-60));
    let mut was_disturbed_early = false;
    for _ in 0..100 {
        let sample = Sample { server: frozen.server, ..world.ask(after(20), &EXACT) };
        events.extend(track.handle_sample(sample, world.boot));
        was_disturbed_early |= events.is_empty() && track.reading(world.boot).state == OffsetState::Disturbed;
    }
    assert!(was_disturbed_early);
    assert_eq!(events, [ClockEvent::FrozenDate { source: Source::ApiDate }]);
    assert_eq!(track.reading(world.boot).epoch, 0);
}
