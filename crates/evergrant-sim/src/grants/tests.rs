use super::*;
use crate::config::{
    CLIENT_ID, CLIENT_SECRET, ExpiresIn, LimitAnswer, MintLimit, ProviderConfig, REFRESH_TOKEN, TokenConfig,
};
use crate::faults::{Chance, Event, TokenRule};
use crate::stage::{Stage, json as body_of};

const CLIENT_CREDENTIALS: &[(&str, &str)] = &[("grant_type", "client_credentials")];

fn outcomes(stage: &Stage, outcome: TokenOutcome) -> u64 {
    stage.provider.ledger().token_requests_ended(outcome)
}

#[test]
fn clients_authenticate_as_allowed() {
    let posted = |id, secret| {
        Request::token(&[("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)])
    };
    let basic = |id, secret| Request::token(CLIENT_CREDENTIALS).basic(id, secret);
    for (allowed, basic_ok, post_ok) in
        [(ClientAuth::Any, 200, 200), (ClientAuth::Basic, 200, 400), (ClientAuth::Post, 401, 200)]
    {
        let config = ProviderConfig { client_auth: allowed, ..ProviderConfig::rfc() };
        let mut stage = Stage::new(config);
        let mut status = |request: &Request| stage.answer(request).status().as_u16();
        assert_eq!(status(&basic(CLIENT_ID, CLIENT_SECRET)), basic_ok, "{allowed:?}");
        assert_eq!(status(&posted(CLIENT_ID, CLIENT_SECRET)), post_ok, "{allowed:?}");
        assert_eq!(status(&basic(CLIENT_ID, "wrong")), 401);
        assert_eq!(status(&posted("nobody", CLIENT_SECRET)), 400);
        assert_eq!(status(&posted(CLIENT_ID, CLIENT_SECRET).basic(CLIENT_ID, CLIENT_SECRET)), 400, "both at once");
        assert_eq!(status(&Request::token(CLIENT_CREDENTIALS)), 400, "neither");
    }
}

#[test]
fn basic_credentials_are_form_encoded_first() {
    let mut config = ProviderConfig::rfc();
    let (id, secret) = ("a b:c", "p+%&=:ü");
    (config.clients[0].id, config.clients[0].secret) = (id.to_owned(), secret.to_owned());
    let mut stage = Stage::new(config);
    assert_eq!(stage.answer(&Request::token(CLIENT_CREDENTIALS).basic(id, secret)).status(), 200);
}

#[test]
fn bad_requests_get_the_names_of_the_rfc() {
    let mut stage = Stage::new(ProviderConfig::rfc());
    for (form, error) in [
        (vec![], "invalid_request"),
        (vec![("grant_type", "password")], "unsupported_grant_type"),
        (vec![("grant_type", "refresh_token")], "invalid_request"),
        (vec![("grant_type", "refresh_token"), ("refresh_token", "unknown")], "invalid_grant"),
        (vec![("grant_type", "client_credentials"), ("grant_type", "client_credentials")], "invalid_request"),
    ] {
        let (status, body) = stage.ask(&form);
        assert_eq!((status, body["error"].as_str()), (400, Some(error)), "{form:?}");
    }
    let mut get = Request::token(CLIENT_CREDENTIALS).basic(CLIENT_ID, CLIENT_SECRET);
    get.method = Method::GET;
    assert_eq!(stage.answer(&get).status(), 400);
}

#[test]
fn scopes_are_checked_and_echoed() {
    let mut config = ProviderConfig::rfc();
    config.clients[0].scopes = vec!["read".to_owned(), "write".to_owned()];
    let mut stage = Stage::new(config);
    for (asked, status, given) in
        [(None, 200, Some("read write")), (Some("read"), 200, Some("read")), (Some("read admin"), 400, None)]
    {
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(asked.map(|scope| ("scope", scope)));
        let (got, body) = stage.ask(&form);
        assert_eq!((got, body["scope"].as_str()), (status, given));
    }
}

#[test]
fn a_changed_secret_locks_the_client_out() {
    let mut stage = Stage::new(ProviderConfig::genesys());
    let token = stage.mint();
    stage.apply(Event::SetClientSecret("another".to_owned()));
    let (status, body) = stage.ask(CLIENT_CREDENTIALS);
    assert_eq!((status, body["error"].as_str()), (400, Some("invalid_client")));
    assert_eq!(stage.call(&token), 200, "tokens in use live on");
}

#[test]
fn expires_in_says_what_it_is_told_to() {
    for (says, expected) in [
        (ExpiresIn::Whole, json!(4)),
        (ExpiresIn::MinusOne, json!(3)),
        (ExpiresIn::Text, json!("4")),
        (ExpiresIn::Missing, serde_json::Value::Null),
        (ExpiresIn::Says(-5), json!(-5)),
        (ExpiresIn::Says(i64::MAX), json!(i64::MAX)),
    ] {
        let tokens = TokenConfig { lifetime: Span::from_millis(4_900), expires_in: says, ..TokenConfig::default() };
        let mut stage = Stage::new(ProviderConfig { tokens, ..ProviderConfig::genesys() });
        let (_, body) = stage.ask(CLIENT_CREDENTIALS);
        assert_eq!(body["expires_in"], expected, "{says:?}");
        assert_eq!(body["token_type"], "bearer");
        assert_eq!(body["refresh_token"], serde_json::Value::Null, "client credentials give no refresh token");
    }
}

#[test]
fn the_mint_limit_opens_again_when_the_oldest_mint_leaves_the_window() {
    let mut config = ProviderConfig::rfc();
    config.mint_limit = Some(MintLimit { count: 2, window: Span::from_secs(10), answer: LimitAnswer::TooManyRequests });
    let mut stage = Stage::new(config);
    stage.mint();
    stage.pass_ms(1_500);
    stage.mint();
    let refused = stage.answer(&Request::token(CLIENT_CREDENTIALS).basic(CLIENT_ID, CLIENT_SECRET));
    assert_eq!((refused.status().as_u16(), &refused.headers()[RETRY_AFTER]), (429, &"9".parse().unwrap()));
    stage.pass_ms(8_499);
    assert_eq!(stage.ask(CLIENT_CREDENTIALS).0, 429);
    stage.pass_ms(1);
    stage.mint();
    assert_eq!(stage.ask(CLIENT_CREDENTIALS).0, 429);
    assert_eq!(outcomes(&stage, TokenOutcome::RateLimited), 3);
}

#[test]
fn waiting_as_long_as_a_limit_says_is_always_enough() {
    let answers = [LimitAnswer::TooManyRequests, LimitAnswer::TooManyRequestsDate];
    for (answer, millis) in answers.into_iter().flat_map(|answer| [0, 1, 250, 999].map(|millis| (answer, millis))) {
        let mut config = ProviderConfig::rfc().with_offset(Span::from_secs(-90));
        config.mint_limit = Some(MintLimit { count: 1, window: Span::from_millis(3_300), answer });
        let mut stage = Stage::new(config);
        stage.pass_ms(millis);
        stage.mint();
        stage.pass_ms(40);
        stage.apply(Event::OutsideMints(2));
        let refused = stage.answer(&Request::token(CLIENT_CREDENTIALS).basic(CLIENT_ID, CLIENT_SECRET));
        let says = refused.headers()[RETRY_AFTER].to_str().unwrap();
        let wait = match says.parse() {
            Ok(secs) => Span::from_secs(secs),
            Err(_) => {
                let at = httpdate::parse_http_date(says).unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
                let until = evergrant_core::time::Server::from_nanos(i64::try_from(at.as_nanos()).unwrap());
                until - stage.provider.issuer_clock(stage.now)
            }
        };
        assert!(Span::from_secs(3) <= wait && wait <= Span::from_secs(6), "{wait}");
        stage.now = stage.now + wait;
        stage.mint();
    }
}

#[test]
fn each_fault_acts_before_or_after_as_it_says() {
    let faults = [
        TokenFault::Reset,
        TokenFault::Hang(Span::from_secs(60)),
        TokenFault::Status(503, Some(7)),
        TokenFault::NotJson,
        TokenFault::Redirect("https://elsewhere.example/".to_owned()),
        TokenFault::Slow(Span::from_secs(3)),
        TokenFault::Lost,
        TokenFault::Torn,
        TokenFault::Empty,
        TokenFault::MissingToken,
    ];
    for fault in faults {
        let mut stage = Stage::new(ProviderConfig::rfc());
        stage.apply(Event::TokenFault(TokenRule { fault: fault.clone(), chance: Chance::next(1) }));
        let form = [("grant_type", "refresh_token"), ("refresh_token", REFRESH_TOKEN)];
        let reply = stage.send(&Request::token(&form).basic(CLIENT_ID, CLIENT_SECRET));
        let has_token = match &reply.answer {
            Answer::Response(response) => body_of(response)["access_token"].is_string(),
            Answer::Torn { response, keep } => {
                let Payload::Bytes(bytes) = response.body() else { panic!("bytes") };
                assert!(0 < *keep && *keep < bytes.len());
                false
            }
            Answer::Reset { acted } => {
                assert_eq!(*acted, fault.acts(), "{fault:?}");
                false
            }
        };
        assert_eq!(has_token, fault.delivers(), "{fault:?}");
        let ledger = stage.provider.ledger();
        assert_eq!(ledger.token.succeeded, u64::from(fault.delivers()), "{fault:?}");
        assert_eq!(ledger.token_requests_ended(TokenOutcome::Issued), u64::from(fault.acts()), "{fault:?}");
        let slow = matches!(fault, TokenFault::Slow(_) | TokenFault::Hang(_));
        assert_eq!(reply.delay > Span::ZERO, slow, "{fault:?}");
        // What happened to the refresh token tells whether the provider really acted.
        assert_eq!(stage.refresh(REFRESH_TOKEN).0, if fault.acts() { 400 } else { 200 }, "{fault:?}");
    }
}

#[test]
fn a_token_ages_while_its_answer_travels() {
    let mut config = ProviderConfig::rfc().with_lifetime(Span::from_secs(4));
    config.latency.token = crate::config::Delay::fixed(Span::from_secs(3));
    let mut stage = Stage::new(config);
    let token = stage.mint();
    stage.pass_ms(3_999);
    assert_eq!(stage.call(&token), 200);
    stage.pass_ms(1);
    assert_eq!(stage.call(&token), 401);
}
