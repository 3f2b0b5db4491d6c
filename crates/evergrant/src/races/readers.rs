//! Those who read what is published, and those who wait for it.

use shuttle::future::{JoinHandle, spawn, yield_now};
use shuttle::rand::{Rng as _, thread_rng};

use super::{PLAIN, Setting, assert_published, explore, source};
use crate::TokenSource;
use crate::core::time::Span;
use crate::core::token::Generation;
use crate::sync::world::{self, Reply};

/// Three callers and a listener for events before there is a token: one request serves them all, at once.
pub(super) async fn first_token() {
    let source = source();
    let callers: Vec<_> = (0..3).map(|_| caller(&source)).collect();
    let listener = spawn(sees_event(source.clone(), "token_minted"));
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(Generation(1)));
    }
    listener.await.unwrap();
    assert_published(&source);
    assert_eq!(world::requests(), 1, "one token request for all");
    assert_eq!(world::elapsed(), Span::ZERO, "somebody was not woken");
}

/// Readers who never wait, through a renewal: what they see only becomes newer, and is what the keeper serves.
pub(super) async fn readers_through_a_renewal() {
    let source = source();
    source.token().await.unwrap();
    let readers: Vec<_> = (0..2).map(|_| spawn(reads_until(source.clone(), Generation(2)))).collect();
    let watcher = source.clone();
    let watcher = spawn(async move {
        let mut changes = watcher.shared().changes();
        while watcher.try_token().map(|token| token.generation()) < Some(Generation(2)) {
            assert_published(&watcher);
            watcher.shared().wait(&mut changes, crate::core::time::Boot::FAR).await;
        }
    });
    for reader in readers {
        reader.await.unwrap();
    }
    watcher.await.unwrap();
    assert_published(&source);
}

/// One of several who see at the same moment that a job is due does it.
pub(super) async fn a_job_that_is_due() {
    let source = source();
    source.token().await.unwrap();
    let at = world::now();
    let claims: Vec<_> = (0..3)
        .map(|_| {
            let source = source.clone();
            spawn(async move {
                let mut is_mine = false;
                source.shared().sample_api_date(at, at, || {
                    is_mine = true;
                    None
                });
                usize::from(is_mine)
            })
        })
        .collect();
    let mut claimed = 0;
    for claim in claims {
        claimed += claim.await.unwrap();
    }
    assert_eq!(claimed, 1, "a job that is due is done once");
}

pub(super) fn caller(source: &TokenSource) -> JoinHandle<Result<Generation, crate::core::keeper::AcquireErrorKind>> {
    let source = source.clone();
    spawn(async move {
        at_any_moment().await;
        source.token().await.map(|token| token.generation()).map_err(|error| error.kind)
    })
}

/// Lets others go first, for a number of steps that the schedule names.
pub(super) async fn at_any_moment() {
    for _ in 0..thread_rng().gen_range(0..LONGEST_DELAY) {
        yield_now().await;
    }
}

async fn sees_event(source: TokenSource, name: &str) {
    let mut events = source.watch_events();
    while !source.events_since(0).iter().any(|event| event.event.name() == name) {
        events.changed().await;
    }
}

async fn reads_until(source: TokenSource, last: Generation) {
    let mut seen = Generation(0);
    let mut changes = source.shared().changes();
    while seen < last {
        if let Some(token) = source.try_token() {
            assert!(token.generation() >= seen, "a reader was given an older token than before");
            seen = token.generation();
        }
        yield_now().await;
        if seen < last {
            source.shared().wait(&mut changes, crate::core::time::Boot::FAR).await;
        }
    }
}

/// About as many as a flight takes.
const LONGEST_DELAY: usize = 60;

#[test]
fn a_first_token_reaches_everybody_who_waits() {
    explore(PLAIN, first_token);
}

#[test]
fn a_first_token_reaches_everybody_while_timers_fire() {
    explore(Setting { is_restless: true, ..PLAIN }, async || {
        let source = source();
        for caller in (0..3).map(|_| caller(&source)).collect::<Vec<_>>() {
            // Whoever is too late is told so.
            let told = caller.await.unwrap();
            assert!(matches!(told, Ok(_) | Err(crate::core::keeper::AcquireErrorKind::TimedOut)), "{told:?}");
        }
    });
}

#[test]
fn readers_see_only_newer_tokens_through_a_renewal() {
    explore(Setting { replies: &[Reply::Token(60)], ..PLAIN }, readers_through_a_renewal);
}

#[test]
fn a_job_that_is_due_is_done_by_one() {
    explore(PLAIN, a_job_that_is_due);
}
