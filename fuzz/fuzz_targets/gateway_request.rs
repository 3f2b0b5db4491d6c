//! Any bytes that a caller sends to a gateway: what must hold is said at `check_caller`.
//!
//! The byte 0x1f is a pause between two writes, the word `HANDLE` a handle of the gateway that the bytes go to.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "each target uses one half of it")]
#[path = "../../crates/evergrant-gateway/tests/it/strict.rs"]
mod strict;
#[allow(dead_code, reason = "each target uses one half of it")]
#[path = "../../crates/evergrant-gateway/tests/it/witness.rs"]
mod witness;

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(witness::check_caller(bytes), Ok(()));
});
