//! Callers at a steady pace, each on its own, whatever became of the calls before.
//!
//! Of ten calls seven are GET, two POST and one PUT; every fourth goes over HTTP/2. A write names its side effect and
//! has a body that only it has.
//!
//! Ten times a second the machine's own pulse is taken: a call to the provider directly, on a route that needs no token,
//! and one to the gateway's own health page. While a pulse is late the machine cannot carry the load, whatever the
//! gateway does, and the calls of that time are held back and counted; otherwise they would pile up until every one of
//! them waits for longer than a token lives. Bursts are never held back.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
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
    /// Calls that the machine was too busy for.
    pub(crate) held_back: usize,
    /// The slowest pulse.
    pub(crate) slowest_pulse: Span,
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

/// Where calls go.
#[derive(Clone, Copy)]
pub(crate) struct Course {
    pub(crate) gateway: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) provider: SocketAddr,
    /// What the provider's answers take on any machine.
    pub(crate) answers_take: Duration,
}

/// Makes the calls of a scenario from `start` on, and returns when the last one has ended.
pub(crate) async fn play(load: &Load, duration: Span, start: Instant, to: Course) -> Seen {
    let mut moments = moments(load, duration);
    moments.sort_unstable_by_key(|moment| moment.after);
    let lanes = [Client::http1(), Client::http2()];
    let pulse = Pulse { answers_take: to.answers_take, beats: Arc::default() };
    let beating = tokio::spawn(pulse.clone().beat(to, start, duration));
    let (mut calls, mut held_back) = (JoinSet::new(), 0);
    for (number, moment) in (0_u64..).zip(moments) {
        let due = start + moment.after.to_duration();
        sleep_until(due.into()).await;
        if !moment.is_burst && (due.elapsed() > LATE || pulse.is_late()) {
            held_back += 1;
            continue;
        }
        let client = lanes[usize::from(number % 4 == 3)].clone();
        calls.spawn(call(client, to.gateway, number, start));
    }
    let mut calls = calls.join_all().await;
    calls.sort_unstable_by_key(|call| call.started);
    beating.await.unwrap();
    Seen { calls, held_back, slowest_pulse: pulse.slowest() }
}

/// When a call begins, after the start.
struct Moment {
    after: Span,
    is_burst: bool,
}

fn moments(load: &Load, duration: Span) -> Vec<Moment> {
    let mut moments = Vec::new();
    if load.calls_per_min > 0 {
        let every = Span::from_secs(60).scaled(1, i64::from(load.calls_per_min));
        let mut after = Span::ZERO;
        while after < duration {
            moments.push(Moment { after, is_burst: false });
            after += every;
        }
    }
    for burst in &load.bursts {
        moments.extend((0..burst.calls).map(|_| Moment { after: burst.after, is_burst: true }));
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

/// How long the machine takes for calls that wait for no token.
#[derive(Clone)]
struct Pulse {
    answers_take: Duration,
    beats: Arc<Mutex<Beats>>,
}

#[derive(Default)]
struct Beats {
    /// When the beat under way was due.
    due: Option<Instant>,
    slowest: Duration,
}

impl Pulse {
    async fn beat(self, to: Course, start: Instant, duration: Span) {
        let client = Client::http1();
        let mut next = start;
        while since(start) < duration {
            sleep_until(next.into()).await;
            // Counted from when it was due: a runtime that comes late is part of what the machine costs.
            self.beats.lock().unwrap().due = Some(next);
            let answer = client.get(to.provider, "/api/v2/health/check").await.unwrap();
            assert_eq!(answer.status, 200);
            // A gateway that a test has ended does not answer, which is no matter of time.
            client.get(to.admin, "/healthz").await.ok();
            let mut beats = self.beats.lock().unwrap();
            beats.due = None;
            beats.slowest = beats.slowest.max(next.elapsed().saturating_sub(self.answers_take));
            next = (next + PULSE_EVERY).max(Instant::now());
        }
    }

    fn is_late(&self) -> bool {
        self.beats.lock().unwrap().due.is_some_and(|due| due.elapsed() > LATE + self.answers_take)
    }

    fn slowest(&self) -> Span {
        Span::from_duration(self.beats.lock().unwrap().slowest)
    }
}

fn since(start: Instant) -> Span {
    Span::from_duration(start.elapsed())
}

const PULSE_EVERY: Duration = Duration::from_millis(100);
/// A machine that carries its load answers within a small part of this.
const LATE: Duration = Duration::from_millis(200);
