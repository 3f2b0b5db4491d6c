//! The price of a diagnosis: reading a refusing answer, and reaching a verdict on it with all its sentences.
//!
//! A 401 passes through this once. The number has no yardstick beside it, only its goal.

use std::hint::black_box;

use evergrant_core::attempt::{Refusal, Route};
use evergrant_core::evidence::{Carried, Evidence, Regions};
use evergrant_core::profile::{Profile, Region};
use evergrant_core::time::{Boot, Span};
use evergrant_core::token::Generation;
use evergrant_core::verdict::diagnose;
use evergrant_core::wire::{TokenForm, parse_challenges};

use crate::Failure;
use crate::table::{Goal, Row, median};
use crate::token::per_call;

const BODY: &[u8] = br#"{"message":"Invalid login credentials.","code":"bad.credentials","status":401,"contextId":"1f2e3d4c-5b6a-7980-a1b2-c3d4e5f60718","details":[],"errors":[]}"#;
const CHALLENGE: &[u8] = br#"Bearer realm="api", error="invalid_token", error_description="The token was refused""#;
const ROUNDS: usize = 9;
/// What a 401 in the gateway may cost.
const GOAL_NS: f64 = 5_000.0;

pub(crate) fn rows() -> Result<Vec<Row>, Failure> {
    let profile = Profile::genesys(Region::EuCentral1);
    let read = || {
        let challenges = parse_challenges([CHALLENGE]);
        let route = Route::new("api.mypurecloud.de", "GET", "/api/v2/users/3fa85f64-5717-4562-b3fc-2c963f66afa6");
        Refusal::read(&profile, 401, &challenges, BODY, route, Boot::from_secs(1))
    };
    let evidence = read().map(|refusal| full(&profile, &refusal)).ok_or("no refusal")?;
    let judged = middle(|| per_call(|| !diagnose(black_box(&evidence)).evidence.is_empty()));
    let whole =
        middle(|| per_call(|| read().is_some_and(|refusal| !diagnose(&full(&profile, &refusal)).evidence.is_empty())));
    let row = |what, measured| Row { what, unit: "ns", measured, beside: None, goal: Goal::AtMost(GOAL_NS) };
    Ok(vec![row("a verdict on evidence", judged), row("reading a 401 and its verdict", whole)])
}

/// The median of some rounds; the first only fills caches.
fn middle(round: impl Fn() -> f64) -> f64 {
    round();
    median((0..ROUNDS).map(|_| round()).collect())
}

/// As much as a keeper can know, so that there is a sentence for it.
fn full(profile: &Profile, refusal: &Refusal) -> Evidence {
    Evidence {
        generation: Some(Generation(7)),
        newest: Some(Generation(8)),
        newest_age: Some(Span::from_secs(40)),
        age: Some(Span::from_secs(3_000)),
        to_dead: Some(Span::from_secs(80_000)),
        to_gone: Some(Span::from_secs(80_040)),
        form: Some(TokenForm::Opaque),
        regions: Regions::of(profile.token_url.as_deref(), profile.api_url.as_deref()),
        worked_before: true,
        refusals: 3,
        settle: Span::from_secs(10),
        recent_mints: 12,
        idle: Some(Span::from_secs(700)),
        idle_limit: Some(Span::from_secs(300)),
        server_jump: Some(Span::from_secs(5)),
        local_minus_server: Some((Span::from_secs(4), Span::from_secs(5))),
        ..Evidence::of_refusal(refusal, Carried::Ours)
    }
}
