//! The offset of one source, through steps, freezes and fleets.
//!
//! The evidence that agrees is `settled`. A sample that contradicts it opens a `rival`, and from then on the hull of
//! both is reported. What follows decides:
//!
//! - three newcomers in a row that agree with each other: the server's clock stepped, the rival becomes settled and a
//!   new epoch begins;
//! - a sample of the old kind in between: the nodes behind the name disagree. The hull stays until one side has been
//!   alone for a minute and twenty samples.
//!
//! A date that stands still looks like a clock running backward until it is found out. Therefore newcomers below the
//! settled evidence count once per date, and when a date is found to stand still the evidence from before it returns.
//!
//! A sample that agrees with both sides proves neither and is left out. A clock that steps forth and back and forth
//! again is a fleet on sticky connections: the third time it is not called a step.

use super::evidence::{Aging, Bounds, Claim, Evidence, Moment};
use super::reading::{ClockEvent, OffsetState, Reading};
use super::sample::{Assumptions, Sample, Source};
use crate::time::{Boot, Server, Span};

/// The evidence of one source.
#[derive(Clone, Debug)]
pub struct Track {
    source: Source,
    assumptions: Assumptions,
    disturbance: Span,
    settled: Evidence,
    rival: Option<Rival>,
    former: Option<Former>,
    repeat: Option<Repeat>,
    epoch: u32,
}

impl Track {
    /// A track without evidence.
    #[must_use]
    pub fn new(source: Source, assumptions: Assumptions) -> Self {
        Self {
            source,
            assumptions,
            disturbance: Span::ZERO,
            settled: Evidence::new(aging(&assumptions)),
            rival: None,
            former: None,
            repeat: None,
            epoch: 0,
        }
    }

    /// Takes one sample into account.
    pub fn handle_sample(&mut self, sample: Sample, now: Boot) -> Option<ClockEvent> {
        if !sample.is_usable() || now - sample.received > self.assumptions.ttl {
            return None;
        }
        if let Some(began) = self.note_repeat(&sample) {
            return began.then_some(ClockEvent::FrozenDate { source: self.source });
        }
        // Answers of parallel connections may come out of order; an interval also holds later, a little wider.
        let youngest = self.newest().map_or(sample.received, |newest| newest.at.max(sample.received));
        let moment = Moment { at: youngest, disturbance: self.disturbance };
        let bounds = sample.bounds(&self.assumptions);
        let bounds = bounds.widened((youngest - sample.received).drift(self.assumptions.drift_ppm));
        self.rival.take_if(|rival| rival.evidence.bounds(moment).is_none());
        self.weigh(Claim { bounds, moment, server: sample.server })
    }

    /// Notes that the machine was suspended: its clock was carried over by hardware that counts in seconds.
    pub fn handle_suspend(&mut self) {
        self.handle_slew(Span::from_secs(1));
    }

    /// Notes that the boot clock ran fast or slow on purpose, and gained or lost this much against the hardware.
    pub fn handle_slew(&mut self, by: Span) {
        self.disturbance += by.abs();
    }

    /// What is known now.
    #[must_use]
    pub fn reading(&self, now: Boot) -> Reading {
        let moment = Moment { at: now, disturbance: self.disturbance };
        let settled = self.settled.bounds(moment);
        let rival = self.rival.as_ref().and_then(|rival| rival.bounds(moment, self.aging()));
        let bounds = match rival {
            Some(rival) => Some(self.settled.last_known(moment).map_or(rival, |settled| settled.hull(rival))),
            None => settled,
        };
        let is_frozen = self.repeat.as_ref().is_some_and(|repeat| repeat.is_frozen);
        Reading {
            interval: bounds.and_then(Bounds::interval),
            at_least: bounds.map(|bounds| bounds.lo),
            state: match bounds {
                None => OffsetState::Unknown,
                Some(_) if rival.is_some() || is_frozen => OffsetState::Disturbed,
                Some(_) => OffsetState::Settled,
            },
            epoch: self.epoch,
            samples: self.settled.samples(),
            age: self.newest().filter(|_| bounds.is_some()).map(|newest| now - newest.at),
            assumptions: self.assumptions,
        }
    }

    /// Compares what a sample claims with what is settled and with the rival, and sorts it in.
    fn weigh(&mut self, claim: Claim) -> Option<ClockEvent> {
        let moment = claim.moment;
        let settled = self.settled.last_known(moment);
        let agrees = settled.is_none_or(|settled| settled.agrees_with(claim.bounds));
        let is_below = settled.is_some_and(|settled| claim.bounds.lo < settled.lo);
        let Some(rival) = &mut self.rival else {
            if agrees {
                self.settled.add(claim);
                return None;
            }
            return self.open_rival(claim, is_below);
        };
        let agrees_with_rival = rival.evidence.bounds(moment).is_some_and(|rival| rival.agrees_with(claim.bounds));
        match (agrees, agrees_with_rival) {
            (true, true) => return None,
            (true, false) => return self.confirm_settled(claim),
            (false, true) => rival.confirm(claim),
            (false, false) => rival.start_over(claim, is_below),
        }
        // When all settled evidence has expired meanwhile, nothing but the rival is left.
        let is_step = rival.is_convincing(moment) || self.settled.bounds(moment).is_none();
        if is_step { self.step(moment) } else { None }
    }

    fn open_rival(&mut self, claim: Claim, is_below: bool) -> Option<ClockEvent> {
        let aging = self.aging();
        let is_spread = self.former.is_some_and(|former| former.is_return && former.is_met_by(claim, aging));
        self.rival = Some(Rival::open(claim, is_below, is_spread, aging));
        is_spread.then_some(ClockEvent::FleetSpread { source: self.source })
    }

    /// A sample of the settled kind while there is a rival: they take turns.
    fn confirm_settled(&mut self, claim: Claim) -> Option<ClockEvent> {
        self.settled.add(claim);
        let rival = self.rival.as_mut()?;
        rival.streak.extend(Side::Settled, claim.moment.at);
        let is_new = !rival.is_spread;
        rival.is_spread = true;
        self.rival.take_if(|rival| rival.streak.outlasts_spread(claim.moment.at));
        is_new.then_some(ClockEvent::FleetSpread { source: self.source })
    }

    /// Makes the rival's evidence the settled one.
    fn step(&mut self, moment: Moment) -> Option<ClockEvent> {
        let rival = self.rival.take()?;
        let old = self.settled.last_known(moment)?;
        let new = rival.evidence.last_known(moment)?;
        let aging = self.aging();
        let last = Claim { bounds: new, moment, server: rival.last_date };
        let is_return = self.former.is_some_and(|former| former.is_met_by(last, aging));
        self.former = Some(Former { bounds: old, moment, is_return });
        self.settled = rival.evidence;
        self.repeat = None;
        self.epoch += 1;
        let (jump, error) = jump_between(old, new);
        Some(ClockEvent::ServerStep { source: self.source, jump, error, epoch: self.epoch })
    }

    /// Watches for a date that stands still: `Some` for a sample of such a date, `Some(true)` for the first one.
    fn note_repeat(&mut self, sample: &Sample) -> Option<bool> {
        if !sample.bounds_above {
            return None; // A cached date is expected to repeat, and says so.
        }
        let patience = self.assumptions.node_spread.scaled(2, 1) + self.assumptions.date_lag + sample.resolution;
        let seen = |at| Moment { at, disturbance: self.disturbance };
        let Some(repeat) = self.repeat.as_mut().filter(|repeat| repeat.server == sample.server) else {
            let (since, before) = (seen(sample.received), self.settled.clone());
            self.repeat = Some(Repeat { server: sample.server, since, before, is_frozen: false });
            return None;
        };
        repeat.since.at = repeat.since.at.min(sample.received);
        let widening = aging(&self.assumptions).widening(repeat.since, seen(sample.sent));
        if !repeat.is_frozen && sample.sent - repeat.since.at <= patience + widening {
            return None;
        }
        let began = !repeat.is_frozen;
        if began {
            repeat.is_frozen = true;
            self.settled = repeat.before.clone();
            self.rival.take_if(|rival| rival.last_date == sample.server);
        }
        Some(began)
    }

    /// The moment of the youngest sample on either side.
    fn newest(&self) -> Option<Moment> {
        let rival = self.rival.as_ref().and_then(|rival| rival.evidence.newest());
        [self.settled.newest(), rival].into_iter().flatten().max_by_key(|moment| moment.at)
    }

    fn aging(&self) -> Aging {
        aging(&self.assumptions)
    }
}

/// Evidence that contradicts what is settled.
#[derive(Clone, Debug)]
struct Rival {
    evidence: Evidence,
    /// The hull of earlier rivals that the present one contradicts too.
    outer: Option<(Bounds, Moment)>,
    /// Is it below what is settled, where a date that stands still would be?
    is_below: bool,
    /// Did both sides show up in turn?
    is_spread: bool,
    streak: Streak,
    last_date: Server,
}

impl Rival {
    fn open(claim: Claim, is_below: bool, is_spread: bool, aging: Aging) -> Self {
        let mut evidence = Evidence::new(aging);
        evidence.add(claim);
        let streak = Streak { side: Side::Rival, count: 1, since: claim.moment.at };
        Self { evidence, outer: None, is_below, is_spread, streak, last_date: claim.server }
    }

    fn bounds(&self, now: Moment, aging: Aging) -> Option<Bounds> {
        let bounds = self.evidence.bounds(now)?;
        let outer = self.outer.map(|(outer, moment)| outer.widened(aging.widening(moment, now)));
        Some(outer.map_or(bounds, |outer| outer.hull(bounds)))
    }

    /// Adds a sample of the rival's kind.
    fn confirm(&mut self, claim: Claim) {
        self.evidence.add(claim);
        if !self.is_below || self.last_date != claim.server {
            self.streak.extend(Side::Rival, claim.moment.at);
        }
        self.last_date = claim.server;
    }

    /// A sample contradicts both sides: it becomes the rival, and the old rival stays in the hull.
    fn start_over(&mut self, claim: Claim, is_below: bool) {
        let aging = self.evidence.aging();
        let outer = self.bounds(claim.moment, aging).map(|hull| (hull, claim.moment));
        *self = Self { outer, ..Self::open(claim, is_below, self.is_spread, aging) };
    }

    fn is_convincing(&self, now: Moment) -> bool {
        if self.is_spread { self.streak.outlasts_spread(now.at) } else { self.streak.count >= STEP_SAMPLES }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Settled,
    Rival,
}

/// How long one side has been alone.
#[derive(Clone, Copy, Debug)]
struct Streak {
    side: Side,
    count: u32,
    since: Boot,
}

impl Streak {
    fn extend(&mut self, side: Side, at: Boot) {
        if self.side == side {
            self.count = self.count.saturating_add(1);
        } else {
            *self = Self { side, count: 1, since: at };
        }
    }

    fn outlasts_spread(&self, now: Boot) -> bool {
        self.count >= SPREAD_SAMPLES && now - self.since >= SPREAD_TIME
    }
}

/// What was settled before the last step.
#[derive(Clone, Copy, Debug)]
struct Former {
    bounds: Bounds,
    moment: Moment,
    /// Was that step a return to what was settled before it?
    is_return: bool,
}

impl Former {
    fn is_met_by(&self, claim: Claim, aging: Aging) -> bool {
        let widening = aging.widening(self.moment, claim.moment);
        claim.moment.at - self.moment.at <= aging.ttl && self.bounds.widened(widening).agrees_with(claim.bounds)
    }
}

/// One date, since when it has been seen, and what was settled before it.
#[derive(Clone, Debug)]
struct Repeat {
    server: Server,
    since: Moment,
    before: Evidence,
    is_frozen: bool,
}

/// The middle of all jumps from `old` to `new`, and how far the truth may be from it.
fn jump_between(old: Bounds, new: Bounds) -> (Span, Span) {
    // An end that nothing bounds is taken for the other one: then the jump is the least possible.
    let (old_hi, new_hi) = (old.hi.unwrap_or(old.lo), new.hi.unwrap_or(new.lo));
    let (least, most) = (new.lo - old_hi, new_hi - old.lo);
    let error = (most - least).scaled(1, 2);
    (least + error, error + Span::from_nanos(1))
}

fn aging(assumptions: &Assumptions) -> Aging {
    Aging { drift_ppm: assumptions.drift_ppm, ttl: assumptions.ttl }
}

/// So many newcomers in a row are a step.
const STEP_SAMPLES: u32 = 3;
/// So many samples of one side, over at least [`SPREAD_TIME`], end a spread.
const SPREAD_SAMPLES: u32 = 20;
const SPREAD_TIME: Span = Span::from_secs(60);
