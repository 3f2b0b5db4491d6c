//! The stable JSON of `evergrant explain --json`, described in `docs/explain.md`.

use evergrant_core::capture::{CapturedSkew, Explained, Explanation, show_moment};
use serde_json::{Value, json};

/// The whole object.
pub(super) fn of(explanation: &Explanation) -> Value {
    json!({
        "version": VERSION,
        "kind": explanation.kind.name(),
        "exchanges": explanation.exchanges,
        "notes": explanation.notes,
        "clocks": explanation.clocks.iter().map(clock).collect::<Vec<_>>(),
        "verdicts": explanation.verdicts.iter().map(verdict).collect::<Vec<_>>(),
    })
}

fn clock(skew: &CapturedSkew) -> Value {
    let between = skew.local_minus_server;
    json!({
        "host": skew.host,
        "local_minus_server_s": { "lo": between.lo.as_secs_f64(), "hi": between.hi.as_secs_f64() },
        "is_disturbed": skew.is_disturbed,
        "words": skew.words(),
    })
}

fn verdict(explained: &Explained) -> Value {
    let Explained { exchange, verdict, .. } = explained;
    let route = exchange.route.as_ref();
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (at, clock) = match (exchange.date, exchange.received.or(exchange.sent)) {
        (_, Some(local)) => (Some(show_moment(local.as_nanos())), Some("local")),
        (Some(date), None) => (Some(show_moment(date.as_nanos())), Some("server")),
        (None, None) => (None, None),
    };
    json!({
        "id": verdict.id,
        "cause": verdict.cause,
        "confidence": verdict.confidence,
        "fault": verdict.fault,
        "evidence": verdict.evidence,
        "missing": explained.missing,
        "remedy": verdict.remedy,
        "exchange": explained.number,
        "method": route.and_then(|route| some(&route.method)),
        "host": route.and_then(|route| some(&route.host)),
        "route": route.and_then(|route| some(&route.template)),
        "status": exchange.status,
        "at": at,
        "at_clock": clock,
        "provider": exchange.profile.kind.name(),
        "region": exchange.region().map(|region| region.aws_name()),
    })
}

/// Grows when a member changes its meaning or goes away; new members leave it as it is.
pub(super) const VERSION: u32 = 1;
