//! Metrics, alert rules and the Grafana dashboard, judged by parsers that nobody here wrote.
//!
//! The reference parser of OpenMetrics reads a live scrape; every number of the status must be in it, with the same
//! value. The alert rules and the dashboard may ask only for what a gateway exposes, and Prometheus' own checker reads
//! the rules where it is installed.

use std::path::Path;
use std::process::Command;

use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig};
use evergrant_sim::faults::{ApiFault, ApiRule, Chance, Event};
use evergrant_sim::http::SimServer;
use serde_json::Value;

use crate::gateway::Gateway;
use crate::parts::{part, scratch, tool};
use crate::until;

#[tokio::test(flavor = "multi_thread")]
async fn every_number_is_a_metric_and_every_query_finds_its_metrics() {
    let folder = scratch("metrics");
    let sim = SimServer::start(ProviderConfig::rfc().with_lifetime(Span::from_secs(60))).unwrap();
    let (token_url, upstream) = (sim.token_url(), sim.url());
    let settings = [
        ("PROVIDER", "oauth2"),
        ("TOKEN_URL", token_url.as_str()),
        ("UPSTREAM", upstream.as_str()),
        ("CLIENT_ID", CLIENT_ID),
        ("CLIENT_SECRET", CLIENT_SECRET),
        ("SETTLE", "1s"),
    ];
    let gateway = Gateway::start(&folder, None, &settings);
    make_every_family_appear(&sim, &gateway).await;

    let mut judge = Command::new(tool("py/bin/python"));
    judge.arg(part("metrics.py")).arg(gateway.admin()).arg(deploy()).env("HOME", &folder);
    let judged = judge.output().unwrap();
    let (said, why) = (String::from_utf8_lossy(&judged.stdout), String::from_utf8_lossy(&judged.stderr));
    assert!(judged.status.success(), "{said}{why}");
    println!("{said}");
    let looked_at: Value = serde_json::from_str(said.trim()).unwrap();
    assert!(looked_at["compared"].as_u64().unwrap() > 60, "{said}");
    assert!(looked_at["alerts"].as_u64().unwrap() > 8 && looked_at["queries"].as_u64().unwrap() > 20, "{said}");
}

/// Families with labels have samples only once something happened: a refusal, a fault, an answer.
async fn make_every_family_appear(sim: &SimServer, gateway: &Gateway) {
    let get = async |path: &str| reqwest::get(format!("{}{path}", gateway.url())).await.unwrap().status().as_u16();
    assert_eq!(get("/api/v2/users").await, 200);
    let rule = |route: &str, fault| ApiRule { fault, route: Some(route.to_owned()), chance: Chance::ALWAYS };
    sim.handle().apply(Event::ApiFault(rule("/api/v2/forbidden", ApiFault::AlwaysUnauthorized)));
    sim.handle().apply(Event::ApiFault(rule("/api/v2/broken", ApiFault::Reset)));
    until("the refusal is passed on", async || {
        // Other traffic shows that the token works elsewhere.
        let (refused, _) = tokio::join!(get("/api/v2/forbidden"), get("/api/v2/users"));
        refused == 401
    })
    .await;
    assert_eq!(get("/api/v2/broken").await, 502);
    until("the clock is known", async || {
        get("/api/v2/users").await;
        !gateway.status().await["clock"]["local_minus_server_s"].is_null()
    })
    .await;
}

#[test]
fn prometheus_itself_reads_the_alert_rules() {
    let promtool = tool("prometheus/usr/bin/promtool");
    let checked = Command::new(promtool).args(["check", "rules"]).arg(deploy().join("prometheus/alerts.yaml")).output();
    let checked = checked.unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}{}", String::from_utf8_lossy(&checked.stderr));
    println!("{said}");
}

fn deploy() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}
