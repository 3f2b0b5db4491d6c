//! Anything behind a request with a token.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "shared/captures.rs"]
mod captures;

fuzz_target!(|rest: &[u8]| {
    let request =
        format!("GET /a HTTP/1.1\r\nHost: api.mypurecloud.de\r\nAuthorization: Bearer {}\r\n", captures::TOKEN);
    captures::check(&request, rest);
});
