//! A person logs in with a real browser at a certified OAuth server, while another page tries to get in between.

use std::process::Command;

use serde_json::{Value, json};
use url::Url;

use crate::browser::Browser;
use crate::oidc::Idp;
use crate::parts::scratch;
use crate::process::Process;

/// `evergrant COMMAND` with the settings of the server's client `person`.
fn command(idp: &Idp, folder: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evergrant"));
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", folder);
    for (name, value) in [
        ("ISSUER", idp.text("issuer")),
        ("UPSTREAM", idp.text("api")),
        ("CLIENT_ID", "person"),
        ("CLIENT_SECRET", "person-secret"),
        ("SCOPE", "openid offline_access api:read"),
        ("STORE", &format!("file+plain:{}", folder.join("store").display())),
    ] {
        command.env(format!("EVERGRANT_{name}"), value);
    }
    command
}

/// Starts a login and waits for the address that the person is to open.
fn begin(idp: &Idp, folder: &std::path::Path, arguments: &[&str]) -> (Process, Url) {
    let arguments = [&["login", "--json", "--wait", "90s"], arguments].concat();
    let login = Process::start("evergrant login", &mut command(idp, folder, &arguments));
    let url = login.line(|line| line.trim().strip_prefix("http").map(|rest| format!("http{rest}").parse().unwrap()));
    (login, url)
}

/// What `evergrant token` says now.
fn token(idp: &Idp, folder: &std::path::Path) -> String {
    let out = command(idp, folder, &["token", "--grant", "authorization_code"]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

async fn call(idp: &Idp, token: &str) -> u16 {
    let answer = reqwest::Client::new().get(format!("{}/api/x", idp.text("api"))).bearer_auth(token).send().await;
    answer.unwrap().status().as_u16()
}

fn parameter(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned()
}

/// Signs in as `ada` and agrees to what the client asks for.
fn sign_in(browser: &Browser, url: &str) -> Value {
    browser.tell("visit", json!({ "url": url }));
    browser.tell("fill", json!({ "name": "login", "text": "ada" }));
    browser.tell("fill", json!({ "name": "password", "text": "any" }));
    browser.tell("submit", json!({ "text": "Sign-in" }));
    browser.tell("submit", json!({ "text": "Continue" }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_with_a_browser_and_later_commands_go_on_with_it() {
    let folder = scratch("login");
    let idp = Idp::start(&folder, 0);
    let browser = Browser::start(&folder);
    let (login, url) = begin(&idp, &folder, &["--no-browser"]);
    assert_eq!(parameter(&url, "code_challenge_method"), "S256");

    let back = parameter(&url, "redirect_uri");
    // Another page's code, an earlier login's state, no state at all: each is told so, and nothing else happens.
    for query in ["code=planted&state=guessed", "code=planted", "error=access_denied&state=guessed", ""] {
        let answer = reqwest::get(format!("{back}?{query}")).await.unwrap();
        assert_eq!(answer.status(), 400, "{query}");
        assert!(answer.text().await.unwrap().contains("does not belong to the login"), "{query}");
    }
    let client = reqwest::Client::new();
    let rebound = client.get(&back).header("host", "evil.example").send().await.unwrap();
    assert_eq!(rebound.status(), 421, "a name that was made to lead here");
    assert_eq!(client.post(&back).send().await.unwrap().status(), 405);
    assert_eq!(client.get(back.replace("/callback", "/other")).send().await.unwrap().status(), 404);

    let last = sign_in(&browser, url.as_str());
    assert!(last["url"].as_str().unwrap().starts_with(&back), "{last}");
    assert!(last["text"].as_str().unwrap().contains("Logged in"), "{last}");
    let (status, said) = login.end();
    assert!(status.success(), "{said}");
    let result: Value = said.lines().find_map(|line| serde_json::from_str(line).ok()).unwrap();
    assert_eq!((&result["logged_in"], &result["renewable"]), (&json!(true), &json!(true)), "{result}");

    let first = token(&idp, &folder);
    assert_eq!(call(&idp, &first).await, 200);
    assert!(!said.contains(&first), "no token is shown");
    // It is renewed when it ends, with the refresh token that the login left.
    idp.more_tokens_by(|| _ = token(&idp, &folder)).await;
    assert_eq!(call(&idp, &token(&idp, &folder)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_code_with_the_right_state_is_refused_by_its_challenge() {
    let folder = scratch("login-planted");
    let idp = Idp::start(&folder, 0);
    let browser = Browser::start(&folder);
    let (attackers, attackers_url) = begin(&idp, &folder.join("attacker"), &["--no-browser"]);
    let (login, url) = begin(&idp, &folder, &["--no-browser"]);
    // The attacker signs in for a login of its own, and brings the code to the other one under that one's state.
    let mut own = attackers_url.clone();
    let back = parameter(&url, "redirect_uri");
    let changed: Vec<(String, String)> = attackers_url
        .query_pairs()
        .map(|(name, value)| match name.as_ref() {
            "state" => (name.into_owned(), parameter(&url, "state")),
            "redirect_uri" => (name.into_owned(), back.clone()),
            _ => (name.into_owned(), value.into_owned()),
        })
        .collect();
    own.query_pairs_mut().clear().extend_pairs(changed);
    let last = sign_in(&browser, own.as_str());
    assert!(last["text"].as_str().unwrap().contains("Not logged in"), "{last}");
    let (status, said) = login.end();
    assert_eq!(status.code(), Some(4), "{said}");
    assert!(said.contains("invalid_grant"), "{said}");
    assert!(!folder.join("store").exists(), "nothing was kept");
    drop(attackers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_a_browser_logs_in_with_a_code_on_another_one() {
    let folder = scratch("login-device");
    let idp = Idp::start(&folder, 0);
    let browser = Browser::start(&folder);
    let (login, _page) = begin(&idp, &folder, &["--device"]);
    let complete = login.line(|line| line.strip_prefix("or open ").map(str::to_owned));
    browser.tell("visit", json!({ "url": complete }));
    browser.tell("submit", json!({ "text": "Continue" }));
    browser.tell("fill", json!({ "name": "login", "text": "ada" }));
    browser.tell("fill", json!({ "name": "password", "text": "any" }));
    browser.tell("submit", json!({ "text": "Sign-in" }));
    browser.tell("submit", json!({ "text": "Continue" }));
    let (status, said) = login.end();
    assert!(status.success(), "{said}");
    assert_eq!(call(&idp, &token(&idp, &folder)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_key_is_believed_whatever_the_clocks_say() {
    for ahead_secs in [-3600, 3600] {
        let folder = scratch("private-key");
        let idp = Idp::start(&folder, ahead_secs);
        let mut command = command(&idp, &folder, &["token"]);
        command.env("EVERGRANT_CLIENT_ID", "keyed").env_remove("EVERGRANT_CLIENT_SECRET").env_remove("EVERGRANT_SCOPE");
        command.env("EVERGRANT_CLIENT_AUTH", "private_key_jwt").env("EVERGRANT_KEY_ID", "client-key");
        command.env("EVERGRANT_PRIVATE_KEY", idp.text("client_key")).env("EVERGRANT_RESOURCE", idp.text("resource"));
        let out = command.output().unwrap();
        assert!(out.status.success(), "{ahead_secs}: {}", String::from_utf8_lossy(&out.stderr));
        let token = String::from_utf8(out.stdout).unwrap();
        assert_eq!(call(&idp, token.trim()).await, 200, "{ahead_secs}");
    }
}
