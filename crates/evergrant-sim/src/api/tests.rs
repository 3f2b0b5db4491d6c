use super::*;
use crate::config::ProviderConfig;
use crate::faults::{ApiRule, Chance, Event};
use crate::stage::{Stage, json as body_of};

fn stage() -> (Stage, String) {
    let mut stage = Stage::new(ProviderConfig::genesys());
    let token = stage.mint();
    (stage, token)
}

fn executions(stage: &Stage, id: &str) -> u64 {
    stage.provider.ledger().effects.get(id).map_or(0, |effect| effect.executions)
}

#[test]
fn a_write_is_executed_once_for_each_accepted_request() {
    let (mut stage, token) = stage();
    let request = Request::post("/api/v2/orders", "order-1", "abc").bearer(&token);
    let body = body_of(&stage.answer(&request));
    assert_eq!((&body["body_len"], &body["body_hash"]), (&json!(3), &json!(body_hash(b"abc"))));
    assert_eq!((executions(&stage, "order-1"), stage.provider.ledger().duplicated_effects()), (1, 0));
    stage.answer(&request);
    assert_eq!((executions(&stage, "order-1"), stage.provider.ledger().duplicated_effects()), (2, 1));
}

#[test]
fn a_refused_write_executes_nothing() {
    let (mut stage, token) = stage();
    stage.apply(Event::RevokeAll);
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let mut request = Request::post("/api/v2/orders", "order-1", "abc").bearer(&token);
        request.method = method;
        assert_eq!(stage.answer(&request).status(), 401);
    }
    assert!(stage.provider.ledger().effects.is_empty());
}

#[test]
fn writes_without_a_name_are_no_duplicates() {
    let (mut stage, token) = stage();
    let request = Request::new(Method::DELETE, "/api/v2/orders/1").bearer(&token);
    stage.answer(&request);
    stage.answer(&request);
    let ledger = stage.provider.ledger();
    assert_eq!((ledger.effects.len(), ledger.duplicated_effects()), (2, 0));
}

#[test]
fn a_truncated_body_has_another_hash() {
    assert_eq!(body_hash(b""), "cbf29ce484222325");
    assert_eq!(body_hash(b"a"), "af63dc4c8601ec8c");
    assert_ne!(body_hash(b"abcd"), body_hash(b"abc"));
}

#[test]
fn what_is_no_bearer_token_is_a_missing_token() {
    let (mut stage, token) = stage();
    let get = || Request::get("/api/v2/users");
    let requests = [
        get(),
        get().header(AUTHORIZATION, "Bearer "),
        get().header(AUTHORIZATION, "Bearer"),
        get().basic("a", "b"),
        get().bearer(&token).bearer(&token),
    ];
    for request in &requests {
        assert_eq!(body_of(&stage.answer(request))["code"], "authentication.required");
    }
    let count = u64::try_from(requests.len()).unwrap();
    assert_eq!(stage.provider.ledger().refused_as(Refusal::MissingToken), count);
    assert_eq!(stage.answer(&get().header(AUTHORIZATION, &format!("bearer {token}"))).status(), 200);
}

#[test]
fn faults_look_as_they_should_and_execute_as_they_say() {
    use ApiFault as F;
    let table = [
        (F::Status(503), 503, "service.unavailable", 0),
        (F::AuthenticationTimeout, 504, "authentication.request.timeout", 0),
        (F::AlwaysUnauthorized, 401, "bad.credentials", 0),
        (F::IpNotAuthorized, 401, "ip.not.authorized", 0),
        (F::MissingPermission, 403, "missing.permissions", 0),
        (F::InsufficientScope, 403, "not.authorized", 0),
        (F::TooManyRequests(42), 429, "too.many.requests.retry.after", 0),
        (F::FailedAfterExecuting, 500, "internal.server.error", 1),
    ];
    for (fault, status, code, executed) in table {
        let (mut stage, token) = stage();
        stage.apply(Event::api(fault.clone()));
        let response = stage.answer(&Request::post("/api/v2/orders", "x", "").bearer(&token));
        assert_eq!((response.status().as_u16(), body_of(&response)["code"].as_str()), (status, Some(code)));
        assert_eq!(executions(&stage, "x"), executed, "{fault:?}");
        assert_eq!(response.headers().contains_key("retry-after"), status == 429);
    }
    for (fault, executed) in [(F::Reset, 0), (F::Lost, 1), (F::Torn, 1)] {
        let (mut stage, token) = stage();
        stage.apply(Event::api(fault.clone()));
        let reply = stage.send(&Request::post("/api/v2/orders", "x", "").bearer(&token));
        assert!(!matches!(reply.answer, Answer::Response(_)), "{fault:?}");
        assert_eq!(executions(&stage, "x"), executed, "{fault:?}");
    }
}

#[test]
fn a_refusing_route_leaves_the_others_alone() {
    let (mut stage, token) = stage();
    let rule = ApiRule {
        fault: ApiFault::AlwaysUnauthorized,
        route: Some("/api/v2/forbidden".to_owned()),
        chance: Chance::ALWAYS,
    };
    stage.apply(Event::ApiFault(rule));
    assert_eq!(stage.answer(&Request::get("/api/v2/forbidden/1").bearer(&token)).status(), 401);
    assert_eq!(stage.call(&token), 200);
    assert_eq!(stage.provider.ledger().refused_as(Refusal::Route), 1);
}

#[test]
fn the_genesys_routes_answer() {
    let (mut stage, token) = stage();
    stage.pass_ms(42);
    let date = body_of(&stage.answer(&Request::get("/api/v2/date").bearer(&token)));
    assert_eq!(date["currentDate"], "2026-10-21T07:26:31.042Z");
    assert_eq!(stage.answer(&Request::get("/api/v2/date")).status(), 401, "it needs a token");
    assert_eq!(stage.answer(&Request::get("/api/v2/health/check")).status(), 200, "it needs none");
    let mut me = Request::get("/api/v2/tokens/me").bearer(&token);
    assert_eq!(body_of(&stage.answer(&me))["OAuthClient"]["id"], crate::config::CLIENT_ID);
    me.method = Method::HEAD;
    assert_eq!(stage.answer(&me).status(), 200);
    me.method = Method::DELETE;
    assert_eq!(stage.answer(&me).status(), 204);
    me.method = Method::HEAD;
    assert_eq!(stage.answer(&me).status(), 401);
}

#[test]
fn handy_routes_answer() {
    let (mut stage, token) = stage();
    let mut get = |target: &str| stage.answer(&Request::get(target).bearer(&token));
    assert_eq!(get("/api/bytes/123456789012").body(), &Payload::Fill(123_456_789_012));
    let events = Payload::Events { count: 5, every: Span::from_millis(7) };
    assert_eq!(get("/api/events?count=5&every_ms=7").body(), &events);
    assert_eq!(get("/api/status/404").status(), 404);
    assert_eq!(body_of(&get("/api/x?bytes=10"))["padding"], "xxxxxxxxxx");
    assert_eq!(get("/elsewhere").status(), 404);
}

#[test]
fn requests_go_round_the_nodes_or_as_the_seed_says() {
    for (routing, even) in [(Routing::RoundRobin, true), (Routing::Seeded, false)] {
        let mut config = ProviderConfig { routing, ..ProviderConfig::genesys() }.with_nodes(3);
        config.seed = 9;
        let mut stage = Stage::new(config);
        let token = stage.mint();
        let mut counts = [0_u32; 3];
        for _ in 0..300 {
            let response = stage.answer(&Request::get("/api/x").bearer(&token));
            let node = usize::try_from(body_of(&response)["node"].as_u64().unwrap()).unwrap();
            counts[node] += 1;
        }
        assert_eq!(counts == [100; 3], even, "{counts:?}");
        assert!(counts.iter().all(|&count| count > 60), "{counts:?}");
    }
}
