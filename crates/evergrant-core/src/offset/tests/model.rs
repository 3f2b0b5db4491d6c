//! A naive estimator, which keeps every sample and intersects them all, beside the real one.

use super::*;

struct Model {
    assumptions: Assumptions,
    samples: Vec<Sample>,
}

impl Model {
    fn interval(&self, now: Boot) -> Option<OffsetInterval> {
        let rho = |span: Span| span.drift(self.assumptions.drift_ppm);
        let (mut lo, mut hi) = (i64::MIN, i64::MAX);
        for sample in self.samples.iter().filter(|sample| now - sample.received <= self.assumptions.ttl) {
            let pad = rho(sample.received - sample.sent) + self.assumptions.node_spread + rho(now - sample.received);
            lo = lo.max(((sample.server - sample.received) - pad).as_nanos());
            if sample.bounds_above {
                let latest = sample.server + sample.resolution + self.assumptions.date_lag;
                hi = hi.min(((latest - sample.sent) + pad).as_nanos());
            }
        }
        let is_known = lo > i64::MIN && hi < i64::MAX;
        is_known.then_some(OffsetInterval { lo: Offset::from_nanos(lo), hi: Offset::from_nanos(hi) })
    }
}

/// Spans are rounded outward by a nanosecond in each place.
const ROUNDING: Span = Span::from_nanos(8);

fn compare(trips: Vec<Trip>, keeps_all: bool) -> Result<(), TestCaseError> {
    let assumptions = Assumptions::default();
    let mut world = World::new(-50_000);
    let mut track = Track::new(Source::AuthDate, assumptions);
    let mut model = Model { assumptions, samples: Vec::new() };
    for trip in trips {
        let sample = world.ask(trip, &assumptions);
        track.handle_sample(sample, world.boot);
        model.samples.push(sample);
        for look in [0, 1, 100, 500, 599, 601] {
            let now = world.boot + Span::from_secs(look);
            let (real, naive) = (track.reading(now).interval, model.interval(now));
            prop_assert_eq!(real.is_some(), naive.is_some());
            if let (Some(real), Some(naive)) = (real, naive) {
                let outer = real.widened(ROUNDING);
                prop_assert!(outer.lo <= naive.lo && naive.hi <= outer.hi, "narrower than the evidence allows");
                if keeps_all || look == 0 {
                    let naive = naive.widened(ROUNDING);
                    prop_assert!(
                        naive.lo <= real.lo && real.hi <= naive.hi,
                        "wider than the evidence: {:?} {:?}",
                        real,
                        naive
                    );
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn few_samples_give_the_very_same_interval(trips in prop::collection::vec(any_trip(), 1..=16)) {
        compare(trips, true)?;
    }

    #[test]
    fn many_samples_never_give_a_narrower_one(trips in prop::collection::vec(any_trip(), 1..200)) {
        compare(trips, false)?;
    }
}
