//! Captures that real programs write of real refusals, and what `evergrant explain` makes of them.
//!
//! curl, Chromium, and Genesys Cloud's clients for Python and JavaScript meet the simulated provider, and curl a
//! certified OAuth server. What each writes is explained in another process that knows nothing else. The cause must be
//! the one that the provider was told to have, and no secret of the provider may come out.

use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig};
use evergrant_sim::faults::{ApiFault, Event};
use evergrant_sim::http::SimServer;
use serde_json::{Value, json};

use crate::parts::{part, scratch, tool};
use crate::process::Process;

const ME: &str = "/api/v2/users/me";

/// What a capture means; fails if anything in the output is a secret.
fn explain(capture: &[u8], secrets: &[String]) -> Value {
    use std::io::Write as _;
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evergrant"));
        command
            .arg("explain")
            .args(args)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(capture).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(capture));
        for secret in secrets {
            assert!(!said.contains(secret.as_str()), "a secret of {} bytes came out: {said}", secret.len());
        }
        said
    };
    println!("{}", run(&["-"]));
    serde_json::from_str(run(&["--json", "-"]).lines().next().unwrap()).unwrap()
}

fn causes(explained: &Value) -> Vec<&str> {
    explained["verdicts"].as_array().unwrap().iter().filter_map(|verdict| verdict["cause"].as_str()).collect()
}

/// Every secret that the provider knows, and what was made up for it.
fn secrets(sim: &SimServer) -> Vec<String> {
    let mut secrets: Vec<String> = sim.handle().secrets().iter().map(|secret| secret.expose().to_owned()).collect();
    secrets.push(STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}")));
    secrets.push(FOREIGN_TOKEN.to_owned());
    secrets.retain(|secret| secret.len() >= 8);
    secrets
}

/// A token that no provider issued.
const FOREIGN_TOKEN: &str = "f0reign-TOKEN-of-somebody-else-0123456789";

/// A run of `curl -v`: both outputs in the order in which a file of both has them, and the answer's body.
fn curl(args: &[&str]) -> (String, String) {
    let output = Command::new("curl").arg("-v").args(args).env_clear().output().unwrap();
    let body = String::from_utf8(output.stdout).unwrap();
    (format!("{}{body}\n", String::from_utf8(output.stderr).unwrap()), body)
}

/// A log of curl in which a client logs in and calls.
struct CurlLog<'a> {
    sim: &'a SimServer,
    text: String,
}

impl CurlLog<'_> {
    fn log_in(&mut self, secret: &str) -> String {
        let user = format!("{CLIENT_ID}:{secret}");
        let (log, body) =
            curl(&["--trace-time", "-u", &user, "-d", "grant_type=client_credentials", &self.sim.token_url()]);
        self.text.push_str(&log);
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        answer["access_token"].as_str().unwrap_or_default().to_owned()
    }

    fn call(&mut self, token: Option<&str>) {
        let (url, header) =
            (format!("{}{ME}", self.sim.url()), format!("Authorization: Bearer {}", token.unwrap_or_default()));
        let mut args = vec!["--trace-time", &url];
        if token.is_some() {
            args.extend(["-H", &header]);
        }
        self.text.push_str(&curl(&args).0);
    }

    fn causes(self) -> Vec<String> {
        let explained = explain(self.text.as_bytes(), &secrets(self.sim));
        assert_eq!(explained["kind"], "curl");
        causes(&explained).into_iter().map(str::to_owned).collect()
    }
}

#[test]
fn logs_of_curl_name_the_causes_that_the_provider_has() {
    let sim = SimServer::start(ProviderConfig::genesys()).unwrap();
    let log = || CurlLog { sim: &sim, text: String::new() };

    let mut revoked = log();
    let token = revoked.log_in(CLIENT_SECRET);
    revoked.call(Some(&token));
    sim.handle().apply(Event::RevokeAll);
    revoked.call(Some(&token));
    assert_eq!(revoked.causes(), ["revoked"]);

    let mut superseded = log();
    let old = superseded.log_in(CLIENT_SECRET);
    superseded.call(Some(&old));
    sim.handle().apply(Event::RevokeAll);
    let new = superseded.log_in(CLIENT_SECRET);
    superseded.call(Some(&old));
    superseded.call(Some(&new));
    assert_eq!(superseded.causes(), ["superseded"]);

    let mut without = log();
    without.call(None);
    assert_eq!(without.causes(), ["missing_token"]);

    let mut quoted = log();
    quoted.call(Some(&format!("\"{new}\"")));
    assert_eq!(quoted.causes(), ["malformed_token"]);

    let mut rejected = log();
    rejected.log_in("wrong-secret-of-the-client");
    assert_eq!(rejected.causes(), ["client_rejected"]);

    for (fault, cause) in &FAULTS {
        sim.handle().apply(Event::api(fault.clone()));
        let mut log = log();
        log.call(Some(&new));
        assert_eq!(log.causes(), [*cause]);
        sim.handle().apply(Event::ClearApiFaults);
    }
}

/// Starts a client.
type Start = fn() -> Command;
/// Refusals with their causes.
type Faults = [(ApiFault, &'static str)];

/// Refusals that name themselves.
static FAULTS: [(ApiFault, &str); 3] = [
    (ApiFault::IpNotAuthorized, "ip_not_allowed"),
    (ApiFault::MissingPermission, "missing_permission"),
    (ApiFault::TooManyRequests(7), "rate_limited"),
];

#[test]
fn a_har_of_a_browser_shows_a_whole_session() {
    let folder = scratch("captures-har");
    let sim = SimServer::start(ProviderConfig::genesys()).unwrap();
    let path = folder.join("session.har");
    let script = tool("node/node_modules").parent().unwrap().join("har.mjs");
    std::fs::copy(part("har.mjs"), &script).unwrap();
    let mut command = Command::new("node");
    command.arg(script).arg("/usr/bin/chromium").arg(&path).env("HOME", &folder);
    let browser = Process::start("the browser", &mut command);
    browser.line(|line| line.contains("ready").then_some(()));
    let number = std::cell::Cell::new(0);
    let tell = |mut with: Value| {
        use std::io::Write as _;
        number.set(number.get() + 1);
        with["number"] = number.get().into();
        writeln!(browser.input(), "{with}").unwrap();
        browser.line(|line| serde_json::from_str::<Value>(line).ok().filter(|answer| answer["number"] == number.get()))
    };
    let call = |token: &str| {
        let options = json!({ "headers": { "Authorization": format!("Bearer {token}") } });
        tell(json!({ "do": "fetch", "url": ME, "options": options }))["status"].as_u64()
    };
    let log_in = || {
        let basic = STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"));
        let headers =
            json!({ "Authorization": format!("Basic {basic}"), "Content-Type": "application/x-www-form-urlencoded" });
        let options = json!({ "method": "POST", "headers": headers, "body": "grant_type=client_credentials" });
        let url = sim.token_url().replace(&sim.url(), "");
        let answer = tell(json!({ "do": "fetch", "url": url, "options": options }));
        let answer: Value = serde_json::from_str(answer["text"].as_str().unwrap()).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    };

    assert_eq!(tell(json!({ "do": "open", "url": format!("{}{ME}", sim.url()) }))["status"], 401);
    let old = log_in();
    assert_eq!(call(&old), Some(200));
    sim.handle().apply(Event::RevokeAll);
    let new = log_in();
    assert_eq!((call(&old), call(&new)), (Some(401), Some(200)));
    sim.handle().apply(Event::api(ApiFault::MissingPermission));
    assert_eq!(call(&new), Some(403));
    let (status, said) = browser.end();
    assert!(status.success(), "{said}");

    let har = std::fs::read(&path).unwrap();
    assert!(
        String::from_utf8_lossy(&har).contains(&old),
        "the HAR shows the token, or the search below proves nothing"
    );
    let explained = explain(&har, &secrets(&sim));
    assert_eq!(
        (&explained["kind"], explained["notes"][0].as_str()),
        (&json!("har"), Some("it was written by Playwright"))
    );
    // The browser asks for an icon too, without a token.
    let named: Vec<_> = causes(&explained).into_iter().filter(|cause| *cause != "missing_token").collect();
    assert_eq!(named, ["superseded", "missing_permission"], "{explained}");
    assert_eq!(causes(&explained)[0], "missing_token", "the page itself was asked for without a token");
    let clock = &explained["clocks"][0]["local_minus_server_s"];
    assert!(clock["lo"].as_f64().unwrap() <= 0.0 && 0.0 <= clock["hi"].as_f64().unwrap(), "one machine has one clock");
}

/// What a client prints when it logs in with a secret, or calls with a token.
fn printed(mut client: Command, sim: &SimServer, action: &str, secret: &str) -> Vec<u8> {
    client.env("GENESYS_HOST", sim.url()).env("GENESYS_ACTION", action).env("GENESYS_TOKEN", secret);
    client.env("GENESYS_CLOUD_CLIENT_ID", CLIENT_ID).env("GENESYS_CLOUD_CLIENT_SECRET", secret);
    let output = client.output().unwrap();
    [output.stdout, output.stderr].concat()
}

fn python() -> Command {
    let mut command = Command::new(tool("py/bin/python"));
    command.arg(part("sdk_error.py"));
    command
}

fn javascript(print: &str) -> Command {
    tool("node/node_modules/purecloud-platform-client-v2");
    let mut command = Command::new("node");
    command.arg(part("sdk_error.mjs")).env("NODE_PARTS", tool("node")).env("GENESYS_PRINT", print);
    command
}

#[test]
fn exceptions_of_both_genesys_clients_name_their_causes() {
    let sim = SimServer::start(ProviderConfig::genesys()).unwrap();
    let (_, body) =
        curl(&["-u", &format!("{CLIENT_ID}:{CLIENT_SECRET}"), "-d", "grant_type=client_credentials", &sim.token_url()]);
    let answer: Value = serde_json::from_str(&body).unwrap();
    let good = answer["access_token"].as_str().unwrap();
    // Python's client waits out a 429 by itself.
    let clients: [(&str, Start, &Faults); 3] = [
        ("Python", python, &FAULTS[1..2]),
        ("JavaScript", || javascript("node"), &FAULTS),
        ("JavaScript as JSON", || javascript("json"), &FAULTS[2..]),
    ];
    for (name, client, faults) in clients {
        let explained = |action: &str, secret: &str| {
            let mut all = secrets(&sim);
            all.push(secret.to_owned());
            all.push(STANDARD.encode(format!("{CLIENT_ID}:{secret}")));
            let explained = explain(&printed(client(), &sim, action, secret), &all);
            causes(&explained).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        // axios leaves the answer out of its JSON, and with it the reason.
        let rejected = if name.ends_with("JSON") { "unknown" } else { "client_rejected" };
        assert_eq!(explained("login", "wrong-secret-of-the-client"), [rejected], "{name}");
        // An unknown token and nothing else: no cause can be proven, and none is made up.
        assert_eq!(explained("call", FOREIGN_TOKEN), ["unknown"], "{name}");
        for (fault, cause) in faults {
            sim.handle().apply(Event::api(fault.clone()));
            assert_eq!(explained("call", good), [*cause], "{name}");
            sim.handle().apply(Event::ClearApiFaults);
        }
    }
}

#[test]
fn a_jwt_that_ran_out_is_expired_by_the_servers_own_clock() {
    let mut command = Command::new("node");
    command.arg(part("idp.mjs")).env("NODE_PARTS", tool("node")).env("TOKEN_SECS", "2");
    tool("node/node_modules/oidc-provider");
    let idp = Process::start("oidc-provider", &mut command);
    let about: Value = idp.line(|line| serde_json::from_str(line).ok());
    let text = |name: &str| about[name].as_str().unwrap().to_owned();
    let form = format!("grant_type=client_credentials&resource={}&scope=api:read", text("resource"));
    let (minting, body) = curl(&["-u", "robot:robot-secret", "-d", &form, &text("token_url")]);
    let answer: Value = serde_json::from_str(&body).unwrap();
    let token = answer["access_token"].as_str().unwrap().to_owned();
    let header = format!("Authorization: Bearer {token}");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    // A Date counts whole seconds: just after its end the token is likely expired, and a little later certainly.
    loop {
        let (log, _) = curl(&[&format!("{}/things", text("api")), "-H", &header]);
        // With the token request and without it: the token's own dates are enough.
        let [with, without] = [format!("{minting}{log}"), log].map(|log| {
            let explained = explain(log.as_bytes(), std::slice::from_ref(&token));
            let cause = causes(&explained).first().map(|cause| (*cause).to_owned());
            cause.zip(explained["verdicts"][0]["confidence"].as_str().map(str::to_owned))
        });
        let is_expired = |found: &Option<(String, String)>| found.as_ref().is_none_or(|(cause, _)| cause == "expired");
        assert!(is_expired(&with) && is_expired(&without), "{with:?} {without:?}");
        if [with, without].iter().all(|found| found.as_ref().is_some_and(|(_, confidence)| confidence == "certain")) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the token lives on");
    }
}
