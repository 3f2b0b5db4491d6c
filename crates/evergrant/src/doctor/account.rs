//! What a Genesys Cloud organisation tells about the token, the client and its limits, as far as it may be read.
//!
//! Every question is a GET. Most of them need a permission that a client rarely has, so a 403 is no fault: the check is
//! skipped and says why. The questions do not depend on each other and are asked at once.
//!
//! Source: the API's operations "Fetch information about the current token", "Get the current Idle Token Timeout
//! Value", "Returns a listing of roles and permissions for the currently authenticated user" and "Get effective limits
//! in a namespace for an organization".

use evergrant_core::offset::{Sample, Source};
use evergrant_core::profile::ProfileKind;
use evergrant_core::time::Span;
use evergrant_core::token::Token;
use evergrant_core::wire::{RateSample, parse_api_error, parse_rate_sample};
use reqwest::Method;
use serde_json::Value;

use super::api::Watched;
use super::report::{Check, Name};
use super::visit::Visit;
use super::words::{counted, long};
use crate::transport::{ApiProbe, ProbeAnswer};

const ME: &str = "/api/v2/tokens/me";
const TIMEOUT: &str = "/api/v2/tokens/timeout";
const SUBJECT: &str = "/api/v2/authorization/subjects/me";
const LIMITS: &str = "/api/v2/organizations/limits/namespaces/platform.api";

/// The checks of this file.
const NAMES: [Name; 4] = [Name::Identity, Name::Permissions, Name::IdleTimeout, Name::OrgLimits];

/// Asks everything that can be asked about the account.
pub(super) async fn checks(visit: &Visit<'_>, api: &ApiProbe, token: &Token, watched: &Watched) -> Vec<Check> {
    let mut checks = vec![visit.settle(rate_limit(watched))];
    if visit.setup.profile.kind != ProfileKind::Genesys {
        let why = "this provider has no known place that tells it";
        checks.extend(NAMES.map(|name| visit.settle(Check::skipped(name, why))));
        return checks;
    }
    if watched.success().is_none() {
        let why = format!("the API does not take the token: see {}", Name::Api.title());
        checks.extend(NAMES.map(|name| visit.settle(Check::skipped(name, why.as_str()))));
        return checks;
    }
    let me = watched.success().filter(|_| watched.path() == ME).cloned();
    let (identity, permissions, idle, limits, ()) = tokio::join!(
        visit.run(Name::Identity, async {
            let answer = match me {
                Some(answer) => Ok(answer),
                None => ask(visit, api, ME, token).await,
            };
            read(Name::Identity, answer, identity)
        }),
        visit.run(Name::Permissions, async {
            read(Name::Permissions, ask(visit, api, SUBJECT, token).await, permissions)
        }),
        visit.run(Name::IdleTimeout, async {
            read(Name::IdleTimeout, ask(visit, api, TIMEOUT, token).await, idle_timeout)
        }),
        visit.run(Name::OrgLimits, async { read(Name::OrgLimits, ask(visit, api, LIMITS, token).await, limits) }),
        exact_date(visit, api, token),
    );
    checks.extend([identity, permissions, idle, limits]);
    checks
}

async fn ask(visit: &Visit<'_>, api: &ApiProbe, path: &str, token: &Token) -> Result<ProbeAnswer, String> {
    let exchange = api.send(Method::GET, path, Some(&token.access_token)).await;
    let answer = exchange.result.map_err(|failure| failure.to_string())?;
    visit.note_answer(Source::ApiDate, exchange.sent, exchange.received, &answer.head);
    Ok(answer)
}

/// The provider's date in milliseconds: a far better clock than any Date.
async fn exact_date(visit: &Visit<'_>, api: &ApiProbe, token: &Token) {
    let Some(path) = visit.setup.profile.date_path else { return };
    let exchange = api.send(Method::GET, path, Some(&token.access_token)).await;
    let Ok(answer) = exchange.result else { return };
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let date = body["currentDate"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let Some(date) = date.filter(|_| answer.head.status == 200) else { return };
    let server = evergrant_core::time::Server::from_millis(date.as_millisecond());
    let (sent, received, resolution) = (exchange.sent, exchange.received, Span::from_millis(1));
    let bounds_above = answer.head.age.is_none();
    visit.note_sample(Source::MsEndpoint, Sample { sent, received, server, resolution, bounds_above });
}

/// A body that was given, or why there is none.
fn read(name: Name, answer: Result<ProbeAnswer, String>, tell: impl FnOnce(Check, &Value) -> Check) -> Check {
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => return Check::skipped(name, format!("no answer came: {why}")),
    };
    let code = || parse_api_error(&answer.body).and_then(|error| error.code).unwrap_or_default();
    match answer.head.status {
        200 => match serde_json::from_slice(&answer.body) {
            Ok(body) => tell(Check::ok(name), &body),
            Err(_) => Check::skipped(name, "the answer is no JSON"),
        },
        status @ (401 | 403) => {
            Check::skipped(name, format!("this client may not read it ({status} {}), and needs not", code()))
        }
        status => Check::skipped(name, format!("it was answered with {status}")),
    }
}

fn identity(check: Check, body: &Value) -> Check {
    let text = |of: &Value, key: &str| of[key].as_str().unwrap_or("not told").to_owned();
    let (organization, client) = (&body["organization"], &body["OAuthClient"]);
    let check = check.saw(format!(
        "the token stands for the client {} ({}) in the organisation {}",
        text(client, "name"),
        text(client, "id"),
        text(organization, "name")
    ));
    match body["dateTokenIdles"].as_str() {
        Some(date) => check.saw(format!("unused, it would end at {date}")),
        None => check,
    }
}

fn permissions(check: Check, body: &Value) -> Check {
    let Some(grants) = body["grants"].as_array() else {
        return Check::skipped(Name::Permissions, "the answer names no roles");
    };
    let mut roles: Vec<_> = grants.iter().filter_map(|grant| grant["role"]["name"].as_str()).collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() {
        return check.saw("the client has no role at all").warning(
            "give the OAuth client a role with the permissions that your calls need, in the division that they are about",
        );
    }
    let shown = roles.iter().take(ROLES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    let more = if roles.len() > ROLES_SHOWN { ", ..." } else { "" };
    check.saw(format!("{}: {shown}{more}", counted(roles.len(), "role")))
}

fn idle_timeout(check: Check, body: &Value) -> Check {
    match (body["enableIdleTokenTimeout"].as_bool(), body["idleTokenTimeoutSeconds"].as_i64()) {
        (Some(true), Some(secs)) => check.saw(format!(
            "the organisation ends tokens that were not used for {}; Evergrant probes a token before it relies on one that rested",
            long(Span::from_secs(secs))
        )),
        (Some(false), _) => check.saw("the organisation does not end unused tokens"),
        _ => Check::skipped(Name::IdleTimeout, "the answer does not tell it"),
    }
}

fn limits(check: Check, body: &Value) -> Check {
    let listed = body["entities"].as_array().into_iter().flatten();
    let facts: Vec<String> = listed
        .filter_map(|limit| Some((limit["key"].as_str()?, limit["value"].as_i64()?)))
        .filter(|(key, _)| key.contains("token") || key.contains("rate"))
        .take(LIMITS_SHOWN)
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    if facts.is_empty() {
        return Check::skipped(Name::OrgLimits, "the answer names no limit of tokens or rates");
    }
    facts.into_iter().fold(check, Check::saw)
}

/// What the API's last answer says about the rate limit.
fn rate_limit(watched: &Watched) -> Check {
    let Some(answer) = watched.last_answer() else {
        return Check::skipped(Name::RateLimit, "no answer of the API to read it from");
    };
    let field = |name| answer.head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let told = parse_rate_sample(field(RateSample::COUNT), field(RateSample::ALLOWED), field(RateSample::RESET));
    let Some(sample) = told else {
        return Check::skipped(Name::RateLimit, "the API's answers do not tell it");
    };
    let check = Check::ok(Name::RateLimit).saw(format!(
        "{} of {} requests of this window are used, for the next {}",
        sample.count, sample.allowed, sample.reset
    ));
    if sample.count.saturating_mul(10) > sample.allowed.saturating_mul(9) {
        return check.warning("send fewer requests, or let the gateway pace all callers of this token");
    }
    check
}

const ROLES_SHOWN: usize = 8;
const LIMITS_SHOWN: usize = 12;
