//! What a live keeper knows reaches the rules: causes that no answer names.

use evergrant_core::Secret;
use evergrant_core::attempt::{Attempt, Refusal, Replay, Route, Subject};
use evergrant_core::keeper::{Acquire, Action, FlightId, Keeper, Minted, Need};
use evergrant_core::policy::Policy;
use evergrant_core::profile::{Profile, Region};
use evergrant_core::time::{Boot, Now, Span, Wall};
use evergrant_core::token::{Generation, Issued};
use evergrant_core::verdict::{Cause, Confidence, Verdict};
use evergrant_core::wire::parse_token_answer;

/// The claims are `{"aud":"https://other/"}`.
const JWT: &str = "eyJhbGciOiJub25lIn0.eyJhdWQiOiJodHRwczovL290aGVyLyJ9.c2ln";

fn at(secs: i64) -> Now {
    Now { boot: Boot::from_secs(1_000 + secs), wall: Wall::from_secs(1_790_000_000 + secs) }
}

fn asked(keeper: &mut Keeper, now: Now) -> FlightId {
    keeper.handle_timeout(now);
    while let Some(action) = keeper.poll_action() {
        if let Action::RequestToken { flight, .. } = action {
            return flight;
        }
    }
    unreachable!("a keeper without a token asks for one");
}

/// A keeper with a token of this text, asked for at second 0.
fn keeper_of(profile: Profile, policy: Policy, token: &str) -> Keeper {
    let mut keeper = Keeper::new(profile, policy, 1);
    let flight = asked(&mut keeper, at(0));
    let minted = Minted {
        generation: Generation(1),
        access_token: Secret::from(token),
        issued: Issued { sent: at(0).boot, received: at(0).boot },
        lifetime: Some(Span::from_secs(86_400)),
        is_renewable: true,
    };
    keeper.handle_minted(flight, minted, at(0));
    keeper
}

/// The verdict on a 401 that says nothing, to a request that was sent at this second.
fn verdict_at(keeper: &mut Keeper, secs: i64) -> Verdict {
    let route = Route::new("api.example", "GET", "/things");
    let refusal = Refusal::of_status(401, Subject::Token, route, at(secs).boot);
    let mut attempt = Attempt::new(Replay::Never, at(secs).boot, Span::ZERO);
    attempt.mark_sent(Generation(1), at(secs).boot);
    attempt.mark_refused(refusal.clone());
    keeper.verdict(&attempt, &refusal, at(secs))
}

#[test]
fn a_token_url_of_another_region_than_the_api_is_seen() {
    let token_url = Some(Region::EuCentral1.token_url());
    let mut keeper = keeper_of(Profile { token_url, ..Profile::genesys(Region::UsEast1) }, Policy::default(), "abc");
    let verdict = verdict_at(&mut keeper, 60);
    assert_eq!((verdict.cause, verdict.confidence), (Cause::WrongRegion, Confidence::Likely));
    let mut keeper = keeper_of(Profile::genesys(Region::UsEast1), Policy::default(), "abc");
    assert_eq!(verdict_at(&mut keeper, 60).cause, Cause::Unknown);
}

#[test]
fn a_jwt_for_somebody_else_than_was_asked_for_is_seen() {
    let meant_for = |name: &str| Profile { audience: Some(name.to_owned()), ..Profile::oauth2() };
    let mut keeper = keeper_of(meant_for("https://api.example/"), Policy::default(), JWT);
    assert_eq!(verdict_at(&mut keeper, 60).cause, Cause::WrongAudience);
    let mut keeper = keeper_of(meant_for("https://other/"), Policy::default(), JWT);
    assert_eq!(verdict_at(&mut keeper, 60).cause, Cause::Unknown);
}

#[test]
fn a_configured_idle_limit_makes_idleness_likely_and_the_providers_shortest_only_possible() {
    let idle = |policy: Policy, secs: i64| {
        let mut keeper = keeper_of(Profile::genesys(Region::UsEast1), policy, "abc");
        keeper.handle_success(Generation(1), at(20).boot, at(20));
        let verdict = verdict_at(&mut keeper, 20 + secs);
        (verdict.cause, verdict.confidence)
    };
    let configured = || Policy { idle_limit: Some(Span::from_secs(900)), ..Policy::default() };
    assert_eq!(idle(configured(), 900), (Cause::IdleTimeout, Confidence::Likely));
    assert_eq!(idle(configured(), 899).0, Cause::Revoked);
    assert_eq!(idle(Policy::default(), 300), (Cause::IdleTimeout, Confidence::Possible));
    assert_eq!(idle(Policy::default(), 299).0, Cause::Revoked);
}

#[test]
fn what_the_token_endpoint_says_of_the_grant_reaches_the_verdict_on_having_no_token() {
    for (body, cause) in [
        (
            r#"{"error":"invalid_grant","error_description":"Invalid Refresh Token: Already Used"}"#,
            Cause::RefreshTokenReused,
        ),
        (r#"{"error":"invalid_client","error_description":"Client disabled"}"#, Cause::ClientRejected),
        (
            r#"{"error":"invalid_client","error_description":"Client assertion is not within its valid time range"}"#,
            Cause::AssertionOutOfTime,
        ),
        (r#"{"error":"invalid_client","error_description":"client not found"}"#, Cause::WrongRegion),
    ] {
        let mut keeper = Keeper::new(Profile::genesys(Region::UsEast1), Policy::default(), 1);
        let flight = asked(&mut keeper, at(0));
        let failure = parse_token_answer(400, body.as_bytes()).expect_err("no token");
        keeper.handle_flight_failed(flight, failure, at(0));
        let deadline = at(1).boot;
        let Acquire::Failed(error) = keeper.handle_acquire(Need::Usable, at(0).boot, deadline, at(0)) else {
            unreachable!("a permanent failure is told at once");
        };
        assert_eq!(keeper.verdict_on_no_token(&error, at(0)).cause, cause, "{body}");
    }
}

#[test]
fn a_token_is_found_by_its_text_and_another_is_not() {
    let keeper = keeper_of(Profile::oauth2(), Policy::default(), "abc");
    assert_eq!(keeper.generation_of(&Secret::from("abc")), Some(Generation(1)));
    assert_eq!(keeper.generation_of(&Secret::from("abd")), None);
}
