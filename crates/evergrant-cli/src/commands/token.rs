//! `evergrant token`: one token on standard output.

use evergrant::TokenSource;
use evergrant::core::profile::ProfileKind;
use evergrant::core::time::Span;
use serde_json::json;

use crate::args::{TokenArgs, TokenFormat};
use crate::commands::exec::Signals;
use crate::exit;
use crate::failure::{Failure, Failures};
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
        let mut signals = signals(&settings)?;
        acquire(&settings, args.min_remaining, signals.as_mut()).await
    });
    runtime.shutdown_timeout(launch::LAST_WAIT);
    let token = match token? {
        Ok(token) => token,
        Err(code) => return Ok(code),
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

/// The signals of a command whose end may have to wait. Where nothing is spent a signal ends this process by itself,
/// which a shell that runs a script tells apart from an exit code.
pub(crate) fn signals(settings: &Settings) -> Result<Option<Signals>, Failure> {
    settings.spends_refresh_tokens().then(Signals::catch).transpose()
}

/// A token from the source that the settings describe, which has ended when this returns; or the exit code of a run that
/// a signal ended before.
pub(crate) async fn acquire(
    settings: &Settings,
    min_remaining: Option<Span>,
    mut signals: Option<&mut Signals>,
) -> Result<Result<Ready, u8>, Failures> {
    let source = match unless_ended(&mut signals, launch::start(settings)).await {
        Ok(Ok(Started::Source(source))) => source,
        Ok(Ok(Started::ReadyToken(token))) => {
            return Ok(Ok(Ready { text: token.expose().to_owned(), remaining: None }));
        }
        Ok(Err(failure)) => return Err(failure.into()),
        Err(code) => return Ok(Err(code)),
    };
    let acquiring = async {
        let guard = launch::token(&source, settings, min_remaining).await?;
        Ok(Ready { text: guard.expose().to_owned(), remaining: guard.remaining() })
    };
    keeping(&source, &mut signals, acquiring).await
}

/// What work with a source gives, which has ended then; or the exit code of a run that a signal ended before.
///
/// A refresh token on its way is waited for, whatever ends the run: the provider may have replaced it already, and its
/// successor is in the answer. Only a second signal ends that wait; then the store tells the next run what is in doubt.
pub(crate) async fn keeping<T>(
    source: &TokenSource,
    signals: &mut Option<&mut Signals>,
    work: impl Future<Output = Result<T, Failures>>,
) -> Result<Result<T, u8>, Failures> {
    let working = async {
        let done = work.await;
        if done.is_ok() {
            source.clone().shutdown().await;
        }
        done
    };
    let outcome = unless_ended(signals, working).await;
    if !matches!(outcome, Ok(Ok(_))) {
        // The exit code is that of the first signal.
        let _ = unless_ended(signals, end(source.clone())).await;
    }
    match outcome {
        Ok(done) => Ok(Ok(done?)),
        Err(code) => Ok(Err(code)),
    }
}

/// What the work gives, or the exit code of a run that a signal ended before, if signals are caught.
pub(crate) async fn unless_ended<T>(
    signals: &mut Option<&mut Signals>,
    work: impl Future<Output = T>,
) -> Result<T, u8> {
    match signals {
        Some(signals) => signals.unless_ended(work).await,
        None => Ok(work.await),
    }
}

/// Ends a source of which nothing more is wanted, and says so if that takes long.
async fn end(source: TokenSource) {
    let mut ending = std::pin::pin!(source.shutdown_in_haste());
    if tokio::time::timeout(launch::SPINNER_AFTER, &mut ending).await.is_err() {
        Failure::new(exit::OK, "waiting for the answer to a refresh token")
            .because("the provider may have replaced it already, and only the answer has the next one")
            .hint("another signal ends the wait; the next run then tries what is left of the grant")
            .print_warning();
        ending.await;
    }
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
