//! `evergrant secret`: a client secret in the keyring of the desktop, put there or taken out.
//!
//! Whose secret it is and where it belongs is said by the settings, as for the commands that use it: the client id, and
//! `client_secret_in` or `client_secret_next_in`. Without these it is `keyring`, and `keyring:next` for the next one.
//! The secret is asked for without being shown, or read from standard input; a command line would tell it to every user.

use std::io::{IsTerminal as _, stdin};

use evergrant::store::{KeyringName, KeyringSecret};
use evergrant_core::Secret;
use serde_json::json;

use crate::args::SecretCommand;
use crate::exit;
use crate::failure::{Failure, Failures};
use crate::launch;
use crate::render;
use crate::settings::catalog::Setting;
use crate::settings::layers::{Layers, read_secret};
use crate::settings::origin::{Found, Origin};
use crate::settings::resolve::Findings;
use crate::settings::resolve::client_secret::{self, CURRENT, NEXT, Pair};

/// Runs a subcommand.
pub(crate) fn run(command: &SecretCommand, layers: &Layers) -> Result<u8, Failures> {
    let args = command.args();
    let pair = if args.next { NEXT } else { CURRENT };
    let item = item(layers, pair)?;
    let (done, words) = match command {
        SecretCommand::Set(_) => {
            let secret = asked(pair)?;
            check(pair, &secret, &item)?;
            item.put(&secret).map_err(|fault| launch::keyring_secret_failure(&item, &fault))?;
            ("set", set_words(&item, pair, layers))
        }
        SecretCommand::Forget(_) => {
            let was_there = item.forget().map_err(|fault| launch::keyring_secret_failure(&item, &fault))?;
            if !was_there {
                return Err(nothing(&item).into());
            }
            ("forgotten", "Forgotten. A process that runs keeps what it has read.".to_owned())
        }
    };
    if args.json {
        render::json(&json!({ done: { "client_id": item.client_id(), "place": item.name().to_string() } }))?;
    } else {
        anstream::eprintln!("{words}");
    }
    Ok(exit::OK)
}

fn item(layers: &Layers, pair: Pair) -> Result<KeyringSecret, Failure> {
    let client_id = layers.plain(Setting::ClientId).map(|found| found.value.trim().to_owned());
    let client_id = client_id.filter(|id| !id.is_empty()).ok_or_else(|| {
        Failure::new(exit::CONFIG, "there is no client id")
            .because("nothing says which OAuth client the secret is of")
            .hint("set --client-id or EVERGRANT_CLIENT_ID")
    })?;
    let name = client_secret::keyring_name(layers, pair)?;
    Ok(KeyringSecret::new(name.unwrap_or_else(|| default_name(pair)), client_id))
}

fn default_name(pair: Pair) -> KeyringName {
    if pair == NEXT { KeyringName::parse("next").unwrap_or_default() } else { KeyringName::default() }
}

/// The secret, from a person or from standard input.
fn asked(pair: Pair) -> Result<Secret, Failure> {
    if !stdin().is_terminal() {
        return Ok(read_secret(&Found { value: "-".to_owned(), origin: Origin::Default })?.value);
    }
    let words = pair.0.spec().words();
    match rpassword::prompt_password(format!("{words} (not shown): ")) {
        Ok(typed) if !typed.is_empty() => Ok(Secret::new(typed)),
        Ok(_) => Err(not_given(&words, &"nothing was typed")),
        Err(error) => Err(not_given(&words, &error)),
    }
}

fn not_given(words: &str, cause: &dyn std::fmt::Display) -> Failure {
    Failure::new(exit::USAGE, format!("there is no {words} to keep"))
        .because(cause)
        .hint("type it when asked, or give it on standard input: `evergrant secret set < FILE`")
}

/// The slips of copying that a secret in a file is checked for.
fn check(pair: Pair, secret: &Secret, item: &KeyringSecret) -> Result<(), Failures> {
    let mut findings = Findings::default();
    client_secret::check_white_space(
        pair.0,
        secret,
        &format!("the secret of client {}", item.client_id()),
        &mut findings,
    );
    for warning in &findings.warnings {
        warning.print_warning();
    }
    if findings.errors.is_empty() { Ok(()) } else { Err(Failures(findings.errors)) }
}

fn set_words(item: &KeyringSecret, pair: Pair, layers: &Layers) -> String {
    let kept = format!("The {} of client {} is in the keyring.", pair.0.spec().words(), item.client_id());
    if layers.origin(pair.1).is_some() {
        return format!("{kept} Programs that run with it use it from their next token request on.");
    }
    format!("{kept}\nhint: set {}={} for everything that is to use it", pair.1.spec().env(), item.name())
}

fn nothing(item: &KeyringSecret) -> Failure {
    Failure::new(exit::FAILED, "the keyring holds no such secret")
        .at(item.name())
        .because(format!("there is none of client {}", item.client_id()))
        .hint("check the client id, and the name in `keyring:NAME`")
}
