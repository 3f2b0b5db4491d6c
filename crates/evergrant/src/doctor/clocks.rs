//! The clocks: what every answer's date says, kept as it grows, and what it means for a person.
//!
//! The estimator is the one that keeps tokens alive, so the report shows the same intervals under the same assumptions.
//! Which of two clocks that disagree is wrong cannot be seen from one pair. A reference that somebody named as right
//! tells; without one, where the token endpoint and the API agree with each other and not with this machine, this machine
//! is the likelier one, and the words say "likely".

use std::time::Duration;

use evergrant_core::offset::{Assumptions, Estimator, ProbeGoal, Reading, Sample, Source};
use evergrant_core::time::{Now, OffsetInterval, SkewInterval, Span};

use url::Url;

use super::report::{Check, Name, OffsetPoint, Skew};
use super::visit::Visit;
use super::words::{counted, long};
use crate::clock;
use crate::offset::{Meter, Place, SourcePicture};
use crate::time_service::TimeService;

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

/// What the reference says: the skew against it, or why there is none.
pub(super) type Told = Result<SkewInterval, String>;

/// Asks this machine's time service, and the server that somebody named as right.
pub(super) async fn ask_others(visit: &Visit<'_>) {
    let (service, ()) = tokio::join!(TimeService::read(), ask_reference(visit));
    visit.notes().time_service = Some(service);
}

async fn ask_reference(visit: &Visit<'_>) {
    let Some(url) = &visit.setup.reference else { return };
    let told = match Place::reference(url, &visit.tls, visit.options()) {
        Ok(place) => {
            let mut meter = Meter::default();
            meter.add(place);
            meter.measure(ProbeGoal::QUICK, visit.setup.timeout.min(REFERENCE_PATIENCE)).await;
            let picture = meter.picture();
            picture.skew().ok_or_else(|| picture.sources.iter().find_map(SourcePicture::note).unwrap_or_default())
        }
        Err(error) => Err(error.to_string()),
    };
    visit.notes().reference = Some(told);
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
    let (reference, service) = (notes.reference.clone(), notes.time_service.clone());
    drop(notes);
    if let Some(service) = service.filter(|service| *service != TimeService::default()) {
        check = check.saw(format!("time service of this machine: {}", service.words()));
    }
    match &reference {
        Some(Ok(skew)) => check = check.saw(format!("by the reference: {skew}")),
        Some(Err(why)) => check = check.saw(format!("the reference tells nothing: {why}")),
        None => {}
    }
    for (left, right) in &disagreements {
        check = check.saw(format!("{} and {} cannot both be right", in_words(*left), in_words(*right))).fault(
            "two clocks of the provider disagree: tell the provider; Evergrant keeps them apart, other clients may not",
        );
    }
    let Some(skew) = reading.skew(now) else { return check };
    let least = at_least(skew);
    if least <= visit.setup.skew_warn {
        return check;
    }
    let agree = disagreements.is_empty() && are_two_hosts(visit, &readings);
    let remedy = remedy(skew, best, culprit(visit, reference.and_then(Result::ok), agree));
    if least > HARMFUL { check.fault(remedy) } else { check.warning(remedy) }
}

/// How far apart the clocks are for certain.
fn at_least(skew: SkewInterval) -> Span {
    if skew.lo > Span::ZERO { skew.lo } else { (-skew.hi).max(Span::ZERO) }
}

/// Which of two clocks that differ is wrong, as far as a third one tells.
#[derive(Clone, Copy)]
enum Culprit {
    ThisMachine,
    LikelyThisMachine,
    Provider,
    Open,
}

fn culprit(visit: &Visit<'_>, reference: Option<SkewInterval>, hosts_agree: bool) -> Culprit {
    let warn = visit.setup.skew_warn;
    match reference {
        Some(skew) if at_least(skew) > warn => Culprit::ThisMachine,
        Some(skew) if -warn <= skew.lo && skew.hi <= warn => Culprit::Provider,
        Some(_) | None if hosts_agree => Culprit::LikelyThisMachine,
        Some(_) | None => Culprit::Open,
    }
}

/// Were the token endpoint and the API both seen, and are they two hosts?
fn are_two_hosts(visit: &Visit<'_>, readings: &[(Source, Reading)]) -> bool {
    let is_seen = |source| readings.iter().any(|(seen, _)| *seen == source);
    let profile = &visit.setup.profile;
    let origin = |url: &Option<String>| url.as_deref().and_then(|url| Some(Url::parse(url).ok()?.origin()));
    let hosts = origin(&profile.token_url).zip(origin(&profile.api_url));
    is_seen(Source::AuthDate) && is_seen(Source::ApiDate) && hosts.is_some_and(|(token, api)| token != api)
}

fn remedy(skew: SkewInterval, best: Source, culprit: Culprit) -> String {
    let (way, by) = (if skew.lo > Span::ZERO { "fast" } else { "slow" }, long(skew.middle()));
    let apart = format!("this machine is {by} {way} against the provider ({best})");
    let this = "let NTP set this machine's clock (`timedatectl set-ntp true`). Tokens are counted without the calendar clock, but certificates, logs and signed assertions are not";
    match culprit {
        Culprit::ThisMachine => format!("{apart} and wrong by the reference too: {this}"),
        Culprit::LikelyThisMachine => {
            format!(
                "{apart}; its token endpoint and its API agree with each other, so likely this machine is wrong: {this}"
            )
        }
        Culprit::Provider => format!(
            "{apart}, and right by the reference: the provider's clock is wrong; tell the provider. Evergrant counts in the provider's time, other clients may not"
        ),
        Culprit::Open => format!(
            "{apart}; which of the two is wrong, a third clock tells: repeat with --reference https://a-server-that-is-right. If it is this machine, {this}"
        ),
    }
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
/// A quick measurement takes about two seconds.
const REFERENCE_PATIENCE: Duration = Duration::from_secs(3);
