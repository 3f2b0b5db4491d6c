//! What is told to `tracing`, under names that do not change.
//!
//! Every event of a source is one `tracing` event with the target [`TARGET`], its name in the field `event` and its
//! numbers in fields of their own, so that a subscriber can count, filter and alert without reading sentences. The list
//! of names, levels and fields is `docs/events.md`; a test holds it and this file together.
//!
//! The level says who should look: `warn` a person, `info` whoever reads along, `debug` whoever searches. A mint and a
//! failed refresh have lines for people beside these, where more is known of them. No field holds a secret or a query.

use evergrant_core::attempt::Refusal;
use evergrant_core::event::{Event, Retired};
use evergrant_core::token::Generation;

/// The target of all events of a source.
const TARGET: &str = "evergrant::event";

/// Tells one event of a source.
pub(crate) fn tell(event: &Event) {
    match event {
        Event::TokenMinted { .. }
        | Event::TokenAdopted { .. }
        | Event::TokenRestored { .. }
        | Event::TokenUnchanged { .. }
        | Event::TokenPromoted { .. }
        | Event::TokenRetired { .. } => tell_of_token(event),
        Event::RefreshFailed { failure, retry_in_s, .. } => {
            tracing::debug!(target: TARGET, event = event.name(), failure, retry_in_s, "{event}");
        }
        Event::RefreshPostponed { failure, retry_in_s } => {
            tracing::debug!(target: TARGET, event = event.name(), failure, retry_in_s, "{event}");
        }
        Event::LoginRequired => tracing::debug!(target: TARGET, event = event.name(), "{event}"),
        Event::LocalClockStep { jump_s } => tracing::warn!(target: TARGET, event = event.name(), jump_s, "{event}"),
        Event::ServerClockStep { source, jump_s } => {
            tracing::warn!(target: TARGET, event = event.name(), source, jump_s, "{event}");
        }
        Event::Verdict { id, cause, confidence, status, route } => tracing::debug!(
            target: TARGET,
            event = event.name(),
            id,
            cause = cause.name(),
            confidence = confidence.name(),
            status,
            route,
            "{event}"
        ),
        Event::CircuitOpened { for_s } => tracing::warn!(target: TARGET, event = event.name(), for_s, "{event}"),
        Event::CircuitClosed => tracing::info!(target: TARGET, event = event.name(), "{event}"),
    }
}

fn tell_of_token(event: &Event) {
    let name = event.name();
    match event {
        Event::TokenMinted { generation, reason, took_s } => {
            tracing::debug!(target: TARGET, event = name, generation = generation.0, reason, took_s, "{event}");
        }
        Event::TokenRestored { generation } => {
            tracing::info!(target: TARGET, event = name, generation = generation.0, "{event}");
        }
        Event::TokenRetired { generation, why } => {
            let why = match why {
                Retired::Replaced => "replaced",
                Retired::Refused => "refused",
                Retired::Ended => "ended",
            };
            tracing::debug!(target: TARGET, event = name, generation = generation.0, why, "{event}");
        }
        Event::TokenAdopted { generation }
        | Event::TokenUnchanged { generation }
        | Event::TokenPromoted { generation } => {
            tracing::debug!(target: TARGET, event = name, generation = generation.0, "{event}");
        }
        Event::RefreshFailed { .. }
        | Event::RefreshPostponed { .. }
        | Event::LoginRequired
        | Event::LocalClockStep { .. }
        | Event::ServerClockStep { .. }
        | Event::Verdict { .. }
        | Event::CircuitOpened { .. }
        | Event::CircuitClosed => {}
    }
}

/// Tells that a refused request goes out again.
pub(crate) fn tell_replay(refused: Generation, generation: Generation, refusal: &Refusal) {
    let (status, route) = (refusal.status, refusal.route.to_string());
    tracing::debug!(
        target: TARGET,
        event = "request_replayed",
        refused = refused.0,
        generation = generation.0,
        status,
        route,
        "{route} answered {status} to {refused} and is sent again with {generation}"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use evergrant_core::attempt::{Route, Subject};
    use evergrant_core::time::Boot;
    use evergrant_core::verdict::{Cause, Confidence};
    use tracing::span::{Attributes, Id, Record};
    use tracing::subscriber::with_default;
    use tracing::{Metadata, Subscriber};

    use super::*;

    /// Notes the row of the page that each event would have.
    #[derive(Clone, Default)]
    struct Rows(Arc<Mutex<Vec<String>>>);

    #[derive(Default)]
    struct Fields {
        name: String,
        others: Vec<String>,
    }

    impl tracing::field::Visit for Fields {
        fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
            match field.name() {
                "message" => {}
                "event" => self.name = format!("{value:?}").replace('"', ""),
                other => self.others.push(format!("`{other}`")),
            }
        }
    }

    impl Subscriber for Rows {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            assert_eq!(event.metadata().target(), TARGET);
            let mut fields = Fields::default();
            event.record(&mut fields);
            let level = event.metadata().level().to_string().to_lowercase();
            self.0.lock().unwrap().push(format!("| `{}` | {level} | {} |", fields.name, fields.others.join(", ")));
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    fn one_of_each() -> Vec<Event> {
        let generation = Generation(7);
        vec![
            Event::TokenMinted { generation, reason: "scheduled", took_s: 0.012 },
            Event::TokenAdopted { generation },
            Event::TokenRestored { generation },
            Event::TokenUnchanged { generation },
            Event::TokenPromoted { generation },
            Event::TokenRetired { generation, why: Retired::Ended },
            Event::RefreshFailed { failure: "server_error", detail: "503".to_owned(), retry_in_s: 2.0 },
            Event::RefreshPostponed { failure: "server_error", retry_in_s: 2.0 },
            Event::LoginRequired,
            Event::LocalClockStep { jump_s: -3600.0 },
            Event::ServerClockStep { source: "api_date", jump_s: 4.0 },
            Event::Verdict {
                id: "1".to_owned(),
                cause: Cause::Revoked,
                confidence: Confidence::Likely,
                status: 401,
                route: "GET /a".to_owned(),
            },
            Event::CircuitOpened { for_s: 30.0 },
            Event::CircuitClosed,
        ]
    }

    #[test]
    fn the_page_of_events_has_every_event_with_its_level_and_fields_and_no_other() {
        let page = include_str!("../../../docs/events.md");
        let rows = Rows::default();
        let route = Route::new("api.example", "GET", "/a");
        let refusal = Refusal::of_status(401, Subject::Token, route, Boot::from_secs(1));
        with_default(rows.clone(), || {
            one_of_each().iter().for_each(tell);
            tell_replay(Generation(1), Generation(2), &refusal);
        });
        let rows = rows.0.lock().unwrap();
        assert_eq!(rows.len(), one_of_each().len() + 1);
        for row in rows.iter() {
            assert!(
                page.lines().any(|line| line.starts_with(row.as_str())),
                "docs/events.md lacks a row that begins {row}"
            );
        }
        assert_eq!(page.lines().filter(|line| line.starts_with("| `")).count(), rows.len());
    }
}
