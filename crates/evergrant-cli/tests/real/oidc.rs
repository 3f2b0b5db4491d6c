//! A certified OAuth server whose clock is five minutes fast, then steps to five minutes slow, then back.
//!
//! The server issues JWTs for four seconds and its API checks them strictly by the same clock: after the step back it
//! refuses tokens "issued in the future", after the step forward it refuses them as expired. Callers must not notice
//! either, with the client credentials grant and with a refresh token that changes at each use.

use std::process::Command;

use serde_json::Value;

use crate::faked_wall::FakedWall;
use crate::gateway::Gateway;
use crate::load::Load;
use crate::parts::{part, scratch, tool};
use crate::process::Process;
use crate::until;

const TOKEN_SECS: u64 = 4;

/// The server, with its own clock.
pub(crate) struct Idp {
    _process: Process,
    wall: FakedWall,
    about: Value,
}

impl Idp {
    pub(crate) fn start(folder: &std::path::Path, ahead_secs: i64) -> Self {
        Self::start_with(folder, ahead_secs, &[])
    }

    /// A server with further settings.
    pub(crate) fn start_with(folder: &std::path::Path, ahead_secs: i64, settings: &[(&str, &str)]) -> Self {
        let wall = FakedWall::new(folder, ahead_secs);
        let mut command = Command::new("node");
        command.arg(part("idp.mjs")).env("NODE_PARTS", tool("node")).env("TOKEN_SECS", TOKEN_SECS.to_string());
        tool("node/node_modules/oidc-provider");
        command.envs(wall.variables()).envs(settings.iter().copied());
        let process = Process::start("oidc-provider", &mut command);
        let about = process.line(|line| serde_json::from_str(line).ok());
        Self { _process: process, wall, about }
    }

    /// What the server said of itself.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.about[name].as_str().unwrap_or_else(|| panic!("the server did not say its {name}"))
    }

    async fn stats(&self) -> Value {
        reqwest::get(format!("{}/stats", self.text("api"))).await.unwrap().json().await.unwrap()
    }

    async fn tokens(&self) -> u64 {
        self.stats().await["tokens"].as_u64().unwrap()
    }

    /// Does something again and again until the server has issued another token.
    pub(crate) async fn more_tokens_by(&self, act: impl Fn()) {
        let known = self.tokens().await;
        until("the server has issued another token", async || {
            act();
            self.tokens().await > known
        })
        .await;
    }

    /// Waits until so many more tokens were issued.
    async fn more_tokens(&self, more: u64) {
        let wanted = self.tokens().await + more;
        until("the server has issued more tokens", async || self.tokens().await >= wanted).await;
    }
}

/// Runs callers through the gateway while the server's clock goes from +300 s to -300 s and back.
async fn nobody_notices(idp: &Idp, gateway: &Gateway) {
    let started = std::time::Instant::now();
    let load = Load::start(gateway.url());
    idp.more_tokens(3).await;
    idp.wall.step_to(-300);
    idp.more_tokens(3).await;
    idp.wall.step_to(300);
    idp.more_tokens(3).await;
    let tally = load.finish().await;

    tally.assert_all_fine();
    let (stats, ran) = (idp.stats().await, started.elapsed());
    assert_eq!(stats["token_errors"], serde_json::json!({}), "{stats}");
    let lifetimes = ran.as_secs_f64() / TOKEN_SECS as f64;
    let tokens = idp.tokens().await;
    assert!((tokens as f64) <= 2.5 * lifetimes + 2.0, "{tokens} tokens in {lifetimes:.1} lifetimes; {stats}");
    println!("{} calls, slowest {:?}, in {ran:?}: {stats}", tally.calls(), tally.slowest);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_credentials_survive_a_server_clock_that_is_wrong_and_steps() {
    let folder = scratch("client-credentials");
    let idp = Idp::start(&folder, 300);
    let settings = [
        ("PROVIDER", "oauth2"),
        ("TOKEN_URL", idp.text("token_url")),
        ("UPSTREAM", idp.text("api")),
        ("CLIENT_ID", "robot"),
        ("CLIENT_SECRET", "robot-secret"),
        ("RESOURCE", idp.text("resource")),
    ];
    nobody_notices(&idp, &Gateway::start(&folder, None, &settings)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotating_refresh_token_survives_a_server_clock_that_is_wrong_and_steps() {
    let folder = scratch("refresh-token");
    let idp = Idp::start(&folder, 300);
    let store = format!("file+plain:{}", folder.join("store").display());
    let settings = [
        ("PROVIDER", "oauth2"),
        ("TOKEN_URL", idp.text("token_url")),
        ("UPSTREAM", idp.text("api")),
        ("CLIENT_ID", "person"),
        ("CLIENT_SECRET", "person-secret"),
        ("GRANT", "refresh_token"),
        ("REFRESH_TOKEN", idp.text("refresh_token")),
        ("STORE", &store),
    ];
    nobody_notices(&idp, &Gateway::start(&folder, None, &settings)).await;
}

/// The parts themselves: the server's clock is the faked one, and its API is as strict as these tests need.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_lives_by_its_own_clock() {
    let folder = scratch("idp-alone");
    let idp = Idp::start(&folder, 300);
    let client = reqwest::Client::new();
    let mint = async || -> String {
        let request = client.post(idp.text("token_url")).basic_auth("robot", Some("robot-secret"));
        let answer = request.form(&[("grant_type", "client_credentials")]).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    };
    let call = async |token: &str| {
        let answer = client.get(format!("{}/api/x", idp.text("api"))).bearer_auth(token).send().await.unwrap();
        let challenge = answer.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), challenge.unwrap_or_default())
    };

    let token = mint().await;
    assert_eq!(call(&token).await.0, 200);
    idp.wall.step_to(-300);
    let (status, challenge) = call(&token).await;
    assert_eq!(status, 401);
    assert!(challenge.contains("invalid_token") && challenge.contains("future"), "{challenge}");
    let token = mint().await;
    assert_eq!(call(&token).await.0, 200);
    idp.wall.step_to(300);
    let (status, challenge) = call(&token).await;
    assert_eq!(status, 401);
    assert!(challenge.contains("\"exp\"") || challenge.contains("'exp'"), "{challenge}");
}
