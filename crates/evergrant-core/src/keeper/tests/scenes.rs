//! Scenes: one cause, one consequence.

use super::*;
use crate::keeper::{AcquireErrorKind, ProbeOutcome};

const HOUR: Span = Span::from_secs(3600);

#[test]
fn one_flight_serves_everybody_who_waits() {
    let mut stage = Stage::new(HOUR);
    for _ in 0..10 {
        assert!(stage.send(Replay::Free).is_none());
    }
    assert_eq!(stage.flights.len(), 1);
    assert!(stage.mint());
    assert!(stage.send(Replay::Free).is_some() && stage.flights.is_empty());
}

#[test]
fn a_straggler_with_an_old_token_is_sent_again_without_a_mint() {
    let mut stage = Stage::with_token(Span::from_secs(30));
    let mut straggler = stage.send(Replay::Free).unwrap();
    stage.succeed(straggler.generation, straggler.sent);
    stage.pass(Span::from_secs(24));
    assert!(stage.mint());
    stage.pass(Span::from_secs(5));
    let step = stage.refuse(&mut straggler, true, true);
    let Step::Send(token) = step else { panic!("{step:?}") };
    assert_eq!(token.generation, Generation(2));
    assert!(stage.flights.is_empty());
}

#[test]
fn a_failed_refresh_changes_nothing_while_the_token_lives() {
    let mut stage = Stage::with_token(Span::from_secs(100));
    stage.pass(Span::from_secs(70));
    for _ in 0..25 {
        stage.fail(TokenFailureKind::Unreachable);
        assert!(stage.send(Replay::Free).is_some(), "at {:?}", stage.at);
        stage.pass(Span::from_secs(1));
    }
}

#[test]
fn a_rejected_credential_is_told_at_once_and_a_new_secret_is_tried_at_once() {
    let mut stage = Stage::new(HOUR);
    stage.fail(TokenFailureKind::InvalidClient);
    let deadline = stage.at + Span::from_secs(30);
    let acquired = stage.acquire(Need::Usable, stage.at, deadline);
    let Acquire::Failed(error) = acquired else { panic!("{acquired:?}") };
    assert_eq!(error.kind, AcquireErrorKind::Rejected);
    assert!(stage.flights.is_empty());
    stage.keeper.handle_credential_changed();
    stage.tick();
    assert_eq!(stage.flights.len(), 1);
}

#[test]
fn a_grant_that_cannot_be_renewed_serves_its_token_to_the_end_and_then_requires_a_login() {
    let mut stage = Stage::with_token(Span::from_secs(60));
    stage.pass(Span::from_secs(50));
    let flight = stage.flights.pop().unwrap();
    let now = stage.now();
    stage.keeper.handle_not_renewable(flight, now);
    assert!(stage.send(Replay::Free).is_some());
    stage.pass(Span::from_secs(11));
    let deadline = stage.at + Span::from_secs(30);
    let acquired = stage.acquire(Need::Usable, stage.at, deadline);
    let Acquire::Failed(error) = acquired else { panic!("{acquired:?}") };
    assert_eq!(error.kind, AcquireErrorKind::LoginRequired);
    assert!(stage.flights.is_empty());
}

#[test]
fn a_flight_that_is_over_can_neither_land_nor_fail_again() {
    let mut stage = Stage::new(HOUR);
    let flight = *stage.flights.last().unwrap();
    assert!(stage.mint());
    let before = format!("{:?}", stage.keeper.view(stage.at));
    let now = stage.now();
    stage.keeper.handle_flight_failed(flight, TokenFailure::of(TokenFailureKind::Unreachable), now);
    assert_eq!(format!("{:?}", stage.keeper.view(stage.at)), before);
}

#[test]
fn refusals_that_were_under_way_do_not_disprove_a_young_token_and_later_ones_do() {
    let mut stage = Stage::with_token(HOUR);
    let proof = stage.send(Replay::Free).unwrap();
    stage.succeed(proof.generation, proof.sent);
    let mut under_way: Vec<_> = (0..4).map(|_| stage.send(Replay::Free).unwrap()).collect();
    stage.pass(Span::from_secs(1));
    for attempt in &mut under_way {
        stage.refuse(attempt, true, true);
        stage.pass(Span::from_millis(300));
    }
    assert!(stage.flights.is_empty(), "answers that take a second say nothing about the last half second");
    let mut later: Vec<_> = (0..23).map(|_| stage.send(Replay::Free).unwrap()).collect();
    stage.pass(Span::from_secs(1));
    for attempt in &mut later {
        stage.refuse(attempt, true, true);
    }
    stage.pass(Span::from_millis(500));
    assert_eq!(stage.flights.len(), 1);
}

#[test]
fn a_refresh_is_told_in_the_order_in_which_it_happened() {
    let mut stage = Stage::with_token(Span::from_secs(60));
    stage.pass(Span::from_secs(50));
    stage.fail(TokenFailureKind::ServerError);
    stage.pass(Span::from_secs(3));
    assert!(stage.mint());
    stage.pass(Span::from_secs(3));
    stage.pass(Span::from_secs(10));
    let told: Vec<_> = stage.keeper.events().since(0).map(|entry| entry.event.to_string()).collect();
    assert_eq!(told[0], "token g1 minted in 20 ms: no token");
    assert_eq!(told[1], "token g1 serves");
    assert!(told[2].starts_with("refresh failed: "), "{}", told[2]);
    assert_eq!(
        told[3..],
        ["token g2 minted in 20 ms: scheduled", "token g2 serves", "token g1 retired: its life was over"]
    );
}

#[test]
fn a_probe_that_shows_nothing_is_not_repeated_for_the_request_that_waits_for_it() {
    let mut stage = Stage::with_token(HOUR);
    stage.keeper.handle_proving_path("/things");
    let (asked, deadline) = (stage.at, stage.at + Span::from_secs(30));
    assert!(matches!(stage.acquire(Need::ProvenRecently, asked, deadline), Acquire::Wait(_)));
    let now = stage.now();
    stage.keeper.handle_probe(stage.keeper.newest_generation(), stage.at, ProbeOutcome::Nothing, now);
    assert!(matches!(stage.acquire(Need::ProvenRecently, asked, deadline), Acquire::Ready(_)));
    // Nor for those that come at the same time; later it is worth another try.
    assert!(matches!(stage.acquire(Need::ProvenRecently, asked, deadline), Acquire::Ready(_)));
    assert_eq!(stage.keeper.report(stage.now()).counters.probes, 1);
    stage.pass(Span::from_secs(1));
    let asked = stage.at;
    assert!(matches!(stage.acquire(Need::ProvenRecently, asked, asked + Span::from_secs(30)), Acquire::Wait(_)));
    assert_eq!(stage.keeper.report(stage.now()).counters.probes, 2);
}

#[test]
fn a_request_that_cannot_be_repeated_asks_for_a_proof_that_is_younger_than_ten_seconds() {
    let mut stage = Stage::with_token(HOUR);
    stage.keeper.handle_proving_path("/things");
    stage.pass(Span::from_secs(60));
    let generation = stage.keeper.newest_generation();
    stage.succeed(generation, stage.at);
    stage.pass(Span::from_secs(10) - Span::from_millis(1));
    let deadline = stage.at + Span::from_secs(30);
    assert!(matches!(stage.acquire(Need::ProvenRecently, stage.at, deadline), Acquire::Ready(_)));
    assert_eq!(stage.keeper.report(stage.now()).counters.probes, 0);
    stage.pass(Span::from_millis(2));
    assert!(matches!(stage.acquire(Need::ProvenRecently, stage.at, deadline), Acquire::Wait(_)));
    assert_eq!(stage.keeper.report(stage.now()).counters.probes, 1);
    stage.succeed(generation, stage.at);
    assert!(matches!(stage.acquire(Need::ProvenRecently, stage.at, deadline), Acquire::Ready(_)));
}

#[test]
fn a_request_that_four_tokens_refused_is_not_sent_with_a_fifth_however_young_that_is() {
    let mut stage = Stage::with_token(Span::from_secs(3_600));
    let mut attempt = stage.send(Replay::Free).unwrap();
    for generation in 2..=5 {
        let minted = Minted {
            generation: Generation(generation),
            access_token: Secret::new(format!("published-{generation}")),
            issued: Issued { sent: stage.at, received: stage.at },
            lifetime: Some(Span::from_secs(3_600)),
            is_renewable: true,
        };
        let now = stage.now();
        stage.keeper.handle_published(minted, now);
        let step = stage.refuse(&mut attempt, true, true);
        match generation {
            ..=4 => assert!(matches!(step, Step::Send(_)), "{generation}: {step:?}"),
            _ => assert!(matches!(step, Step::Pass(_)), "{step:?}"),
        }
    }
}

#[test]
fn each_new_token_is_tried_again_as_soon_as_the_first_one_was_whatever_its_predecessors_took() {
    let mut stage = Stage::with_token(Span::from_secs(3));
    // The first token was ended while it was young, and looks like one that is not known everywhere yet.
    let mut attempt = stage.send(Replay::Free).unwrap();
    let mut step = stage.refuse(&mut attempt, true, true);
    let knows_after = Span::from_millis(400);
    let mut minted_at = stage.at;
    for _ in 0..600 {
        match step {
            Step::Send(token) if token.generation > Generation(1) && stage.at - minted_at >= knows_after => {
                assert_eq!(token.generation, Generation(2), "the first token that worked was given away");
                return;
            }
            Step::Send(_) => step = stage.refuse(&mut attempt, true, true),
            Step::Wait(_) => {
                stage.pass(Span::from_millis(10));
                if stage.mint() {
                    minted_at = stage.at;
                }
                step = stage.ask_again(&mut attempt);
            }
            Step::Pass(_) | Step::NoToken(..) => break,
        }
    }
    panic!("{step:?} after {}", stage.at - attempt.started);
}
