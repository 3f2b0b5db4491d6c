//! What is known about the clocks, as JSON.
//!
//! The documented shape is `{"local_minus_server_s": {"lo", "hi"}, "words", "sources": [...]}`; positive means that this
//! machine is FAST. What is not known is `null`, never zero.

use evergrant::offset::{MeterEvent, Picture, SourcePicture};
use evergrant::time_service::TimeService;
use evergrant_core::offset::Assumptions;
use evergrant_core::time::{Now, SkewInterval, Span};
use serde_json::{Value, json};

use super::report;

/// One measurement.
pub(super) fn object(picture: &Picture, warn: Span, service: Option<&TimeService>) -> Value {
    let disagreements: Vec<_> =
        picture.disagreements().iter().map(|(left, right)| json!([left.source.name(), right.source.name()])).collect();
    let mut object = json!({
        "local_minus_server_s": skew(picture.skew()),
        "words": picture.words(),
        "state": picture.quality().name(),
        "source": picture.best().filter(|best| best.skew.is_some()).map(|best| best.source.name()),
        "assumptions": picture.best().map(|best| best.reading.assumptions.to_string()),
        "exceeds_skew_warn": picture.skew().map(|skew| report::is_far(skew, warn)),
        "sources": picture.sources.iter().map(source).collect::<Vec<_>>(),
        "disagreements": disagreements,
        "verdict": report::who_is_off(picture),
    });
    if let Some(service) = service {
        object["time_service"] = json!({
            "name": service.name.unwrap_or("unknown"),
            "synchronised": service.is_synchronised,
            "local_minus_source_s": service.local_minus_source.map(Span::as_secs_f64),
            "told_by": service.told_by,
            "words": service.words(),
        });
    }
    object
}

/// What happened, with its time on the axis of the watch.
pub(super) fn event(at: Now, event: &MeterEvent, start: Now) -> Value {
    json!({ "event": event.name(), "words": event.to_string(), "t_s": (at.boot - start.boot).as_secs_f64() })
}

fn source(picture: &SourcePicture) -> Value {
    json!({
        "source": picture.source.name(),
        "address": picture.address,
        "local_minus_server_s": skew(picture.skew),
        "local_minus_server_at_most_s": picture.at_most.map(Span::as_secs_f64),
        "if_dates_are_never_late_s": picture.if_never_late.map(|skew_| skew(Some(skew_))),
        "state": picture.quality.name(),
        "words": picture.words(),
        "width_s": picture.skew.map(|skew| (skew.hi - skew.lo).as_secs_f64()),
        "samples": picture.reading.samples,
        "asked": picture.asked,
        "round_trip_s": picture.delay.map(Span::as_secs_f64),
        "age_s": picture.reading.age.map(Span::as_secs_f64),
        "epoch": picture.reading.epoch,
        "assumptions": assumptions(&picture.reading.assumptions),
        "note": picture.note(),
    })
}

fn assumptions(assumed: &Assumptions) -> Value {
    json!({
        "drift_ppm": assumed.drift_ppm,
        "node_spread_s": assumed.node_spread.as_secs_f64(),
        "date_lag_s": assumed.date_lag.as_secs_f64(),
        "ttl_s": assumed.ttl.as_secs_f64(),
    })
}

fn skew(skew: Option<SkewInterval>) -> Value {
    skew.map_or(Value::Null, |skew| json!({ "lo": skew.lo.as_secs_f64(), "hi": skew.hi.as_secs_f64() }))
}
