//! Any text is a region or an error that can be shown.
#![no_main]

use evergrant_core::profile::Region;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| match Region::parse(text) {
    Ok(region) => {
        let lower = text.to_ascii_lowercase();
        assert!(lower.contains(region.domain()) || lower.replace('_', "-").contains(region.aws_name()));
    }
    Err(unknown) => {
        let words = unknown.to_string();
        assert!(!words.chars().any(char::is_control) && words.chars().count() < 300);
    }
});
