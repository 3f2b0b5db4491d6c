//! Evergrant against components that nobody here wrote: a certified OAuth server with a wrong clock, a provider's own
//! client, a calendar clock that steps under the program itself, and a browser.
//!
//! Each test starts everything it needs on loopback and stops it again. What it needs from outside is installed by
//! `cargo xtask test --only setup`; without it the tests fail and say so. Clocks are faked per process with
//! libfaketime, which leaves the boot clock real, as a real clock step does.
//!
//! The tests run on real clocks with tokens of a few seconds. They wait for conditions (so many tokens were issued, so
//! many calls were made), never for time to pass, and give up after a deadline.
#![expect(clippy::unwrap_used, reason = "in a test, a panic with the place is the report")]
#![expect(clippy::print_stdout, reason = "what was measured is worth reading, and hidden unless asked for")]

mod browser;
mod captures;
mod clock;
mod clocks;
mod crowd;
mod dashboard;
mod desktop;
mod doctor;
#[path = "../shared/faked_wall.rs"]
mod faked_wall;
mod fleet;
mod gateway;
mod heap;
mod keyring;
mod keyring_secret;
mod load;
mod login;
mod memory;
mod metrics;
mod oidc;
mod parts;
mod process;
#[path = "../../../evergrant/tests/shared/redis_server.rs"]
mod redis_server;
mod relay;
mod rivals;
mod sdk;
mod sdk_exec;
mod sdk_login;

use std::future::Future;
use std::time::{Duration, Instant};

/// Asks until the answer is yes; panics with `what` after a deadline that is far beyond what any case needs.
async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    loop {
        pace.tick().await;
        if is_so().await {
            return;
        }
        assert!(Instant::now() < deadline, "gave up waiting until {what}");
    }
}
