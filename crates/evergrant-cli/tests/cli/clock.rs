//! `evergrant clock`.

use std::io::{BufRead as _, BufReader};

use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_SECRET, DateHeader, ProviderConfig};
use evergrant_sim::http::SimServer;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Run, closed_port, evergrant};

fn ahead(millis: i64) -> SimServer {
    SimServer::start(ProviderConfig::rfc().with_offset(Span::from_millis(millis))).unwrap()
}

fn clock(arguments: &[&str], provider: &SimServer) -> Run {
    let run = evergrant(["clock"].iter().chain(arguments));
    run.env("EVERGRANT_TOKEN_URL", provider.token_url()).env("EVERGRANT_UPSTREAM", provider.url())
}

fn ends(value: &Value) -> (f64, f64) {
    let end = |name: &str| value["local_minus_server_s"][name].as_f64().unwrap_or_else(|| panic!("{value:#}"));
    (end("lo"), end("hi"))
}

fn holds(value: &Value, secs: f64) -> bool {
    let (lo, hi) = ends(value);
    lo <= secs && secs <= hi && hi - lo < 3.0
}

fn source<'a>(object: &'a Value, name: &str) -> &'a Value {
    let sources = object["sources"].as_array().unwrap();
    sources.iter().find(|source| source["source"] == name).unwrap_or_else(|| panic!("{object:#}"))
}

#[test]
fn the_offset_is_an_interval_that_holds_the_truth_and_needs_no_credentials() {
    let provider = ahead(7_300);
    let object: Value = serde_json::from_str(&clock(&["--json"], &provider).end().good()).unwrap();
    assert!(holds(&object, -7.3), "{object:#}");
    assert!(holds(source(&object, "api_date"), -7.3) && holds(source(&object, "auth_date"), -7.3), "{object:#}");
    let words = object["words"].as_str().unwrap();
    assert!(words.contains("SLOW") && !words.contains("FAST"), "{words}");
    assert!(words.ends_with(&format!("against {}", provider.addr())), "{words}");
    assert_eq!((object["state"].as_str(), object["source"].as_str()), (Some("settled"), Some("api_date")));
    assert_eq!(provider.handle().ledger().token.succeeded, 0, "nothing is minted for it");
}

#[test]
fn a_person_sees_the_result_first_and_every_source_beside_it() {
    let provider = ahead(-60_000);
    let ended = clock(&["--node-spread", "0s", "--date-lag", "0s", "--ntp", "127.0.0.1:9"], &provider).end();
    assert_eq!(ended.code(), 0, "{}", ended.shown());
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert!(lines[0].starts_with("this machine is ") && lines[0].contains(" FAST ("), "{}", ended.stdout);
    assert!(lines[2].starts_with("source ") && lines[2].ends_with("state"), "{}", ended.stdout);
    assert!(lines[3].starts_with("api_date ") && lines[3].contains("FAST") && lines[3].ends_with("settled"));
    assert!(ended.stdout.contains("ntp: connection refused by 127.0.0.1:9"), "{}", ended.stdout);
    assert!(ended.stdout.contains("holds if: drift up to 200 ppm, nodes within 0 ms, dates up to 0 ms late"));
    assert!(ended.stdout.contains("time service of this machine: "), "{}", ended.stdout);
    assert!(ended.stderr.contains("the clocks are more than 10.0 s apart"), "{}", ended.stderr);
}

#[test]
fn milliseconds_are_best_and_a_token_that_cannot_be_had_is_no_obstacle() {
    let provider = SimServer::start(ProviderConfig::genesys().with_offset(Span::from_millis(7_300))).unwrap();
    let measured = |secret: &str| -> Value {
        let run = clock(&["--json"], &provider).client_of(&provider).env("EVERGRANT_PROVIDER", "genesys");
        serde_json::from_str(&run.env("EVERGRANT_CLIENT_SECRET", secret).end().good()).unwrap()
    };
    let object = measured(CLIENT_SECRET);
    assert_eq!(object["source"], "ms_endpoint", "{object:#}");
    let (lo, hi) = ends(&object);
    assert!(lo <= -7.3 && -7.3 <= hi && hi - lo < 0.5, "{object:#}");
    assert_eq!(provider.handle().ledger().token.succeeded, 1, "one token, for the millisecond endpoint");
    let object = measured("wrong");
    assert_eq!(object["source"], "api_date", "{object:#}");
    assert!(holds(&object, -7.3), "{object:#}");
    let why = source(&object, "ms_endpoint")["note"].as_str().unwrap();
    assert!(why.contains("no token to ask with") && why.contains("invalid_client"), "{why}");
}

#[test]
fn an_ntp_server_and_a_reference_are_beside_the_result_and_not_in_it() {
    let (provider, other) = (ahead(7_300), ahead(0));
    let run = clock(&["--json", "--reference", &other.url()], &provider);
    let object: Value = serde_json::from_str(&run.end().good()).unwrap();
    assert!(holds(&object, -7.3) && holds(source(&object, "reference"), 0.0), "{object:#}");
    let pairs: Vec<_> = object["disagreements"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert!(pairs.contains(&r#"["api_date","reference"]"#.to_owned()), "{pairs:?}");
    assert!(object["verdict"].as_str().unwrap().ends_with("the provider's clock is off"), "{object:#}");
}

#[test]
fn dates_that_are_no_clock_are_disturbed_and_never_zero() {
    for date in [DateHeader::Frozen, DateHeader::Cached { age_secs: 90 }] {
        let provider = SimServer::start(ProviderConfig { date, ..ProviderConfig::rfc() }).unwrap();
        let object: Value = serde_json::from_str(&clock(&["--json"], &provider).end().good()).unwrap();
        assert_eq!(
            (&object["local_minus_server_s"], &object["state"]),
            (&Value::Null, &"disturbed".into()),
            "{date:?}"
        );
        assert!(object["words"].as_str().unwrap().starts_with("unknown"), "{object:#}");
    }
}

#[test]
fn whoever_cannot_be_asked_is_named() {
    let port = closed_port();
    let url = format!("http://{port}");
    let stderr = evergrant(["clock", "--json", "--upstream", &url]).end().failed(5);
    assert!(stderr.contains(&format!("api_date: connection refused by {port}")), "{stderr}");
    let provider = SimServer::start(ProviderConfig { date: DateHeader::Absent, ..ProviderConfig::rfc() }).unwrap();
    let stderr = clock(&["--json"], &provider).end().failed(1);
    assert!(stderr.contains("sends no Date"), "{stderr}");
}

#[test]
fn what_cannot_be_asked_is_said_before_anything_is_sent() {
    insta::assert_snapshot!(evergrant(["clock"]).end().shown(), @r"
    exit code: 3
    --- stdout
    --- stderr
    error: there is no clock to ask
      cause: neither a region, nor a token URL, an upstream or an issuer is set
    hint: for Genesys Cloud set EVERGRANT_REGION, for any other API EVERGRANT_UPSTREAM
    hint: or name a server with --reference https://HOST or --ntp HOST
    ");
    for (arguments, code, words) in [
        (["--ntp", "https://pool.example"], 2, "is no address of an NTP server"),
        (["--reference", "http://example.com"], 2, "would send secrets unprotected"),
        (["--interval", "1s"], 2, "--watch"),
        (["--date-lag", "1"], 2, "it has no unit"),
    ] {
        let provider = ahead(0);
        let stderr = clock(&arguments, &provider).end().failed(code);
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_watch_prints_one_object_a_line_until_it_is_interrupted() {
    let provider = ahead(7_300);
    // Not bounded by the timeout.
    let run = clock(&["--watch", "--json", "--interval", "500ms", "--timeout", "1s"], &provider);
    let (mut running, _home) = run.start();
    let mut lines = BufReader::new(running.child().stdout.take().unwrap()).lines();
    let mut objects = (0..5).map(|_| serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap());
    let last = objects.by_ref().last().unwrap();
    assert!(holds(&last, -7.3), "{last:#}");
    assert!(last["t_s"].as_f64().unwrap() > 1.5 && last["events"].is_array(), "{last:#}");
    running.signal(Signal::INT);
    assert_eq!(running.wait().code(), Some(0));
}

#[test]
fn a_watch_tells_of_a_step_of_the_server_in_plain_lines() {
    let provider = ahead(0);
    let (mut running, _home) = clock(&["--watch", "--interval", "500ms"], &provider).start();
    let mut lines = BufReader::new(running.child().stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.by_ref().take(20).any(|line| line.contains("agrees with")));
    provider.handle().apply(evergrant_sim::Event::StepServer(Span::from_secs(45)));
    let told: Vec<_> = lines.by_ref().take_while(|line| !line.contains("server_step: ")).take(60).collect();
    assert!(told.iter().any(|line| line.contains("disturbed: ")), "{told:#?}");
    assert!(lines.take(20).any(|line| line.contains("this machine is 45.") && line.contains("SLOW")), "{told:#?}");
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code(), Some(0));
}

#[test]
fn a_watch_ends_when_nobody_reads_it() {
    let provider = ahead(0);
    let (mut running, _home) = clock(&["--watch", "--json", "--interval", "100ms"], &provider).start();
    drop(running.child().stdout.take());
    assert_eq!(running.wait().code(), Some(0));
}
