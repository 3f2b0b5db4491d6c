//! `evergrant exec`.

#[cfg(target_os = "linux")]
mod container;
mod end;
mod files;
mod gateway;
mod long;
mod refused;
mod terminal;

use std::io::{BufRead, BufReader, Lines};
use std::process::ChildStdout;

use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_SECRET, ProviderConfig};
use evergrant_sim::http::SimServer;
use rustix::process::Signal;

use crate::support::{Running, evergrant, provider};

/// What a running command says, line by line.
fn lines(running: &mut Running) -> Lines<BufReader<ChildStdout>> {
    BufReader::new(running.child().stdout.take().unwrap()).lines()
}

/// Lets a command go on that waits for its standard input, and gives all that was said on standard error.
fn finish(mut running: Running, code: i32) -> String {
    let stderr = running.child().stderr.take().unwrap();
    drop(running.child().stdin.take());
    let said = std::io::read_to_string(stderr).unwrap();
    assert_eq!(running.wait().code(), Some(code), "{said}");
    said
}

/// A provider in Genesys' shape whose tokens live this long.
fn genesys(lifetime: Span) -> SimServer {
    SimServer::start(ProviderConfig::genesys().with_lifetime(lifetime)).unwrap()
}

#[test]
fn the_child_gets_the_token_and_none_of_our_secrets() {
    let genesys = SimServer::start(ProviderConfig::genesys()).unwrap();
    let run = evergrant(["exec", "--", "env"])
        .client_of(&genesys)
        .env("EVERGRANT_PROVIDER", "genesys")
        .env("EVERGRANT_REFRESH_TOKEN", "r3fr3sh")
        .env("EVERGRANT_STORE_KEY_FILE", "/nowhere")
        .env("GENESYSCLOUD_OAUTHCLIENT_SECRET", "s3cr3t")
        .env("GENESYS_CLOUD_CLIENT_SECRET_FILE", "/nowhere")
        .env("GENESYS_CLIENT_SECRET", "s3cr3t")
        .env("GENESYSCLOUD_ACCESS_TOKEN", "old")
        .env("KEPT", "yes");
    // Other tools' secrets are weaker than ours, so these change nothing but the warnings.
    let text = run.env("EVERGRANT_STORE_KEY_FILE", "").end().good();
    let names: Vec<&str> = text.lines().filter_map(|line| line.split('=').next()).collect();
    assert!(names.contains(&"KEPT") && names.contains(&"EVERGRANT_CLIENT_ID"), "{names:?}");
    assert!(names.iter().all(|name| !name.contains("SECRET") && !name.contains("REFRESH") && !name.contains("KEY")));
    let token = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    assert_eq!(token("EVERGRANT_ACCESS_TOKEN="), token("GENESYSCLOUD_ACCESS_TOKEN="));
    assert!(!text.contains(CLIENT_SECRET) && !text.contains("s3cr3t") && !text.contains("r3fr3sh"));
}

#[test]
fn the_childs_exit_code_is_ours() {
    let provider = provider();
    let code = |script: &str| evergrant(["exec", "--", "sh", "-c", script]).client_of(&provider).end().code();
    assert_eq!(code("exit 0"), 0);
    assert_eq!(code("exit 7"), 7);
    assert_eq!(code("kill -TERM $$"), 143);
}

#[test]
fn a_missing_command_is_127_and_an_unusable_one_126() {
    let provider = provider();
    let run = |name: &str| evergrant(["exec", "--", name]).client_of(&provider).end();
    insta::assert_snapshot!(run("no-such-command").failed(127), @r"
    error: cannot run `no-such-command`
      cause: there is no such command, or its interpreter is missing
    hint: check the spelling and PATH
    ");
    insta::assert_snapshot!(run("/etc/hostname").failed(126), @r"
    error: cannot run `/etc/hostname`
      cause: Exec format error (os error 8)
    hint: check that it is a program and that you may execute it
    ");
}

#[test]
fn without_a_token_nothing_is_started() {
    let provider = provider();
    let run = evergrant(["exec", "--", "echo", "started"]).client_of(&provider).env("EVERGRANT_CLIENT_SECRET", "wrong");
    run.end().failed(4);
}

#[test]
fn signals_reach_the_child() {
    let provider = provider();
    let script = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let (mut running, _home) = evergrant(["exec", "--", "sh", "-c", script]).client_of(&provider).start();
    let mut lines = lines(&mut running);
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    running.signal(Signal::TERM);
    assert_eq!(lines.next().unwrap().unwrap(), "caught");
    assert_eq!(running.wait().code(), Some(5));
}

#[test]
fn a_command_that_outlives_its_token_is_told_of_it_before() {
    let provider = genesys(Span::from_secs(3));
    let run = evergrant(["exec", "--", "cat"]).client_of(&provider).env("EVERGRANT_PROVIDER", "genesys");
    let (mut running, _home) = run.start();
    let stderr = BufReader::new(running.child().stderr.take().unwrap());
    let mut said = stderr.lines().map(Result::unwrap);
    let first = said.next().unwrap();
    assert!(first.starts_with("warning: the token in the command's environment ends in "), "{first}");
    assert!(said.find(|line| line.starts_with("hint:")).unwrap().contains("exec --gateway"));
    drop(running.child().stdin.take());
    assert_eq!(said.next(), None, "once");
    assert_eq!(running.wait().code(), Some(0));
}

#[test]
fn a_dry_run_shows_names_and_no_secret_and_asks_for_nothing() {
    let provider = genesys(Span::from_secs(100));
    let run = |arguments: &[&str]| {
        let run = evergrant(["exec", "--dry-run"].iter().chain(arguments)).client_of(&provider);
        let run = run.env("EVERGRANT_PROVIDER", "genesys").env("EVERGRANT_REGION", "mypurecloud.ie");
        let said = run.env("TMPDIR", "/tmp/t").env("https_proxy", "http://p").end().good();
        assert!(!said.contains(CLIENT_SECRET), "{said}");
        let user = rustix::process::geteuid().as_raw();
        said.replace(&format!("/tmp/t/evergrant-{user}"), "TEMP")
    };
    insta::assert_snapshot!(run(&["--", "./report"]), @r"
    the command would get
      EVERGRANT_ACCESS_TOKEN     [redacted] an access token
      GENESYSCLOUD_ACCESS_TOKEN  [redacted] an access token
      GENESYSCLOUD_REGION        eu-west-1
    and not find
      EVERGRANT_CLIENT_SECRET
    ");
    insta::assert_snapshot!(run(&["--gateway", "--token-file", "--sdk-config=home"]), @r"
    the command would get
      EVERGRANT_ACCESS_TOKEN           [redacted] a handle, good at the gateway only
      GENESYSCLOUD_ACCESS_TOKEN        [redacted] a handle, good at the gateway only
      EVERGRANT_ACCESS_TOKEN_FILE      TEMP/exec-NAME/token
      EVERGRANT_GATEWAY_URL            http://127.0.0.1:PORT
      GENESYSCLOUD_GATEWAY_HOST        127.0.0.1
      GENESYSCLOUD_GATEWAY_PORT        PORT
      GENESYSCLOUD_GATEWAY_PROTOCOL    http
      GENESYSCLOUD_OAUTHCLIENT_ID      sim-client
      GENESYS_CLOUD_CLIENT_ID          sim-client
      GENESYS_CLIENT_ID                sim-client
      GENESYSCLOUD_OAUTHCLIENT_SECRET  [redacted] a local secret, good at the gateway only
      GENESYS_CLOUD_CLIENT_SECRET      [redacted] a local secret, good at the gateway only
      GENESYS_CLIENT_SECRET            [redacted] a local secret, good at the gateway only
      NO_PROXY                         127.0.0.1,localhost
      no_proxy                         127.0.0.1,localhost
      GENESYSCLOUD_REGION              eu-west-1
      EVERGRANT_SDK_CONFIG             TEMP/exec-NAME/home
      HOME                             TEMP/exec-NAME/home
    and not find
      EVERGRANT_CLIENT_SECRET
    files, which go when it ends
      TEMP/exec-NAME/token
      TEMP/exec-NAME/home/.genesyscloudpython/config
      TEMP/exec-NAME/home/.genesyscloudjavascript/config
      TEMP/exec-NAME/home/.genesyscloudjava/config
      TEMP/exec-NAME/home/.genesysclouddotnet/config
      TEMP/exec-NAME/home/.genesyscloudgo/config
      TEMP/exec-NAME/home/.gc/config.toml
    ");
    let object: serde_json::Value = serde_json::from_str(&run(&["--token-file", "--json"])).unwrap();
    assert_eq!(object["removed"], serde_json::json!(["EVERGRANT_CLIENT_SECRET"]));
    assert_eq!(object["files"], serde_json::json!(["TEMP/exec-NAME/token"]));
    assert_eq!(
        object["set"][0],
        serde_json::json!({"name": "EVERGRANT_ACCESS_TOKEN", "what": "an access token", "secret": true})
    );
    assert_eq!(
        object["set"][3],
        serde_json::json!({"name": "GENESYSCLOUD_REGION", "value": "eu-west-1", "secret": false})
    );
    assert_eq!(provider.handle().ledger().token.requests, 0);
}
