//! What other processes do, as one keeper sees it.

use super::*;
use crate::keeper::{AcquireErrorKind, Reason};

const HOUR: Span = Span::from_secs(3600);

fn other(stage: &Stage, generation: u64, life: Span) -> Minted {
    Minted {
        generation: Generation(generation),
        access_token: Secret::new(format!("other-{generation}")),
        issued: Issued { sent: stage.at - Span::from_millis(20), received: stage.at },
        lifetime: Some(life),
        is_renewable: true,
    }
}

fn publish(stage: &mut Stage, generation: u64) {
    let (published, now) = (other(stage, generation, stage.life), stage.now());
    stage.keeper.handle_published(published, now);
    stage.collect();
}

#[test]
fn a_published_token_ends_the_wait_for_a_lease() {
    let mut stage = Stage::with_token(Span::from_secs(60));
    stage.pass(Span::from_secs(50));
    let flight = stage.flights.pop().expect("a refresh is due");
    publish(&mut stage, 2);
    stage.keeper.handle_overtaken(flight);
    stage.tick();
    assert!(stage.flights.is_empty() && stage.keeper.flight_in_the_air().is_none(), "nothing is left to ask for");
    stage.pass(Span::from_secs(11));
    assert_eq!(stage.send(Replay::Free).unwrap().generation, Generation(2));
}

#[test]
fn an_older_or_equal_publication_changes_nothing() {
    let mut stage = Stage::with_token(Span::from_secs(60));
    publish(&mut stage, 1);
    publish(&mut stage, 0);
    assert_eq!(
        (stage.keeper.newest_generation(), stage.keeper.report(stage.now()).counters.adoptions),
        (Generation(1), 0)
    );
}

#[test]
fn a_login_elsewhere_heals_a_grant_that_could_not_be_renewed() {
    let mut stage = Stage::new(Span::from_secs(60));
    stage.fail(TokenFailureKind::RotationLost);
    assert!(stage.keeper.is_waiting_for_a_person());
    let acquired = stage.acquire(Need::Usable, stage.at, stage.at + Span::from_secs(5));
    let Acquire::Failed(error) = acquired else { panic!("{acquired:?}") };
    assert_eq!(error.kind, AcquireErrorKind::Rejected);
    assert!(error.to_string().contains("rotation_lost"), "{error}");
    publish(&mut stage, 1);
    assert!(!stage.keeper.is_waiting_for_a_person() && stage.send(Replay::Free).is_some());
}

#[test]
fn a_token_of_unknown_age_serves_only_when_the_refresh_has_failed() {
    let mut stage = Stage::new(Span::from_secs(60));
    stage.flights.clear();
    stage.keeper = Keeper::new(Profile::oauth2(), Policy::default(), 7);
    let (stale, now) = (other(&stage, 5, Span::from_secs(600)), stage.now());
    stage.keeper.handle_stale(stale, now);
    stage.tick();
    assert!(stage.send(Replay::Free).is_none(), "callers wait for the refresh");
    stage.fail(TokenFailureKind::Unreachable);
    assert_eq!(stage.send(Replay::Free).unwrap().generation, Generation(5));
    stage.at = stage.at + Span::from_secs(601);
    assert!(stage.send(Replay::Free).is_none(), "gone, whenever it was issued");
}

#[test]
fn a_doubtful_refresh_token_is_kept_back_while_a_token_serves() {
    let mut stage = Stage::with_token(Span::from_secs(100));
    stage.pass(Span::from_secs(85));
    let flight = stage.flights.pop().expect("a refresh is due");
    let now = stage.now();
    assert!(!stage.keeper.handle_doubt(flight, now));
    stage.tick();
    assert!(stage.flights.is_empty(), "nothing is asked before callers would have to wait");
    stage.pass(Span::from_secs(10));
    let flight = stage.flights.pop().expect("now there is no other way");
    let now = stage.now();
    assert!(stage.keeper.handle_doubt(flight, now));
}

#[test]
fn what_a_dead_process_left_unfinished_is_taken_up_at_once() {
    let mut stage = Stage::with_token(Span::from_secs(3600));
    let now = stage.now();
    stage.keeper.handle_unfinished(now);
    assert!(matches!(stage.keeper.poll_action(), Some(Action::RequestToken { reason: Reason::Unfinished, .. })));
}

#[test]
fn a_token_that_never_worked_says_nothing_of_mints_once_another_process_has_a_newer_one() {
    let mut stage = Stage::with_token(HOUR);
    let (first, mut late) = (stage.send(Replay::Free).unwrap(), stage.send(Replay::Free).unwrap());
    stage.succeed(first.generation, first.sent);
    stage.pass(Span::from_secs(20));
    late.mark_sent(late.generation, stage.at);
    stage.refuse(&mut late, true, true);
    stage.pass(Span::from_secs(1));
    assert!(stage.mint(), "the first was given up");
    let mut second = stage.send(Replay::Free).unwrap();
    assert_eq!(second.generation, Generation(2));
    stage.refuse(&mut second, true, true);
    publish(&mut stage, 3);
    for _ in 0..40 {
        stage.pass(Span::from_millis(500));
    }
    let told: Vec<_> = stage.keeper.events().since(0).map(|entry| entry.event.to_string()).collect();
    assert!(told.iter().any(|event| event.starts_with("token g2 retired")), "{told:#?}");
    assert!(!told.iter().any(|event| event.contains("circuit")), "{told:#?}");
}
