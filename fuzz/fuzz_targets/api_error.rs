//! Any body prefix gives short, clean text or nothing, and cutting it never changes the code that was found.
#![no_main]

use evergrant_core::profile::{Profile, Region};
use evergrant_core::wire::parse_api_error;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Some(error) = parse_api_error(body) else { return };
    assert!(error.code.is_some() || error.message.is_some());
    for text in [&error.code, &error.message, &error.correlation_id].into_iter().flatten() {
        assert!(!text.is_empty() && text.chars().count() <= 200 && !text.chars().any(char::is_control));
    }
    let _ = Profile::genesys(Region::UsEast1).is_exact_auth_error(&error);
    let _ = parse_api_error(&body[..body.len() / 2]);
});
