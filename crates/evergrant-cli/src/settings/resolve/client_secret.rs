//! The secrets of a client, and where they are: in a variable, in a file, or in the keyring.
//!
//! What is in the keyring is not fetched here: a person may have to be asked for the keyring's password, and most commands
//! do not need the secret. `launch` fetches it for those that do.

use std::fmt;

use evergrant::SecretPlace;
use evergrant::settings::WhiteSpace;
use evergrant::store::{KeyringName, KeyringSecret};
use evergrant_core::Secret;

use super::Findings;
use crate::exit;
use crate::failure::Failure;
use crate::settings::catalog::Setting;
use crate::settings::layers::Layers;
use crate::settings::origin::Found;
use crate::settings::values::bad_value;

/// A secret's setting, and the one that says where else it is.
pub(crate) type Pair = (Setting, Setting);

/// The secret in use.
pub(crate) const CURRENT: Pair = (Setting::ClientSecret, Setting::ClientSecretIn);
/// The one that is about to take its place.
pub(crate) const NEXT: Pair = (Setting::ClientSecretNext, Setting::ClientSecretNextIn);

/// Where a secret is kept, if it can be read there again.
pub(super) fn place(layers: &Layers, pair: Pair, client_id: &str, findings: &mut Findings) -> Option<SecretPlace> {
    let (secret, elsewhere) = pair;
    let name = findings.keep(keyring_name(layers, pair)).flatten();
    if let (Some(one), Some(two)) = (layers.secret_origin(secret), layers.origin(elsewhere)) {
        findings.errors.push(
            Failure::new(exit::CONFIG, format!("the {} is set twice", secret.spec().words()))
                .at(format!("{one}, {two}"))
                .because("it is one secret, be it given or in the keyring")
                .hint("keep one of them, and unset the other"),
        );
    }
    let in_keyring = name.map(|name| SecretPlace::Keyring(KeyringSecret::new(name, client_id)));
    in_keyring.or_else(|| layers.secret_file(secret).map(SecretPlace::File))
}

/// The name in the keyring, if a setting says that the secret is there.
///
/// # Errors
/// When the setting names no place.
pub(crate) fn keyring_name(layers: &Layers, (_, elsewhere): Pair) -> Result<Option<KeyringName>, Failure> {
    let Some(found) = layers.plain(elsewhere) else { return Ok(None) };
    let text = found.value.trim();
    let name = match text.split_once(':') {
        None if text == "keyring" => Ok(KeyringName::default()),
        Some(("keyring", name)) => KeyringName::parse(name).map_err(|cause| format!("`keyring:` {cause}")),
        _ => Err(format!("`{text}` is no place for a secret")),
    };
    let refuse = |cause| bad_value(elsewhere, &found.origin, cause).hint("write keyring or keyring:NAME");
    name.map(Some).map_err(refuse)
}

/// White space that came along when a secret was copied. The secret is sent as it is or not at all: never trimmed.
pub(crate) fn check_white_space(key: Setting, secret: &Secret, origin: &dyn fmt::Display, findings: &mut Findings) {
    let Some(WhiteSpace { place, may_be_meant }) = WhiteSpace::of(secret.expose()) else { return };
    let failure = Failure::new(exit::CONFIG, format!("the {} {place} white space", key.spec().words()))
        .at(origin)
        .because("it probably came along when the secret was copied")
        .hint("store it again without spaces and line breaks, as with `printf %s SECRET > FILE`");
    if may_be_meant { findings.warn(failure) } else { findings.errors.push(failure) }
}

/// Two secrets of one client, of which one is on its way in.
pub(super) fn check_change_over(
    has_current: bool,
    current: Option<&Found<Secret>>,
    next: Option<&Found<Secret>>,
    layers: &Layers,
    findings: &mut Findings,
) {
    let origin = next.map(|next| next.origin.clone()).or_else(|| layers.origin(NEXT.1));
    let Some(origin) = origin else { return };
    let slip = |what: &str| Failure::new(exit::CONFIG, what).at(&origin);
    if !has_current {
        findings.errors.push(
            slip("there is a next client secret, and none that it follows")
                .hint("set it as the client secret itself: EVERGRANT_CLIENT_SECRET, or its file"),
        );
    } else if let (Some(current), Some(next)) = (current, next)
        && current.value == next.value
    {
        findings.warn(
            slip("the next client secret is the same as the one in use")
                .because(format!("{} holds it too", current.origin))
                .hint("if the change is over, take the next one out of the settings"),
        );
    }
}
