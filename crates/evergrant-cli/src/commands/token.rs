//! `evergrant token`: one token on standard output.

use evergrant::core::profile::ProfileKind;
use evergrant::core::time::Span;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::args::{TokenArgs, TokenFormat};
use crate::ending::{self, Signals, end_by};
use crate::exit;
use crate::failure::Failures;
use crate::launch::{self, Started};
use crate::render;
use crate::settings::layers::Layers;
use crate::settings::resolve::Settings;

/// The variable that every child and every env file gets.
pub(crate) const OUR_VARIABLE: &str = "EVERGRANT_ACCESS_TOKEN";

/// The variable that the provider's own tools read.
pub(crate) fn provider_variable(kind: ProfileKind) -> Option<&'static str> {
    match kind {
        ProfileKind::Genesys => Some("GENESYSCLOUD_ACCESS_TOKEN"),
        ProfileKind::Oauth2 | ProfileKind::Oidc => None,
    }
}

/// A token on its way to a printer or a child.
pub(crate) struct Ready {
    /// Its text.
    pub(crate) text: String,
    /// The time it has left, if that is known.
    pub(crate) remaining: Option<Span>,
}

/// Prints a token.
pub(crate) fn run(args: &TokenArgs, layers: &Layers) -> Result<u8, Failures> {
    let settings = Settings::for_tokens(layers)?;
    let runtime = launch::small_runtime()?;
    let token = runtime.block_on(async {
        let mut signals = ending::signals(&settings)?;
        acquire(&settings, args.min_remaining, signals.as_mut()).await
    });
    runtime.shutdown_timeout(launch::LAST_WAIT);
    let token = match token? {
        Ok(token) => token,
        Err(signal) => return Ok(end_by(signal)),
    };
    if args.json {
        render::json(&json!({
            "access_token": token.text,
            "token_type": "Bearer",
            "expires_in": token.remaining.map(|left| left.as_secs().max(0)),
        }))?;
        return Ok(exit::OK);
    }
    let text = match args.format {
        TokenFormat::Plain => format!("{}\n", token.text),
        TokenFormat::Header => format!("Authorization: Bearer {}\n", token.text),
        TokenFormat::Env => [Some(OUR_VARIABLE), provider_variable(settings.profile.kind)]
            .into_iter()
            .flatten()
            .map(|name| format!("{name}={}\n", shell_quoted(&token.text)))
            .collect(),
    };
    render::data(text.as_bytes())?;
    Ok(exit::OK)
}

/// A token from the source that the settings describe, which has ended when this returns; or the signal that ended the
/// run before.
pub(crate) async fn acquire(
    settings: &Settings,
    min_remaining: Option<Span>,
    mut signals: Option<&mut Signals>,
) -> Result<Result<Ready, Signal>, Failures> {
    let deadline = Instant::now() + settings.timing.timeout.to_duration();
    let source = match ending::unless_ended(&mut signals, launch::start(settings)).await {
        Ok(Ok(Started::Source(source))) => source,
        Ok(Ok(Started::ReadyToken(token))) => {
            return Ok(Ok(Ready { text: token.expose().to_owned(), remaining: None }));
        }
        Ok(Err(failure)) => return Err(failure.into()),
        Err(signal) => return Ok(Err(signal)),
    };
    let acquiring = async {
        let guard = launch::token(&source, settings, min_remaining).await?;
        Ok(Ready { text: guard.expose().to_owned(), remaining: guard.remaining() })
    };
    ending::keeping(source.clone(), &mut signals, deadline, acquiring).await
}

/// The text as one word of a POSIX shell. Tokens rarely need it: most are made of unreserved characters.
fn shell_quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~+/=:@%".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unusual_tokens_are_quoted() {
        assert_eq!(shell_quoted("eyJhbGciOi.J-_~+/=="), "eyJhbGciOi.J-_~+/==");
        assert_eq!(shell_quoted("a$b'c"), r"'a$b'\''c'");
    }
}
