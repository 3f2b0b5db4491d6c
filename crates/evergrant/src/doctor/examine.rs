//! The order of an examination: what depends on what, and what can be done at once.
//!
//! ```text
//! proxy, discovery
//!   token host: name, connection, TLS ---- token request --- token, signature, lifetime
//!   API host:   name, connection, TLS -------------------\-- probes --- account --- clocks
//! store, gateway
//! ```
//!
//! Lines beside each other run at the same time.

use std::time::Duration;

use evergrant_core::Secret;
use evergrant_core::profile::Discovery;
use evergrant_core::token::{Generation, Issued, Token};

use super::mint::{self, Minted};
use super::reach::{self, Reached, Side};
use super::report::{Check, Measured, Name, Progress, Report, State};
use super::setup::{Identity, Setup};
use super::visit::Visit;
use super::{account, api, clocks, gateway, signature, store, token};
use crate::clock;
use crate::transport::{ApiProbe, Target, discover};

/// Looks at everything once. `tell` hears how far it has come.
pub async fn examine(setup: &Setup, tell: &(dyn Fn(Progress<'_>) + Sync)) -> Report {
    let began = clock::boot();
    let visit = Visit::begin(setup, tell);
    let stored = visit.run_with(Name::Store, Duration::ZERO, store::check(&visit));
    let (mut found, gateway, ()) = tokio::join!(
        online(&visit, stored),
        visit.run(Name::Gateway, gateway::check(&visit)),
        clocks::ask_others(&visit)
    );
    found.checks.push(gateway);
    found.checks.push(visit.run(Name::Clock, async { clocks::check(&visit) }).await);
    let notes = visit.notes();
    let mut report = Report::of(found.checks);
    report.provider = setup.profile.kind.name().to_owned();
    report.token_url = found.token_target.as_ref().map(Target::to_string);
    report.api_url = found.api_target.as_ref().map(Target::to_string);
    report.token_requests = notes.token_requests;
    report.measured = Measured {
        latency: notes.latency.clone(),
        offset: notes.clocks.points().to_vec(),
        assumptions: evergrant_core::offset::Assumptions::default().to_string(),
        token: found.token.as_ref().filter(|_| found.is_minted).map(token::line),
    };
    report.took_ms = (clock::boot() - began).as_secs_f64() * 1000.0;
    report
}

/// What came of everything that needs the network.
#[derive(Default)]
struct Online {
    checks: Vec<Check>,
    token_target: Option<Target>,
    api_target: Option<Target>,
    token: Option<Token>,
    is_minted: bool,
}

async fn online(visit: &Visit<'_>, stored: impl Future<Output = (Check, Option<Option<Secret>>)>) -> Online {
    let (way, (store_check, stored)) = tokio::join!(way(visit), stored);
    let mut online = Online { checks: way.checks, ..Online::default() };
    online.checks.push(store_check);
    let ready = match &visit.setup.identity {
        Identity::ReadyToken(token) => Some(token.clone()),
        Identity::Client(_) => stored.flatten(),
    };
    let token = match (&way.minted, ready) {
        _ if way.is_closed => None,
        (Some(minted), _) => Some(token::planned(visit, minted)),
        (None, Some(text)) if may_use_stored(visit) => Some(as_it_is(visit, text)),
        (None, _) => {
            online.checks.extend(without_token(visit));
            None
        }
    };
    if let Some(token) = &token {
        let (url, minted) = (way.token_url.as_deref(), way.minted.as_ref());
        let api = way.api_target.as_ref().filter(|_| way.api_is_open);
        let (own, with_api) = tokio::join!(
            of_token(visit, token, minted, url, way.discovery.as_ref()),
            of_api(visit, token, minted.is_some(), api)
        );
        online.checks.extend(own.into_iter().chain(with_api));
    }
    let (token_target, api_target, is_minted) = (way.token_target, way.api_target, way.minted.is_some());
    Online { token_target, api_target, token, is_minted, ..online }
}

/// How far the network leads, up to a token.
struct Way {
    checks: Vec<Check>,
    token_url: Option<String>,
    token_target: Option<Target>,
    api_target: Option<Target>,
    discovery: Option<Discovery>,
    minted: Option<Minted>,
    /// A proxy lets nothing through, and every check behind it has been settled.
    is_closed: bool,
    api_is_open: bool,
}

async fn way(visit: &Visit<'_>) -> Way {
    let setup = visit.setup;
    let (check, discovery) = discovery(visit).await;
    let mut checks = vec![check];
    let token_url =
        setup.profile.token_url.clone().or_else(|| discovery.as_ref().map(|found| found.token_endpoint.clone()));
    let parse = |name, url: Option<&String>| Target::parse(name, url?, setup.http.allow_insecure_http).ok();
    let token_target = parse("token URL", token_url.as_ref());
    let api_target = parse("API URL", setup.profile.api_url.as_ref());
    let targets: Vec<&Target> = token_target.iter().chain(&api_target).collect();
    let (check, is_open) = visit.run_with(Name::Proxy, Duration::ZERO, reach::proxies(visit, &targets)).await;
    checks.push(check);
    let is_closed = !is_open.unwrap_or(false);
    let (mut minted, mut api_is_open) = (None, false);
    if is_closed {
        checks.extend(blocked(visit, Name::Proxy));
    } else {
        let ((of_token, found), of_api) = tokio::join!(
            token_side(visit, token_target.as_ref()),
            api_side(visit, token_target.as_ref(), api_target.as_ref())
        );
        checks.extend(of_token.into_iter().chain(of_api.checks));
        (minted, api_is_open) = (found, of_api.blocked.is_none());
    }
    Way { checks, token_url, token_target, api_target, discovery, minted, is_closed, api_is_open }
}

/// A grant that is not spent here is looked at through the token that the store holds.
fn may_use_stored(visit: &Visit<'_>) -> bool {
    match &visit.setup.identity {
        Identity::ReadyToken(_) => true,
        Identity::Client(credential) => credential.grant == crate::grant::Grant::RefreshToken,
    }
}

fn as_it_is(visit: &Visit<'_>, text: Secret) -> Token {
    let now = clock::boot();
    let issued = Issued { sent: now, received: now };
    Token::new(Generation(1), text, issued, None, &visit.setup.policy, evergrant_core::time::Span::ZERO, 0)
}

async fn discovery(visit: &Visit<'_>) -> (Check, Option<Discovery>) {
    let profile = &visit.setup.profile;
    let Some(issuer) = &profile.issuer else {
        return (visit.settle(Check::skipped(Name::Discovery, "no issuer is set")), None);
    };
    let is_needed = profile.token_url.is_none();
    let (check, found) = visit
        .run_with(Name::Discovery, Duration::ZERO, async {
            let check = Check::ok(Name::Discovery);
            match discover(issuer, &visit.tls, visit.options()).await {
                Ok(found) => {
                    let check = check.saw(format!("{issuer} names the token endpoint {}", found.token_endpoint));
                    let check = match &found.jwks_uri {
                        Some(uri) => check.saw(format!("its keys are at {uri}")),
                        None => check.saw("it publishes no keys"),
                    };
                    (check, Some(found))
                }
                Err(error) => {
                    let check = check.saw(error.to_string());
                    let remedy = "check EVERGRANT_ISSUER, character by character, and that its host is reachable";
                    (if is_needed { check.fault(remedy) } else { check.warning(remedy) }, None)
                }
            }
        })
        .await;
    (check, found.flatten())
}

async fn token_side(visit: &Visit<'_>, target: Option<&Target>) -> (Vec<Check>, Option<Minted>) {
    let Some(target) = target else {
        let mut checks = Side::TOKEN.settled(visit, "no token endpoint is known").checks;
        checks.push(visit.settle(Check::skipped(Name::TokenEndpoint, "no token endpoint is known")));
        return (checks, None);
    };
    let Identity::Client(credential) = &visit.setup.identity else {
        let why = "a ready access token is used, so none is asked for";
        let mut checks = Side::TOKEN.settled(visit, why).checks;
        checks.push(visit.settle(Check::skipped(Name::TokenEndpoint, why)));
        return (checks, None);
    };
    let Reached { mut checks, blocked } = reach::reach(visit, Side::TOKEN, target).await;
    if let Some(by) = blocked {
        checks.push(visit.settle(Check::skipped(Name::TokenEndpoint, format!("not reached: see {}", by.title()))));
        return (checks, None);
    }
    let url = target.url().as_str();
    let (check, minted) = visit.run_with(Name::TokenEndpoint, Duration::ZERO, mint::mint(visit, url, credential)).await;
    checks.push(check);
    (checks, minted.flatten())
}

async fn api_side(visit: &Visit<'_>, token_target: Option<&Target>, target: Option<&Target>) -> Reached {
    let Some(target) = target else { return Side::API.settled(visit, "no API is known: set EVERGRANT_UPSTREAM") };
    let is_same = token_target.is_some_and(|token| token.url().origin() == target.url().origin());
    let looks_there = matches!(visit.setup.identity, Identity::Client(_));
    if is_same && looks_there {
        return Side::API.settled(visit, "the same host and port as the token endpoint");
    }
    reach::reach(visit, Side::API, target).await
}

/// What can be said of the token without the API.
async fn of_token(
    visit: &Visit<'_>,
    token: &Token,
    minted: Option<&Minted>,
    token_url: Option<&str>,
    discovery: Option<&Discovery>,
) -> Vec<Check> {
    let answer = minted.map(|minted| &minted.answer);
    let token_type = answer.and_then(|answer| answer.token_type.as_deref());
    let note = answer.and_then(|answer| answer.expires_in_note).map(|note| note.to_string());
    let lifetime = match answer {
        Some(_) => visit.run(Name::Lifetime, async { token::lifetime(token, note) }).await,
        None => visit.settle(Check::skipped(Name::Lifetime, "the token was not issued here")),
    };
    let about = visit.run(Name::Token, async { token::check(visit, token, token_type) }).await;
    let signature = visit.run(Name::Signature, signature::check(visit, token, token_url, discovery)).await;
    vec![lifetime, about, signature]
}

const WITH_API: [Name; 7] = [
    Name::Propagation,
    Name::Api,
    Name::Identity,
    Name::Permissions,
    Name::IdleTimeout,
    Name::RateLimit,
    Name::OrgLimits,
];

/// What the API says of it.
async fn of_api(visit: &Visit<'_>, token: &Token, is_new: bool, target: Option<&Target>) -> Vec<Check> {
    let settled = |why: &str| WITH_API.map(|name| visit.settle(Check::skipped(name, why))).to_vec();
    let Some(target) = target else { return settled("no API can be reached") };
    let origin = target.url().origin().ascii_serialization();
    let api = match ApiProbe::new(&origin, &visit.tls, visit.options()) {
        Ok(api) => api,
        Err(error) => return settled(&error.to_string()),
    };
    let longer = visit.setup.propagation;
    let (propagation, watched) = visit
        .run_with(Name::Propagation, longer, async {
            let watched = api::watch(visit, &api, token, is_new).await;
            let check = if is_new {
                api::propagation(visit, &watched, token)
            } else {
                Check::skipped(Name::Propagation, "the token is not new")
            };
            (check, watched)
        })
        .await;
    let mut checks = vec![propagation];
    let Some(watched) = watched else {
        let rest = WITH_API.iter().skip(1);
        checks.extend(rest.map(|name| visit.settle(Check::skipped(*name, "the probes did not end"))));
        return checks;
    };
    checks.push(visit.run(Name::Api, async { api::accepted(visit, &watched, token, is_new) }).await);
    checks.extend(account::checks(visit, &api, token, &watched).await);
    checks
}

fn without_token(visit: &Visit<'_>) -> Vec<Check> {
    let names = [Name::Token, Name::Signature, Name::Lifetime].into_iter().chain(WITH_API);
    names.map(|name| visit.settle(Check::skipped(name, "there is no token"))).collect()
}

/// Everything behind a check that found the way closed.
fn blocked(visit: &Visit<'_>, by: Name) -> Vec<Check> {
    let why = format!("not reached: see {}", by.title());
    let before = [
        Name::TokenDns,
        Name::TokenTcp,
        Name::TokenTls,
        Name::ApiDns,
        Name::ApiTcp,
        Name::ApiTls,
        Name::TokenEndpoint,
        Name::Token,
        Name::Signature,
        Name::Lifetime,
    ];
    let all = before.into_iter().chain(WITH_API);
    all.map(|name| visit.settle(Check { state: State::Skipped, ..Check::skipped(name, why.as_str()) })).collect()
}
