//! The dashboard in a real browser, while a refresh, a step of each clock and a refusal happen.
//!
//! What a person should see is asked for by role and words, as a screen reader would find it. axe judges the page in
//! both colour schemes and on a phone. The screenshots stay in the target folder.

use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig};
use evergrant_sim::faults::{ApiFault, ApiRule, Chance, Event};
use evergrant_sim::http::SimServer;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::faked_wall::FakedWall;
use crate::gateway::Gateway;
use crate::load::Load;
use crate::parts::scratch;
use crate::until;

const EVENTS: Option<&str> = Some("Events, newest first");

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_shows_a_refresh_two_clock_steps_and_a_verdict() {
    let folder = scratch("dashboard");
    let wall = FakedWall::new(&folder, 0);
    let sim = SimServer::start(ProviderConfig::rfc().with_lifetime(Span::from_secs(12))).unwrap();
    let (token_url, upstream) = (sim.token_url(), sim.url());
    let settings = [
        ("PROVIDER", "oauth2"),
        ("TOKEN_URL", token_url.as_str()),
        ("UPSTREAM", upstream.as_str()),
        ("CLIENT_ID", CLIENT_ID),
        ("CLIENT_SECRET", CLIENT_SECRET),
        ("SETTLE", "1s"),
    ];
    let gateway = Gateway::start(&folder, Some(&wall), &settings);
    let load = Load::start(gateway.url());
    let browser = Browser::start(&folder);

    let opened = browser.tell("open", json!({ "url": gateway.admin() }));
    assert!(opened["policy"].as_str().unwrap().contains("default-src 'none'"), "{opened}");
    browser.see("status", Some("Health"), "All is well");
    browser.see("listitem", None, "token g1 minted");
    let well = folder.join("all-is-well.png");
    browser.tell("shot", json!({ "scheme": "light", "width": 1280, "height": 900, "path": well }));

    let calls = async |more: usize| {
        let wanted = load.calls() + more;
        until("more calls have ended", async || load.calls() >= wanted).await;
    };
    browser.see("list", EVENTS, "token g2 serves");
    calls(150).await;
    sim.handle().apply(Event::StepServer(Span::from_secs(45)));
    browser.see("list", EVENTS, "the provider's clock stepped by +4");
    browser.tell("named", json!({ "role": "img", "pattern": "^Clock offset: this machine is 4.*SLOW" }));
    calls(300).await;
    wall.step_to(105);
    browser.see("list", EVENTS, "this machine's clock stepped by +10");
    browser.tell("named", json!({ "role": "img", "pattern": "^Clock offset: this machine is (59|6).*FAST" }));
    browser.see("status", Some("Health"), "tokens are not affected");

    calls(150).await;
    let route = Some("/api/v2/forbidden".to_owned());
    let rule = ApiRule { fault: ApiFault::AlwaysUnauthorized, route, chance: Chance::ALWAYS };
    sim.handle().apply(Event::ApiFault(rule));
    let refused = reqwest::get(format!("{}/api/v2/forbidden", gateway.url())).await.unwrap();
    assert_eq!(refused.status(), 401);
    let verdict = refused.headers()["evergrant-verdict"].to_str().unwrap().to_owned();
    let (cause, id) = (verdict.split(';').next().unwrap(), verdict.split("; ").nth(2).unwrap());
    browser.see("list", EVENTS, &format!("verdict {cause}"));
    browser.see("list", EVENTS, id);
    browser.see("status", Some("Health"), &format!("verdict {cause}"));
    browser.see("region", Some("Refusals by cause"), cause);

    for (name, scheme, width, height) in LOOKS {
        let path = folder.join(format!("{name}.png"));
        let look = json!({ "scheme": scheme, "width": width, "height": height, "path": path });
        let shot = browser.tell("shot", look);
        assert!(shot["overflow"].as_i64().unwrap() <= 0, "{name} is wider than its screen: {shot}");
        println!("screenshot: {}", path.display());
        assert_no_grave_fault(name, &browser.tell("axe", json!({})));
    }
    browser.tell("reach", json!({ "key": "Tab", "text": "As a table" }));
    browser.tell("press", json!({ "key": "Enter" }));
    browser.see("region", Some("Clock offset as a table"), "At least");
    assert_eq!(browser.tell("faults", json!({}))["faults"], json!([]));

    load.finish().await.assert_all_fine();
}

/// Both colour schemes, on a desk and on a phone.
pub(crate) const LOOKS: [(&str, &str, u32, u32); 4] = [
    ("light", "light", 1280, 900),
    ("dark", "dark", 1280, 900),
    ("phone-light", "light", 390, 844),
    ("phone-dark", "dark", 390, 844),
];

/// No violation that axe calls serious or critical.
pub(crate) fn assert_no_grave_fault(look: &str, judged: &Value) {
    assert!(judged["passes"].as_u64().unwrap() > 20, "axe hardly looked at anything: {judged}");
    let violations = judged["violations"].as_array().unwrap();
    let is_grave = |violation: &&Value| matches!(violation["impact"].as_str(), Some("serious" | "critical"));
    let grave: Vec<_> = violations.iter().filter(is_grave).collect();
    assert!(grave.is_empty(), "{look}: {grave:#?}");
    println!("axe, {look}: {} rules passed, {} lesser faults", judged["passes"], violations.len());
}
