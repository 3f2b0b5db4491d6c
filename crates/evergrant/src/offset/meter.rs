//! Several places asked side by side, and what is known from them.
//!
//! Each place has a task of its own that sends one question at a time, when its plan says so. All answers go into one
//! estimator. A [`Meter`] measures once ([`Meter::measure`]), or goes on until it is dropped ([`Meter::watch`]); while it
//! watches, it tells what happens to the clocks on either side.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergrant_core::offset::{Assumptions, ClockEvent, Estimator, ProbeGoal, ProbePlan, Reading, Source};
use evergrant_core::time::{Boot, Now, Span};
use tokio::task::JoinSet;

use super::picture::{Picture, Quality, SourcePicture};
use super::place::{Place, PlaceFailure, Remark, Told};
use crate::clock;
use crate::disturbance::Disturbances;

/// Asks places for their clocks.
#[derive(Debug)]
pub struct Meter {
    assumptions: Assumptions,
    places: Vec<Place>,
    state: Arc<Mutex<State>>,
    watchers: JoinSet<()>,
}

impl Default for Meter {
    fn default() -> Self {
        Self::new(Assumptions::default())
    }
}

impl Meter {
    /// A meter without places.
    #[must_use]
    pub fn new(assumptions: Assumptions) -> Self {
        let state = Arc::new(Mutex::new(State::new(assumptions)));
        Self { assumptions, places: Vec::new(), state, watchers: JoinSet::new() }
    }

    /// Adds a place; it takes the place of an earlier one of the same source.
    pub fn add(&mut self, place: Place) {
        self.places.retain(|earlier| earlier.source() != place.source());
        self.places.push(place);
    }

    /// What must hold for the results to be true.
    #[must_use]
    pub fn assumptions(&self) -> Assumptions {
        self.assumptions
    }

    /// Asks every place until its plan is done, and not longer than `at_most`.
    pub async fn measure(&mut self, goal: ProbeGoal, at_most: Duration) {
        let indexes = self.prepare(goal);
        let mut tasks = JoinSet::new();
        for (index, place) in indexes.into_iter().zip(self.places.clone()) {
            tasks.spawn(ask_as_planned(Arc::clone(&self.state), index, place));
        }
        let ended = tokio::time::timeout(at_most, async { while tasks.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            lock(&self.state).note_end_of_patience(at_most);
        }
    }

    /// Asks every place from now on, about once per `interval`, until the meter is dropped.
    pub fn watch(&mut self, interval: Span) {
        let indexes = self.prepare(ProbeGoal::THOROUGH);
        for (index, place) in indexes.into_iter().zip(self.places.clone()) {
            self.watchers.spawn(ask_for_ever(Arc::clone(&self.state), index, place, interval));
        }
    }

    /// Takes in what somebody else knows about a source, such as a token source about the JWTs that it minted, or why
    /// nothing can be known.
    pub fn note(&mut self, source: Source, address: String, reading: Result<Reading, PlaceFailure>) {
        lock(&self.state).noted.push((source, address, reading));
    }

    /// Looks at this machine's clocks for steps, slews and suspends; to be called from time to time while watching.
    pub fn look_at_local_clock(&self) {
        lock(&self.state).look_at_local_clock(clock::now());
    }

    /// Everything that is known now.
    #[must_use]
    pub fn picture(&self) -> Picture {
        lock(&self.state).picture(clock::now())
    }

    /// What happened since the last call, oldest first.
    #[must_use]
    pub fn take_events(&self) -> Vec<(Now, MeterEvent)> {
        lock(&self.state).events.drain(..).collect()
    }

    fn prepare(&mut self, goal: ProbeGoal) -> std::ops::Range<usize> {
        let mut state = lock(&self.state);
        state.entries = self.places.iter().map(|place| Entry::new(place, goal, self.assumptions)).collect();
        0..state.entries.len()
    }
}

async fn ask_as_planned(state: Arc<Mutex<State>>, index: usize, mut place: Place) {
    let mut earliest = clock::boot();
    loop {
        let Some(at) = lock(&state).next(index, clock::boot()) else { return };
        ask_at(&state, index, &mut place, at.max(earliest)).await;
        earliest = clock::boot() + place.least_spacing();
    }
}

async fn ask_for_ever(state: Arc<Mutex<State>>, index: usize, mut place: Place, interval: Span) {
    let interval = interval.max(place.least_spacing().scaled(8, 1));
    loop {
        let at = lock(&state).next_in_watch(index, interval, clock::boot());
        ask_at(&state, index, &mut place, at).await;
    }
}

async fn ask_at(state: &Mutex<State>, index: usize, place: &mut Place, at: Boot) {
    tokio::time::sleep((at - clock::boot()).to_duration()).await;
    let told = place.ask().await;
    lock(state).take(index, told, clock::now());
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // A panic elsewhere leaves evidence that is as good as before.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that happened to a clock on either side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MeterEvent {
    /// What the estimator saw.
    Clock(ClockEvent),
    /// This machine was suspended.
    Suspend {
        /// For how long.
        by: Span,
    },
    /// This machine's clock runs fast or slow on purpose.
    Slew {
        /// How much it gained since the last such event.
        by: Span,
    },
    /// A source's answers began to contradict each other.
    Disturbed {
        /// Which source.
        source: Source,
    },
    /// A source's answers agree again.
    Settled {
        /// Which source.
        source: Source,
    },
}

impl MeterEvent {
    /// The stable snake_case name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Clock(ClockEvent::ServerStep { .. }) => "server_step",
            Self::Clock(ClockEvent::LocalStep { .. }) => "local_step",
            Self::Clock(ClockEvent::FrozenDate { .. }) => "frozen_date",
            Self::Clock(ClockEvent::FleetSpread { .. }) => "fleet_spread",
            Self::Suspend { .. } => "suspend",
            Self::Slew { .. } => "slew",
            Self::Disturbed { .. } => "disturbed",
            Self::Settled { .. } => "settled",
        }
    }
}

impl fmt::Display for MeterEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = |span: Span| if span.is_negative() { "back" } else { "forward" };
        match self {
            Self::Clock(ClockEvent::ServerStep { source, jump, error, epoch }) => {
                let (way, jump) = (way(*jump), jump.abs());
                write!(
                    f,
                    "the clock behind {source} stepped {way} by {jump} (within {error}), or this machine was paused; epoch {epoch}"
                )
            }
            Self::Clock(ClockEvent::LocalStep { jump }) => {
                write!(f, "this machine's calendar clock stepped {} by {}", way(*jump), jump.abs())
            }
            Self::Clock(ClockEvent::FrozenDate { source }) => write!(f, "the date of {source} stands still"),
            Self::Clock(ClockEvent::FleetSpread { source }) => {
                write!(f, "{source} answers from clocks that differ, by turns")
            }
            Self::Suspend { by } => write!(f, "this machine was suspended for {by}"),
            Self::Slew { by } => {
                let word = if by.is_negative() { "lost" } else { "gained" };
                write!(f, "this machine's clock is being slewed: it {word} {}", by.abs())
            }
            Self::Disturbed { source } => write!(f, "{source} is disturbed: its answers contradict each other"),
            Self::Settled { source } => write!(f, "{source} has settled: its answers agree"),
        }
    }
}

#[derive(Debug)]
struct State {
    estimator: Estimator,
    entries: Vec<Entry>,
    noted: Vec<(Source, String, Result<Reading, PlaceFailure>)>,
    events: VecDeque<(Now, MeterEvent)>,
    disturbances: Disturbances,
    slewed: Span,
}

/// What is known about one place besides its samples.
#[derive(Debug)]
struct Entry {
    source: Source,
    address: String,
    plan: ProbePlan,
    remark: Option<Remark>,
    failure: Option<PlaceFailure>,
    has_answered: bool,
    is_done: bool,
    is_frozen: bool,
    quality: Quality,
}

impl Entry {
    fn new(place: &Place, goal: ProbeGoal, assumptions: Assumptions) -> Self {
        let source = place.source();
        Self {
            source,
            address: place.address(),
            plan: ProbePlan::new(goal, assumptions.for_source(source)),
            remark: None,
            failure: None,
            has_answered: false,
            is_done: false,
            is_frozen: false,
            quality: Quality::Unknown,
        }
    }

    fn picture(&self, reading: Reading, now: Now) -> SourcePicture {
        let reading = self.plan.judge(reading, now.boot);
        let mut picture = SourcePicture::of(self.source, self.address.clone(), reading, now);
        picture.asked = self.plan.asked();
        picture.delay = self.plan.shortest_delay();
        picture.remark.clone_from(&self.remark);
        picture.failure.clone_from(&self.failure);
        picture.unevenness = self.plan.unevenness(now.boot);
        picture.is_frozen = self.is_frozen;
        picture.if_never_late = self.plan.if_never_late(now.boot).map(|theta| now.skew(theta));
        picture.settle_quality();
        picture
    }
}

impl State {
    fn new(assumptions: Assumptions) -> Self {
        Self {
            estimator: Estimator::new(assumptions),
            entries: Vec::new(),
            noted: Vec::new(),
            events: VecDeque::new(),
            disturbances: Disturbances::default(),
            slewed: Span::ZERO,
        }
    }

    fn next(&mut self, index: usize, now: Boot) -> Option<Boot> {
        let reading = self.reading(index, now);
        let entry = &mut self.entries[index];
        let next = entry.plan.next(&reading, now);
        entry.is_done = next.is_none();
        next
    }

    fn next_in_watch(&mut self, index: usize, interval: Span, now: Boot) -> Boot {
        let reading = self.reading(index, now);
        self.entries[index].plan.next_in_watch(&reading, interval, now)
    }

    fn reading(&self, index: usize, now: Boot) -> Reading {
        self.estimator.reading(self.entries[index].source, now)
    }

    fn take(&mut self, index: usize, told: Result<Told, PlaceFailure>, now: Now) {
        self.look_at_local_clock(now);
        let entry = &mut self.entries[index];
        let Told { sample, remark } = match told {
            Ok(told) => told,
            Err(failure) => {
                entry.plan.handle_failure();
                entry.failure = Some(failure);
                return;
            }
        };
        let events = self.estimator.handle_sample(entry.source, sample, now);
        let reading = self.estimator.reading(entry.source, now.boot);
        entry.plan.handle_answer(&sample, &reading);
        (entry.remark, entry.failure, entry.has_answered) = (remark, None, true);
        if reading.interval.is_some() {
            entry.is_frozen = false;
        }
        entry.is_frozen |= events.iter().any(|event| matches!(event, ClockEvent::FrozenDate { .. }));
        let quality = entry.picture(reading, now).quality;
        let was = std::mem::replace(&mut entry.quality, quality);
        let source = entry.source;
        events.into_iter().for_each(|event| self.note(now, MeterEvent::Clock(event)));
        match (was, quality) {
            (Quality::Settled | Quality::Unknown, Quality::Disturbed) => {
                self.note(now, MeterEvent::Disturbed { source })
            }
            (Quality::Disturbed, Quality::Settled) => self.note(now, MeterEvent::Settled { source }),
            _ => {}
        }
    }

    fn look_at_local_clock(&mut self, now: Now) {
        if let Some(event) = self.estimator.handle_now(now) {
            self.note(now, MeterEvent::Clock(event));
        }
        let found = self.disturbances.look();
        if let Some(by) = found.slewed {
            self.estimator.handle_slew(by);
            self.slewed += by;
            if self.slewed.abs() >= SLEW_WORTH_TELLING {
                self.note(now, MeterEvent::Slew { by: self.slewed });
                self.slewed = Span::ZERO;
            }
        }
        if let Some(by) = found.suspended {
            self.estimator.handle_suspend();
            self.note(now, MeterEvent::Suspend { by });
        }
    }

    fn note(&mut self, now: Now, event: MeterEvent) {
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back((now, event));
    }

    fn note_end_of_patience(&mut self, patience: Duration) {
        for entry in self.entries.iter_mut().filter(|entry| !entry.is_done && !entry.has_answered) {
            if entry.failure.is_none() {
                entry.failure = Some(PlaceFailure::silent(&entry.address, patience));
            }
        }
    }

    fn picture(&self, now: Now) -> Picture {
        let entries = self.entries.iter().map(|entry| {
            let reading = self.estimator.reading(entry.source, now.boot);
            entry.picture(reading, now)
        });
        let noted = self.noted.iter().map(|(source, address, noted)| {
            let unknown = || self.estimator.reading(*source, now.boot);
            let reading = noted.as_ref().map_or_else(|_failure| unknown(), |reading| *reading);
            let mut picture = SourcePicture::of(*source, address.clone(), reading, now);
            picture.failure = noted.as_ref().err().cloned();
            picture.settle_quality();
            picture
        });
        Picture::new(now, entries.chain(noted).collect())
    }
}

/// A slew is told of whenever it has added up to this.
const SLEW_WORTH_TELLING: Span = Span::from_millis(50);
const EVENTS_KEPT: usize = 256;
