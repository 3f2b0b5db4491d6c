//! What a call through the gateway costs in time, with and without a fault: the p99 at 100 calls a second.
//!
//! The simulated provider, the gateway and the callers share one machine, so each call through the gateway goes out
//! together with a direct one: the direct p99 says how much of the number is the machine's. Tokens live five seconds,
//! so that refreshes are among what is measured.

use std::path::Path;
use std::time::{Duration, Instant};

use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, Delay, ProviderConfig};
use evergrant_sim::http::SimServer;
use reqwest::Client;
use tokio::task::JoinSet;

use crate::Failure;
use crate::peers::Gateway;
use crate::table::{Goal, Pair, Row};

const CALLS: usize = 1500;
const GAP: Duration = Duration::from_millis(10);
const LIFETIME: Span = Span::from_secs(5);

pub(crate) fn rows(program: &Path) -> Result<Vec<Row>, Failure> {
    let calm = ProviderConfig::rfc().with_lifetime(LIFETIME);
    let late = Delay { min: Span::ZERO, max: Span::from_secs(2) };
    let late = calm.clone().with_nodes(3).with_propagation(late);
    let row = |what, p99: Pair, goal| Row {
        what,
        unit: "ms",
        measured: p99.measured,
        beside: Some((p99.beside, "direct")),
        goal,
    };
    Ok(vec![
        row("gateway, p99 at 100 calls/s, no fault", through(program, calm)?, Goal::More(10.0)),
        row("gateway, p99 at 100 calls/s, propagation up to 2 s", through(program, late)?, Goal::AtMost(1600.0)),
    ])
}

fn through(program: &Path, config: ProviderConfig) -> Result<Pair, Failure> {
    let sim = SimServer::start(config)?;
    let gateway = Gateway::start(program, &sim.url(), &sim.token_url(), (CLIENT_ID, CLIENT_SECRET))?;
    let direct = format!("{}/api/v2/health/check", sim.url());
    let through = format!("http://127.0.0.1:{}/api/v2/users", gateway.port);
    tokio::runtime::Runtime::new()?.block_on(p99(direct, through))
}

/// Calls both at a steady pace, whatever became of the calls before, and the times that 99 of 100 stayed below.
async fn p99(direct: String, through: String) -> Result<Pair, Failure> {
    let client = Client::builder().no_proxy().build()?;
    let mut pace = tokio::time::interval(GAP);
    let (mut directly, mut ours) = (JoinSet::new(), JoinSet::new());
    for _ in 0..CALLS {
        pace.tick().await;
        directly.spawn(timed(client.clone(), direct.clone()));
        ours.spawn(timed(client.clone(), through.clone()));
    }
    Ok(Pair { measured: worst_but_one_percent(ours).await?, beside: worst_but_one_percent(directly).await? })
}

/// Milliseconds from sending to the last byte of the answer.
async fn timed(client: Client, url: String) -> Result<f64, Failure> {
    let started = Instant::now();
    let answer = client.get(url).send().await?.error_for_status()?;
    answer.bytes().await?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

async fn worst_but_one_percent(calls: JoinSet<Result<f64, Failure>>) -> Result<f64, Failure> {
    let mut times = calls.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    times.sort_by(f64::total_cmp);
    times.get(times.len() * 99 / 100).copied().ok_or_else(|| "no call".into())
}
