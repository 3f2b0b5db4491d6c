//! Where a client secret is kept, if not in the settings themselves: a file, or an item of the desktop's keyring.
//!
//! A place is read at the start and again for each token request, so that a secret that was changed there is used without
//! anybody being told. At the start a place without a secret is an error. Later it changes nothing: a file may be just
//! being written, a keyring may be locked. What gives its text only once (a pipe, a terminal) is not read again.
//!
//! Limits: a secret is text of at most 64 KiB; one line break at its end does not belong to it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use evergrant_core::Secret;

use crate::settings;
use crate::store::KeyringSecret;

/// Where the secrets of a client are kept.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct SecretPlaces {
    /// The place of the secret in use.
    pub current: Option<SecretPlace>,
    /// The place of the next one.
    pub next: Option<SecretPlace>,
}

/// Where one secret is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretPlace {
    /// A file that holds it and nothing else.
    File(PathBuf),
    /// An item of the keyring.
    Keyring(KeyringSecret),
}

impl SecretPlace {
    /// The item, if it is one of the keyring.
    #[must_use]
    pub const fn keyring(&self) -> Option<&KeyringSecret> {
        match self {
            Self::Keyring(secret) => Some(secret),
            Self::File(_) => None,
        }
    }

    /// What it holds now, if it holds a secret. Blocks, and asks nobody.
    pub(crate) fn read_again(&self) -> Option<Secret> {
        match self {
            Self::File(path) => read(path),
            Self::Keyring(secret) => secret.fetch_unasked().ok().flatten(),
        }
    }
}

/// The secret in a file. Opening a pipe would wait for somebody to write into it.
fn read(path: &Path) -> Option<Secret> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).ok().filter(|length| *length as u64 <= LONGEST)?;
    secret_of(bytes)
}

/// The secret that a place holds, without one line break at its end.
pub(crate) fn secret_of(bytes: Vec<u8>) -> Option<Secret> {
    let text = Secret::new(String::from_utf8(bytes).ok()?);
    let secret = settings::without_line_break(text.expose());
    (!secret.is_empty()).then(|| Secret::from(secret))
}

/// More than any secret.
const LONGEST: u64 = 64 << 10;
