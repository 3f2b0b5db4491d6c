//! The clocks: what every answer's date says, kept as it grows, and what it means for a person.
//!
//! The estimator is the one that keeps tokens alive, so the report shows the same intervals under the same assumptions.
//! Which of two clocks that disagree is wrong cannot be seen from one pair; where the token endpoint and the API agree
//! with each other and not with this machine, this machine is the likelier one, and the words say "likely".

use evergrant_core::offset::{Assumptions, Estimator, Reading, Sample, Source};
use evergrant_core::time::{Now, OffsetInterval, SkewInterval, Span};

use url::Url;

use super::report::{Check, Name, OffsetPoint, Skew};
use super::visit::Visit;
use super::words::{counted, long};
use crate::clock;

/// What is known of the provider's clocks.
pub(super) struct Clocks {
    estimator: Estimator,
    points: Vec<OffsetPoint>,
}

impl Default for Clocks {
    fn default() -> Self {
        Self { estimator: Estimator::new(Assumptions::default()), points: Vec::new() }
    }
}

impl Clocks {
    /// Takes a sample, received `at_s` seconds after the start.
    pub(super) fn take(&mut self, source: Source, sample: Sample, at_s: f64) {
        let now = clock::now();
        self.estimator.handle_sample(source, sample, now);
        if let Some(skew) = self.estimator.reading(source, now.boot).skew(now)
            && self.points.len() < POINTS_KEPT
        {
            let local_minus_server_s = Skew { lo: skew.lo.as_secs_f64(), hi: skew.hi.as_secs_f64() };
            self.points.push(OffsetPoint { source: source.name(), at_s, local_minus_server_s });
        }
    }

    /// The points so far.
    pub(super) fn points(&self) -> &[OffsetPoint] {
        &self.points
    }

    /// The offset of the host that checks tokens, else of the one that issues them.
    pub(super) fn theta(&self, now: Now) -> Option<OffsetInterval> {
        self.estimator.best(now).and_then(|(_, reading)| reading.interval)
    }

    fn readings(&self, now: Now) -> Vec<(Source, Reading)> {
        self.estimator.readings(now).collect()
    }
}

/// Judges the clocks by everything that was answered so far.
pub(super) fn check(visit: &Visit<'_>) -> Check {
    let now = clock::now();
    let notes = visit.notes();
    let readings = notes.clocks.readings(now);
    let Some((best, reading)) = notes.clocks.estimator.best(now) else {
        let why = "no answer with a date came, so nothing can be said about any clock";
        return Check::skipped(Name::Clock, why);
    };
    let mut check = Check::ok(Name::Clock);
    for (source, reading) in &readings {
        let words = reading.skew(now).map_or_else(|| "bounded from one side only".to_owned(), |skew| skew.to_string());
        check = check.saw(format!("by {}: {words}, from {}", in_words(*source), counted(reading.samples, "date")));
    }
    check = check.saw(format!("assumed: {}", reading.assumptions));
    let disagreements = notes.clocks.estimator.disagreements(now);
    drop(notes);
    for (left, right) in &disagreements {
        check = check.saw(format!("{} and {} cannot both be right", in_words(*left), in_words(*right))).fault(
            "two clocks of the provider disagree: tell the provider; Evergrant keeps them apart, other clients may not",
        );
    }
    let Some(skew) = reading.skew(now) else { return check };
    let least = if skew.lo > Span::ZERO { skew.lo } else { -skew.hi };
    if least <= visit.setup.skew_warn {
        return check;
    }
    let remedy = remedy(skew, best, disagreements.is_empty() && are_two_hosts(visit, &readings));
    if least > HARMFUL { check.fault(remedy) } else { check.warning(remedy) }
}

/// Were the token endpoint and the API both seen, and are they two hosts?
fn are_two_hosts(visit: &Visit<'_>, readings: &[(Source, Reading)]) -> bool {
    let is_seen = |source| readings.iter().any(|(seen, _)| *seen == source);
    let profile = &visit.setup.profile;
    let origin = |url: &Option<String>| url.as_deref().and_then(|url| Some(Url::parse(url).ok()?.origin()));
    is_seen(Source::AuthDate) && is_seen(Source::ApiDate) && origin(&profile.token_url) != origin(&profile.api_url)
}

fn remedy(skew: SkewInterval, best: Source, others_agree: bool) -> String {
    let (way, by) = (if skew.lo > Span::ZERO { "fast" } else { "slow" }, long(skew.middle()));
    let who = if others_agree { "its token endpoint and its API agree with each other, so likely" } else { "if" };
    format!(
        "this machine is {by} {way} against the provider ({best}); {who} this machine is wrong: let NTP set it (`timedatectl set-ntp true`). Tokens are counted without the calendar clock, but certificates, logs and signed assertions are not"
    )
}

fn in_words(source: Source) -> &'static str {
    match source {
        Source::MsEndpoint => "the API's date in milliseconds",
        Source::AuthDate => "the token endpoint's Date",
        Source::ApiDate => "the API's Date",
        Source::JwtMint => "the token's iat",
        Source::Ntp => "NTP",
        Source::Reference => "the reference",
    }
}

/// Beyond a minute most servers' tolerance for signed dates ends.
const HARMFUL: Span = Span::from_secs(60);
const POINTS_KEPT: usize = 400;
