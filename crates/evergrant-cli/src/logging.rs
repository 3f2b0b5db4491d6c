//! The log: on standard error, our own crates at the asked level, everybody else at `warn` unless named.
//!
//! `--log` and `EVERGRANT_LOG` take what `RUST_LOG` takes, and are stronger. The difference to other programs: a bare
//! level such as `trace` means our crates alone. At that level HTTP libraries write out header fields, and a debugging
//! session should not leave tokens in a log file by accident. `trace,hyper=debug` still shows what it says.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

use crate::failure::{Failure, nearest};
use crate::settings::catalog::Setting;
use crate::settings::origin::{Found, Origin};
use crate::settings::values::bad_value;

/// All of our crates begin like this.
const OURS: &str = "evergrant";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts the log. A slip in our setting ends the run; one in `RUST_LOG`, which others read too, is a warning.
pub(crate) fn start(asked: Option<&Found<String>>, default: &str) -> Result<(), Failure> {
    let slip = |found: &Found<String>, cause: String| {
        bad_value(Setting::Log, &found.origin, cause).hint("write a level: error, warn, info, debug or trace")
    };
    let ours = asked.map(|found| filter(&found.value).map_err(|cause| slip(found, cause))).transpose()?;
    let chosen = ours.or_else(|| {
        let value = std::env::var("RUST_LOG").ok().filter(|value| !value.is_empty())?;
        let found = Found { value, origin: Origin::Variable("RUST_LOG".to_owned()) };
        filter(&found.value).map_err(|cause| slip(&found, cause).print_warning()).ok()
    });
    let filter = match chosen {
        Some(filter) => filter,
        None => filter(default).map_err(|cause| bad_value(Setting::Log, &Origin::Default, cause))?,
    };
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    install(filter, colours)
}

#[cfg(not(feature = "otel"))]
fn install(filter: EnvFilter, colours: bool) -> Result<(), Failure> {
    // A log that nobody can read any more, as that of a closed terminal, is no reason to end.
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .log_internal_errors(false)
        .finish();
    // A second start can only come from a test; the first subscriber stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// The same log, and the collector of traces beside it.
#[cfg(feature = "otel")]
fn install(filter: EnvFilter, colours: bool) -> Result<(), Failure> {
    use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let log = log.log_internal_errors(false).with_filter(filter);
    let subscriber = tracing_subscriber::registry().with(crate::telemetry::layer()?).with(log);
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// The filter for what was asked: bare levels are for our crates, named directives for whom they name. Nobody who was
/// not named says more than warnings, and less if less was asked for.
fn filter(asked: &str) -> Result<EnvFilter, String> {
    let parts: Vec<String> =
        asked.split(',').map(|part| part.trim().to_lowercase()).filter(|part| !part.is_empty()).collect();
    let others = parts.iter().find(|part| ["off", "error"].contains(&part.as_str())).map_or("warn", String::as_str);
    let mut filter = EnvFilter::new(others);
    for part in &parts {
        let directive = if LEVELS.contains(&part.as_str()) { format!("{OURS}={part}") } else { part.clone() };
        // A lone word is a crate's name, but a misspelt level should not silence the log.
        if let Some(level) = nearest(&directive, LEVELS) {
            return Err(format!("`{part}` is no level; did you mean {level}?"));
        }
        let directive: Directive = directive.parse().map_err(|_no_directive| format!("`{part}` is no filter"))?;
        filter = filter.add_directive(directive);
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directives(asked: &str) -> Vec<String> {
        let mut directives: Vec<String> = filter(asked).unwrap().to_string().split(',').map(str::to_owned).collect();
        directives.sort();
        directives
    }

    #[test]
    fn a_bare_level_is_for_our_crates_alone() {
        assert_eq!(directives("trace"), ["evergrant=trace", "warn"]);
        assert_eq!(directives("INFO"), ["evergrant=info", "warn"]);
        assert_eq!(directives("error"), ["error", "evergrant=error"]);
    }

    #[test]
    fn dependencies_speak_up_when_named() {
        assert_eq!(directives("debug,hyper=info"), ["evergrant=debug", "hyper=info", "warn"]);
        assert_eq!(directives("evergrant_gateway=trace"), ["evergrant_gateway=trace", "warn"]);
    }

    #[test]
    fn a_misspelt_level_is_an_error() {
        assert!(filter("tarce").is_err());
        assert!(filter("evergrant=tarce").is_err());
    }
}
