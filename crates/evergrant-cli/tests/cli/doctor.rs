//! `evergrant doctor`: healthy set-ups have no finding, and each seeded fault is found where it is.
//!
//! Every seed names the check that must find it, the cause if a server refused something, and words of the evidence and
//! of the remedy. No other check may call it a fault: one broken wire is one fault. Seeds that need foreign servers or
//! faked clocks are in the tests against real components. Stores and what is printed have files of their own.

mod printed;
mod store;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use evergrant_core::time::Span;
use evergrant_sim::config::{
    CLIENT_SECRET, ClientConfig, Delay, ExpiresIn, LimitAnswer, MintLimit, NodeConfig, ProviderConfig, RateLimit,
};
use evergrant_sim::faults::{ApiFault, ApiRule, Chance, Event, TokenFault};
use evergrant_sim::http::SimServer;
use serde_json::Value;

use crate::support::{Folder, Run, closed_port, evergrant};

/// The exit code of a run that found a fault.
const FOUND: i32 = 12;

fn doctor() -> Run {
    evergrant(["doctor", "--json", "--propagation", "300ms"])
}

/// A doctor for the client of this provider, which looks like Genesys Cloud.
fn doctor_of(provider: &SimServer) -> Run {
    doctor().env("EVERGRANT_PROVIDER", "genesys").client_of(provider)
}

fn genesys() -> SimServer {
    SimServer::start(ProviderConfig::genesys()).unwrap()
}

/// The report of a run, whatever it found. No secret of the client is in anything it printed.
fn report(run: Run, code: i32) -> Value {
    let ended = run.end();
    assert_eq!(ended.code(), code, "{}", ended.shown());
    assert!(!ended.shown().contains(CLIENT_SECRET), "{}", ended.shown());
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["version"], 1);
    report
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let found = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no check {name} in {report:#}"))
}

fn names_in(report: &Value, state: &str) -> Vec<String> {
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["state"] == state);
    checks.map(|check| check["name"].as_str().unwrap().to_owned()).collect()
}

/// What a seed must lead to.
struct Expected<'a> {
    check: &'a str,
    /// Empty: no server refused anything.
    cause: &'a str,
    evidence: &'a str,
    remedy: &'a str,
}

impl Expected<'_> {
    /// The only fault of the report, and it says what it must.
    fn is_the_fault_of(&self, run: Run) -> Value {
        let report = report(run, FOUND);
        assert_eq!(names_in(&report, "fault"), [self.check], "{report:#}");
        self.is_said_in(&report);
        report
    }

    /// A warning of a report without any fault.
    fn is_a_warning_of(&self, run: Run) -> Value {
        let report = report(run, 0);
        assert_eq!(names_in(&report, "fault"), [""; 0], "{report:#}");
        assert_eq!(check(&report, self.check)["state"], "warning", "{report:#}");
        self.is_said_in(&report);
        report
    }

    fn is_said_in(&self, report: &Value) {
        let found = check(report, self.check);
        let evidence = found["evidence"].to_string();
        assert!(evidence.contains(self.evidence), "`{}` is not in {evidence}", self.evidence);
        let remedy = found["remedy"].as_str().unwrap();
        assert!(remedy.contains(self.remedy), "`{}` is not in {remedy}", self.remedy);
        assert_eq!(found["verdict"]["cause"].as_str().unwrap_or_default(), self.cause, "{found:#}");
    }
}

// Nothing is wrong.

#[test]
fn a_healthy_genesys_set_up_has_no_finding() {
    let mut config = ProviderConfig { rate_limit: Some(RateLimit::GENESYS), ..ProviderConfig::genesys() };
    config.tokens.idle_timeout = Some(Span::from_secs(1_800));
    let provider = SimServer::start(config).unwrap();
    let report = report(doctor_of(&provider), 0);
    assert_eq!(report["state"], "ok", "{report:#}");
    assert_eq!(report["counts"]["fault"], 0);
    assert_eq!(report["counts"]["warning"], 0, "{report:#}");
    for name in ["settings", "token_dns", "token_tcp", "token_endpoint", "token", "lifetime", "propagation", "api"] {
        assert_eq!(check(&report, name)["state"], "ok", "{name}: {report:#}");
    }
    assert!(check(&report, "identity")["evidence"].to_string().contains("sim-client"), "{report:#}");
    for (name, words) in [
        ("identity", "unused, it would end at 20"),
        ("permissions", "1 role: Sim Reader"),
        ("idle_timeout", "not used for 30 minutes"),
        ("org_limits", "client.credentials.token.rate.per.minute = 300"),
    ] {
        let found = check(&report, name);
        assert!(found["state"] == "ok" && found["evidence"].to_string().contains(words), "{name}: {report:#}");
    }
    assert!(check(&report, "rate_limit")["evidence"].to_string().contains("of 300 requests"), "{report:#}");
    assert!(check(&report, "clock")["evidence"].to_string().contains("the API's date in milliseconds"), "{report:#}");
    assert_eq!(report["measured"]["token"]["dead_s"].as_f64().map(f64::round), Some(86_382.0), "{report:#}");

    assert_eq!(report["token_requests"], 1);
    let ledger = provider.handle().ledger();
    assert_eq!(ledger.token.requests, 1, "at most one token is minted");
    assert_eq!(ledger.effects.len(), 0, "nothing was written or deleted");
    assert_eq!(ledger.refused(), 0, "{:?}", ledger.api.refused);
}

#[test]
fn a_healthy_plain_oauth_set_up_has_no_finding() {
    let provider = SimServer::start_split(ProviderConfig::rfc()).unwrap();
    let folder = Folder::new();
    let store = format!("file+plain:{}", folder.path().join("store").display());
    let run = doctor().client_of(&provider).env("EVERGRANT_PROBE_PATH", "/api/v2/x").env("EVERGRANT_STORE", store);
    let report = report(run, 0);
    assert_eq!(report["state"], "ok", "{report:#}");
    assert_eq!(check(&report, "api_tcp")["state"], "ok", "{report:#}");
    assert!(!folder.path().join("store").exists(), "looking makes no store");
}

#[test]
fn independent_questions_are_asked_at_once() {
    let provider = SimServer::start_split(ProviderConfig::genesys()).unwrap();
    let run = evergrant(["doctor", "--json", "--propagation", "0ms"]).env("EVERGRANT_PROVIDER", "genesys");
    let report = report(run.client_of(&provider), 0);
    let mut spans: Vec<(f64, f64)> = report["measured"]["latency"]
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| (answer["at_s"].as_f64().unwrap(), answer["ms"].as_f64().unwrap() / 1000.0))
        .map(|(sent, took)| (sent, sent + took))
        .collect();
    // The longest row of requests of which each begins after the one before has ended: what a far provider would cost.
    spans.sort_by(|left, right| left.1.total_cmp(&right.1));
    let (mut in_a_row, mut ended) = (0, f64::NEG_INFINITY);
    for (sent, received) in &spans {
        if *sent >= ended {
            (in_a_row, ended) = (in_a_row + 1, *received);
        }
    }
    assert!(in_a_row <= 4, "{in_a_row} of {} requests wait for each other: {spans:?}", spans.len());
    let ledger = provider.handle().ledger();
    assert!(ledger.token.requests == 1 && ledger.api.calls <= 6, "{} calls of the API", ledger.api.calls);
}

// The settings.

#[test]
fn a_secret_with_white_space_at_its_end_is_found() {
    let provider = genesys();
    let run = doctor_of(&provider).env("EVERGRANT_CLIENT_SECRET", format!("{CLIENT_SECRET} "));
    let expected = Expected {
        check: "settings",
        cause: "",
        evidence: "the client secret ends with white space (EVERGRANT_CLIENT_SECRET)",
        remedy: "store it again without spaces",
    };
    expected.is_the_fault_of(run);
    assert_eq!(provider.handle().ledger().token.requests, 0, "it is not even sent");
}

#[test]
fn a_known_api_host_in_the_token_url_is_found() {
    let run = doctor()
        .env("EVERGRANT_TOKEN_URL", "https://api.mypurecloud.de/oauth/token")
        .env("EVERGRANT_CLIENT_ID", "id")
        .env("EVERGRANT_CLIENT_SECRET", CLIENT_SECRET);
    let expected = Expected {
        check: "settings",
        cause: "",
        evidence: "api.mypurecloud.de is the API host; tokens come from the login host",
        remedy: "write https://login.mypurecloud.de/oauth/token",
    };
    expected.is_the_fault_of(run);
}

#[test]
fn a_password_in_a_store_url_is_shown_to_nobody() {
    let provider = genesys();
    let run = doctor_of(&provider).env("EVERGRANT_STORE", format!("redis://:{CLIENT_SECRET}@10.0.0.1/0"));
    report(run, FOUND);
}

// The way.

#[test]
fn a_name_that_does_not_resolve_is_found() {
    let provider = genesys();
    let run = doctor_of(&provider).env("EVERGRANT_TOKEN_URL", "https://login.evergrant.invalid/oauth/token");
    let expected = Expected {
        check: "token_dns",
        cause: "",
        evidence: "the name login.evergrant.invalid cannot be resolved",
        remedy: "check the region or the token URL",
    };
    let report = expected.is_the_fault_of(run);
    assert_eq!(check(&report, "token_endpoint")["state"], "skipped");
}

#[test]
fn a_refused_port_of_the_token_endpoint_is_found() {
    let provider = genesys();
    let place = closed_port();
    let run = doctor_of(&provider).env("EVERGRANT_TOKEN_URL", format!("http://{place}/oauth/token"));
    let evidence = format!("{place}: connection refused");
    let expected =
        Expected { check: "token_tcp", cause: "", evidence: &evidence, remedy: "that a server runs at 127.0.0.1" };
    expected.is_the_fault_of(run);
}

#[test]
fn a_refused_port_of_the_api_is_found() {
    let place = closed_port();
    let provider = genesys();
    let run = doctor_of(&provider).env("EVERGRANT_UPSTREAM", format!("http://{place}"));
    let evidence = format!("{place}: connection refused");
    let expected = Expected { check: "api_tcp", cause: "", evidence: &evidence, remedy: "the region or the upstream" };
    let report = expected.is_the_fault_of(run);
    assert_eq!(check(&report, "token_endpoint")["state"], "ok", "the other side is looked at all the same");
}

#[test]
fn a_proxy_that_wants_credentials_is_found() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = proxy.local_addr().unwrap();
    let proxying = std::thread::spawn(move || {
        for stream in proxy.incoming().take(2) {
            let mut stream = stream.unwrap();
            let mut head = [0_u8; 1024];
            let read = stream.read(&mut head).unwrap();
            assert!(head[..read].starts_with(b"CONNECT "), "{}", String::from_utf8_lossy(&head[..read]));
            let answer =
                b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).unwrap();
        }
    });
    let run = doctor()
        .env("EVERGRANT_TOKEN_URL", "https://login.example.test/oauth/token")
        .env("EVERGRANT_UPSTREAM", "https://api.example.test")
        .env("EVERGRANT_CLIENT_ID", "id")
        .env("EVERGRANT_CLIENT_SECRET", CLIENT_SECRET)
        .env("HTTPS_PROXY", format!("http://{place}"));
    let evidence = format!("is reached through the proxy {place}, without credentials");
    let expected = Expected { check: "proxy", cause: "proxy_auth", evidence: &evidence, remedy: "HTTPS_PROXY" };
    expected.is_the_fault_of(run);
    proxying.join().unwrap();
}

// The token endpoint.

#[test]
fn a_wrong_secret_is_found() {
    let provider = genesys();
    let run = doctor_of(&provider).env("EVERGRANT_CLIENT_SECRET", "not-the-secret");
    let expected = Expected {
        check: "token_endpoint",
        cause: "client_rejected",
        evidence: "invalid_client",
        remedy: "check the client id and secret",
    };
    expected.is_the_fault_of(run);
}

#[test]
fn a_wrong_client_id_is_found() {
    let provider = genesys();
    let run = doctor_of(&provider).env("EVERGRANT_CLIENT_ID", "nobody");
    let expected = Expected {
        check: "token_endpoint",
        cause: "client_rejected",
        evidence: "invalid_client",
        remedy: "check the client id and secret",
    };
    expected.is_the_fault_of(run);
}

#[test]
fn a_disabled_client_is_found() {
    let clients = vec![ClientConfig { client_credentials: false, ..ClientConfig::default() }];
    let provider = SimServer::start(ProviderConfig { clients, ..ProviderConfig::genesys() }).unwrap();
    let expected = Expected {
        check: "token_endpoint",
        cause: "client_rejected",
        evidence: "unauthorized_client",
        remedy: "enable the client and allow it the grant client_credentials",
    };
    expected.is_the_fault_of(doctor_of(&provider));
}

#[test]
fn a_token_url_on_the_api_host_is_found() {
    let provider = SimServer::start_split(ProviderConfig::genesys()).unwrap();
    let run = doctor_of(&provider).env("EVERGRANT_TOKEN_URL", format!("{}/oauth/token", provider.url()));
    let expected = Expected {
        check: "token_endpoint",
        cause: "unknown",
        evidence: "404",
        remedy: "the token URL is on the API's host",
    };
    let report = report(run, FOUND);
    assert_eq!(names_in(&report, "fault"), ["token_endpoint"], "{report:#}");
    let remedy = check(&report, "token_endpoint")["remedy"].as_str().unwrap();
    assert!(remedy.contains(expected.remedy), "{report:#}");
    assert!(check(&report, "token_endpoint")["evidence"].to_string().contains(expected.evidence), "{report:#}");
}

#[test]
fn a_token_endpoint_that_redirects_is_found() {
    let provider = genesys();
    provider.handle().apply(Event::token(TokenFault::Redirect("https://login.example/oauth/token".to_owned())));
    let expected = Expected {
        check: "token_endpoint",
        cause: "unknown",
        evidence: "redirects to https://login.example",
        remedy: "set EVERGRANT_TOKEN_URL to where it redirects",
    };
    expected.is_the_fault_of(doctor_of(&provider));
}

#[test]
fn a_rate_limit_of_the_token_endpoint_is_found() {
    let limit = MintLimit { count: 0, window: Span::from_secs(60), answer: LimitAnswer::BadRequest };
    let provider = SimServer::start(ProviderConfig { mint_limit: Some(limit), ..ProviderConfig::genesys() }).unwrap();
    let expected = Expected {
        check: "token_endpoint",
        cause: "rate_limited",
        evidence: "rate limit exceeded",
        remedy: "share one token between all programs of this client",
    };
    expected.is_the_fault_of(doctor_of(&provider));
}

#[test]
fn a_slow_token_endpoint_is_found() {
    let provider = genesys();
    provider.handle().apply(Event::token(TokenFault::Slow(Span::from_millis(2_100))));
    let expected = Expected {
        check: "token_endpoint",
        cause: "",
        evidence: "delays every caller that has to wait for it",
        remedy: "ask the provider why its token endpoint is slow",
    };
    expected.is_a_warning_of(doctor_of(&provider));
}

#[test]
fn a_token_endpoint_that_does_not_answer_is_found() {
    let provider = genesys();
    provider.handle().apply(Event::token(TokenFault::Hang(Span::from_secs(30))));
    let run = doctor_of(&provider).env("EVERGRANT_TOKEN_TIMEOUT", "500ms");
    let report = report(run, FOUND);
    assert_eq!(names_in(&report, "fault"), ["token_endpoint"], "{report:#}");
    assert!(check(&report, "token_endpoint")["evidence"].to_string().contains("within 500 ms"), "{report:#}");
}

#[test]
fn a_page_instead_of_a_token_is_found() {
    let provider = genesys();
    provider.handle().apply(Event::token(TokenFault::NotJson));
    let report = report(doctor_of(&provider), FOUND);
    assert_eq!(names_in(&report, "fault"), ["token_endpoint"], "{report:#}");
}

#[test]
fn a_next_secret_that_the_provider_wants_already_is_told() {
    let provider = genesys();
    let run = doctor_of(&provider).env("EVERGRANT_CLIENT_SECRET", "0ld-s3cret");
    let report = report(run.env("EVERGRANT_CLIENT_SECRET_NEXT", CLIENT_SECRET), 0);
    let said = check(&report, "token_endpoint").to_string();
    assert!(said.contains("the next one was accepted") && !said.contains("0ld-s3cret"), "{said}");
    assert_eq!(provider.handle().ledger().token.requests, 2);
}

// The token.

#[test]
fn a_short_life_is_found() {
    let config = ProviderConfig::genesys().with_lifetime(Span::from_secs(20));
    let expected = Expected {
        check: "lifetime",
        cause: "",
        evidence: "expires_in says 19.0 s",
        remedy: "raise the client's token duration",
    };
    let provider = SimServer::start(config).unwrap();
    expected.is_a_warning_of(doctor_of(&provider));
}

#[test]
fn a_missing_lifetime_is_found() {
    let mut config = ProviderConfig::genesys();
    config.tokens.expires_in = ExpiresIn::Missing;
    let expected =
        Expected { check: "lifetime", cause: "", evidence: "expires_in is missing", remedy: "renewed every 4 minutes" };
    let provider = SimServer::start(config).unwrap();
    expected.is_a_warning_of(doctor_of(&provider));
}

#[test]
fn a_delay_until_the_api_knows_a_new_token_is_found_and_measured() {
    let config = ProviderConfig::genesys().with_propagation(Delay::fixed(Span::from_millis(700)));
    let provider = SimServer::start(config).unwrap();
    let run = evergrant(["doctor", "--json", "--propagation", "3s"]).env("EVERGRANT_PROVIDER", "genesys");
    let expected = Expected {
        check: "propagation",
        cause: "propagating",
        evidence: "refused with 401",
        remedy: "which lets a new token settle for 10.0 s",
    };
    expected.is_a_warning_of(run.client_of(&provider));
}

// The API.

#[test]
fn a_missing_permission_is_found() {
    let provider = genesys();
    let fault = ApiFault::MissingPermission;
    let route = Some("/api/v2/users".to_owned());
    provider.handle().apply(Event::ApiFault(ApiRule { fault, route, chance: Chance::ALWAYS }));
    let run = doctor_of(&provider).env("EVERGRANT_PROBE_PATH", "/api/v2/users");
    let expected = Expected {
        check: "api",
        cause: "missing_permission",
        evidence: "GET /api/v2/users answered 403",
        remedy: "add a role with this permission",
    };
    expected.is_the_fault_of(run);
}

#[test]
fn what_a_client_may_not_read_about_its_account_is_no_fault() {
    let provider = genesys();
    for route in ["/api/v2/organizations", "/api/v2/tokens/timeout", "/api/v2/authorization"] {
        let (fault, route) = (ApiFault::MissingPermission, Some(route.to_owned()));
        provider.handle().apply(Event::ApiFault(ApiRule { fault, route, chance: Chance::ALWAYS }));
    }
    let report = report(doctor_of(&provider), 0);
    for name in ["permissions", "idle_timeout", "org_limits"] {
        assert_eq!(check(&report, name)["state"], "skipped", "{report:#}");
        assert!(check(&report, name)["evidence"].to_string().contains("403 missing.permissions"), "{report:#}");
    }
}

#[test]
fn an_address_that_is_not_allowed_is_found() {
    let provider = genesys();
    provider.handle().apply(Event::api(ApiFault::IpNotAuthorized));
    let expected =
        Expected { check: "api", cause: "ip_not_allowed", evidence: "answered 401", remedy: "to the allow list" };
    expected.is_the_fault_of(doctor_of(&provider));
}

#[test]
fn a_token_of_another_region_is_found() {
    let (here, there) = (genesys(), genesys());
    let run = doctor_of(&here).env("EVERGRANT_UPSTREAM", there.url());
    let report = report(run, FOUND);
    assert_eq!(names_in(&report, "fault"), ["api"], "{report:#}");
    let api = check(&report, "api");
    assert!(api["evidence"].to_string().contains("bad.credentials"), "{report:#}");
    assert!(api["remedy"].as_str().unwrap().contains("EVERGRANT_REGION"), "{report:#}");
}

// The clocks.

#[test]
fn a_provider_whose_clock_is_behind_is_found() {
    let provider = SimServer::start(ProviderConfig::genesys().with_offset(Span::from_secs(-600))).unwrap();
    let expected = Expected { check: "clock", cause: "", evidence: "FAST", remedy: "10 minutes fast" };
    expected.is_the_fault_of(doctor_of(&provider));
}

#[test]
fn two_clocks_of_one_provider_are_found() {
    let nodes = vec![NodeConfig { clock_offset: Span::from_secs(-40), ..NodeConfig::default() }];
    let provider = SimServer::start(ProviderConfig { nodes, ..ProviderConfig::genesys() }).unwrap();
    let expected =
        Expected { check: "clock", cause: "", evidence: "cannot both be right", remedy: "two clocks of the provider" };
    expected.is_the_fault_of(doctor_of(&provider));
}

// A gateway.

#[test]
fn a_gateway_that_should_run_and_does_not_is_found() {
    let provider = genesys();
    let place = closed_port();
    let run = doctor_of(&provider).env("EVERGRANT_ADMIN_LISTEN", place.to_string());
    let evidence = format!("no gateway answers at {place}");
    let expected =
        Expected { check: "gateway", cause: "", evidence: &evidence, remedy: "start it with `evergrant gateway`" };
    expected.is_the_fault_of(run);
}
