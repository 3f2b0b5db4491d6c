//! The program's own calendar clock steps while it runs: an hour back, a minute and a half forward.
//!
//! Nothing but words may depend on that clock. Tokens keep working, no token is bought because of a step, and the
//! status page says that this machine's clock stepped.

use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig};
use evergrant_sim::http::SimServer;

use crate::faked_wall::FakedWall;
use crate::gateway::Gateway;
use crate::load::Load;
use crate::parts::scratch;
use crate::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_this_machines_clock_changes_nothing_but_words() {
    let folder = scratch("local-steps");
    let wall = FakedWall::new(&folder, 0);
    let sim = SimServer::start(ProviderConfig::rfc().with_lifetime(Span::from_secs(120))).unwrap();
    let (token_url, upstream) = (sim.token_url(), sim.url());
    let settings = [
        ("PROVIDER", "oauth2"),
        ("TOKEN_URL", token_url.as_str()),
        ("UPSTREAM", upstream.as_str()),
        ("CLIENT_ID", CLIENT_ID),
        ("CLIENT_SECRET", CLIENT_SECRET),
    ];
    let gateway = Gateway::start(&folder, Some(&wall), &settings);
    let load = Load::start(gateway.url());
    let calls = async |more: usize| {
        let wanted = load.calls() + more;
        until("more calls have ended", async || load.calls() >= wanted).await;
    };

    calls(100).await;
    let before = sim.handle().ledger().token.requests;
    for ahead_secs in [90, -3600, 0] {
        wall.step_to(ahead_secs);
        calls(100).await;
        let words = format!("the status tells of a step to {ahead_secs} s");
        until(&words, async || local_steps(&gateway).await > 0 && skew_is_near(&gateway, ahead_secs).await).await;
    }
    let tally = load.finish().await;

    tally.assert_all_fine();
    let ledger = sim.handle().ledger();
    assert!(
        ledger.token.requests <= before + 1,
        "{} token requests, {before} of them before the steps",
        ledger.token.requests
    );
    assert_eq!(ledger.refused(), 0, "{:?}", ledger.api.refused);
}

/// How often the program saw its own calendar clock step.
async fn local_steps(gateway: &Gateway) -> u64 {
    gateway.status().await["clock"]["local_steps"].as_u64().unwrap_or(0)
}

/// Does the program say that this machine is about so many seconds ahead of the server, whose clock is right?
async fn skew_is_near(gateway: &Gateway, ahead_secs: i64) -> bool {
    let status = gateway.status().await;
    let bound = |end: &str| status["clock"]["local_minus_server_s"][end].as_f64();
    let ahead = ahead_secs as f64;
    matches!((bound("lo"), bound("hi")), (Some(lo), Some(hi)) if lo <= ahead + 1.0 && ahead - 1.0 <= hi && hi - lo < 10.0)
}
