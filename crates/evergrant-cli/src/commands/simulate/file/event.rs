//! Events of a world's file: what happens, when, and for how long.

use evergrant_core::time::Span;
use evergrant_sim::config::Delay;
use evergrant_sim::faults::{ApiFault, ApiRule, At, Chance, Event, TokenFault, TokenRule};
use evergrant_sim::scenario::{LocalEvent, Mishap, Scenario};
use toml::de::DeTable;

use super::{Reader, SECOND, Value, YEAR};
use crate::failure::Failure;

/// One `[[event]]`, as far as it is known.
#[derive(Default)]
struct Draft<'a> {
    at: Option<Span>,
    what: Option<(&'static str, &'a Value<'a>)>,
    by: Option<Span>,
    count: Option<u32>,
    fault: Option<(&'a str, &'a Value<'a>)>,
    lasts: Option<Span>,
    permille: Option<u16>,
    to: Option<Delay>,
}

impl Reader<'_> {
    pub(super) fn events(&self, world: &mut Scenario, value: &Value<'_>) -> Result<(), Failure> {
        let wrong = || self.bad("event", "each event is a table `[[event]]`", value.span());
        let events = value.get_ref().as_array().ok_or_else(wrong)?;
        for event in events.iter() {
            let table = event.get_ref().as_table().ok_or_else(wrong)?;
            self.event(world, table, event)?;
        }
        world.events.sort_by_key(|event| event.after);
        Ok(())
    }

    fn event(&self, world: &mut Scenario, table: &DeTable<'_>, whole: &Value<'_>) -> Result<(), Failure> {
        let mut draft = Draft::default();
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "at" => draft.at = Some(self.span("at", value, Span::ZERO..=YEAR)?),
                "what" => draft.what = Some((self.one_of("what", value, &WHATS)?, value)),
                "by" => draft.by = Some(self.span("by", value, -YEAR..=YEAR)?),
                "count" => draft.count = Some(self.whole("count", value, 1..=1_000)?),
                "fault" => draft.fault = Some((self.name("fault", value)?, value)),
                "lasts" => draft.lasts = Some(self.span("lasts", value, SECOND..=YEAR)?),
                "permille" => draft.permille = Some(self.whole("permille", value, 1..=1_000)?),
                "to" => draft.to = Some(self.delay("to", value)?),
                other => return Err(self.unknown("key of an event", other, key.span(), &EVENT_KEYS)),
            }
        }
        let missing = |key: &str| self.failure("an event is incomplete", &format!("`{key}` is missing"), whole.span());
        let (what, place) = draft.what.ok_or_else(|| missing("what"))?;
        let after = draft.at.ok_or_else(|| missing("at"))?;
        if after >= world.duration {
            let why = format!("the run ends at {}", world.duration);
            return Err(self.failure("an event is later than the run", &why, place.span()));
        }
        let mut add = |after: Span, event: Event| world.events.push(At { after, event });
        match what {
            "revoke_all" => add(after, Event::RevokeAll),
            "revoke_refresh_tokens" => add(after, Event::RevokeRefreshTokens),
            "outside_mints" => add(after, Event::OutsideMints(draft.count.ok_or_else(|| missing("count"))?)),
            "step_server" => add(after, Event::StepServer(draft.by.ok_or_else(|| missing("by"))?)),
            "set_propagation" => add(after, Event::SetPropagation(draft.to.ok_or_else(|| missing("to"))?)),
            "step_wall" => {
                let by = draft.by.ok_or_else(|| missing("by"))?;
                world.mishaps.push(Mishap { after, event: LocalEvent::StepWall(by) });
            }
            "token_endpoint" => {
                let (name, place) = draft.fault.ok_or_else(|| missing("fault"))?;
                let fault =
                    token_fault(name).ok_or_else(|| self.unknown("fault", name, place.span(), &TOKEN_FAULTS))?;
                let chance = Chance { permille: draft.permille.unwrap_or(1_000), times: draft.count };
                add(after, Event::TokenFault(TokenRule { fault, chance }));
                if let Some(lasts) = draft.lasts {
                    add(after + lasts, Event::ClearTokenFaults);
                }
            }
            _ => {
                let (name, place) = draft.fault.ok_or_else(|| missing("fault"))?;
                let fault = api_fault(name).ok_or_else(|| self.unknown("fault", name, place.span(), &API_FAULTS))?;
                let chance = Chance { permille: draft.permille.unwrap_or(1_000), times: draft.count };
                add(after, Event::ApiFault(ApiRule { fault, route: None, chance }));
                if let Some(lasts) = draft.lasts {
                    add(after + lasts, Event::ClearApiFaults);
                }
            }
        }
        Ok(())
    }
}

fn token_fault(name: &str) -> Option<TokenFault> {
    Some(match name {
        "reset" => TokenFault::Reset,
        "hang" => TokenFault::Hang(Span::from_secs(60)),
        "unavailable" => TokenFault::Status(503, None),
        "not_json" => TokenFault::NotJson,
        "slow" => TokenFault::Slow(Span::from_secs(5)),
        "lost" => TokenFault::Lost,
        "torn" => TokenFault::Torn,
        "empty" => TokenFault::Empty,
        "missing_token" => TokenFault::MissingToken,
        _ => return None,
    })
}

fn api_fault(name: &str) -> Option<ApiFault> {
    Some(match name {
        "reset" => ApiFault::Reset,
        "unavailable" => ApiFault::Status(503),
        "always_401" => ApiFault::AlwaysUnauthorized,
        "ip_not_allowed" => ApiFault::IpNotAuthorized,
        "missing_permission" => ApiFault::MissingPermission,
        "insufficient_scope" => ApiFault::InsufficientScope,
        "too_many_requests" => ApiFault::TooManyRequests(1),
        "slow" => ApiFault::Slow(Span::from_secs(2)),
        "lost" => ApiFault::Lost,
        "torn" => ApiFault::Torn,
        "failed_after_executing" => ApiFault::FailedAfterExecuting,
        _ => return None,
    })
}

const EVENT_KEYS: [&str; 8] = ["at", "what", "by", "count", "fault", "lasts", "permille", "to"];
const WHATS: [&str; 8] = [
    "revoke_all",
    "revoke_refresh_tokens",
    "outside_mints",
    "step_server",
    "step_wall",
    "set_propagation",
    "token_endpoint",
    "api",
];
const TOKEN_FAULTS: [&str; 9] =
    ["reset", "hang", "unavailable", "not_json", "slow", "lost", "torn", "empty", "missing_token"];
const API_FAULTS: [&str; 11] = [
    "reset",
    "unavailable",
    "always_401",
    "ip_not_allowed",
    "missing_permission",
    "insufficient_scope",
    "too_many_requests",
    "slow",
    "lost",
    "torn",
    "failed_after_executing",
];
