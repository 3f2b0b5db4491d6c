//! Measuring a simulated server's clock with the real plan and the real estimator, in virtual time.
//!
//! A [`ClockWorld`] is a server seen through a network: its offset, drift and steps, its nodes, a cache in front of it,
//! dates that are late. [`measure`] asks it as the program does, and returns what it would report beside what is true.
//! Everything follows from the seed: the phase of the second, the delays, when the step comes and which node answers.

use evergrant_core::offset::{
    Assumptions, ClockEvent, Estimator, OffsetState, ProbeGoal, ProbePlan, Reading, Sample, Source,
};
use evergrant_core::time::{Boot, Now, Offset, Server, Span, Wall};

use crate::clock::SimClock;
use crate::seed::Seed;

/// A server and the way to it.
#[derive(Clone, Debug)]
pub struct ClockWorld {
    /// What the table calls it.
    pub name: &'static str,
    /// What is asked.
    pub source: Source,
    /// The server's clock minus the true time.
    pub offset: Span,
    /// How fast that clock gains.
    pub drift_ppm: i64,
    /// A step at some moment of the measurement.
    pub step: Option<Span>,
    /// Clocks of the nodes minus the server's; they answer in turn.
    pub nodes: Vec<Span>,
    /// What stands in front.
    pub cache: Cache,
    /// How late a date may be, by chance.
    pub lag: Span,
    /// The least time to the server and back.
    pub way: (Span, Span),
}

/// A cache between us and the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cache {
    /// None, or one that heeds the query and lets each question through.
    Absent,
    /// One that ignores the query and says nothing, and keeps each answer for this long.
    Silent(Span),
    /// One that says how old its answers are.
    Honest,
}

impl ClockWorld {
    /// A server whose `Date` is exact, this far ahead, over a way of so many milliseconds to and fro.
    #[must_use]
    pub fn exact(name: &'static str, offset: Span, up_ms: i64, down_ms: i64) -> Self {
        Self {
            name,
            source: Source::ApiDate,
            offset,
            drift_ppm: 0,
            step: None,
            nodes: vec![Span::ZERO],
            cache: Cache::Absent,
            lag: Span::ZERO,
            way: (Span::from_millis(up_ms), Span::from_millis(down_ms)),
        }
    }

    /// The least round trip.
    #[must_use]
    pub fn least_delay(&self) -> Span {
        self.way.0 + self.way.1
    }

    fn resolution(&self) -> Span {
        match self.source {
            Source::MsEndpoint => Span::from_millis(1),
            Source::Ntp => Span::from_micros(1),
            Source::ApiDate | Source::AuthDate | Source::JwtMint | Source::Reference => Span::from_secs(1),
        }
    }
}

/// What one measurement reported, and what was true.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What would be reported.
    pub reading: Reading,
    /// Would it be called disturbed?
    pub is_disturbed: bool,
    /// The offset of every clock that answered, when the last answer was written.
    pub truth: Vec<Offset>,
    /// How many questions were asked.
    pub asked: u32,
    /// How long it took.
    pub took: Span,
}

impl Measured {
    /// Is everything that is claimed true?
    #[must_use]
    pub fn is_true(&self) -> bool {
        let bounds = self.reading.interval;
        let inside = |theta: &Offset| match bounds {
            Some(interval) => interval.contains(*theta),
            None => self.reading.at_least.is_none_or(|lo| lo <= *theta),
        };
        self.truth.iter().all(inside)
    }

    /// Would it say something that can be relied on, or that it cannot?
    #[must_use]
    pub fn is_honest(&self) -> bool {
        self.is_disturbed || (self.reading.interval.is_some() && self.is_true())
    }
}

/// Measures once.
#[must_use]
pub fn measure(world: &ClockWorld, goal: ProbeGoal, seed: u64) -> Measured {
    let mut server = Answering::new(world, seed);
    let assumptions = Assumptions::default();
    let mut estimator = Estimator::new(assumptions);
    let mut plan = ProbePlan::new(goal, assumptions.for_source(world.source));
    let start = server.now;
    let mut is_frozen = false;
    while let Some(at) = plan.next(&estimator.reading(world.source, server.now), server.now) {
        let sample = server.ask(at);
        let events = estimator.handle_sample(world.source, sample, server.both());
        is_frozen |= events.iter().any(|event| matches!(event, ClockEvent::FrozenDate { .. }));
        plan.handle_answer(&sample, &estimator.reading(world.source, server.now));
    }
    let reading = plan.judge(estimator.reading(world.source, server.now), server.now);
    let is_one_sided = reading.interval.is_none() && reading.at_least.is_some();
    Measured {
        is_disturbed: reading.state == OffsetState::Disturbed || is_frozen || is_one_sided,
        reading,
        truth: server.truth(),
        asked: plan.asked(),
        took: server.now - start,
    }
}

/// The server at work.
struct Answering<'a> {
    world: &'a ClockWorld,
    seed: Seed,
    clock: SimClock,
    now: Boot,
    step_at: Option<Boot>,
    asked: usize,
    answered: Vec<bool>,
    last_answer: Boot,
    cached: Option<(Server, Boot)>,
}

impl<'a> Answering<'a> {
    fn new(world: &'a ClockWorld, seed: u64) -> Self {
        let mut seed = Seed::new(seed);
        let now = Boot::from_secs(1_000) + below(&mut seed, Span::from_secs(1));
        let clock = SimClock::new(Server::from_nanos(TRUE_TIME.as_nanos()) + world.offset, world.drift_ppm, now);
        let step_at = world.step.map(|_| now + below(&mut seed, Span::from_secs(4)));
        let cached = match world.cache {
            Cache::Silent(ttl) => {
                let filled = now - below(&mut seed, ttl);
                Some((whole(clock.read(filled), world.resolution()), filled))
            }
            Cache::Absent | Cache::Honest => None,
        };
        let answered = vec![false; world.nodes.len()];
        Self { world, seed, clock, now, step_at, asked: 0, answered, last_answer: now, cached }
    }

    /// One question, sent at this moment or a little later.
    fn ask(&mut self, at: Boot) -> Sample {
        let (up, down) = self.world.way;
        let sent = at.max(self.now) + below(&mut self.seed, Span::from_millis(2));
        // The first question opens the connection.
        let opening = if self.asked == 0 { self.world.least_delay().scaled(2, 1) } else { Span::ZERO };
        let up = up + opening + self.jitter(up);
        let down = down + self.jitter(down);
        let arrived = sent + up;
        if self.step_at.is_some_and(|at| at <= arrived)
            && let Some(by) = self.world.step
        {
            self.clock.step(by, self.step_at.take().unwrap_or(arrived));
        }
        self.asked += 1;
        let server = self.date(arrived);
        let received = arrived + down;
        self.now = received;
        let (resolution, bounds_above) = (self.world.resolution(), self.world.cache != Cache::Honest);
        Sample { sent, received, server, resolution, bounds_above }
    }

    /// The date that the answer carries.
    fn date(&mut self, at: Boot) -> Server {
        let resolution = self.world.resolution();
        if let (Cache::Silent(ttl), Some((date, filled))) = (self.world.cache, self.cached)
            && at - filled <= ttl
        {
            return date;
        }
        let node = self.asked % self.world.nodes.len();
        self.answered[node] = true;
        self.last_answer = at;
        let late = below(&mut self.seed, self.world.lag);
        let cached = if self.world.cache == Cache::Honest { Span::from_secs(30) } else { Span::ZERO };
        let date = whole(self.clock.read(at) + self.world.nodes[node] - late - cached, resolution);
        self.cached = Some((date, at));
        date
    }

    /// Seldom much more than the least delay, and now and then a lot.
    fn jitter(&mut self, way: Span) -> Span {
        let usual = below(&mut self.seed, way.scaled(1, 5) + Span::from_micros(200));
        if self.seed.happens(50) { usual + below(&mut self.seed, way.scaled(3, 1)) } else { usual }
    }

    fn both(&self) -> Now {
        Now { boot: self.now, wall: Wall::from_nanos(TRUE_TIME.as_nanos() + self.now.as_nanos()) }
    }

    /// Nodes within the allowed spread stand for the server's clock; those beyond it are clocks of their own.
    fn truth(&self) -> Vec<Offset> {
        let at = self.last_answer;
        let allowed = Assumptions::default().node_spread;
        let meant = |node: &Span| if node.abs() <= allowed { Span::ZERO } else { *node };
        let nodes = self.world.nodes.iter().zip(&self.answered).filter(|(_, answered)| **answered);
        let shown: Vec<_> = nodes.map(|(node, _)| (self.clock.read(at) + meant(node)) - at).collect();
        if shown.is_empty() { vec![self.clock.read(self.now) - self.now] } else { shown }
    }
}

fn below(seed: &mut Seed, span: Span) -> Span {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(0);
    Span::from_nanos(i64::try_from(seed.below(nanos.max(1))).unwrap_or(0))
}

fn whole(at: Server, resolution: Span) -> Server {
    Server::from_nanos(at.as_nanos() - at.as_nanos().rem_euclid(resolution.as_nanos()))
}

/// What a right calendar shows when the machine has just started.
const TRUE_TIME: Span = Span::from_secs(1_792_567_591);
