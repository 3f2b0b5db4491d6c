//! A key from a passphrase: Argon2id, with its cost and salt in the head of the store file.
//!
//! A passphrase has little entropy, so each guess must cost memory and time. The head says how much, so that a later
//! version may ask for more without locking anybody out. It is not secret; whoever changes it changes the key, and the
//! file does not open. A head that asks for absurdly much is refused before any of it is spent.
//!
//! Deriving takes about a tenth of a second and 64 MiB. It is done once a process, not once an opening.
//!
//! Source: RFC 9106 section 4, the second recommended choice; at most the first one is accepted.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evergrant_core::Secret;
use serde::{Deserialize, Serialize};

use super::SealKey;
use super::seal::KEY_BYTES;

/// What a guess costs, and the salt that makes every file a case of its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Derivation {
    algorithm: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
}

/// A passphrase and the key that it last became.
pub(super) struct Passphrase {
    text: Secret,
    last: Mutex<Option<(Derivation, SealKey)>>,
}

impl Derivation {
    /// For a new file.
    pub(super) fn fresh() -> Self {
        let mut salt = [0_u8; SALT_BYTES];
        getrandom::fill(&mut salt).expect("the operating system provides random bytes");
        Self {
            algorithm: ALGORITHM.to_owned(),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: STANDARD.encode(salt),
        }
    }

    fn key(&self, passphrase: &Secret) -> Result<SealKey, String> {
        if self.algorithm != ALGORITHM {
            return Err("its key is made from the passphrase in a way that this program does not know".to_owned());
        }
        if self.memory_kib > MOST_MEMORY_KIB || self.passes > MOST_PASSES || self.lanes > MOST_LANES {
            return Err(format!(
                "it asks for {} KiB of memory and {} passes to make its key, more than {MOST_MEMORY_KIB} and {MOST_PASSES}",
                self.memory_kib, self.passes
            ));
        }
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY_BYTES));
        let params = params.map_err(|error| format!("its key cannot be made: {error}"))?;
        let salt = STANDARD.decode(&self.salt).map_err(|_| "its salt is not base64".to_owned())?;
        let mut bytes = [0_u8; KEY_BYTES];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let derived = argon2.hash_password_into(passphrase.expose().as_bytes(), &salt, &mut bytes);
        let key = derived.map(|()| SealKey::of(&bytes)).map_err(|error| format!("its key cannot be made: {error}"));
        bytes.fill(0);
        key
    }
}

impl Passphrase {
    pub(super) fn new(text: Secret) -> Self {
        Self { text, last: Mutex::new(None) }
    }

    /// The key that the passphrase becomes with this head, or what is wrong with the head.
    pub(super) fn key(&self, derivation: &Derivation) -> Result<SealKey, String> {
        // Held while deriving, so that callers at the same time wait for one derivation instead of starting many.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, key)) = last.as_ref().filter(|(known, _)| known == derivation) {
            return Ok(key.clone());
        }
        let key = derivation.key(&self.text)?;
        *last = Some((derivation.clone(), key.clone()));
        Ok(key)
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase([redacted])")
    }
}

const ALGORITHM: &str = "argon2id";
const SALT_BYTES: usize = 16;
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;
const MOST_MEMORY_KIB: u32 = 2 * 1024 * 1024;
const MOST_PASSES: u32 = 64;
const MOST_LANES: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap() -> Derivation {
        Derivation {
            memory_kib: 64,
            passes: 1,
            lanes: 1,
            salt: STANDARD.encode([7; SALT_BYTES]),
            ..Derivation::fresh()
        }
    }

    fn key(derivation: &Derivation, text: &str) -> SealKey {
        derivation.key(&Secret::from(text)).unwrap()
    }

    #[test]
    fn a_passphrase_and_its_salt_and_cost_make_the_key() {
        let base = key(&cheap(), "correct horse");
        assert_eq!(base, key(&cheap(), "correct horse"));
        assert_ne!(base, key(&cheap(), "correct horse "));
        let salted = Derivation { salt: STANDARD.encode([8; SALT_BYTES]), ..cheap() };
        for other in [salted, Derivation { passes: 2, ..cheap() }, Derivation { memory_kib: 128, ..cheap() }] {
            assert_ne!(base, key(&other, "correct horse"));
        }
        assert_ne!(Derivation::fresh().salt, Derivation::fresh().salt);
    }

    #[test]
    fn a_new_file_costs_what_rfc_9106_recommends() {
        let fresh = Derivation::fresh();
        assert_eq!((fresh.memory_kib, fresh.passes, fresh.lanes), (65_536, 3, 4));
    }

    #[test]
    fn a_head_that_asks_for_too_much_or_nothing_is_refused_and_not_tried() {
        for bad in [
            Derivation { memory_kib: u32::MAX, ..cheap() },
            Derivation { passes: u32::MAX, ..cheap() },
            Derivation { passes: 0, ..cheap() },
            Derivation { lanes: u32::MAX, ..cheap() },
            Derivation { salt: "?".to_owned(), ..cheap() },
            Derivation { salt: String::new(), ..cheap() },
            Derivation { algorithm: "md5".to_owned(), ..cheap() },
        ] {
            assert!(bad.key(&Secret::from("x")).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_passphrase_prints_nothing() {
        let passphrase = Passphrase::new(Secret::from("correct horse"));
        passphrase.key(&cheap()).unwrap();
        assert!(!format!("{passphrase:?}").contains("horse"));
    }
}
