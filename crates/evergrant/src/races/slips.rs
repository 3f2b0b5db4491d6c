//! Parts that are broken on purpose, each found by a scene.
//!
//! A scene that nothing can break shows nothing. A slip is a part of `sync` that does not do what its real one does, so
//! the code that ships stays as it is, as with the mutants of the simulation.

use super::ends::{a_flight_that_is_given_up, a_hasty_end, an_end_with_a_grant, callers_who_give_up, the_last_clone};
use super::flights::{a_failure, a_refused_client, renewal_without_callers, two_sources, two_sources_with_one_grant};
use super::readers::{a_job_that_is_due, first_token, readers_through_a_renewal};
use super::{PLAIN, Setting, broken};
use crate::sync::world::{Reply, Slip};

/// The scene is broken by the slip, with one of these words. That nothing breaks it without, its own test shows.
fn assert_found(
    slip: Slip,
    replies: &'static [Reply],
    words: &[&str],
    scene: impl AsyncFn() + Send + Sync + Copy + 'static,
) {
    let said = broken(Setting { slip: Some(slip), replies, schedules: LOOKED_THROUGH, ..PLAIN }, scene);
    let is_found = said.as_ref().is_some_and(|said| words.iter().any(|words| said.contains(words)));
    assert!(is_found, "{slip:?} ended with {said:?}");
}

/// More than for a scene: a slip ends at the first that finds it.
const LOOKED_THROUGH: usize = 4000;

#[test]
fn what_is_published_later_is_found() {
    let words = ["published is not what the keeper serves", "older token"];
    assert_found(Slip::PublishesLater, &[Reply::Token(60)], &words, readers_through_a_renewal);
}

#[test]
fn a_waiter_that_listens_too_late_is_found() {
    let words = ["somebody was not woken"];
    assert_found(Slip::ForgetsBeforeItWaits, &[], &words, first_token);
    assert_found(Slip::ForgetsBeforeItWaits, &[], &words, callers_who_give_up);
    assert_found(Slip::ForgetsBeforeItWaits, &[Reply::InvalidClient], &words, a_refused_client);
}

#[test]
fn a_background_task_that_is_not_woken_is_found() {
    assert_found(Slip::WakesOnlyWhoWaits, &[], &["nobody is left"], the_last_clone);
    assert_found(Slip::WakesNobody, &[Reply::Token(20)], &["the renewal was"], renewal_without_callers);
    assert_found(Slip::WakesNobody, &[Reply::Unavailable], &["somebody was not woken", "Unavailable"], a_failure);
}

#[test]
fn a_lease_that_keeps_nobody_out_is_found() {
    let words = ["two token requests at once"];
    assert_found(Slip::LeasesToEverybody, &[], &words, two_sources);
    assert_found(Slip::LeasesToEverybody, &[], &["spent twice"], two_sources_with_one_grant);
}

#[test]
fn a_job_that_is_claimed_twice_is_found() {
    assert_found(Slip::ClaimsWithoutComparing, &[], &["done once"], a_job_that_is_due);
}

#[test]
fn a_flight_that_leaves_without_a_word_is_found() {
    let words = ["somebody was not told", "TimedOut"];
    assert_found(Slip::LeavesWithoutAWord, &[], &words, a_flight_that_is_given_up);
}

#[test]
fn an_end_that_waits_for_nothing_is_found() {
    let said = broken(PLAIN, a_hasty_end);
    assert!(said.as_ref().is_some_and(|said| said.contains("is not stored")), "{said:?}");
    let said = broken(PLAIN, an_end_with_a_grant);
    assert!(said.as_ref().is_some_and(|said| said.contains("the next is not stored")), "{said:?}");
}
