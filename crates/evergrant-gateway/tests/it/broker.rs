//! Logins of callers: who gets a handle, what it opens, and how it ends.

use std::net::SocketAddr;
use std::path::Path;

use evergrant::TokenSource;
use evergrant::core::profile::{Profile, Region};
use evergrant_gateway::{BrokerConfig, Gateway, GatewayConfig, Upstream, Welcome};
use http::{Method, Request, Response};
use serde_json::Value;

use crate::support::*;

const SECRET: &str = "client-s3cr3t";

/// A gateway to an upstream that answers 200 with the Authorization it got, and notes every request.
async fn start(handles: Option<&Path>) -> (TestUpstream, Log, TestGateway) {
    start_for(Profile::genesys(Region::UsEast1), handles).await
}

async fn start_for(profile: Profile, handles: Option<&Path>) -> (TestUpstream, Log, TestGateway) {
    let log = Log::default();
    let noted = log.clone();
    let upstream = TestUpstream::start(move |request| {
        let log = noted.clone();
        async move {
            log.note(request).await;
            let seen = log.all().pop().unwrap().headers;
            answer(200, seen.get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned())
        }
    })
    .await;
    let source = source_of(profile, SECRET).await;
    let broker = BrokerConfig { handles_file: handles.map(Path::to_owned), ..BrokerConfig::default() };
    let gateway = TestGateway::with_source(upstream.addr, source, |config| config.broker = Some(broker)).await;
    (upstream, log, gateway)
}

/// A gateway with a credential that another one may have had before.
async fn start_again(upstream: SocketAddr, source: TokenSource, handles: &Path) -> TestGateway {
    let broker = BrokerConfig { handles_file: Some(handles.to_owned()), ..BrokerConfig::default() };
    TestGateway::with_source(upstream, source, |config| config.broker = Some(broker)).await
}

async fn send(
    gateway: &TestGateway,
    method: Method,
    path: &str,
    authorization: &str,
    body: &str,
) -> (Response<()>, Value) {
    let mut request = Request::builder().method(method).uri(gateway.url(path));
    if !authorization.is_empty() {
        request = request.header("authorization", authorization);
    }
    let (response, body) = fetch(&caller(), request.body(full(body.to_owned())).unwrap()).await;
    let text = String::from_utf8_lossy(&body).into_owned();
    (response, serde_json::from_slice(&body).unwrap_or(Value::String(text)))
}

async fn log_in(gateway: &TestGateway) -> String {
    let form = format!("grant_type=client_credentials&client_id=id&client_secret={SECRET}");
    let (response, body) = send(gateway, Method::POST, "/login/oauth/token", "", &form).await;
    assert_eq!(response.status(), 200, "{body}");
    body["access_token"].as_str().unwrap().to_owned()
}

async fn call(gateway: &TestGateway, handle: &str) -> u16 {
    let (response, _) = send(gateway, Method::GET, "/gw/api/v2/users/me", &format!("Bearer {handle}"), "").await;
    response.status().as_u16()
}

#[tokio::test]
async fn a_login_gives_a_handle_and_a_handle_the_real_token() {
    let (_upstream, log, gateway) = start(None).await;
    let form = format!("grant_type=client_credentials&client_id=id&client_secret={SECRET}");
    let (response, body) = send(&gateway, Method::POST, "/oauth/token", "", &form).await;
    assert_eq!((body["token_type"].as_str(), body["expires_in"].as_u64()), (Some("bearer"), Some(86_400)));
    assert_eq!(response.headers()["cache-control"], "no-store");
    let handle = body["access_token"].as_str().unwrap();
    assert!(handle.starts_with("eg1_"), "{body}");
    let (_, seen) = send(&gateway, Method::GET, "/x/api/v2/users/me?a=1", &format!("bearer {handle}"), "").await;
    assert_eq!(seen, "Bearer token-1-of-the-test");
    let all = log.all();
    assert_eq!(all.len(), 1, "the login reached nobody");
    assert_eq!(all[0].head, "GET /api/v2/users/me?a=1");
    assert!(!format!("{:?}", all[0].headers).contains("eg1_"));
}

/// A gateway that was started for one program, and what that program is told.
async fn welcoming(profile: Profile, answers_logins: bool) -> (TestUpstream, Log, TestGateway, Welcome) {
    let log = Log::default();
    let noted = log.clone();
    let upstream = TestUpstream::start(move |request| {
        let log = noted.clone();
        async move {
            log.note(request).await;
            answer(200, log.all().pop().unwrap().headers["authorization"].to_str().unwrap().to_owned())
        }
    })
    .await;
    let mut config = GatewayConfig::new(Upstream::parse(&format!("http://{}", upstream.addr)).unwrap());
    config.take_free_ports();
    config.broker = Some(BrokerConfig { answers_logins, ..BrokerConfig::default() });
    let gateway = Gateway::bind(config, source_of(profile, SECRET).await, test_tls()).await.unwrap();
    let welcome = gateway.welcome().unwrap();
    (upstream, log, TestGateway::run(gateway), welcome)
}

#[tokio::test]
async fn a_welcome_opens_this_gateway_without_the_clients_secret() {
    let (_upstream, log, gateway, welcome) = welcoming(Profile::genesys(Region::UsEast1), true).await;
    assert_eq!(call(&gateway, welcome.handle.expose()).await, 200);
    let (id, secret) = welcome.login.unwrap();
    assert!(id == "id" && secret.expose() != SECRET && !secret.expose().starts_with("eg1_"));
    for (secret, status) in [(secret.expose(), 200), (SECRET, 200), ("egs1_guessed", 401)] {
        let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
        let (response, body) = send(&gateway, Method::POST, "/login/oauth/token", "", &form).await;
        assert_eq!(response.status(), status, "{body}");
        if status == 200 {
            assert_eq!(call(&gateway, body["access_token"].as_str().unwrap()).await, 200);
        }
    }
    assert!(log.all().iter().all(|seen| seen.headers["authorization"] == "Bearer token-1-of-the-test"));
    let (_upstream, _log, other, _) = welcoming(Profile::genesys(Region::UsEast1), true).await;
    assert_eq!(call(&other, welcome.handle.expose()).await, 401, "another gateway's");
}

#[tokio::test]
async fn a_logout_of_one_program_leaves_the_welcome_to_the_others() {
    let (_upstream, log, gateway, welcome) = welcoming(Profile::genesys(Region::UsEast1), true).await;
    let (handle, (id, secret)) = (welcome.handle.expose(), welcome.login.unwrap());
    let client = format!("client_id={id}&client_secret={}", secret.expose());
    let bearer = format!("Bearer {handle}");
    for (method, path, authorization, form) in [
        (Method::DELETE, "/api/v2/tokens/me", &*bearer, String::new()),
        (Method::GET, "/logout", &bearer, String::new()),
        (Method::POST, "/oauth/revoke", "", format!("{client}&token={handle}")),
    ] {
        let (response, body) = send(&gateway, method, path, authorization, &form).await;
        assert_eq!(response.status(), 200, "{path}: {body}");
        assert_eq!(call(&gateway, handle).await, 200, "after {path}");
    }
    assert!(log.all().iter().all(|seen| seen.head == "GET /api/v2/users/me"), "no logout reached the provider");
    let form = format!("grant_type=client_credentials&{client}");
    let (_, body) = send(&gateway, Method::POST, "/login/oauth/token", "", &form).await;
    let own = body["access_token"].as_str().unwrap();
    send(&gateway, Method::DELETE, "/api/v2/tokens/me", &format!("Bearer {own}"), "").await;
    assert_eq!(call(&gateway, own).await, 401, "a handle of a login ends");
}

#[tokio::test]
async fn where_logins_are_the_upstreams_a_handle_still_opens_the_gateway() {
    let (_upstream, log, gateway, welcome) = welcoming(Profile::oauth2(), false).await;
    assert!(welcome.login.is_none());
    let bearer = format!("Bearer {}", welcome.handle.expose());
    let (_, seen) = send(&gateway, Method::GET, "/x", &bearer, "").await;
    assert_eq!(seen, "Bearer token-1-of-the-test");
    send(&gateway, Method::POST, "/oauth/token", "Basic eDp5", "a=b").await;
    assert_eq!(log.all().last().unwrap().head, "POST /oauth/token");
}

#[tokio::test]
async fn other_authorizations_pass_and_none_gets_the_token() {
    let (_upstream, _log, gateway) = start(None).await;
    for (authorization, seen) in [
        ("Bearer somebody-elses", "Bearer somebody-elses"),
        ("Basic eDp5", "Basic eDp5"),
        ("Bearer xeg1_", "Bearer xeg1_"),
        ("Bearer ", "Bearer token-1-of-the-test"),
        ("", "Bearer token-1-of-the-test"),
    ] {
        let (_, body) = send(&gateway, Method::GET, "/api/v2/users", authorization, "").await;
        assert_eq!(body, seen, "{authorization:?}");
    }
}

#[tokio::test]
async fn an_unknown_handle_goes_nowhere() {
    let (_upstream, log, gateway) = start(None).await;
    for handle in ["eg1_", "eg1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "eg1_x y"] {
        let (response, body) = send(&gateway, Method::GET, "/api/v2/users", &format!("Bearer {handle}"), "").await;
        assert_eq!((response.status().as_u16(), body["code"].as_str()), (401, Some("bad.credentials")), "{body}");
        let verdict = response.headers()["evergrant-verdict"].to_str().unwrap();
        assert!(verdict.starts_with("caller_token; certain; "), "{verdict}");
        assert!(!body.to_string().contains(handle));
    }
    assert_eq!(log.count(), 0);
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_too_many_are_not_looked_at() {
    let (_upstream, log, gateway) = start(None).await;
    let attempt = async |secret: &str| {
        let form = format!("grant_type=client_credentials&client_id=id&client_secret={secret}");
        let (response, body) = send(&gateway, Method::POST, "/login/oauth/token", "", &form).await;
        (response.status().as_u16(), body["error"].as_str().unwrap_or("none").to_owned(), response)
    };
    for _ in 0..20 {
        let (status, error, response) = attempt("yesterdays").await;
        assert_eq!((status, error.as_str()), (401, "invalid_client"));
        assert!(response.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic"));
    }
    assert_eq!(attempt(SECRET).await.0, 200, "a job with an old secret locks nobody out");
    for n in 0..9 {
        assert_eq!(attempt(&format!("guess-{n}")).await.0, 401);
    }
    for secret in ["one-more", SECRET] {
        let (status, error, response) = attempt(secret).await;
        assert_eq!((status, error.as_str()), (400, "invalid_request"), "as the provider says it");
        assert!(response.headers()["retry-after"].to_str().unwrap().parse::<u8>().unwrap() <= 60);
    }
    assert_eq!(log.count(), 0);
}

#[tokio::test]
async fn what_is_no_token_request_of_ours_gets_an_oauth_error() {
    let (_upstream, log, gateway) = start(None).await;
    let client = format!("client_id=id&client_secret={SECRET}");
    for (form, error) in [
        (client.clone(), "invalid_request"),
        (format!("{client}&grant_type=password"), "unsupported_grant_type"),
        (format!("{client}&grant_type=a&grant_type=b"), "invalid_request"),
        ("grant_type=client_credentials&client_id=id".to_owned(), "invalid_client"),
        ("x".repeat(70_000), "invalid_request"),
    ] {
        let (response, body) = send(&gateway, Method::POST, "/oauth/token", "", &form).await;
        assert_eq!(body["error"].as_str(), Some(error), "{body}");
        assert_eq!(response.status().as_u16(), if error == "invalid_client" { 401 } else { 400 });
        assert_eq!(body["description"], body["error_description"]);
    }
    assert_eq!(log.count(), 0);
}

#[tokio::test]
async fn ending_a_handle_ends_nothing_else() {
    let (_upstream, log, gateway) = start(None).await;
    let client = format!("client_id=id&client_secret={SECRET}");
    for (method, path) in [
        (Method::DELETE, "/gw/api/v2/tokens/me"),
        (Method::GET, "/login/logout?client_id=id"),
        (Method::POST, "/logout"),
    ] {
        let (mine, other) = (log_in(&gateway).await, log_in(&gateway).await);
        assert_eq!(call(&gateway, &mine).await, 200);
        let (response, _) = send(&gateway, method, path, &format!("Bearer {mine}"), "").await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!((call(&gateway, &mine).await, call(&gateway, &other).await), (401, 200), "{path}");
    }
    let mine = log_in(&gateway).await;
    let (response, _) = send(&gateway, Method::POST, "/oauth/revoke", "", &format!("{client}&token={mine}")).await;
    assert_eq!((response.status().as_u16(), call(&gateway, &mine).await), (200, 401));
    assert!(log.all().iter().all(|seen| seen.head == "GET /api/v2/users/me"), "no end of a token went upstream");
}

#[tokio::test]
async fn the_shared_token_cannot_be_ended_without_a_handle() {
    let (_upstream, log, gateway) = start(None).await;
    for authorization in ["", "Bearer "] {
        let (response, _) = send(&gateway, Method::DELETE, "/api/v2/tokens/me", authorization, "").await;
        assert_eq!(response.status(), 200);
    }
    assert_eq!(log.count(), 0);
    let (_, seen) = send(&gateway, Method::DELETE, "/api/v2/tokens/me", "Bearer own", "").await;
    assert_eq!(seen, "Bearer own", "a caller's own token is its own to end");
}

/// Logins are the upstream's here, but the token that a logout would end there is the gateway's.
#[tokio::test]
async fn the_shared_token_cannot_be_ended_where_logins_are_the_upstreams() {
    let genesys = || Profile::genesys(Region::UsEast1);
    let logouts = [
        (Method::DELETE, "/api/v2/tokens/me"),
        (Method::DELETE, "/gw/api/v2/tokens/me/"),
        (Method::GET, "/logout"),
        (Method::POST, "/login/logout"),
    ];
    let (_upstream, log, gateway, welcome) = welcoming(genesys(), false).await;
    let bearer = format!("Bearer {}", welcome.handle.expose());
    for (method, path) in logouts.clone() {
        for authorization in [&*bearer, "", "Bearer "] {
            let (response, _) = send(&gateway, method.clone(), path, authorization, "").await;
            assert_eq!(response.status(), 200, "{path} {authorization:?}");
        }
        let (response, _) = send(&gateway, method, path, "Bearer eg1_unknown", "").await;
        assert_eq!(response.status(), 401, "{path}");
    }
    assert_eq!(log.count(), 0, "no logout reached the provider");
    assert_eq!(call(&gateway, welcome.handle.expose()).await, 200, "others have this handle too");

    let (upstream, log, _) = start(None).await;
    let bare = TestGateway::with_source(upstream.addr, source_of(genesys(), SECRET).await, |config| {
        config.broker = None;
    })
    .await;
    for (method, path) in logouts {
        let (response, body) = send(&bare, method.clone(), path, "", "").await;
        assert_eq!((response.status().as_u16(), body), (200, serde_json::json!({})), "{path}");
        let reached = log.count();
        let (_, seen) = send(&bare, method, path, "Bearer own", "").await;
        assert_eq!((seen.as_str(), log.count()), (Some("Bearer own"), reached + 1), "{path}");
    }
    assert_eq!(log.count(), 4, "a caller's own token is its own to end");
}

#[tokio::test]
async fn handles_work_at_their_own_gateway_and_after_its_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.handles");
    let (upstream, _log, _) = start(None).await;
    let source = source_of(Profile::genesys(Region::UsEast1), SECRET).await;
    let gateway = start_again(upstream.addr, source.clone(), &file).await;
    let (kept, ended) = (log_in(&gateway).await, log_in(&gateway).await);
    send(&gateway, Method::DELETE, "/api/v2/tokens/me", &format!("Bearer {ended}"), "").await;
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(!written.contains("eg1_") && !written.contains("token-1"), "{written}");

    // Another token URL makes another credential, whose handles these are not.
    let (_upstream_2, _log_2, other) = start(Some(&file)).await;
    assert_eq!((call(&other, &kept).await, call(&gateway, &kept).await), (401, 200));
    gateway.ended().await;
    let again = start_again(upstream.addr, source, &file).await;
    assert_eq!((call(&again, &kept).await, call(&again, &ended).await), (200, 401));
}

#[tokio::test]
async fn another_provider_has_a_broker_only_if_asked() {
    let log = Log::default();
    let noted = log.clone();
    let upstream = TestUpstream::start(move |request| {
        let log = noted.clone();
        async move {
            log.note(request).await;
            answer(200, "")
        }
    })
    .await;
    let without = TestGateway::start(upstream.addr).await;
    send(&without, Method::POST, "/oauth/token", "Bearer x", "a=b").await;
    send(&without, Method::DELETE, "/p/api/v2/tokens/me", "Bearer eg1_x", "").await;
    let heads: Vec<_> = log.all().into_iter().map(|seen| seen.head).collect();
    assert_eq!(heads, ["POST /oauth/token", "DELETE /p/api/v2/tokens/me"]);

    let (_upstream, log, with) = start_for(Profile::oauth2(), None).await;
    let handle = log_in(&with).await;
    let (_, seen) = send(&with, Method::GET, "/p/api/v2/x", &format!("Bearer {handle}"), "").await;
    assert_eq!(seen, "Bearer token-1-of-the-test");
    assert_eq!(log.all()[0].head, "GET /p/api/v2/x", "its paths are its own");
    let (response, _) = send(&with, Method::GET, "/x", "Bearer eg1_unknown", "").await;
    assert!(response.headers()["www-authenticate"].to_str().unwrap().contains("invalid_token"));
}
