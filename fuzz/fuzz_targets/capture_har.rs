//! Anything behind the beginning of an entry of a HAR.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "shared/captures.rs"]
mod captures;

fuzz_target!(|rest: &[u8]| {
    let entry = format!(
        r#"{{"log":{{"entries":[{{"request":{{"method":"GET","headers":[{{"name":"Authorization","value":"Bearer {}"}}]"#,
        captures::TOKEN
    );
    captures::check(&entry, rest);
});
