//! Signed statements that stand in for a password.
//!
//! A client may prove who it is with a JWT signed by its own key (`private_key_jwt`), and a signed statement about a
//! subject may be spent for an access token (the JWT bearer and SAML 2.0 bearer grants). Two kinds of statements exist:
//!
//! - **Signed here**, anew for each request, with an `iat`, an `exp` and a `jti` of its own. These dates are judged by
//!   the clock of the authorization server and by nothing else, so they are written in that server's time: the interval
//!   that its answers have shown, with `iat` at its early end and `exp` a little after its late end. A machine whose
//!   calendar clock is wrong by an hour signs statements that are accepted.
//! - **Made elsewhere**: a SAML assertion, or a token that a platform writes into a file and replaces in time. It is read
//!   for each request and sent as it is. Its dates are not ours to change.
//!
//! Limits: an assertion is sent to one token endpoint, and names it as its audience unless another one is configured.
//!
//! Source: RFC 7521; RFC 7522 section 2 (SAML); RFC 7523 sections 2 and 3 (JWT).

mod ask;
mod signer;
mod time;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use evergrant_core::Secret;

pub(crate) use ask::{ask, time as time_for};
pub use signer::{Claims, SignError, Signer};
pub(crate) use time::Occasion;
pub use time::ServerTime;

/// A signed statement, or where to get one.
#[derive(Clone, Debug)]
pub enum Assertion {
    /// Signed here, anew for each request.
    Signed(Arc<Signer>, Claims),
    /// Made elsewhere; the file is read for each request.
    File(PathBuf),
    /// Made elsewhere, and given as text.
    Text(Secret),
}

impl Assertion {
    /// Is it signed here, so that its dates can be written anew?
    #[must_use]
    pub const fn is_signed_here(&self) -> bool {
        match self {
            Self::Signed(..) => true,
            Self::File(_) | Self::Text(_) => false,
        }
    }

    /// The text for one request.
    pub(crate) fn write(&self, occasion: &Occasion<'_>) -> Result<Secret, AssertionError> {
        match self {
            Self::Signed(signer, claims) => Ok(signer.sign(claims, occasion)?),
            Self::File(path) => read(path).map(encoded),
            Self::Text(text) if text.expose().trim().is_empty() => {
                Err(AssertionError::Empty("the assertion".to_owned()))
            }
            Self::Text(text) => Ok(encoded(text.clone())),
        }
    }
}

/// Why there is no assertion to send.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AssertionError {
    /// The key does not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The file cannot be read.
    #[error("the assertion file {}: {cause}", path.display())]
    File {
        /// The file as configured.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// There is nothing in it.
    #[error("{0} is empty")]
    Empty(String),
}

fn read(path: &Path) -> Result<Secret, AssertionError> {
    let failed = |cause: String| AssertionError::File { path: path.to_owned(), cause };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
    if text.len() as u64 > LONGEST {
        return Err(failed(format!("it is longer than {} KiB", LONGEST >> 10)));
    }
    let text = Secret::new(text);
    if text.expose().trim().is_empty() {
        return Err(AssertionError::Empty(format!("the assertion file {}", path.display())));
    }
    Ok(text)
}

/// As it is sent: a SAML document goes as base64url (RFC 7522 section 2.1), everything else as it is.
fn encoded(text: Secret) -> Secret {
    let trimmed = text.expose().trim();
    if trimmed.starts_with('<') { Secret::new(URL_SAFE.encode(trimmed)) } else { Secret::from(trimmed) }
}

/// More than any assertion.
const LONGEST: u64 = 256 << 10;

#[cfg(test)]
mod tests;
