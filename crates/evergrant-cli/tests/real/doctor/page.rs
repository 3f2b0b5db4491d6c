//! The report's page in a real browser: it opens without an error, fetches nothing, shows its plots, and can be read on a
//! phone and by a screen reader. The screenshots stay in the target folder.

use evergrant_core::time::Span;
use evergrant_sim::config::{Delay, ProviderConfig, RateLimit};
use evergrant_sim::http::SimServer;
use serde_json::json;

use super::{FOUND, client};
use crate::browser::Browser;
use crate::dashboard::{LOOKS, assert_no_grave_fault};
use crate::parts::scratch;

#[test]
fn the_page_opens_without_an_error_and_its_plots_are_there() {
    let folder = scratch("doctor-page");
    let mut config = ProviderConfig::genesys().with_propagation(Delay::fixed(Span::from_millis(900)));
    config.rate_limit = Some(RateLimit::GENESYS);
    config.latency.api = Delay::uniform(Span::from_millis(5), Span::from_millis(60));
    let provider = SimServer::start_split(config.with_offset(Span::from_millis(-14_300))).unwrap();
    let (token_url, upstream) = (provider.token_url(), provider.url());
    let path = folder.join("report.html");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_evergrant"));
    command.args(["doctor", "--propagation", "3s", "--html"]).arg(&path).env_clear().env("HOME", &folder);
    command.envs(client(&token_url, &upstream).iter().map(|(name, value)| (format!("EVERGRANT_{name}"), value)));
    command.env("EVERGRANT_ADMIN_LISTEN", "127.0.0.1:1");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(FOUND), "{}", String::from_utf8_lossy(&output.stderr));

    let browser = Browser::start(&folder);
    browser.tell("read", json!({ "path": path }));
    browser.see("region", Some("Health"), "1 fault and 2 warnings");
    browser.see("region", Some("propagation of a new token"), "What to do:");
    browser.see("region", Some("running gateway"), "no gateway answers at 127.0.0.1:1");
    for pattern in [
        "^Clock offset over time. by api date this machine is [+]1[345]",
        "^Answer time. token endpoint [0-9.]+ ms .middle of 1., API [0-9.]+ ms",
        "^Life of the token. Minted; refreshed from 2[0-9] h",
    ] {
        browser.tell("named", json!({ "role": "img", "pattern": pattern }));
    }
    for (name, scheme, width, height) in LOOKS {
        let shot = folder.join(format!("{name}.png"));
        let look = json!({ "scheme": scheme, "width": width, "height": height, "path": shot });
        let told = browser.tell("shot", look);
        assert!(told["overflow"].as_i64().unwrap() <= 0, "{name} is wider than its screen: {told}");
        println!("screenshot: {}", shot.display());
        assert_no_grave_fault(name, &browser.tell("axe", json!({})));
    }
    assert_eq!(browser.tell("faults", json!({}))["faults"], json!([]));
}
