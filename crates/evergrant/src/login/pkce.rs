//! Proof key for code exchange: a secret that never leaves this process until the code is redeemed.
//!
//! Source: RFC 7636 sections 4.1 and 4.2, method S256.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use evergrant_core::Secret;
use sha2::{Digest as _, Sha256};

/// A text of 43 characters that nobody can guess: 256 bits.
pub(super) fn random_text() -> Secret {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).expect("the operating system provides random bytes");
    Secret::new(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is shown of the verifier when the login begins.
pub(super) fn challenge(verifier: &Secret) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        let verifier = Secret::from("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(challenge(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "RFC 7636 appendix B");
    }

    #[test]
    fn a_random_text_is_long_enough_and_never_the_same() {
        let (one, other) = (random_text(), random_text());
        assert_eq!(one.expose().len(), 43);
        assert_ne!(one, other);
    }
}
