//! A world in TOML, checked whole when it is read.
//!
//! ```toml
//! based_on = "steady"            # or any of the house's scenarios
//! duration = "6h"
//! calls_per_minute = 60
//! lifetime = "10m"
//! server_ahead = "-5m"           # the provider's clock minus the true time
//! propagation = "0s..2s"         # how late a node learns of a new token
//!
//! [[event]]
//! at = "30m"
//! what = "token_endpoint"
//! fault = "unavailable"
//! lasts = "2m"
//! ```
//!
//! Every mistake names its place as `FILE:LINE:COL` and what is allowed there.

mod event;
mod value;

use std::ops::Range;
use std::path::Path;

use evergrant_core::time::Span;
use evergrant_sim::comparison::steady;
use evergrant_sim::config::{Shape, TokenFormat};
use evergrant_sim::scenario::{Grant, Scenario};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::exit;
use crate::failure::{Failure, nearest};
use crate::settings::excerpt::{Excerpt, Show};

/// Reads the world in a file.
pub(super) fn read(path: &Path) -> Result<Scenario, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(exit::USAGE, "cannot read the world")
            .at(path.display())
            .because(error)
            .hint("`evergrant simulate --list` names worlds that need no file")
    })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Scenario, Failure> {
    let reader = Reader { path, text };
    let document = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(text.len()..text.len());
        reader.failure("the world is not valid TOML", error.message().lines().next().unwrap_or(""), span)
    })?;
    let table = document.get_ref();
    let mut scenario = match table.iter().find(|(key, _)| key.get_ref() == "based_on") {
        Some((_, value)) => reader.base(value)?,
        None => steady(),
    };
    scenario.about = "a world of a file";
    for (key, value) in table {
        reader.set(&mut scenario, key.get_ref(), key.span(), value)?;
    }
    let calls = scenario.duration.as_secs().saturating_mul(i64::from(scenario.load.calls_per_min)) / 60;
    if calls > MOST_CALLS {
        let span = table.iter().find(|(key, _)| key.get_ref() == "duration").map_or(0..0, |(_, value)| value.span());
        let why = format!("{calls} calls are more than {MOST_CALLS}, the most in one run");
        return Err(reader.failure("the run is too long for its load", &why, span));
    }
    Ok(scenario)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

type Value<'a> = Spanned<DeValue<'a>>;

impl Reader<'_> {
    fn base(&self, value: &Value<'_>) -> Result<Scenario, Failure> {
        let all = Scenario::all();
        let mut names: Vec<&str> = all.iter().map(|scenario| scenario.name).collect();
        names.push("steady");
        let name = self.one_of("based_on", value, &names)?;
        Ok(if name == "steady" { steady() } else { Scenario::named(name).unwrap_or_else(steady) })
    }

    fn set(&self, world: &mut Scenario, key: &str, at: Range<usize>, value: &Value<'_>) -> Result<(), Failure> {
        let config = &mut world.config;
        match key {
            "based_on" => {}
            "duration" => world.duration = self.span(key, value, SECOND..=SECOND.scaled(86_400 * 30, 1))?,
            "calls_per_minute" => world.load.calls_per_min = self.whole(key, value, 0..=60_000)?,
            "grant" => {
                world.grant = match self.one_of(key, value, &["client_credentials", "refresh_token"])? {
                    "refresh_token" => Grant::RefreshToken,
                    _ => Grant::ClientCredentials,
                };
            }
            "lifetime" => config.tokens.lifetime = self.span(key, value, SECOND..=SECOND.scaled(86_400 * 400, 1))?,
            "server_ahead" => config.clock.offset = self.span(key, value, -YEAR..=YEAR)?,
            "server_drift_ppm" => config.clock.drift_ppm = self.whole(key, value, -100_000..=100_000)?,
            "nodes" => *config = config.clone().with_nodes(self.whole(key, value, 1..=64)?),
            "propagation" => *config = config.clone().with_propagation(self.delay(key, value)?),
            "lagging_node" => {
                let delay = self.delay(key, value)?;
                if let Some(node) = config.nodes.last_mut() {
                    node.propagation = delay;
                }
            }
            "token_format" => {
                config.tokens.format = match self.one_of(key, value, &["opaque", "jwt"])? {
                    "jwt" => TokenFormat::Jwt,
                    _ => TokenFormat::Opaque,
                };
            }
            "errors" => {
                config.shape = match self.one_of(key, value, &["genesys", "rfc", "rfc_bare"])? {
                    "rfc" => Shape::Rfc,
                    "rfc_bare" => Shape::RfcBare,
                    _ => Shape::Genesys,
                };
            }
            "revoke_old" => config.tokens.revoke_old = self.truth(key, value)?,
            "most_tokens" => config.tokens.cap = Some(self.whole(key, value, 1..=1_000)?),
            "idle_timeout" => config.tokens.idle_timeout = Some(self.span(key, value, SECOND..=YEAR)?),
            "network" => {
                let delay = self.delay(key, value)?;
                (world.network.there, world.network.back) = (delay, delay);
            }
            "network_there" => world.network.there = self.delay(key, value)?,
            "network_back" => world.network.back = self.delay(key, value)?,
            "token_latency" => config.latency.token = self.delay(key, value)?,
            "api_latency" => config.latency.api = self.delay(key, value)?,
            "event" => self.events(world, value)?,
            _ => return Err(self.unknown("key", key, at, &KEYS)),
        }
        Ok(())
    }

    fn unknown(&self, what: &str, name: &str, span: Range<usize>, known: &[&str]) -> Failure {
        let failure =
            self.failure(&format!("unknown {what} `{name}`"), &format!("there are {}", known.join(", ")), span);
        match nearest(name, known.iter().copied()) {
            Some(name) => failure.hint(format!("did you mean `{name}`?")),
            None => failure,
        }
    }

    fn failure(&self, what: &str, why: &str, span: Range<usize>) -> Failure {
        let excerpt = Excerpt::new(self.path.to_owned(), self.text, span, String::new(), Show::Line);
        let mut failure = Failure::new(exit::USAGE, what).at(excerpt.position()).because(why);
        failure.excerpt = Some(excerpt.render("here").into());
        failure
    }
}

const KEYS: [&str; 21] = [
    "based_on",
    "duration",
    "calls_per_minute",
    "grant",
    "lifetime",
    "server_ahead",
    "server_drift_ppm",
    "nodes",
    "propagation",
    "lagging_node",
    "token_format",
    "errors",
    "revoke_old",
    "most_tokens",
    "idle_timeout",
    "network",
    "network_there",
    "network_back",
    "token_latency",
    "api_latency",
    "event",
];
const SECOND: Span = Span::from_secs(1);
const YEAR: Span = Span::from_secs(86_400 * 366);
const MOST_CALLS: i64 = 10_000_000;

#[cfg(test)]
mod tests;
