//! Callers that never stop: calls at a steady pace, each on its own, counted by what they saw.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

const GAP: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(20);

/// What the callers saw.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    /// Calls by what they ended in: `200`, or the error's own words.
    pub(crate) ends: BTreeMap<String, usize>,
    /// The slowest call.
    pub(crate) slowest: Duration,
}

impl Tally {
    /// All calls.
    pub(crate) fn calls(&self) -> usize {
        self.ends.values().sum()
    }

    /// Panics unless every call ended in 200.
    pub(crate) fn assert_all_fine(&self) {
        assert_eq!(self.ends.keys().map(String::as_str).collect::<Vec<_>>(), ["200"], "{self:?}");
    }
}

/// Calls against one address, until told to stop.
pub(crate) struct Load {
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    running: JoinHandle<()>,
}

impl Load {
    /// Starts calling: fifty calls a second, every fifth of them a POST, whatever became of the calls before.
    pub(crate) fn start(url: &str) -> Self {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let running = tokio::spawn(run(url.to_owned(), Arc::clone(&tally), Arc::clone(&stop)));
        Self { tally, stop, running }
    }

    /// How many calls have ended so far.
    pub(crate) fn calls(&self) -> usize {
        self.tally.lock().unwrap().calls()
    }

    /// Stops calling, waits for the calls on their way, and returns what they all saw.
    pub(crate) async fn finish(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.running.await.unwrap();
        std::mem::take(&mut self.tally.lock().unwrap())
    }
}

async fn run(url: String, tally: Arc<Mutex<Tally>>, stop: Arc<AtomicBool>) {
    let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().unwrap();
    let mut pace = tokio::time::interval(GAP);
    let mut calls = tokio::task::JoinSet::new();
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        pace.tick().await;
        let request = if number % 5 == 4 {
            client.post(format!("{url}/api/v2/conversations/{number}")).body("a conversation's beginning")
        } else {
            client.get(format!("{url}/api/v2/users?page={number}"))
        };
        let tally = Arc::clone(&tally);
        calls.spawn(async move {
            let started = Instant::now();
            let end = match request.send().await {
                Ok(answer) => end_of(answer).await,
                Err(error) => error.to_string(),
            };
            let mut tally = tally.lock().unwrap();
            *tally.ends.entry(end).or_default() += 1;
            tally.slowest = tally.slowest.max(started.elapsed());
        });
    }
    calls.join_all().await;
}

/// The status, and for a failure what the gateway says about it.
async fn end_of(answer: reqwest::Response) -> String {
    let status = answer.status();
    let verdict =
        answer.headers().get("evergrant-verdict").and_then(|verdict| verdict.to_str().ok()).map(str::to_owned);
    match (status.as_u16(), answer.text().await) {
        (200, Ok(_)) => "200".to_owned(),
        (code, Ok(body)) => format!("{code} {} {body}", verdict.unwrap_or_default()),
        (code, Err(error)) => format!("{code} and then {error}"),
    }
}
