//! Any bytes in `WWW-Authenticate` give a bounded list of challenges.
#![no_main]

use evergrant_core::wire::{bearer_error, parse_challenges};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let challenges = parse_challenges(input.split(|byte| *byte == b'\n'));
    assert!(challenges.len() <= 16);
    for challenge in &challenges {
        assert!(!challenge.scheme.is_empty() && challenge.params.len() <= 32);
        assert!(challenge.token68.is_none() || challenge.params.len() <= 32);
        assert!(challenge.params.keys().all(|name| name.bytes().all(|byte| !byte.is_ascii_uppercase())));
    }
    let _ = bearer_error(&challenges);
});
