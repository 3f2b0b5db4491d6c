//! This machine's calendar clock steps while the gateway runs: a minute and a half forward, an hour back, and right.
//!
//! Lifetimes are counted on the boot clock, so nothing may change but words. The clock is faked for the gateway alone by
//! libfaketime, which leaves the boot clock real, as a real step does.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use evergrant_sim::SimServer;
use evergrant_sim::scenario::Scenario;
use serde_json::Value;
use tokio::time::sleep_until;

use crate::client::Client;
use crate::gateway::{Folder, Gateway, Setup};
use crate::run;

#[test]
fn local_steps() {
    steps("no_fault");
}

#[test]
fn local_steps_jwt() {
    steps("no_fault_jwt");
}

#[test]
fn local_steps_with_a_provider_five_minutes_slow() {
    steps("offset_minus_5min");
}

fn steps(scenario: &str) {
    let scenario = Scenario::named(scenario).unwrap();
    let (home, sim) = (Folder::new(), SimServer::start_scenario(&scenario).unwrap());
    let wall = FakedWall::new(home.path());
    let setup = wall.apply(Setup::of(&scenario, &sim, home.path()));
    run::runtime().block_on(run::play(scenario, &sim, &setup, async |gateway, start| {
        for (after_secs, ahead_secs) in [(2, 90), (5, -3_600), (9, 0)] {
            sleep_until((start + Duration::from_secs(after_secs)).into()).await;
            wall.step_to(ahead_secs);
            told_of_a_step(&gateway, ahead_secs).await;
        }
        (gateway, Vec::new())
    }));
}

/// Waits until the status page says that this machine is about so many seconds ahead of where it was.
async fn told_of_a_step(gateway: &Gateway, ahead_secs: i64) {
    let client = Client::http1();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = client.get(gateway.admin, "/status").await.unwrap();
        let status: Value = serde_json::from_slice(&answer.body).unwrap();
        let skew = &status["clock"]["local_minus_server_s"];
        if let (Some(lo), Some(hi), Some(1..)) =
            (skew["lo"].as_f64(), skew["hi"].as_f64(), status["clock"]["local_steps"].as_u64())
            && [0.0, 300.0]
                .iter()
                .any(|base| lo - 2.0 <= base + ahead_secs as f64 && base + ahead_secs as f64 <= hi + 2.0)
        {
            return;
        }
        assert!(Instant::now() < deadline, "no word of a step to {ahead_secs} s: {status:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A calendar clock that a test moves while a process runs under it.
struct FakedWall {
    file: PathBuf,
}

impl FakedWall {
    fn new(folder: &Path) -> Self {
        let wall = Self { file: folder.join("wall-offset") };
        wall.step_to(0);
        wall
    }

    /// Steps the clock to differ by `seconds` from the machine's.
    fn step_to(&self, seconds: i64) {
        // Readers see the old text or the new one, never half of it.
        let beside = self.file.with_extension("new");
        std::fs::write(&beside, format!("{seconds:+}s\n")).unwrap();
        std::fs::rename(beside, &self.file).unwrap();
    }

    fn apply(&self, setup: Setup) -> Setup {
        setup
            .env("LD_PRELOAD", library().display())
            .env("FAKETIME_TIMESTAMP_FILE", self.file.display())
            .env("FAKETIME_NO_CACHE", "1")
            // Without this the boot clock would show calendar time.
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }
}

fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    libraries
        .find(|library| library.exists())
        .unwrap_or_else(|| panic!("libfaketime is missing; run: cargo xtask test --only setup"))
}
