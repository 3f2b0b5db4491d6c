//! Does the API take the token, how soon after its issue, and how steadily?
//!
//! A new token is probed at once and then again and again for a bounded time, because a provider with several nodes may
//! accept it on one and not yet on another. What counts is 401 and then success of the *same* token. The API's own
//! answer to the last probe decides whether the token works.
//!
//! Without a path that is known to need a token, the API's root is asked with the token and without: only a difference
//! proves anything.

use evergrant_core::keeper::is_proof;
use evergrant_core::offset::Source;
use evergrant_core::policy::Policy;
use evergrant_core::profile::Probe;
use evergrant_core::time::{Boot, Span};
use evergrant_core::token::Token;
use evergrant_core::verdict::Cause;
use reqwest::Method;

use super::evidence::{self, Around};
use super::report::{Check, Name, State};
use super::setup::Identity;
use super::visit::Visit;
use super::words::{counted, millis};
use crate::clock;
use crate::transport::{ApiProbe, ProbeAnswer, ProbeExchange};

/// What the probes showed.
pub(super) struct Watched {
    path: String,
    /// Does the path need a token, as far as is known?
    needs_token: bool,
    probes: Vec<ProbeExchange>,
}

impl Watched {
    /// The last answer, if it was a success.
    pub(super) fn success(&self) -> Option<&ProbeAnswer> {
        self.last_answer().filter(|answer| (200..300).contains(&answer.head.status))
    }

    /// The last answer.
    pub(super) fn last_answer(&self) -> Option<&ProbeAnswer> {
        self.probes.last().and_then(|probe| probe.result.as_ref().ok())
    }

    /// The path that was probed.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Each probe's time of sending and status.
    fn statuses(&self) -> impl Iterator<Item = (Boot, u16)> + '_ {
        self.probes.iter().filter_map(|probe| Some((probe.sent, probe.result.as_ref().ok()?.head.status)))
    }

    fn accepted_first(&self) -> Option<Boot> {
        self.statuses().find(|(_, status)| is_proof(*status)).map(|(sent, _)| sent)
    }

    fn count(&self, is: impl Fn(u16) -> bool) -> usize {
        self.statuses().filter(|(_, status)| is(*status)).count()
    }
}

/// Probes the API with the token for as long as the setup says, but once at least.
pub(super) async fn watch(visit: &Visit<'_>, api: &ApiProbe, token: &Token, is_new: bool) -> Watched {
    let configured = visit.setup.profile.probe.as_ref().map(|Probe { path, .. }| path.clone());
    let needs_token = match configured {
        Some(_) => true,
        None => {
            let anonymous = probe(visit, api, "/", None).await;
            anonymous.result.is_ok_and(|answer| answer.head.status == 401)
        }
    };
    let path = configured.unwrap_or_else(|| "/".to_owned());
    let mut watched = Watched { path, needs_token, probes: Vec::new() };
    let span = if is_new { Span::from_duration(visit.setup.propagation) } else { Span::ZERO };
    let pace = PACE.max(span.scaled(1, PROBES_AT_MOST));
    let began = clock::boot();
    let mut refusals = 0;
    loop {
        let exchange = probe(visit, api, &watched.path, Some(token)).await;
        let status = exchange.result.as_ref().ok().map(|answer| answer.head.status);
        refusals = if status == Some(401) { refusals + 1 } else { 0 };
        watched.probes.push(exchange);
        let pause = if refusals > 0 { Policy::propagation_retry(refusals).min(pace) } else { pace };
        let is_over = clock::boot() + pause - began > span;
        if is_over || status.is_none() || status == Some(429) {
            return watched;
        }
        tokio::time::sleep(pause.to_duration()).await;
    }
}

async fn probe(visit: &Visit<'_>, api: &ApiProbe, path: &str, token: Option<&Token>) -> ProbeExchange {
    let exchange = api.send(Method::GET, path, token.map(|token| &token.access_token)).await;
    if let Ok(answer) = &exchange.result {
        visit.note_answer(Source::ApiDate, exchange.sent, exchange.received, &answer.head);
    }
    exchange
}

/// How soon the API knew the token, and whether it ever forgot it again.
pub(super) fn propagation(visit: &Visit<'_>, watched: &Watched, token: &Token) -> Check {
    let name = Name::Propagation;
    if !watched.needs_token {
        return Check::skipped(name, "no path of the API is known that needs a token: set EVERGRANT_PROBE_PATH");
    }
    let Some(accepted) = watched.accepted_first() else {
        return Check::skipped(name, format!("the API never took the token: see {}", Name::Api.title()));
    };
    let issued = token.issued.received;
    let probes = counted(watched.probes.len(), "probe");
    let over = millis(watched.probes.last().map_or(Span::ZERO, |last| last.received - issued));
    let before = watched.statuses().filter(|(sent, status)| *status == 401 && *sent < accepted).count();
    let after = watched.count(|status| status == 401) - before;
    let check = Check::ok(name).saw(format!("{probes} with the new token in the {over} after its issue"));
    if before == 0 && after == 0 {
        return check
            .saw(format!("none was refused, the first was sent {} after the issue", millis(accepted - issued)));
    }
    let last_refused = watched.probes.iter().rfind(|probe| is_refused(probe));
    let until = last_refused.map_or(issued, |probe| probe.received);
    let check = check.saw(format!(
        "refused with 401 {before} times before the first success and {after} times after it, the last time {} after the issue",
        millis(until - issued)
    ));
    let evidence = last_refused.and_then(|probe| {
        let answer = probe.result.as_ref().ok()?;
        let now = clock::now();
        let theta = visit.notes().clocks.theta(now);
        let works_since = watched.statuses().any(|(sent, status)| is_proof(status) && sent >= probe.received);
        let around = Around { worked_before: after > 0, works_since, refusals: 1, settle: settle(visit) };
        evidence::of_probe(visit.setup, &watched.path, (answer, probe.received), token, (theta, now), around)
    });
    let Some(evidence) = evidence else { return check };
    let settle = settle(visit);
    let judged = check.judged(State::Warning, &evidence);
    let remedy = if until - issued > settle {
        format!(
            "new tokens are known later than the {settle} that Evergrant waits: set EVERGRANT_SETTLE to twice what was measured"
        )
    } else {
        format!(
            "nothing to do with Evergrant, which lets a new token settle for {settle}; other clients must wait as long"
        )
    };
    Check { remedy: Some(remedy), ..judged }
}

/// How long Evergrant lets a new token settle.
fn settle(visit: &Visit<'_>) -> Span {
    visit.setup.policy.settle.unwrap_or(Policy::FIRST_SETTLE)
}

fn is_refused(probe: &ProbeExchange) -> bool {
    probe.result.as_ref().is_ok_and(|answer| answer.head.status == 401)
}

/// What the last answer says about the token.
pub(super) fn accepted(visit: &Visit<'_>, watched: &Watched, token: &Token, is_new: bool) -> Check {
    let check = Check::ok(Name::Api);
    let Some(last) = watched.probes.last() else { return Check::skipped(Name::Api, "nothing was sent") };
    let answer = match &last.result {
        Ok(answer) => answer,
        Err(failure) => {
            return check
                .saw(failure.to_string())
                .fault("check the upstream or the region, and the network in between");
        }
    };
    let status = answer.head.status;
    let took = watched.probes.iter().map(|probe| probe.received - probe.sent).min().unwrap_or(Span::ZERO);
    let check = check.saw(format!("GET {} answered {status}; the fastest answer took {}", watched.path, millis(took)));
    if !watched.needs_token && status != 401 && status != 403 {
        return Check { state: State::Skipped, ..check }
            .saw("the same path answers without a token, so this proves nothing; set EVERGRANT_PROBE_PATH to one that needs a token");
    }
    if status == 401 && !is_new && matches!(visit.setup.identity, Identity::Client(_)) {
        return check
            .saw("this is the token that the store holds; one that has ended is refused like this")
            .warning("run `evergrant token`, which renews it, and look again");
    }
    let now = clock::now();
    let theta = visit.notes().clocks.theta(now);
    let refusals = u32::try_from(watched.count(|status| status == 401)).unwrap_or(u32::MAX);
    let around = Around {
        worked_before: watched.accepted_first().is_some(),
        works_since: false,
        refusals,
        // It was probed for the time that was told; what is unknown after that is not called propagation.
        settle: Span::ZERO,
    };
    if let Some(evidence) =
        evidence::of_probe(visit.setup, &watched.path, (answer, last.received), token, (theta, now), around)
    {
        let state = if status == 429 { State::Warning } else { State::Fault };
        let judged = check.judged(state, &evidence);
        return if status == 401 && !around.worked_before { never_accepted(visit, judged) } else { judged };
    }
    match status {
        _ if is_proof(status) => check,
        300..=399 => check.warning("the API redirects: check the upstream and the probe path"),
        500..=599 => check.fault("the API fails by itself: try again later, and look at the provider's status page"),
        _ => {
            check.warning("check the probe path: this status proves neither that the token works nor that it does not")
        }
    }
}

/// A fresh token that the API never took: what else it may be, where the verdict is open.
fn never_accepted(visit: &Visit<'_>, mut check: Check) -> Check {
    let profile = &visit.setup.profile;
    if check.verdict.is_some_and(|ruling| ruling.cause == Cause::Unknown) {
        let host = |url: &Option<String>| url.as_deref().map(str::to_owned).unwrap_or_default();
        check = check.saw(format!(
            "a new token that an API never takes was most often issued somewhere else: by {}, for {}",
            host(&profile.token_url),
            host(&profile.api_url)
        ));
        check.remedy = Some(
            "check that the token endpoint and the API belong together: EVERGRANT_REGION alone names both, else EVERGRANT_TOKEN_URL and EVERGRANT_UPSTREAM"
                .to_owned(),
        );
    }
    let settle = settle(visit);
    if visit.setup.propagation < settle.to_duration() {
        let longer = settle.as_secs() + 2;
        check = check.saw(format!(
            "if this provider may need longer to spread a new token, repeat with --propagation {longer}s"
        ));
    }
    check
}

/// Probes follow each other at this pace; the time told is spread over so many at most.
const PACE: Span = Span::from_millis(200);
const PROBES_AT_MOST: i64 = 25;
