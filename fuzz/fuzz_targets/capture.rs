//! Any bytes are read as a capture, or refused as none.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "shared/captures.rs"]
mod captures;

fuzz_target!(|rest: &[u8]| {
    captures::check("", rest);
});
