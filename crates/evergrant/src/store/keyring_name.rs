//! Which part of the keyring is meant: `keyring`, or `keyring:NAME`.

use std::fmt;
use std::path::PathBuf;

#[cfg(feature = "keyring")]
use super::{KeyringFault, StoreError};

/// A name that keeps the credentials of one purpose apart from those of another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyringName(String);

impl KeyringName {
    /// Reads what stands after `keyring:`.
    ///
    /// # Errors
    /// When it is not a plain word.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if text.is_empty() || text.len() > LONGEST || !text.chars().all(is_plain) {
            return Err("needs a name of at most 64 letters, digits, `-` and `_`");
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where files lie that belong to this store and hold no secret, such as its locks: in the user's state folder.
    #[must_use]
    pub fn place(&self) -> Option<PathBuf> {
        state_folder().map(|folder| folder.join(format!("keyring-{}", self.0)))
    }

    /// The same, for those who cannot do without.
    #[cfg(feature = "keyring")]
    pub(super) fn required_place(&self) -> Result<PathBuf, StoreError> {
        self.place().ok_or(StoreError::Keyring { fault: KeyringFault::NoPlace })
    }
}

impl Default for KeyringName {
    fn default() -> Self {
        Self(DEFAULT.to_owned())
    }
}

impl fmt::Display for KeyringName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == DEFAULT { f.write_str("keyring") } else { write!(f, "keyring:{}", self.0) }
    }
}

/// `evergrant` in the user's state folder (XDG Base Directory Specification).
fn state_folder() -> Option<PathBuf> {
    let named = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = named.or_else(|| std::env::home_dir().map(|home| home.join(".local/state")));
    folder.filter(|folder| folder.is_absolute()).map(|folder| folder.join("evergrant"))
}

const DEFAULT: &str = "default";
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_plain_word() {
        assert_eq!(KeyringName::default().to_string(), "keyring");
        assert_eq!(KeyringName::parse("default").unwrap(), KeyringName::default());
        assert_eq!(KeyringName::parse("nightly-2").unwrap().to_string(), "keyring:nightly-2");
        for text in ["", "a/b", "..", "a b", "é", &"x".repeat(65)] {
            assert!(KeyringName::parse(text).is_err(), "{text}");
        }
    }
}
