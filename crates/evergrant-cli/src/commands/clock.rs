//! `evergrant clock`: how far this machine's clock is from the provider's, as an interval.
//!
//! Everything that is known is asked side by side: the token endpoint and the API for their `Date`, without credentials;
//! a millisecond endpoint, if the provider has one and a token can be had; an NTP server and a reference URL, if named.
//! A token is minted for the millisecond endpoint alone, and then its `iat` is a sample too.

mod ask;
mod json;
mod plot;
mod report;
mod screen;
mod watch;

use evergrant::offset::{Picture, PlaceFailureKind, Quality};
use evergrant::time_service::TimeService;
use evergrant_core::offset::ProbeGoal;

use crate::args::ClockArgs;
use crate::ending::{self, end_by};
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::launch;
use crate::render;
use crate::settings::layers::Layers;
use crate::settings::resolve::ClockSettings;

/// Measures once, or goes on measuring.
pub(crate) fn run(args: &ClockArgs, layers: &Layers) -> Result<u8, Failures> {
    let settings = ClockSettings::read(layers)?;
    let runtime = launch::small_runtime()?;
    let outcome: Result<_, Failures> = runtime.block_on(async {
        let mut signals = settings.for_tokens.as_ref().map_or(Ok(None), ending::signals)?;
        let mut signals = signals.as_mut();
        let (mut meter, at_most) = match ask::prepare(args, &settings, &mut signals).await? {
            Ok(prepared) => prepared,
            Err(signal) => return Ok(Err(signal)),
        };
        if args.watch {
            return watch::run(args, meter, settings.timing.skew_warn).await.map(Ok);
        }
        let measure = async { tokio::join!(meter.measure(ProbeGoal::THOROUGH, at_most), TimeService::read()).1 };
        let measured = launch::with_spinner("asking for the time", measure);
        match ending::unless_ended(&mut signals, measured).await {
            Ok(service) => show(args, &settings, &meter.picture(), &service).map(Ok),
            Err(signal) => Ok(Err(signal)),
        }
    });
    runtime.shutdown_timeout(launch::LAST_WAIT);
    outcome.map(|outcome| outcome.unwrap_or_else(end_by))
}

fn show(args: &ClockArgs, settings: &ClockSettings, picture: &Picture, service: &TimeService) -> Result<u8, Failures> {
    let is_anything_known = picture.sources.iter().any(|source| source.quality != Quality::Unknown);
    if is_anything_known && args.json {
        render::json(&json::object(picture, settings.timing.skew_warn, Some(service)))?;
    } else if is_anything_known {
        render::data(report::text(picture, service).as_bytes())?;
    }
    if picture.quality() == Quality::Unknown {
        return Err(unknown(picture).into());
    }
    if let Some(warning) = report::warning(picture, settings.timing.skew_warn) {
        warning.print_warning();
    }
    Ok(exit::OK)
}

/// Why the provider's clock is not known.
fn unknown(picture: &Picture) -> Failure {
    let failures: Vec<_> = picture.sources.iter().filter_map(|source| source.failure.as_ref()).collect();
    let has_answered = failures.iter().any(|failure| failure.kind == PlaceFailureKind::NoTime);
    let code = if has_answered { exit::FAILED } else { exit::UNREACHABLE };
    let mut failure = Failure::new(code, "the clock cannot be measured");
    for source in picture.sources.iter().filter(|source| source.quality == Quality::Unknown) {
        if let Some(note) = source.note() {
            failure = failure.because(format!("{}: {note}", source.source));
        }
    }
    failure.hint("check the URLs and the network; --reference URL asks any other https server")
}
