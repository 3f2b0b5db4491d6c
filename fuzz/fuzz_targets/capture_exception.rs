//! Anything behind the beginning of an exception, with an object of the request.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "shared/captures.rs"]
mod captures;

fuzz_target!(|rest: &[u8]| {
    let text = format!(
        "AxiosError: Request failed with status code 401\n {{ config: {{ headers: {{ Authorization: 'Bearer {}' }} }},",
        captures::TOKEN
    );
    captures::check(&text, rest);
});
