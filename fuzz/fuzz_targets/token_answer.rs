//! Any body and status gives a token that a header can carry, or a failure whose text is short and clean.
#![no_main]

use evergrant_core::wire::{TokenFailureKind, parse_token_answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (status, body) = input;
    // Most numbers are no status; fold them into those that matter.
    let status = 200 + status % 400;
    match parse_token_answer(status, body) {
        Ok(answer) => {
            let token = answer.access_token.expose();
            assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
            assert_ne!(answer.expires_in.is_some(), answer.expires_in_note.is_some());
            assert!((200..300).contains(&status));
        }
        Err(failure) => {
            let text = failure.to_string();
            assert!(!text.chars().any(char::is_control) && text.chars().count() < 500);
            assert!(!failure.kind.is_permanent() || matches!(status, 400 | 401));
            assert!(failure.kind != TokenFailureKind::Unreachable && failure.retry_after.is_none());
        }
    }
});
