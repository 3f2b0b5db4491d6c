//! Callers at a steady pace, each on its own, whatever became of the calls before.
//!
//! Of ten calls seven are GET, two POST and one PUT; every fourth goes over HTTP/2. A write names its side effect and
//! has a body that only it has. Ten times a second a call goes to the provider directly, on a route that needs no
//! token: it says what the machine alone costs at that moment.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use evergrant_core::time::Span;
use evergrant_sim::api::{EFFECT_HEADER, body_hash};
use evergrant_sim::scenario::Load;
use http::{Method, Request};
use http_body_util::Full;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::client::{Answer, Client};

/// How one call went, times after the start.
#[derive(Debug)]
pub(crate) struct Call {
    /// The method and the call's number, for messages.
    pub(crate) name: String,
    pub(crate) started: Span,
    pub(crate) ended: Span,
    /// The status and, if it is none of success, the answer in words; or what went wrong instead of an answer.
    pub(crate) end: Result<(u16, String), String>,
    /// The side effect it asked for.
    pub(crate) effect: Option<Effect>,
}

/// A side effect that a call asked for.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    pub(crate) id: String,
    pub(crate) body_len: u64,
    pub(crate) body_hash: String,
}

/// Everything that the callers saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) calls: Vec<Call>,
    /// The slowest of the calls that went to the provider directly.
    pub(crate) slowest_direct: Span,
}

impl Call {
    pub(crate) fn took(&self) -> Span {
        self.ended - self.started
    }

    pub(crate) fn is_success(&self) -> bool {
        matches!(self.end, Ok((200..=299, _)))
    }

    pub(crate) fn is_401(&self) -> bool {
        matches!(self.end, Ok((401, _)))
    }
}

/// Makes the calls of a scenario from `start` on, and returns when the last one has ended.
pub(crate) async fn play(
    load: &Load,
    duration: Span,
    start: Instant,
    gateway: SocketAddr,
    provider: SocketAddr,
) -> Seen {
    let mut times = moments(load, duration);
    times.sort_unstable();
    let lanes = [Client::http1(), Client::http2()];
    let beside = tokio::spawn(direct(provider, start, duration));
    let mut calls = JoinSet::new();
    for (number, after) in (0_u64..).zip(times) {
        sleep_until((start + after.to_duration()).into()).await;
        let client = lanes[usize::from(number % 4 == 3)].clone();
        calls.spawn(call(client, gateway, number, start));
    }
    let mut calls = calls.join_all().await;
    calls.sort_unstable_by_key(|call| call.started);
    Seen { calls, slowest_direct: beside.await.unwrap() }
}

/// When calls begin, after the start.
fn moments(load: &Load, duration: Span) -> Vec<Span> {
    let mut moments = Vec::new();
    if load.calls_per_sec > 0 {
        let every = Span::from_secs(1).scaled(1, i64::from(load.calls_per_sec));
        let mut after = Span::ZERO;
        while after < duration {
            moments.push(after);
            after += every;
        }
    }
    for burst in &load.bursts {
        moments.extend((0..burst.calls).map(|_| burst.after));
    }
    moments
}

async fn call(client: Client, gateway: SocketAddr, number: u64, start: Instant) -> Call {
    let (request, effect) = request(gateway, number);
    let name = format!("{} {number}", request.method());
    let started = since(start);
    let answer = client.send(request).await;
    let ended = since(start);
    let end = answer.map(|answer| (answer.status.as_u16(), complaint(&answer, number, effect.as_ref())));
    // A success with somebody else's answer is none.
    let end = match end {
        Ok((200..=299, words)) if !words.is_empty() => Err(words),
        other => other,
    };
    Call { name, started, ended, end, effect }
}

fn request(gateway: SocketAddr, number: u64) -> (Request<Full<Bytes>>, Option<Effect>) {
    let method = match number % 10 {
        3 | 8 => Method::POST,
        5 => Method::PUT,
        _ => Method::GET,
    };
    let url = format!("http://{gateway}/api/v2/users/{}?call={number}", number % 7);
    let builder = Request::builder().method(&method).uri(url);
    if method == Method::GET {
        return (builder.body(Full::default()).unwrap(), None);
    }
    // Mostly short; now and then some tens of kilobytes, in more than one read.
    let repeats = if number % 50 == 3 { 3_000 } else { usize::try_from(number % 20).unwrap() + 1 };
    let body = Bytes::from(format!("body of {number};").repeat(repeats));
    let id = format!("effect-{number}");
    let effect = Effect { id, body_len: u64::try_from(body.len()).unwrap(), body_hash: body_hash(&body) };
    (builder.header(EFFECT_HEADER, &effect.id).body(Full::new(body)).unwrap(), Some(effect))
}

/// What is wrong with an answer, empty if nothing is.
fn complaint(answer: &Answer, number: u64, effect: Option<&Effect>) -> String {
    if !answer.status.is_success() {
        return answer.words();
    }
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let own = body["query"] == format!("call={number}");
    let hash = effect.is_none_or(|effect| body["body_hash"] == effect.body_hash);
    if own && hash { String::new() } else { format!("the answer to another call: {}", answer.words()) }
}

/// Calls past the gateway, one after the other; the slowest of them.
async fn direct(provider: SocketAddr, start: Instant, duration: Span) -> Span {
    let client = Client::http1();
    let mut slowest = Span::ZERO;
    let mut next = start;
    while since(start) < duration {
        sleep_until(next.into()).await;
        // Counted from when it was due: a runtime that comes late is part of what the machine costs.
        let due = since(start) - since(next);
        let answer = client.get(provider, "/api/v2/health/check").await.unwrap();
        assert_eq!(answer.status, 200);
        slowest = slowest.max(since(start) - due);
        next = (next + DIRECT_EVERY).max(Instant::now());
    }
    slowest
}

fn since(start: Instant) -> Span {
    Span::from_duration(start.elapsed())
}

const DIRECT_EVERY: Duration = Duration::from_millis(100);
