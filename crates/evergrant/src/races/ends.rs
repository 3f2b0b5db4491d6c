//! What is given up, shut down or dropped while others go on.

use shuttle::future::{spawn, yield_now};

use super::readers::caller;
use super::{PLAIN, assert_published, explore, memory, source, source_of_a_grant, source_with};
use crate::clock;
use crate::core::time::Span;
use crate::core::token::Generation;
use crate::sync::world;

/// A flight is given up at any moment, also before its first step: whoever waits for it gets the token of the next.
pub(super) async fn a_flight_that_is_given_up() {
    let source = source();
    let callers = [caller(&source), caller(&source)];
    let end = spawn(async {
        while !world::has_started(FIRST_FLIGHT) {
            yield_now().await;
        }
        world::give_up(FIRST_FLIGHT);
    });
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(Generation(1)));
    }
    end.await.unwrap();
    assert_eq!(world::most_under_way(), 1, "two token requests at once for one credential");
    assert!(world::elapsed() <= Span::from_secs(3), "somebody was not told");
    assert_published(&source);
}

/// Callers who give up cancel nothing: the others are served as soon as they would have been.
pub(super) async fn callers_who_give_up() {
    let source = source();
    let [first, second, third] = [caller(&source), caller(&source), caller(&source)];
    first.abort();
    third.abort();
    assert_eq!(second.await.unwrap(), Ok(Generation(1)));
    assert_eq!(world::requests(), 1, "one token request for all");
    assert_eq!(world::elapsed(), Span::ZERO, "somebody was not woken");
}

/// Whoever shuts down while a token request is under way ends when the token is stored.
pub(super) async fn a_shutdown() {
    shut_down(true).await;
}

/// As [`a_shutdown`], by somebody who does not wait for it.
pub(super) async fn a_hasty_end() {
    shut_down(false).await;
}

async fn shut_down(waits: bool) {
    let store = memory();
    let source = source_with(&store);
    let key = source.key().clone();
    while world::requests() == 0 {
        yield_now().await;
    }
    match waits {
        true => source.shutdown().await,
        false => drop(source),
    }
    let stored = store.load(&key).await.unwrap().map_or(0, |record| record.generation);
    assert_eq!(stored, 1, "a token was asked for and is not stored");
    assert_eq!(world::elapsed(), Span::ZERO, "the end was not told");
}

/// Whoever ends in haste at any moment loses no refresh token: none is on its way then, and none is spent later.
pub(super) async fn a_hasty_shutdown() {
    end_in_haste(true).await;
}

/// As [`a_hasty_shutdown`], by somebody who does not wait for it.
pub(super) async fn an_end_with_a_grant() {
    end_in_haste(false).await;
}

async fn end_in_haste(waits: bool) {
    let store = memory();
    let source = source_of_a_grant(&store);
    let key = source.key().clone();
    let caller = caller(&source);
    let begun = clock::boot();
    if waits {
        source.clone().shutdown_in_haste().await;
    }
    assert_eq!(clock::boot(), begun, "the end was not told");
    let spent = world::spent().len();
    let stored = store.load(&key).await.unwrap().map_or(0, |record| record.generation);
    assert_eq!(usize::try_from(stored), Ok(spent), "a refresh token was spent and the next is not stored");
    if waits {
        // The caller gets the token or gives up; more is not asked for.
        let _ = caller.await.unwrap();
        assert_eq!(world::spent().len(), spent, "a refresh token was spent after the end");
    }
}

/// The last clone goes at any moment: the background task and the flight end, without waiting for a timer.
pub(super) async fn the_last_clone() {
    let source = source();
    let callers = [caller(&source), caller(&source)];
    callers[0].abort();
    drop(source);
    for caller in callers {
        // The one that was aborted may have had its token before.
        let _ = caller.await;
    }
    world::all_tasks_ended().await;
    assert_eq!(world::elapsed(), Span::ZERO, "a task waited for a timer to see that nobody is left");
}

/// The background task is the first that a source starts.
const FIRST_FLIGHT: usize = 1;

#[test]
fn a_flight_that_is_given_up_ends_for_everybody() {
    explore(PLAIN, a_flight_that_is_given_up);
}

#[test]
fn callers_who_give_up_cancel_nothing() {
    explore(PLAIN, callers_who_give_up);
}

#[test]
fn a_shutdown_waits_for_the_store() {
    explore(PLAIN, a_shutdown);
}

#[test]
fn a_hasty_shutdown_waits_for_a_refresh_token() {
    explore(PLAIN, a_hasty_shutdown);
}

#[test]
fn nothing_outlives_the_last_clone() {
    explore(PLAIN, the_last_clone);
}
