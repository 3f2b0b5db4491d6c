//! Any order of samples, suspends and readings keeps the interval upright and the epoch growing.
#![no_main]

use evergrant_core::offset::{Assumptions, OffsetState, Sample, Source, Track};
use evergrant_core::time::{Boot, Server, Span};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|steps: Vec<(u8, u32, i32, u16)>| {
    let mut track = Track::new(Source::ApiDate, Assumptions::default());
    let (mut now, mut epoch) = (Boot::from_secs(1_000), 0);
    for (kind, pause, server, delay) in steps {
        now = now + Span::from_nanos(i64::from(pause)).scaled(1_000, 1);
        match kind % 8 {
            0 => track.handle_suspend(),
            1 => track.handle_slew(Span::from_millis(i64::from(server))),
            _ => {
                let sent = now;
                now = now + Span::from_millis(i64::from(delay));
                let server = Server::from_secs(i64::from(server >> (kind % 32)));
                let resolution = Span::from_secs(i64::from(kind % 2));
                track.handle_sample(Sample { sent, received: now, server, resolution, bounds_above: kind < 200 }, now);
            }
        }
        let reading = track.reading(now);
        assert!(reading.interval.is_none_or(|interval| interval.lo <= interval.hi));
        assert_eq!(reading.at_least.is_none(), reading.state == OffsetState::Unknown);
        assert!(reading.epoch >= epoch);
        epoch = reading.epoch;
    }
});
