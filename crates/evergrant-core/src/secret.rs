//! Text that must never be shown: access tokens, refresh tokens, client secrets.
//!
//! A secret prints `[redacted]` in `Debug` and `Display`, does not implement `Serialize`, and is wiped when dropped.
//! The one way to its text is [`Secret::expose`], so that a reviewer can search for every place that uses one.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// A piece of secret text.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes ownership of secret text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// The text itself, for the wire and the store only.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Has the secret no characters?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.to_owned())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let (left, right) = (self.expose().as_bytes(), other.expose().as_bytes());
        // Every byte is looked at, so that the time taken does not tell where two secrets differ.
        left.len() == right.len() && left.iter().zip(right).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_its_text() {
        let secret = Secret::from("s3cr3t");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "[redacted] [redacted] Some([redacted])");
    }

    #[test]
    fn the_text_of_a_secret_is_wiped_when_it_is_dropped() {
        // What the compiler can see: the one field of a secret wipes itself.
        fn wipes_itself<T: secrecy::zeroize::ZeroizeOnDrop>(_: &T) {}
        let Secret(text) = Secret::from("s3cr3t");
        wipes_itself(&text);
    }

    #[test]
    fn secrets_compare_by_text() {
        assert_eq!(Secret::from("a"), Secret::from("a"));
        assert_ne!(Secret::from("a"), Secret::from("b"));
        assert_ne!(Secret::from("a"), Secret::from("ab"));
    }
}
