//! Any text is a JWT or opaque; only three non-empty leading parts can be a JWT.
#![no_main]

use evergrant_core::wire::read_claims;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|token: &str| {
    if let Some(claims) = read_claims(token) {
        assert_eq!(token.split('.').count(), 3);
        assert!(claims.aud.len() <= 32);
        for date in [claims.iat, claims.nbf, claims.exp].into_iter().flatten() {
            assert!(date.as_nanos() >= 0);
        }
    }
});
