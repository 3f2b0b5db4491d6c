//! Any document gives endpoints that are at least as safe as the issuer, or an error.
#![no_main]

use evergrant_core::profile::{discovery_url, parse_discovery};
use libfuzzer_sys::fuzz_target;

const ISSUER: &str = "https://idp.example";

fuzz_target!(|input: (&str, &[u8])| {
    let (issuer, body) = input;
    let _ = discovery_url(issuer);
    let _ = parse_discovery(issuer, body);
    // The issuer check would stop nearly every document, so most of the work goes behind it.
    let members = String::from_utf8_lossy(body);
    let document = format!(r#"{{"issuer":"{ISSUER}",{members}"#);
    if let Ok(discovery) = parse_discovery(ISSUER, document.as_bytes()) {
        assert_eq!(discovery.issuer, ISSUER);
        let optional = [discovery.authorization_endpoint, discovery.jwks_uri];
        for url in optional.into_iter().flatten().chain([discovery.token_endpoint]) {
            assert!(
                url.to_ascii_lowercase().starts_with("https://") && url.bytes().all(|byte| byte.is_ascii_graphic())
            );
        }
    }
});
