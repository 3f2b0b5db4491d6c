//! Sealing of records in a file: XChaCha20-Poly1305 with a random nonce for every write.
//!
//! The key is 32 bytes from outside. The associated data ties a sealed record to its credential, its generation and
//! its revision, so that a record moved to another place or relabelled in the file does not open. A short hash of the
//! key is stored beside, because a wrong key and a damaged record look the same to the cipher and need different
//! words.
//!
//! Source: RFC 8439; draft-irtf-cfrg-xchacha section 2 for the longer nonce, which makes random nonces safe.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use evergrant_core::Secret;
use sha2::{Digest, Sha256};

/// The key of a sealed store.
#[derive(Clone)]
pub struct SealKey {
    cipher: XChaCha20Poly1305,
    id: String,
}

impl SealKey {
    /// Reads a key of 32 bytes in base64, in any of its usual spellings.
    ///
    /// # Errors
    /// When the text is not base64 or not 32 bytes.
    pub fn from_base64(text: &Secret) -> Result<Self, SealKeyError> {
        let text = text.expose().trim();
        let mut bytes = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
            .iter()
            .find_map(|engine| engine.decode(text).ok())
            .ok_or(SealKeyError::NotBase64)?;
        let key = <&[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| SealKeyError::Length(bytes.len()));
        let key = key.map(Self::of);
        bytes.fill(0);
        key
    }

    /// The key of these bytes, which the caller wipes.
    pub(super) fn of(bytes: &[u8; KEY_BYTES]) -> Self {
        let hash = Sha256::new().chain_update(b"evergrant store key").chain_update(bytes).finalize();
        let id = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { cipher: XChaCha20Poly1305::new(bytes.into()), id }
    }

    /// Tells keys apart without telling the key.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn seal(&self, text: &[u8], context: &[u8]) -> Sealed {
        let mut nonce = [0_u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the operating system provides random bytes");
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: text, aad: context })
            .expect("a record is far below the cipher's limit");
        Sealed { nonce: STANDARD.encode(nonce), text: STANDARD.encode(sealed) }
    }

    /// The text again; `None` if it was changed, moved, or sealed with another key.
    pub(super) fn open(&self, sealed: &Sealed, context: &[u8]) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = STANDARD.decode(&sealed.nonce).ok()?.try_into().ok()?;
        let text = STANDARD.decode(&sealed.text).ok()?;
        self.cipher.decrypt(&XNonce::from(nonce), Payload { msg: &text, aad: context }).ok()
    }
}

impl PartialEq for SealKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for SealKey {}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({})", self.id)
    }
}

/// A sealed text and its nonce, both in base64.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub(super) nonce: String,
    pub(super) text: String,
}

/// Why a text is no key for a sealed store.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealKeyError {
    /// Not base64 in any spelling.
    #[error("the store key is not base64: expected 32 bytes in base64")]
    NotBase64,
    /// Base64 of another length.
    #[error("the store key has {0} bytes: expected 32 bytes in base64")]
    Length(usize),
}

/// As long as a key is.
pub(super) const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealKey {
        SealKey::from_base64(&Secret::new(STANDARD.encode([byte; 32]))).unwrap()
    }

    #[test]
    fn a_sealed_text_opens_with_its_key_and_context_only() {
        let sealed = key(1).seal(b"text", b"context");
        assert_eq!(key(1).open(&sealed, b"context"), Some(b"text".to_vec()));
        assert_eq!(key(1).open(&sealed, b"other"), None);
        assert_eq!(key(2).open(&sealed, b"context"), None);
        let mut changed = sealed.clone();
        changed.text.replace_range(0..1, if changed.text.starts_with('A') { "B" } else { "A" });
        assert_eq!(key(1).open(&changed, b"context"), None);
        assert_ne!(key(1).seal(b"text", b"context").text, sealed.text, "every write has its own nonce");
    }

    #[test]
    fn every_spelling_of_base64_is_the_same_key() {
        let bytes = [0xfb_u8; 32];
        for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
            let key = SealKey::from_base64(&Secret::new(format!("{}\n", engine.encode(bytes)))).unwrap();
            assert_eq!(key.id(), self::key(0xfb).id());
        }
        assert_ne!(key(1).id(), key(2).id());
    }

    #[test]
    fn what_is_not_a_key_is_refused_without_repeating_it() {
        assert_eq!(SealKey::from_base64(&Secret::from("c2hvcnQ=")).unwrap_err(), SealKeyError::Length(5));
        assert_eq!(SealKey::from_base64(&Secret::from("my passphrase")).unwrap_err(), SealKeyError::NotBase64);
        assert!(!format!("{:?}", key(7)).contains("BwcH"));
    }
}
