//! Any bytes that an upstream answers with: what must hold is said at `check_upstream`.
//!
//! The first byte chooses the method of the request that is answered.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "each target uses one half of it")]
#[path = "../../crates/evergrant-gateway/tests/it/strict.rs"]
mod strict;
#[allow(dead_code, reason = "each target uses one half of it")]
#[path = "../../crates/evergrant-gateway/tests/it/witness.rs"]
mod witness;

fuzz_target!(|bytes: &[u8]| {
    let Some((method, answer)) = bytes.split_first() else { return };
    let method = ["GET", "HEAD", "POST"][usize::from(*method) % 3];
    assert_eq!(witness::check_upstream(method, answer), Ok(()));
});
