//! What a source tells about itself: the keeper's report and the provider's clock, as one JSON object.

use evergrant_core::event::{Entry, Event};
use evergrant_core::keeper::Report;
use evergrant_core::time::{Boot, Now, Span};
use serde::Serialize;

use crate::driver::Shared;

/// A picture of a source. Serialises to the `/status` JSON; it holds no secret.
#[derive(Clone, Debug, Serialize)]
pub struct SourceStatus {
    /// Which facts about the provider are used.
    pub provider: &'static str,
    /// The keeper: tokens at hand, counters, verdicts.
    #[serde(flatten)]
    pub report: Report,
    /// The provider's clock, seen from here.
    pub clock: ClockStatus,
}

/// Seconds by which this machine's clock is ahead: positive is FAST.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SkewStatus {
    /// At least.
    pub lo: f64,
    /// At most.
    pub hi: f64,
}

/// One source of the provider's time.
#[derive(Clone, Debug, Serialize)]
pub struct ClockSource {
    /// Its stable name.
    pub source: &'static str,
    /// This machine's clock minus its clock; absent if nothing bounds it from both sides.
    pub local_minus_server_s: Option<SkewStatus>,
}

/// What is known of the provider's clock.
#[derive(Clone, Debug, Serialize)]
pub struct ClockStatus {
    /// This machine's clock minus the provider's, by the best source; absent while unknown.
    pub local_minus_server_s: Option<SkewStatus>,
    /// The same in words.
    pub words: String,
    /// Under what assumptions that holds.
    pub assumptions: Option<String>,
    /// How often this machine's calendar clock was seen to step.
    pub local_steps: u64,
    /// How often a clock of the provider was seen to step.
    pub server_steps: u64,
    /// Every source that was seen.
    pub sources: Vec<ClockSource>,
}

/// Something that happened to the credential.
#[derive(Clone, Debug, Serialize)]
pub struct EventStatus {
    /// Its name in the list; an event that repeats keeps it.
    pub id: u64,
    /// Grows with every change of the list; [`TokenSource::events_since`](crate::TokenSource::events_since) takes it.
    #[serde(skip)]
    pub revision: u64,
    /// When it happened, or last happened.
    #[serde(skip)]
    pub at: Boot,
    /// Seconds since it happened, or last happened.
    pub age_s: f64,
    /// How often it happened.
    pub times: u64,
    /// Should a person look?
    pub is_trouble: bool,
    /// It in a sentence.
    pub words: String,
    /// Its stable name and its numbers.
    #[serde(flatten)]
    pub event: Event,
}

impl EventStatus {
    pub(crate) fn of(entry: &Entry, now: Boot) -> Self {
        Self {
            id: entry.id,
            revision: entry.revision,
            at: entry.at,
            age_s: (now - entry.at).as_secs_f64(),
            times: entry.times,
            is_trouble: entry.event.is_trouble(),
            words: entry.event.to_string(),
            event: entry.event.clone(),
        }
    }
}

/// How this machine's clock stood to the provider's at one moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SkewMoment {
    /// Seconds since then.
    pub age_s: f64,
    /// Seconds by which this machine's clock was ahead.
    #[serde(flatten)]
    pub skew: SkewStatus,
}

impl SourceStatus {
    pub(crate) fn of(shared: &Shared) -> Self {
        shared.look(|keeper, now| Self {
            provider: keeper.profile().kind.name(),
            report: keeper.report(now),
            clock: ClockStatus::of(keeper, now),
        })
    }
}

impl ClockStatus {
    fn of(keeper: &evergrant_core::keeper::Keeper, now: Now) -> Self {
        let best = keeper.clocks().best(now);
        let skew = best.as_ref().and_then(|(_, reading)| reading.skew(now));
        let seconds = |lo: Span, hi: Span| SkewStatus { lo: lo.as_secs_f64(), hi: hi.as_secs_f64() };
        let sources = keeper.clocks().readings(now).map(|(source, reading)| ClockSource {
            source: source.name(),
            local_minus_server_s: reading.skew(now).map(|skew| seconds(skew.lo, skew.hi)),
        });
        Self {
            local_minus_server_s: skew.map(|skew| seconds(skew.lo, skew.hi)),
            words: skew.map_or_else(|| "unknown".to_owned(), |skew| skew.to_string()),
            assumptions: best.map(|(_, reading)| reading.assumptions.to_string()),
            local_steps: keeper.local_steps(),
            server_steps: keeper.server_steps(),
            sources: sources.collect(),
        }
    }
}
