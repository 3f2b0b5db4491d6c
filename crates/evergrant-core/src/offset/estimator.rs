//! All sources of one provider, and this machine's own calendar clock beside them.

use std::collections::BTreeMap;

use super::reading::{ClockEvent, Reading};
use super::sample::{Assumptions, Sample, Source};
use super::track::Track;
use crate::time::{Boot, Now, Span};

/// What is known about the clocks of one provider.
#[derive(Clone, Debug)]
pub struct Estimator {
    assumptions: Assumptions,
    tracks: BTreeMap<Source, Track>,
    last_now: Option<Now>,
}

impl Estimator {
    /// An estimator that knows nothing yet.
    #[must_use]
    pub fn new(assumptions: Assumptions) -> Self {
        Self { assumptions, tracks: BTreeMap::new(), last_now: None }
    }

    /// Takes one sample of one source into account, and looks at the local clock as [`Estimator::handle_now`] does.
    pub fn handle_sample(&mut self, source: Source, sample: Sample, now: Now) -> Vec<ClockEvent> {
        let assumptions = self.assumptions.for_source(source);
        let track = self.tracks.entry(source).or_insert_with(|| Track::new(source, assumptions));
        let server_event = track.handle_sample(sample, now.boot);
        self.handle_now(now).into_iter().chain(server_event).collect()
    }

    /// Looks at the local clock: a jump of the calendar clock against the boot clock is a step of this machine.
    pub fn handle_now(&mut self, now: Now) -> Option<ClockEvent> {
        let last = self.last_now.replace(now)?;
        let jump = (now.wall - last.wall) - (now.boot - last.boot);
        (jump.abs() > LOCAL_STEP).then_some(ClockEvent::LocalStep { jump })
    }

    /// Notes that the machine was suspended.
    pub fn handle_suspend(&mut self) {
        self.tracks.values_mut().for_each(Track::handle_suspend);
    }

    /// Notes that the boot clock was slewed by this much against the hardware.
    pub fn handle_slew(&mut self, by: Span) {
        self.tracks.values_mut().for_each(|track| track.handle_slew(by));
    }

    /// What is known about one source.
    #[must_use]
    pub fn reading(&self, source: Source, now: Boot) -> Reading {
        match self.tracks.get(&source) {
            Some(track) => track.reading(now),
            None => Track::new(source, self.assumptions.for_source(source)).reading(now),
        }
    }

    /// What is known about each source that has been seen.
    pub fn readings(&self, now: Now) -> impl Iterator<Item = (Source, Reading)> + '_ {
        self.tracks.iter().map(move |(source, track)| (*source, track.reading(now.boot)))
    }

    /// The one reading to show: the millisecond endpoint, else the API's dates, else the token endpoint's.
    #[must_use]
    pub fn best(&self, now: Now) -> Option<(Source, Reading)> {
        BEST_FIRST
            .into_iter()
            .map(|source| (source, self.reading(source, now.boot)))
            .find(|(_, reading)| reading.interval.is_some())
    }

    /// The pairs of sources that cannot both be right: they are different clocks.
    #[must_use]
    pub fn disagreements(&self, now: Now) -> Vec<(Source, Source)> {
        let known: Vec<_> =
            self.readings(now).filter_map(|(source, reading)| Some((source, reading.interval?))).collect();
        let pairs =
            known.iter().enumerate().flat_map(|(at, left)| known[at + 1..].iter().map(move |right| (left, right)));
        pairs
            .filter(|((_, left), (_, right))| left.intersection(*right).is_none())
            .map(|((left, _), (right, _))| (*left, *right))
            .collect()
    }
}

/// Smaller jumps of the calendar clock are corrections that nobody needs to hear of.
const LOCAL_STEP: Span = Span::from_millis(500);

const BEST_FIRST: [Source; 3] = [Source::MsEndpoint, Source::ApiDate, Source::AuthDate];
