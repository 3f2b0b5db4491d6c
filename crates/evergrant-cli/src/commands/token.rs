//! `evergrant token`: one token on standard output.

use evergrant::core::profile::ProfileKind;
use evergrant::core::time::Span;
use serde_json::json;

use crate::args::{TokenArgs, TokenFormat};
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
    let token = launch::small_runtime()?.block_on(acquire(&settings, args.min_remaining))?;
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

/// A token from the source that the settings describe, which has ended when this returns.
pub(crate) async fn acquire(settings: &Settings, min_remaining: Option<Span>) -> Result<Ready, Failures> {
    Ok(match launch::start(settings).await? {
        Started::Source(source) => {
            let guard = launch::token(&source, settings, min_remaining).await?;
            let token = Ready { text: guard.expose().to_owned(), remaining: guard.remaining() };
            drop(guard);
            source.shutdown().await;
            token
        }
        Started::ReadyToken(token) => Ready { text: token.expose().to_owned(), remaining: None },
    })
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
