//! The price of a token that is at hand, beside the least that it can cost: one atomic load and one clock read.
//!
//! Time is the CPU time of the thread, so that a neighbour who takes the processor away does not count, and what two
//! threads do to each other's caches does. Rounds alternate between yardstick and candidate.

use std::hint::black_box;
use std::sync::{Arc, Barrier};

use arc_swap::ArcSwap;
use evergrant::{Credential, HttpOptions, TokenSource, clock};
use evergrant_core::profile::Profile;
use evergrant_core::time::{Boot, Span};
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig};
use evergrant_sim::http::SimServer;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::Failure;
use crate::table::{Goal, Pair, Row};

const ROUNDS: usize = 31;
const CALLS: u32 = 200_000;
const YARDSTICK: &str = "load + clock";

pub(crate) fn rows() -> Result<Vec<Row>, Failure> {
    let sim = SimServer::start(ProviderConfig::rfc())?;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let source = runtime.block_on(started(&sim))?;
    let least = Least::new();
    let one = |calls: &dyn Fn() -> f64| rounds(|| Pair { measured: calls(), beside: per_call(|| least.read()) });
    let tries = one(&|| per_call(|| source.try_token().is_some()))?;
    let tokens = one(&|| per_async_call(runtime.handle(), &source))?;
    let two = rounds(|| Pair {
        measured: on_two_threads(&runtime, &source),
        beside: per_async_call(runtime.handle(), &source),
    })?;
    let least_on_two =
        rounds(|| Pair { measured: both(|| per_call(|| least.read())), beside: per_call(|| least.read()) })?;
    let row = |what, pair: Pair, name, goal| Row {
        what,
        unit: "ns",
        measured: pair.measured,
        beside: Some((pair.beside, name)),
        goal,
    };
    Ok(vec![
        row("try_token()", tries, YARDSTICK, Goal::Times(1.5)),
        row("token().await", tokens, YARDSTICK, Goal::Times(1.5)),
        row("token().await on 2 threads", two, "1 thread", Goal::Times(1.1)),
        row("load + clock on 2 threads", least_on_two, "1 thread", Goal::None),
    ])
}

/// A source that has its token.
async fn started(sim: &SimServer) -> Result<TokenSource, Failure> {
    let mut profile = Profile::oauth2();
    profile.token_url = Some(sim.token_url());
    let credential = Credential::client_credentials(CLIENT_ID, CLIENT_SECRET.into());
    let source = TokenSource::builder(profile, credential).http(HttpOptions::default()).build()?;
    source.token().await?;
    Ok(source)
}

/// The least that a check of freshness can cost.
struct Least(ArcSwap<(Boot, [u64; 8])>);

impl Least {
    fn new() -> Self {
        Self(ArcSwap::from_pointee((clock::boot() + Span::from_secs(86_400), [0; 8])))
    }

    fn read(&self) -> bool {
        let held = self.0.load();
        let is_fresh = clock::boot() < held.0;
        // The value is borrowed until its user is done with it, as a token is.
        black_box(&held);
        is_fresh
    }
}

fn rounds(round: impl Fn() -> Pair) -> Result<Pair, Failure> {
    // The first fills caches and branch predictors.
    round();
    Pair::median((0..ROUNDS).map(|_| round()).collect()).ok_or_else(|| "no round".into())
}

/// Nanoseconds for one call.
pub(crate) fn per_call(call: impl Fn() -> bool) -> f64 {
    let started = cpu();
    for _ in 0..CALLS {
        assert!(black_box(call()), "it is fresh");
    }
    (cpu() - started) / f64::from(CALLS)
}

/// The same for `token().await`, which never waits here.
fn per_async_call(runtime: &Handle, source: &TokenSource) -> f64 {
    runtime.block_on(async {
        let started = cpu();
        for _ in 0..CALLS {
            assert!(black_box(source.token().await).is_ok(), "it is at hand");
        }
        (cpu() - started) / f64::from(CALLS)
    })
}

fn on_two_threads(runtime: &Runtime, source: &TokenSource) -> f64 {
    both(|| per_async_call(runtime.handle(), source))
}

/// The mean of two threads that begin together.
fn both(measure: impl Fn() -> f64 + Sync) -> f64 {
    let begin = Arc::new(Barrier::new(2));
    let one = || {
        begin.wait();
        measure()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(one);
        let this = one();
        other.join().map_or(f64::NAN, |other| (this + other) / 2.0)
    })
}

/// The CPU time of this thread in nanoseconds.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
