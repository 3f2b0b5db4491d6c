//! In any world that satisfies the assumptions, the true offset is inside the reported interval.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_true_offset_is_inside(
        theta_ms in -4_000_000_000_i64..4_000_000_000,
        resolution in prop_oneof![Just(SECOND), Just(Span::from_millis(1))],
        trips in prop::collection::vec((any_trip(), -200_i64..=200, 0_i64..700_000), 1..150),
    ) {
        let source = if resolution == SECOND { Source::ApiDate } else { Source::MsEndpoint };
        let assumptions = Assumptions::default().for_source(source);
        let mut world = World { resolution, ..World::new(theta_ms) };
        let mut track = Track::new(source, assumptions);
        for (trip, rate_ppm, look_ms) in trips {
            world.rate_ppm = rate_ppm;
            let sample = world.ask(trip, &assumptions);
            let event = track.handle_sample(sample, world.boot);
            prop_assert_eq!(event, None, "no event without a fault");
            let reading = track.reading(world.boot);
            prop_assert_ne!(reading.state, OffsetState::Disturbed);
            prop_assert!(reading.at_least.is_some_and(|lo| lo <= world.theta));
            // Look now and once more at any later time.
            let mut later = world.clone();
            later.pass(Span::from_millis(look_ms));
            for world in [&world, &later] {
                if let Some(interval) = track.reading(world.boot).interval {
                    prop_assert!(interval.contains(world.theta), "{:?} {:?}", interval, world.theta);
                }
            }
        }
    }

    #[test]
    fn evidence_narrows_and_only_age_widens(
        trips in prop::collection::vec(any_trip(), 1..100),
    ) {
        let assumptions = Assumptions::default();
        let mut world = World::new(7_000);
        let mut track = Track::new(Source::ApiDate, assumptions);
        for trip in trips {
            let sample = world.ask(trip, &assumptions);
            let before = track.reading(world.boot);
            track.handle_sample(sample, world.boot);
            let after = track.reading(world.boot);
            if let (Some(before), Some(after)) = (before.interval, after.interval) {
                prop_assert!(before.lo <= after.lo && after.hi <= before.hi, "{:?} then {:?}", before, after);
            }
            prop_assert!(after.interval.is_some() || before.interval.is_none());
            let aged = track.reading(world.boot + SECOND);
            if let (Some(now), Some(aged)) = (after.interval, aged.interval) {
                prop_assert!(aged.lo <= now.lo && now.hi <= aged.hi);
            }
        }
    }

    #[test]
    fn a_disturbed_boot_clock_is_covered(
        trips in prop::collection::vec((any_trip(), -1_000_i64..=1_000), 1..60),
    ) {
        let assumptions = Assumptions::default();
        let mut world = World::new(7_000);
        let mut track = Track::new(Source::ApiDate, assumptions);
        for (trip, error_ms) in trips {
            // The boot clock comes out of a suspend up to a second early or late.
            track.handle_suspend();
            world.step(Span::from_millis(error_ms));
            if let Some(interval) = track.reading(world.boot).interval {
                prop_assert!(interval.contains(world.theta));
            }
            let sample = world.ask(trip, &assumptions);
            prop_assert_eq!(track.handle_sample(sample, world.boot), None);
        }
    }

    #[test]
    fn hostile_samples_never_panic(
        samples in prop::collection::vec((any::<i64>(), any::<i64>(), any::<i64>(), any::<i64>(), any::<bool>(), any::<i64>()), 0..40),
    ) {
        let mut track = Track::new(Source::ApiDate, Assumptions::default());
        for (sent, received, server, resolution, bounds_above, now) in samples {
            let sample = Sample {
                sent: Boot::from_nanos(sent),
                received: Boot::from_nanos(if bounds_above { sent.saturating_add(received.rem_euclid(1 << 34)) } else { received }),
                server: Server::from_nanos(server),
                resolution: Span::from_nanos(resolution),
                bounds_above,
            };
            track.handle_sample(sample, Boot::from_nanos(now));
            let reading = track.reading(Boot::from_nanos(now));
            prop_assert!(reading.interval.is_none_or(|interval| interval.lo <= interval.hi));
        }
    }
}

#[test]
fn the_interval_shrinks_as_the_law_says() {
    // With an exact date and quick answers, ten samples at scattered phases leave about 2 / 11 s and the delays.
    let assumptions = Assumptions { node_spread: Span::ZERO, date_lag: Span::ZERO, ..Assumptions::default() };
    let mut world = World::new(12_345);
    let mut track = Track::new(Source::ApiDate, assumptions);
    for _ in 0..10 {
        let sample = world.ask(after(1_578), &assumptions);
        track.handle_sample(sample, world.boot);
    }
    let width = track.reading(world.boot).interval.unwrap().width();
    assert!(width < Span::from_millis(400), "{width}");
    assert!(width >= Span::from_millis(40), "narrower than the delays: {width}");
}

#[test]
fn aimed_requests_halve_the_interval() {
    let assumptions = Assumptions { node_spread: Span::ZERO, date_lag: Span::ZERO, ..Assumptions::default() };
    let mut world = World::new(12_345);
    let mut track = Track::new(Source::ApiDate, assumptions);
    let sample = world.ask(after(0), &assumptions);
    track.handle_sample(sample, world.boot);
    for _ in 0..8 {
        let interval = track.reading(world.boot).interval.unwrap();
        let pause = aim_at_edge(interval, Span::from_millis(40), world.boot) - world.boot;
        world.pass(pause);
        let sample = world.ask(after(0), &assumptions);
        track.handle_sample(sample, world.boot);
    }
    let interval = track.reading(world.boot).interval.unwrap();
    assert!(interval.contains(world.theta) && interval.width() < Span::from_millis(60), "{}", interval.width());
}

#[test]
fn evidence_expires_after_its_time() {
    let assumptions = Assumptions::default();
    let mut world = World::new(0);
    let mut track = Track::new(Source::ApiDate, assumptions);
    assert_eq!(track.reading(world.boot).state, OffsetState::Unknown);
    let sample = world.ask(after(0), &assumptions);
    track.handle_sample(sample, world.boot);
    world.pass(assumptions.ttl);
    let last = track.reading(world.boot);
    assert_eq!((last.state, last.age), (OffsetState::Settled, Some(assumptions.ttl)));
    world.pass(Span::from_nanos(1));
    let gone = track.reading(world.boot);
    assert_eq!((gone.state, gone.interval, gone.at_least, gone.age), (OffsetState::Unknown, None, None, None));
}

#[test]
fn parallel_answers_may_come_out_of_order() {
    let assumptions = Assumptions::default();
    let mut world = World::new(3_000);
    let samples: Vec<_> = (0..20).map(|_| world.ask(after(300), &assumptions)).collect();
    let mut track = Track::new(Source::ApiDate, assumptions);
    for pair in samples.chunks(2) {
        assert_eq!(track.handle_sample(pair[1], world.boot), None);
        assert_eq!(track.handle_sample(pair[0], world.boot), None);
    }
    assert!(track.reading(world.boot).interval.unwrap().contains(world.theta));
}
