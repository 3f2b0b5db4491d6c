//! Token requests: when one is made, who shares it, and what a failure does to those who wait.

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use shuttle::future::spawn;

use super::readers::caller;
use super::{PLAIN, Setting, assert_published, explore, memory, source, source_of_a_grant, source_with};
use crate::core::keeper::AcquireErrorKind;
use crate::core::time::{Boot, Span};
use crate::core::token::Generation;
use crate::sync::world::{self, Reply};
use crate::{Answer, RequestTraits, Ruling, TokenSource, clock, news, sync};

/// Nobody asks for a token, and it is renewed when that is due: the background task is woken for it.
pub(super) async fn renewal_without_callers() {
    let source = source();
    source.token().await.unwrap();
    let due = source.shared().look(|keeper, _| keeper.poll_timeout()).unwrap();
    generation(&source, Generation(2)).await;
    assert!(world::now() <= due + Span::from_millis(1), "the renewal was {:?} late", world::now() - due);
    assert_eq!(world::requests(), 2, "one renewal");
}

/// Two sources, as two processes, share a store: one mints, and the other takes its token over, from the lease or from
/// the news that there is one, whichever comes first.
pub(super) async fn two_sources_with_one_store() {
    two_sources().await;
    assert_eq!(world::requests(), 1, "one token request for both");
    assert_eq!(world::elapsed(), Span::ZERO, "somebody was not woken");
}

/// As [`two_sources_with_one_store`], to see no more than whether both ask at once.
pub(super) async fn two_sources() {
    let store = memory();
    let [ours, theirs] = [source_with(&store), source_with(&store)];
    let callers = [caller(&ours), caller(&theirs), caller(&theirs)];
    let listener = theirs.clone();
    let listener = spawn(async move { news::look(listener.shared()).await });
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(Generation(1)));
    }
    listener.await.unwrap();
    assert_published(&ours);
    assert_published(&theirs);
    assert_eq!(world::most_under_way(), 1, "two token requests at once for one credential");
}

/// Two sources, as two processes, share a grant whose refresh token rotates: none is sent twice, at the start and when the
/// first token ends.
pub(super) async fn two_sources_with_one_grant() {
    let store = memory();
    let sources = [source_of_a_grant(&store), source_of_a_grant(&store)];
    let callers = [caller(&sources[0]), caller(&sources[1])];
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(Generation(1)));
    }
    for source in &sources {
        generation(source, Generation(2)).await;
        assert_published(source);
    }
    let spent = world::spent();
    let is_spent_twice = (1..spent.len()).any(|nth| spent[..nth].contains(&spent[nth]));
    assert!(!is_spent_twice, "a refresh token was spent twice: {spent:?}");
}

/// Two requests are refused with a token that was revoked: it is given up once, and both are sent again with the next.
pub(super) async fn two_refusals() {
    let source = source();
    source.token().await.unwrap();
    // Old enough to be known everywhere.
    sync::sleep(Span::from_secs(60).to_duration()).await;
    let refused = clock::boot();
    let requests: Vec<_> = (0..2).map(|_| spawn(refused_once(source.clone()))).collect();
    for request in requests {
        request.await.unwrap();
    }
    assert_published(&source);
    assert_eq!(world::requests(), 2, "one token request for both");
    assert!(clock::boot() - refused < Span::from_secs(1), "somebody was not woken");
}

/// The first request fails for now: everybody waits for the second.
pub(super) async fn a_failure() {
    let source = source();
    for caller in (0..3).map(|_| caller(&source)).collect::<Vec<_>>() {
        assert_eq!(caller.await.unwrap(), Ok(Generation(1)));
    }
    assert_eq!(world::requests(), 2, "one more request for all");
    assert!(world::elapsed() <= Span::from_secs(3), "somebody was not woken");
}

/// The client is refused: everybody is told at once.
pub(super) async fn a_refused_client() {
    let source = source();
    for caller in (0..3).map(|_| caller(&source)).collect::<Vec<_>>() {
        assert_eq!(caller.await.unwrap(), Err(AcquireErrorKind::Rejected));
    }
    assert_eq!(world::requests(), 1, "one request for all");
    assert_eq!(world::elapsed(), Span::ZERO, "somebody was not woken");
}

/// Waits until the keeper holds this token.
async fn generation(source: &TokenSource, wanted: Generation) {
    let shared = source.shared();
    let mut changes = shared.changes();
    while shared.look(|keeper, _| keeper.newest_generation()) < wanted {
        shared.wait(&mut changes, Boot::FAR).await;
    }
}

async fn refused_once(source: TokenSource) {
    let method = Method::GET;
    let traits = RequestTraits { method, has_idempotency_key: false, is_body_kept: true, deadline: None };
    let mut exchange = source.exchange(traits);
    let mut sent = exchange.begin().await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("www-authenticate", HeaderValue::from_static("Bearer error=\"invalid_token\""));
    // The provider knows the second token alone.
    while sent.generation() == Generation(1) {
        let answer = answer(StatusCode::UNAUTHORIZED, &headers);
        let next = match exchange.judge(answer).await {
            Ruling::Replay(next) => next,
            other @ (Ruling::Pass(_) | Ruling::NoToken(..)) => panic!("a refusal was passed on: {other:?}"),
        };
        assert_ne!(next.generation(), Generation(1), "sent again with the token that was refused");
        sent = next;
    }
    exchange.accept(&answer(StatusCode::OK, &HeaderMap::new()));
}

fn answer(status: StatusCode, headers: &HeaderMap) -> Answer<'_> {
    let received = clock::boot();
    Answer { status, headers, body_prefix: &[], received, host: "api", path: "/users", can_send_again: true }
}

#[test]
fn a_renewal_needs_no_caller() {
    // Shorter than the background task ever sleeps, so that only a signal wakes it in time.
    explore(Setting { replies: &[Reply::Token(20)], ..PLAIN }, renewal_without_callers);
}

#[test]
fn two_sources_with_one_store_send_one_request() {
    explore(PLAIN, two_sources_with_one_store);
}

#[test]
fn two_sources_with_one_grant_spend_no_refresh_token_twice() {
    explore(Setting { replies: &[Reply::Token(20)], ..PLAIN }, two_sources_with_one_grant);
}

#[test]
fn two_refusals_of_a_token_mint_once() {
    explore(PLAIN, two_refusals);
}

#[test]
fn everybody_waits_for_the_request_after_a_failure() {
    explore(Setting { replies: &[Reply::Unavailable], ..PLAIN }, a_failure);
}

#[test]
fn everybody_is_told_of_a_refused_client() {
    explore(Setting { replies: &[Reply::InvalidClient], ..PLAIN }, a_refused_client);
}
