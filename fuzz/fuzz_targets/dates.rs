//! Dates, ages and waits: nothing negative, nothing unbounded.
#![no_main]

use evergrant_core::time::{Boot, Offset, OffsetInterval, Span};
use evergrant_core::wire::{
    RetryAfter, parse_age, parse_http_date, parse_ntp_answer, parse_retry_after, parse_server_date,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, i64, i64, i64)| {
    let (text, now, lo, hi) = input;
    if let Some(date) = parse_http_date(text) {
        assert!(date.as_nanos() >= 0 && date.as_nanos() % 1_000_000_000 == 0);
        assert_eq!(parse_age(text), None);
    }
    if let Some(date) = parse_server_date(text.as_bytes()) {
        assert!(date.server.as_nanos() >= 0 && date.resolution > Span::ZERO);
    }
    if let Ok(answer) = parse_ntp_answer(text.as_bytes(), now.cast_unsigned()) {
        assert!(answer.received <= answer.transmitted && answer.root_distance >= Span::ZERO);
    }
    assert!(parse_age(text).is_none_or(|age| age >= Span::ZERO));
    if let Some(retry_after) = parse_retry_after(text) {
        let theta = OffsetInterval::new(Offset::from_nanos(lo), Offset::from_nanos(hi));
        let wait = retry_after.wait(Boot::from_nanos(now), theta);
        assert!(wait.is_none_or(|wait| Span::ZERO <= wait && wait <= RetryAfter::CAP));
    }
});
