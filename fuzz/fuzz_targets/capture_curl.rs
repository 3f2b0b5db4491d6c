//! Anything behind the beginning of a log of curl.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "shared/captures.rs"]
mod captures;

fuzz_target!(|rest: &[u8]| {
    let request =
        format!("> GET /a HTTP/1.1\n> Host: api.mypurecloud.de\n> Authorization: Bearer {}\n", captures::TOKEN);
    captures::check(&request, rest);
});
