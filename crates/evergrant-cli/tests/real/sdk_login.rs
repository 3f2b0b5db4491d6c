//! Genesys Cloud's own clients for Python and JavaScript, configured by their own files to use the gateway.
//!
//! Both log in at the gateway and make 200 calls each, while the provider behind it issues tokens of a few seconds and
//! revokes all of them now and then. Neither client may see an exception; both give up at the first one. Afterwards no
//! token that the provider ever issued may be in the memory of either process, in its home folder, or in the gateway's
//! log; the handle is, which shows that the search finds what is there.

use std::path::{Path, PathBuf};
use std::process::Command;

use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, Delay, ProviderConfig, REFRESH_TOKEN};
use evergrant_sim::faults::Event;
use evergrant_sim::http::SimServer;
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::memory::Needles;
use crate::parts::{part, scratch, tool};
use crate::process::Process;
use crate::until;

/// Tokens live for six seconds, are known late, and the API has two nodes.
fn provider() -> SimServer {
    let propagation = Delay { min: Span::ZERO, max: Span::from_millis(300) };
    let config =
        ProviderConfig::genesys().with_lifetime(Span::from_secs(6)).with_nodes(2).with_propagation(propagation);
    SimServer::start(config).unwrap()
}

fn gateway(sim: &SimServer, home: &Path, more: &[(&str, &str)]) -> Gateway {
    let (token_url, upstream) = (sim.token_url(), sim.url());
    let mut settings = vec![
        ("PROVIDER", "genesys"),
        ("TOKEN_URL", token_url.as_str()),
        ("UPSTREAM", upstream.as_str()),
        ("CLIENT_ID", CLIENT_ID),
        ("CLIENT_SECRET", CLIENT_SECRET),
    ];
    settings.extend(more);
    Gateway::start(home, None, &settings)
}

/// A home folder in which a client finds the gateway, by the example's file.
fn home(folder: &Path, library: &str, gateway: &Gateway) -> PathBuf {
    let home = folder.join(library);
    let config = home.join(format!(".genesyscloud{library}/config"));
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    let example = std::fs::read_to_string(example("genesys-sdk-config.ini")).unwrap();
    let port = gateway.url().rsplit(':').next().unwrap();
    std::fs::write(config, example.replace("port = 7070", &format!("port = {port}"))).unwrap();
    home
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// A program with the client's id and secret, and nothing else that would tell it anything.
fn client(program: &Path, script: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg(script).env_clear().env("HOME", home).env("NODE_PARTS", tool("node"));
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command.env("GENESYS_CLOUD_CLIENT_ID", CLIENT_ID).env("GENESYS_CLOUD_CLIENT_SECRET", CLIENT_SECRET);
    command
}

/// Every access token that the provider issued.
fn issued(sim: &SimServer) -> Vec<String> {
    let secrets = sim.handle().secrets().into_iter().map(|secret| secret.expose().to_owned());
    secrets.filter(|text| text != CLIENT_SECRET && text != REFRESH_TOKEN).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_clients_call_through_many_tokens_and_hold_none() {
    let folder = scratch("sdk-login");
    let sim = provider();
    let gateway = gateway(&sim, &folder, &[]);
    let (python_home, node_home) = (home(&folder, "python", &gateway), home(&folder, "javascript", &gateway));
    let python = client(&tool("py/bin/python"), &part("sdk_login.py"), &python_home);
    let node = client(Path::new("node"), &part("sdk_login.mjs"), &node_home);
    let clients = [("Python", python, python_home), ("JavaScript", node, node_home)]
        .map(|(name, mut command, home)| (name, Process::start(name, &mut command), home));

    let is_done = |process: &Process| process.said().lines().any(|line| line.starts_with('{'));
    let mut revocations = 0;
    while !clients.iter().all(|(_, process, _)| is_done(process)) {
        let next = sim.handle().ledger().token.succeeded + 2;
        until("the provider has issued two more tokens, or the calls are done", async || {
            sim.handle().ledger().token.succeeded >= next || clients.iter().all(|(_, process, _)| is_done(process))
        })
        .await;
        sim.handle().apply(Event::RevokeAll);
        revocations += 1;
    }

    let ledger = sim.handle().ledger();
    assert!(ledger.token.succeeded >= 5 && revocations >= 2, "{revocations} revocations, {:?}", ledger.token);
    assert!(ledger.refused() > 0, "the revocations must have met calls, or the test proves nothing");
    assert_eq!(ledger.duplicated_effects(), 0);
    for (name, process, home) in clients {
        let report: Value = process.line(|line| serde_json::from_str(line).ok());
        assert_eq!(report["failures"], json!([]), "{name}: {}", gateway.log());
        assert_eq!(report["calls"], 200, "{name}");
        let posts = ledger.effects.keys().filter(|id| id.starts_with(&name.to_lowercase())).count();
        assert_eq!(Some(posts as u64), report["posts"].as_u64(), "{name}: each POST was executed, and once");
        let held = report["held"].as_str().unwrap().to_owned();
        assert!(held.starts_with("eg1_"), "{name}");
        assert_holds_no_token(name, &process, &home, &sim, &held);
        assert!(!gateway.log().contains(&held), "the handle is in the log");
        let (status, said) = process.end();
        assert!(status.success(), "{said}");
    }
    let log = gateway.log();
    assert!(issued(&sim).iter().all(|token| !log.contains(token)), "a token is in the log");
    println!("{} tokens, {revocations} revocations, {} 401s that nobody saw", ledger.token.succeeded, ledger.refused());
}

fn assert_holds_no_token(name: &str, process: &Process, home: &Path, sim: &SimServer, held: &str) {
    let needles = Needles::new(issued(sim).into_iter().chain([held.to_owned()]));
    let found = needles.in_process(process.id());
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [held], "{name}: what its memory holds");
    assert!(needles.in_folder(home).is_empty(), "{name}: its folder holds a token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_outlives_the_gateway_that_gave_it() {
    let folder = scratch("handle-restart");
    let store = format!("file+plain:{}", folder.join("store").display());
    let sim = provider();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = async |gateway: &Gateway, handle: &str| {
        let request = http.get(format!("{}/gw/api/v2/users/me", gateway.url())).bearer_auth(handle);
        request.send().await.unwrap().status().as_u16()
    };
    let first = gateway(&sim, &folder, &[("STORE", &store)]);
    let login = http.post(format!("{}/login/oauth/token", first.url())).basic_auth(CLIENT_ID, Some(CLIENT_SECRET));
    let answer = login.form(&[("grant_type", "client_credentials")]).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    let handle = answer["access_token"].as_str().unwrap();
    assert_eq!(call(&first, handle).await, 200);
    drop(first);

    let second = gateway(&sim, &folder, &[("STORE", &store)]);
    assert_eq!(call(&second, handle).await, 200, "{}", second.log());
    let elsewhere = gateway(&sim, &folder, &[]);
    assert_eq!(call(&elsewhere, handle).await, 401, "another gateway's handle");
    assert!(Needles::new([handle.to_owned()]).in_folder(&folder).is_empty(), "the folder holds a handle that works");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_for_both_clients_work() {
    let folder = scratch("sdk-examples");
    let sim = provider();
    let gateway = gateway(&sim, &folder, &[]);
    let python = client(&tool("py/bin/python"), &example("genesys-sdk.py"), &home(&folder, "python", &gateway));
    let mut node = client(Path::new("node"), &example("genesys-sdk.mjs"), &home(&folder, "javascript", &gateway));
    node.current_dir(tool("node"));
    for mut command in [python, node] {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.trim(), "the call worked with eg1_...");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_caller_may_speak_http_2_without_tls() {
    let folder = scratch("http2");
    let sim = provider();
    let gateway = gateway(&sim, &folder, &[]);
    let output = client(&tool("py/bin/python"), &part("http2.py"), &folder).arg(gateway.url()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["seen"], json!({"HTTP/2 200": 51}), "{}", gateway.log());
    assert_eq!((report["ended"].as_u64(), report["after"].as_u64()), (Some(200), Some(401)));
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_logs_in_and_calls() {
    let folder = scratch("curl-login");
    let sim = provider();
    let gateway = gateway(&sim, &folder, &[]);
    let curl = |arguments: &[&str]| {
        let output =
            Command::new("curl").env_clear().args(["-sS", "--fail-with-body"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let login = format!("{}/login/oauth/token", gateway.url());
    let user = format!("{CLIENT_ID}:{CLIENT_SECRET}");
    let answer = curl(&["--user", &user, "--data", "grant_type=client_credentials", &login]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let bearer = format!("Authorization: Bearer {}", answer["access_token"].as_str().unwrap());
    let path = format!("{}//gw//api/v2/users/me", gateway.url());
    for version in ["--http1.1", "--http2-prior-knowledge", "--http1.0"] {
        assert!(curl(&[version, "--header", &bearer, &path]).contains("/api/v2/users/me"), "{version}");
    }
}
