//! What a call through the gateway costs in time, with and without a fault: the p99 at 100 calls a second.
//!
//! `cargo xtask bench` runs this and shows the rows. The simulated provider, the gateway and the callers share one
//! machine; the direct row says how much of a number is the machine's.
#![expect(clippy::unwrap_used, reason = "a bench that cannot measure stops, and the panic says where")]
#![expect(clippy::print_stdout, reason = "the rows are the output")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, Delay, ProviderConfig};
use evergrant_sim::http::SimServer;

const CALLS: usize = 1500;
const GAP: Duration = Duration::from_millis(10);
const LIFETIME: Span = Span::from_secs(5);

#[tokio::main]
async fn main() {
    let direct = SimServer::start(ProviderConfig::rfc()).unwrap();
    let health = format!("{}/api/v2/health/check", direct.url());
    row("p99 at 100 calls/s, direct", p99(&health).await, "");

    let calm = ProviderConfig::rfc().with_lifetime(LIFETIME);
    row("p99 at 100 calls/s, gateway, no fault", through(calm).await, "within 10 ms of direct");

    let late = Delay { min: Span::ZERO, max: Span::from_secs(2) };
    let late = ProviderConfig::rfc().with_lifetime(LIFETIME).with_nodes(3).with_propagation(late);
    row("p99 at 100 calls/s, gateway, propagation up to 2 s", through(late).await, "below 1600 ms");
}

fn row(what: &str, measured: Duration, goal: &str) {
    println!("{what}\t{:.1} ms\t{goal}", measured.as_secs_f64() * 1e3);
}

async fn through(config: ProviderConfig) -> Duration {
    let sim = SimServer::start(config).unwrap();
    let gateway = Gateway::start(&sim);
    p99(&format!("{}/api/v2/users", gateway.url)).await
}

/// Calls at a steady pace, whatever became of the calls before, and the time that 99 of 100 stayed below.
async fn p99(url: &str) -> Duration {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut pace = tokio::time::interval(GAP);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..CALLS {
        pace.tick().await;
        let request = client.get(url);
        calls.spawn(async move {
            let started = Instant::now();
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.bytes().await.unwrap();
            started.elapsed()
        });
    }
    let mut times = calls.join_all().await;
    times.sort_unstable();
    times[CALLS * 99 / 100]
}

struct Gateway {
    child: Child,
    url: String,
}

impl Gateway {
    fn start(sim: &SimServer) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_evergrant"))
            .args(["gateway", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .env_clear()
            .env("EVERGRANT_PROVIDER", "oauth2")
            .env("EVERGRANT_TOKEN_URL", sim.token_url())
            .env("EVERGRANT_UPSTREAM", sim.url())
            .env("EVERGRANT_CLIENT_ID", CLIENT_ID)
            .env("EVERGRANT_CLIENT_SECRET", CLIENT_SECRET)
            .env("EVERGRANT_LOG", "info")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("listening") && line.contains("listener=\"gateway\"")).unwrap();
        let address = line.split_once("addr=").unwrap().1.split_whitespace().next().unwrap().to_owned();
        // A log that nobody reads would fill its pipe and stop the gateway.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: format!("http://{address}") }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already; both calls then have nothing to do.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
