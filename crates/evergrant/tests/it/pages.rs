//! Collections of many pages through the client.

use std::time::Duration;

use evergrant::pages::{Ended, PagesError, Position, Progress, Retries, Style};
use evergrant::reqwest::Method;
use evergrant::reqwest::header::{HeaderName, HeaderValue};
use evergrant_core::time::Span;
use evergrant_sim::Event;
use evergrant_sim::faults::{ApiFault, ApiRule, Chance};
use serde::Deserialize;

use crate::support::{living, start};

#[derive(Deserialize)]
struct Thing {
    number: u64,
}

const THINGS: &str = "/api/v2/paged/number?pageSize=4&total=10";

fn next(fault: ApiFault, times: u32) -> Event {
    Event::ApiFault(ApiRule { fault, route: None, chance: Chance::next(times) })
}

#[tokio::test]
async fn items_come_as_the_callers_type_through_the_death_of_a_token() {
    // A young token that is refused is tried again for as long as it can be alive, which is not long here.
    let (sim, _source, client) = start(living(2));
    let mut things = client.pages(Method::GET, THINGS).read().unwrap().items::<Thing>();
    let mut numbers = Vec::new();
    while let Some(thing) = things.next().await.unwrap() {
        numbers.push(thing.number);
        if thing.number == 4 {
            sim.handle().apply(Event::RevokeAll);
        }
    }
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    assert_eq!(things.pages().position().ended, Some(Ended::Complete));
    assert!(sim.handle().ledger().token.requests >= 2);
}

#[tokio::test]
async fn a_position_is_all_that_another_process_needs() {
    let (_sim, _source, client) = start(living(3600));
    let pages = |position| client.pages(Method::GET, THINGS).from_position(position).read().unwrap();
    let mut first = pages(Position::default());
    first.next().await.unwrap().unwrap();
    let written = serde_json::to_string(first.position()).unwrap();
    let mut second = pages(serde_json::from_str(&written).unwrap());
    let page = second.next().await.unwrap().unwrap();
    let numbers: Vec<_> = page.read::<Thing>().unwrap().iter().map(|thing| thing.number).collect();
    assert_eq!((page.number(), numbers), (2, vec![5, 6, 7, 8]));
    assert_eq!(second.next().await.unwrap().unwrap().items().count(), 2);
    assert!(second.next().await.unwrap().is_none());
}

#[tokio::test]
async fn an_item_of_another_form_is_named_and_not_shown() {
    #[derive(Debug, Deserialize)]
    struct Other {
        #[expect(dead_code, reason = "it is never read")]
        name: u64,
    }
    let (_sim, _source, client) = start(living(3600));
    let page = client.pages(Method::GET, THINGS).read().unwrap().next().await.unwrap().unwrap();
    let error = page.read::<Other>().unwrap_err().to_string();
    assert!(error.starts_with("item 1 of the page is of another form: line 1, column "), "{error}");
    assert!(!error.contains("Thing"), "{error}");
}

#[tokio::test]
async fn waits_are_shown_and_have_an_end() {
    let (sim, _source, client) = start(living(3600));
    let longest_trouble = Span::from_secs(2);
    let retries = Retries { longest_trouble, first_wait: Span::from_millis(100), ..Retries::default() };
    sim.handle().apply(Event::api(ApiFault::Status(500)));
    let mut pages = client.pages(Method::GET, THINGS).retries(retries).read().unwrap();
    let (mut waits, mut waited) = (0, Span::ZERO);
    let error = loop {
        match pages.advance().await {
            Ok(Progress::Retry { why, wait }) => {
                assert!(why.contains("500"), "{why}");
                waited += wait;
                waits += 1;
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(waits > 1 && waited <= longest_trouble, "{waits} waits, {waited}");
    assert!(matches!(error, PagesError::Status { tries, .. } if tries == waits + 1), "{error:?}");
    sim.handle().apply(Event::ClearApiFaults);
    assert_eq!(pages.next().await.unwrap().unwrap().items().count(), 4, "a call after an error asks for the same page");
}

#[tokio::test]
async fn a_post_that_may_do_more_than_read_is_sent_once() {
    let (sim, _source, client) = start(living(3600));
    let jobs = "/api/v2/analytics/paged/details/jobs?total=5";
    sim.handle().apply(next(ApiFault::Lost, 1));
    let mut pages = client.pages(Method::POST, jobs).json(serde_json::json!({})).read().unwrap();
    assert!(pages.next_has_effect());
    let error = pages.next().await.unwrap_err();
    assert!(error.is_in_doubt(), "{error:?}");
    assert_eq!(sim.handle().ledger().effects.len(), 1);
    let mut harmless = client.pages(Method::POST, jobs).json(serde_json::json!({})).repeats_post(true).read().unwrap();
    assert!(!harmless.next_has_effect());
    sim.handle().apply(next(ApiFault::Lost, 1));
    assert_eq!(harmless.next().await.unwrap().unwrap().items().count(), 5);
}

#[tokio::test]
async fn a_post_that_may_have_been_executed_is_not_sent_by_a_further_call() {
    let (sim, _source, client) = start(living(3600));
    let jobs = "/api/v2/analytics/paged/details/jobs?total=5";
    let made = || sim.handle().ledger().effects.len();
    let describe = || client.pages(Method::POST, jobs).json(serde_json::json!({}));
    for (number, fault) in [ApiFault::Lost, ApiFault::FailedAfterExecuting, ApiFault::Torn].into_iter().enumerate() {
        sim.handle().apply(next(fault.clone(), 1));
        let mut pages = describe().read().unwrap();
        assert!(pages.next().await.unwrap_err().is_in_doubt(), "{fault:?}");
        assert!(matches!(pages.next().await.unwrap_err(), PagesError::InDoubt), "{fault:?}");
        let mut other = describe().from_position(pages.position().clone()).read().unwrap();
        assert!(matches!(other.next().await.unwrap_err(), PagesError::InDoubt), "{fault:?}");
        assert_eq!(made(), number + 1, "{fault:?}");
    }
    sim.handle().apply(next(ApiFault::Slow(Span::from_secs(60)), 1));
    let mut dropped = describe().read().unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(300), dropped.next()).await.is_err());
    assert!(matches!(dropped.next().await.unwrap_err(), PagesError::InDoubt));
    for unread in [describe().max_page_bytes(5), describe().style(Style::Query)] {
        let mut unread = unread.read().unwrap();
        assert!(unread.next().await.unwrap_err().is_in_doubt());
        assert!(matches!(unread.next().await.unwrap_err(), PagesError::InDoubt));
    }
    assert_eq!(made(), 6);
    let mut allowed = describe().repeats_post(true).from_position(dropped.position().clone()).read().unwrap();
    assert_eq!(allowed.next().await.unwrap().unwrap().items().count(), 5);
    assert!(!allowed.position().in_doubt);
}

#[tokio::test]
async fn a_post_that_was_refused_is_sent_by_a_further_call() {
    let (sim, _source, client) = start(living(3600));
    let jobs = "/api/v2/analytics/paged/details/jobs?total=5";
    sim.handle().apply(next(ApiFault::MissingPermission, 1));
    let mut pages = client.pages(Method::POST, jobs).json(serde_json::json!({})).read().unwrap();
    assert!(!pages.next().await.unwrap_err().is_in_doubt());
    sim.handle().apply(next(ApiFault::TooManyRequests(0), 1));
    assert_eq!(pages.next().await.unwrap().unwrap().items().count(), 5);
    assert_eq!(sim.handle().ledger().effects.len(), 1);
}

#[tokio::test]
async fn what_is_printed_for_a_developer_holds_nothing_of_what_was_sent_or_came() {
    let (sim, _source, client) = start(living(3600));
    let url = "/api/v2/analytics/paged/details/lookup?total=3&key=hunter2";
    let headers = [(HeaderName::from_static("x-key"), HeaderValue::from_static("hunter3"))].into_iter().collect();
    let body = serde_json::json!({"paging": {"pageSize": 10}, "password": "hunter4"});
    let builder = client.pages(Method::POST, url).headers(headers).json(body);
    let mut shown = format!("{builder:?}");
    let mut pages = builder.read().unwrap();
    sim.handle().apply(next(ApiFault::MissingPermission, 1));
    let error = pages.next().await.unwrap_err();
    let PagesError::Status { body, .. } = &error else { panic!("{error}") };
    assert!(body.as_bytes().starts_with(b"{"));
    shown += &format!("{pages:?} {body:?}");
    let page = pages.next().await.unwrap().unwrap();
    assert!(page.text().contains("Thing"));
    shown += &format!("{page:?} {:?}", pages.items::<Thing>());
    for secret in ["hunter", "Thing", "thing-", "message", "total=3"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

#[tokio::test]
async fn a_page_that_is_too_large_is_not_held() {
    let (_sim, _source, client) = start(living(3600));
    let mut pages = client.pages(Method::GET, THINGS).max_page_bytes(100).read().unwrap();
    let error = pages.next().await.unwrap_err();
    assert_eq!(error.to_string(), "a page has more than 100 bytes");
}

#[tokio::test]
async fn a_step_that_is_given_up_loses_nothing() {
    let (sim, _source, client) = start(living(3600));
    sim.handle().apply(next(ApiFault::TooManyRequests(1), 1));
    let mut pages = client.pages(Method::GET, THINGS).read().unwrap();
    sim.handle().apply(next(ApiFault::Slow(Span::from_secs(60)), 1));
    let given_up = tokio::time::timeout(Duration::from_millis(100), pages.next()).await;
    assert!(given_up.is_err());
    let mut count = 0;
    while let Some(page) = pages.next().await.unwrap() {
        count += page.items().count();
    }
    assert_eq!(count, 10);
}

#[test]
fn pages_can_be_read_on_any_thread() {
    fn is_send(_: impl Send) {}
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _guard = runtime.enter();
    let (_sim, _source, client) = start(living(3600));
    let mut pages = client.pages(Method::GET, THINGS).read().unwrap();
    is_send(pages.next());
}
