//! The simulated provider as a process of its own, for tests in other languages.
//!
//! The first line of standard input is a configuration as JSON (`{}` is the default), and is answered with the URLs. Each
//! further line is an event, answered with `{}`, or the word `"ledger"`, answered with the provider's account of what it
//! saw, or `"secrets"`, answered with every secret it knows. The process ends with its input.

use std::io::{self, Write as _};

use evergrant_sim::config::ProviderConfig;
use evergrant_sim::faults::Event;
use evergrant_sim::http::{SimHandle, SimServer};
use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let mut lines = io::stdin().lines();
    let Some(config) = lines.next().transpose()? else { return Ok(()) };
    let server = SimServer::start(serde_json::from_str::<ProviderConfig>(&config)?)?;
    say(&json!({ "url": server.url(), "token_url": server.token_url() }))?;
    for line in lines {
        say(&obey(&server.handle(), &line?)?)?;
    }
    Ok(())
}

fn obey(provider: &SimHandle, line: &str) -> io::Result<Value> {
    let command: Value = serde_json::from_str(line)?;
    Ok(match command.as_str() {
        Some("ledger") => provider.ledger().to_json(),
        Some("secrets") => provider.secrets().iter().map(|secret| secret.expose().to_owned()).collect(),
        _ => {
            provider.apply(serde_json::from_value::<Event>(command)?);
            json!({})
        }
    })
}

fn say(answer: &Value) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{answer}")?;
    out.flush()
}
