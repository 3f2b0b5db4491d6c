//! Logins of people through callers: codes and refresh tokens, redeemed at the provider and kept in the gateway.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use evergrant::core::profile::{Profile, Region};
use evergrant::store::{Store, StoreUrl};
use evergrant::{Credential, TokenSource};
use evergrant_gateway::{BrokerConfig, GatewayConfig, Upstream};
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig, REFRESH_TOKEN};
use evergrant_sim::faults::Event;
use evergrant_sim::http::SimServer;
use http::{Method, Request};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::*;

const HERE: &str = "http://127.0.0.1/callback";

/// A provider, and a gateway before it with its own client credentials.
struct Scene {
    sim: SimServer,
    gateway: TestGateway,
}

impl Scene {
    async fn new() -> Self {
        let sim = SimServer::start(ProviderConfig::genesys()).unwrap();
        let gateway = gateway(&sim, None).await;
        Self { sim, gateway }
    }

    /// A person signs in: the code that comes back.
    fn code(&self, challenge: Option<&str>) -> String {
        self.sim.handle().with(|provider, now| provider.authorize(CLIENT_ID, HERE, challenge, now))
    }

    async fn token(&self, form: &[(&str, &str)]) -> (u16, Value) {
        token(&self.gateway, form).await
    }

    /// A login with a code, as a client with a secret does it: the access handle and the refresh handle.
    async fn log_in(&self) -> (String, String) {
        let code = self.code(None);
        let (status, body) = self.token(&as_client(&[("grant_type", "authorization_code"), ("code", &code)])).await;
        assert_eq!((status, body["expires_in"].as_u64()), (200, Some(86_400)), "{body}");
        (text(&body, "access_token"), text(&body, "refresh_token"))
    }

    async fn call(&self, handle: &str) -> u16 {
        call(&self.gateway, Method::GET, "/gw/api/v2/users/me", handle).await.0
    }

    /// How many tokens the API has accepted so far.
    fn tokens_in_use(&self) -> usize {
        self.sim.handle().ledger().generations.values().filter(|one| one.accepted > 0).count()
    }
}

async fn gateway(sim: &SimServer, store: Option<&Path>) -> TestGateway {
    let mut profile = Profile::genesys(Region::UsEast1);
    (profile.token_url, profile.api_url) = (Some(sim.token_url()), Some(sim.url()));
    let credential = Credential::client_credentials(CLIENT_ID, CLIENT_SECRET.into());
    let mut builder = TokenSource::builder(profile, credential);
    if let Some(path) = store {
        builder = builder.store(Store::open(&StoreUrl::PlainFile(path.to_owned()), None).unwrap());
    }
    let mut config = GatewayConfig::new(Upstream::parse(&sim.url()).unwrap());
    config.take_free_ports();
    config.broker = Some(BrokerConfig {
        handles_file: store.map(|path| path.with_extension("handles")),
        ..BrokerConfig::default()
    });
    TestGateway::bind(config, builder.build().unwrap(), test_tls()).await
}

async fn token(gateway: &TestGateway, form: &[(&str, &str)]) -> (u16, Value) {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = Request::post(gateway.url("/login/oauth/token")).body(full(body)).unwrap();
    let (response, body) = fetch(&caller(), request).await;
    (response.status().as_u16(), serde_json::from_slice(&body).unwrap())
}

async fn call(gateway: &TestGateway, method: Method, path: &str, handle: &str) -> (u16, String) {
    let request = Request::builder().method(method).uri(gateway.url(path));
    let request = request.header("authorization", format!("Bearer {handle}")).body(full("")).unwrap();
    let (response, _) = fetch(&caller(), request).await;
    let verdict = response.headers().get("evergrant-verdict").map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), verdict.unwrap_or_default())
}

fn as_client<'a>(form: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let client = [("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET), ("redirect_uri", HERE)];
    client.into_iter().chain(form.iter().copied()).collect()
}

fn text(body: &Value, name: &str) -> String {
    let text = body[name].as_str().unwrap_or_else(|| panic!("no {name}: {body}")).to_owned();
    assert!(text.starts_with("eg1_"), "the caller got a real token");
    text
}

#[tokio::test]
async fn a_code_becomes_handles_for_tokens_of_its_own() {
    let scene = Scene::new().await;
    let (access, _) = scene.log_in().await;
    assert_eq!(scene.call(&access).await, 200);
    assert_eq!(scene.tokens_in_use(), 1);
    assert_eq!(scene.call("").await, 200);
    assert_eq!(scene.tokens_in_use(), 2, "without a handle a call carries the gateway's own token");
}

#[tokio::test]
async fn a_grant_is_renewed_without_its_caller() {
    let scene = Scene::new().await;
    let (access, refresh) = scene.log_in().await;
    for _ in 0..3 {
        assert_eq!(scene.call(&access).await, 200);
        scene.sim.handle().apply(Event::RevokeAll);
        assert_eq!(scene.call(&access).await, 200, "the gateway refreshed, and replayed");
    }
    let form = as_client(&[("grant_type", "refresh_token"), ("refresh_token", &refresh)]);
    let (status, body) = scene.token(&form).await;
    assert_eq!((status, text(&body, "refresh_token")), (200, refresh.clone()), "a refresh handle is not spent");
    assert_eq!((scene.call(&text(&body, "access_token")).await, scene.call(&access).await), (200, 200));
    assert_eq!(scene.call(&refresh).await, 401, "a refresh handle is no access handle");
}

#[tokio::test]
async fn a_public_client_needs_its_verifier_and_gets_no_help_from_our_secret() {
    let scene = Scene::new().await;
    let verifier = "a-verifier-of-at-least-forty-three-characters-length";
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let code = scene.code(Some(&challenge));
    let form = [("grant_type", "authorization_code"), ("client_id", CLIENT_ID), ("redirect_uri", HERE)];
    let with = |more: &[(&'static str, &str)]| {
        let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
        form.iter().map(|(name, value)| (*name, (*value).to_owned())).chain(more).collect::<Vec<_>>()
    };
    let send = async |form: Vec<(&str, String)>| {
        scene.token(&form.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>()).await
    };
    assert_eq!(send(with(&[("code", &code)])).await.0, 401, "neither a secret nor a verifier");
    let (status, body) = send(with(&[("code", &code), ("code_verifier", verifier)])).await;
    assert_eq!((status, body["refresh_token"].is_null()), (200, true), "{body}");
    let access = text(&body, "access_token");
    assert_eq!(scene.call(&access).await, 200);
    scene.sim.handle().apply(Event::RevokeAll);
    assert_eq!(scene.call(&access).await, 401, "nothing can renew it");
    assert_eq!(scene.call("").await, 200, "the gateway's own is another matter");
}

#[tokio::test]
async fn a_login_that_is_over_says_so() {
    let scene = Scene::new().await;
    let (access, refresh) = scene.log_in().await;
    assert_eq!(scene.call(&access).await, 200);
    scene.sim.handle().apply(Event::RevokeRefreshTokens);
    scene.sim.handle().apply(Event::RevokeAll);
    let form = as_client(&[("grant_type", "refresh_token"), ("refresh_token", &refresh)]);
    assert_eq!(scene.call(&access).await, 401);
    let (status, body) = scene.token(&form).await;
    assert_eq!((status, body["error"].as_str()), (400, Some("invalid_grant")), "{body}");
    let (status, verdict) = call(&scene.gateway, Method::GET, "/api/v2/users/me", &access).await;
    assert_eq!(status, 401);
    assert!(verdict.starts_with("login_required; ") || verdict.starts_with("client_rejected; "), "{verdict}");
}

#[tokio::test]
async fn a_refresh_token_of_a_callers_own_is_taken_in() {
    let scene = Scene::new().await;
    let form = as_client(&[("grant_type", "refresh_token"), ("refresh_token", REFRESH_TOKEN)]);
    let (status, body) = scene.token(&form).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(scene.call(&text(&body, "access_token")).await, 200);
    assert_eq!(scene.token(&form).await.0, 400, "it was spent, and its successor is ours");
}

#[tokio::test]
async fn what_the_provider_refuses_is_refused_in_its_words() {
    let scene = Scene::new().await;
    let code = scene.code(None);
    for (form, status, error) in [
        (vec![("grant_type", "authorization_code")], 400, "invalid_request"),
        (vec![("grant_type", "authorization_code"), ("code", "code-made-up")], 400, "invalid_grant"),
        (vec![("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", "x")], 400, "invalid_request"),
        (vec![("grant_type", "refresh_token")], 400, "invalid_request"),
        (vec![("grant_type", "refresh_token"), ("refresh_token", "made-up")], 400, "invalid_grant"),
        (vec![("grant_type", "refresh_token"), ("refresh_token", "eg1_made-up")], 400, "invalid_grant"),
    ] {
        let (seen, body) = scene.token(&as_client(&form)).await;
        assert_eq!((seen, body["error"].as_str()), (status, Some(error)), "{form:?}: {body}");
        assert!(body["error_description"].as_str().unwrap().starts_with("evergrant gateway: "), "{body}");
        assert!(!body.to_string().contains("made-up"), "{body}");
    }
}

#[tokio::test]
async fn a_logout_ends_the_whole_grant_and_no_other() {
    let scene = Scene::new().await;
    let ((access, refresh), (other, _)) = (scene.log_in().await, scene.log_in().await);
    assert_eq!(call(&scene.gateway, Method::DELETE, "/api/v2/tokens/me", &access).await.0, 200);
    let form = as_client(&[("grant_type", "refresh_token"), ("refresh_token", &refresh)]);
    assert_eq!(scene.token(&form).await.1["error"], "invalid_grant");
    assert_eq!((scene.call(&access).await, scene.call(&other).await), (401, 200));
}

#[tokio::test]
async fn grants_outlive_the_gateway_and_leave_nothing_when_they_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let sim = SimServer::start(ProviderConfig::genesys()).unwrap();
    let scene = Scene { gateway: gateway(&sim, Some(&store)).await, sim };
    let (access, refresh) = scene.log_in().await;
    assert_eq!(scene.call(&access).await, 200);
    let Scene { gateway: first, sim } = scene;
    first.ended().await;

    let scene = Scene { gateway: gateway(&sim, Some(&store)).await, sim };
    assert_eq!(scene.call(&access).await, 200);
    scene.sim.handle().apply(Event::RevokeAll);
    assert_eq!(scene.call(&access).await, 200, "it is still renewed");
    let form = as_client(&[("grant_type", "refresh_token"), ("refresh_token", &refresh)]);
    assert_eq!(scene.token(&form).await.0, 200);

    let held = || {
        let written = std::fs::read_to_string(&store).unwrap();
        scene.sim.handle().secrets().iter().filter(|secret| written.contains(secret.expose())).count()
    };
    let before = held();
    assert_eq!(call(&scene.gateway, Method::DELETE, "/api/v2/tokens/me", &access).await.0, 200);
    assert_eq!(held(), before - 2, "the grant's access token and refresh token are gone from the store");
}

#[tokio::test]
async fn many_logins_are_bounded() {
    let scene = Scene::new().await;
    let (first, _) = scene.log_in().await;
    let (second, _) = scene.log_in().await;
    for _ in 0..255 {
        scene.log_in().await;
        assert_eq!(scene.call(&first).await, 200);
    }
    assert_eq!((scene.call(&first).await, scene.call(&second).await), (200, 401), "the idlest made room");
}
