//! What is known, in sentences with their numbers.
//!
//! The first sentence says what was answered; the others follow in the order of the rules: what the server said, what
//! was sent, the token's life, what happened to others, the token endpoint. A sentence states a fact; what follows
//! from it is the verdict's.

use std::borrow::Cow;

use super::rules::MINTS_THAT_EVICT;
use crate::attempt::Subject;
use crate::evidence::{Audience, Carried, Evidence, FailedTokenRequest, SpentRefreshToken};
use crate::time::Span;
use crate::wire::TokenForm;

/// Everything worth saying.
pub(super) fn sentences(evidence: &Evidence) -> Vec<String> {
    let mut facts = Vec::with_capacity(12);
    facts.push(what_was_answered(evidence));
    what_the_server_said(evidence, &mut facts);
    what_was_sent(evidence, &mut facts);
    how_the_token_lived(evidence, &mut facts);
    what_happened_to_others(evidence, &mut facts);
    what_the_token_endpoint_said(evidence, &mut facts);
    what_the_clocks_say(evidence, &mut facts);
    if evidence.replay_unsafe {
        facts.push("replay=unsafe: the request may have been executed, so it was not sent again".to_owned());
    }
    if let Some(id) = &evidence.correlation_id {
        facts.push(format!("the provider calls this exchange {id}"));
    }
    facts
}

fn what_was_answered(evidence: &Evidence) -> String {
    match (evidence.subject, &evidence.token_failure) {
        (Subject::NeverSent, Some(failed)) => format!("there is no token to send: {}", failed.kind.name()),
        (Subject::NeverSent, None) => "there is no token to send".to_owned(),
        (Subject::TokenRequest, Some(failed)) => format!("the token request failed: {}", failed.kind.name()),
        _ if evidence.route.is_empty() => format!("the request was answered {}", evidence.status),
        _ => format!("{} answered {}", evidence.route, evidence.status),
    }
}

fn what_the_server_said(evidence: &Evidence, facts: &mut Vec<String>) {
    if let Some(code) = &evidence.error_code {
        facts.push(format!("the answer names the error {code}"));
    }
    if let Some(words) = &evidence.words {
        facts.push(format!("the server says: {words}"));
    }
    if let Some(scope) = &evidence.scope_wanted {
        facts.push(format!("the route asks for the scope {scope}"));
    }
    if let Some(wait) = evidence.retry_after {
        facts.push(format!("the server asks to wait {wait}"));
    }
    if evidence.is_web_page {
        facts.push("the body is a web page: the answer may come from a firewall or proxy before the API".to_owned());
    }
    if evidence.subject == Subject::NotChecked {
        facts.push("the server could not check the token in time, so nothing is known against it".to_owned());
    }
    if evidence.subject == Subject::DpopNonce {
        facts.push("the server asks for a DPoP proof beside the token".to_owned());
    }
}

fn what_was_sent(evidence: &Evidence, facts: &mut Vec<String>) {
    match evidence.carried {
        Carried::Nothing if evidence.subject.is_token() => facts.push("the request carried no token".to_owned()),
        Carried::NotShown => facts.push("it is not shown whether the request carried a token".to_owned()),
        Carried::Callers => facts.push("the caller brought the token itself".to_owned()),
        Carried::UnknownHandle => facts.push("the request carried a handle that this gateway does not know".to_owned()),
        Carried::Nothing | Carried::Ours | Carried::Unmanaged => {}
    }
    if evidence.is_redirected {
        facts.push("the request had followed a redirect to another origin, where clients drop credentials".to_owned());
    }
    let Some(shape) = &evidence.shape else { return };
    for defect in &shape.defects {
        facts.push(format!("the token {} ({} bytes)", defect.words(), shape.length));
    }
}

fn how_the_token_lived(evidence: &Evidence, facts: &mut Vec<String>) {
    match (evidence.generation, evidence.age) {
        (Some(generation), Some(age)) => facts.push(format!("it carried the token {generation}, {age} old")),
        (None, Some(age)) => facts.push(format!("the token was {age} old")),
        (_, None) => {}
    }
    match evidence.to_dead {
        Some(left) if left > Span::ZERO => facts.push(format!("by its lifetime the token had {left} left")),
        Some(left) => facts.push(format!("the lifetime of the token had ended {} before", left.abs())),
        None => {}
    }
    if let Some(claims) = evidence.claims {
        if let Some(exp) = claims.to_exp {
            facts.push(format!("by the server's clock the token's exp was {}", moment(exp)));
        }
        if let Some(nbf) = claims.to_nbf.filter(|(_, latest)| *latest > Span::ZERO) {
            facts.push(format!("by the server's clock the token's nbf or iat was {}", moment(nbf)));
        }
    }
    if evidence.works_since {
        let place = if evidence.works_here_since { " to the same route" } else { "" };
        facts.push(format!("the same token was accepted by a request that was sent later{place}"));
    } else if evidence.worked_before {
        facts.push(format!("the token worked before and was refused {} times since", evidence.refusals.max(1)));
    }
    if let Some(idle) = evidence.idle.filter(|idle| *idle > Span::from_secs(60)) {
        let limit = match (evidence.idle_limit, evidence.is_idle_limit_exact) {
            (Some(limit), true) => Cow::from(format!(" (the provider allows {limit})")),
            (Some(limit), false) => Cow::from(format!(" (providers may end it from {limit} on)")),
            (None, _) => Cow::from(""),
        };
        facts.push(format!("the token had not been used for {idle}{limit}"));
    }
}

fn what_happened_to_others(evidence: &Evidence, facts: &mut Vec<String>) {
    if evidence.newest > evidence.generation
        && let (Some(newest), Some(age)) = (evidence.newest, evidence.newest_age)
    {
        let works = if evidence.newer_works { ", and it works" } else { "" };
        facts.push(format!("the newer token {newest} was {age} old{works}"));
    }
    if evidence.revokes_old {
        facts.push("this provider was seen to end the old token at a refresh".to_owned());
    }
    if evidence.recent_mints >= MINTS_THAT_EVICT {
        facts.push(format!("{} tokens were minted within ten minutes", evidence.recent_mints));
    }
    if evidence.is_known_route {
        facts.push("this route is known to refuse tokens that work elsewhere".to_owned());
    }
    let regions = evidence.regions;
    if let (Some(token), Some(api)) = (regions.token, regions.api)
        && token != api
    {
        facts.push(format!("the token endpoint is in {token}, the API in {api}"));
    }
    if let Some(accepted) = regions.accepted.filter(|accepted| Some(*accepted) != regions.api) {
        facts.push(format!("the region {accepted} accepts these credentials"));
    }
    facts.extend(evidence.audience.as_ref().and_then(whom_it_is_for));
}

fn whom_it_is_for(audience: &Audience) -> Option<String> {
    let names = audience.names.join(", ");
    match (&audience.wanted, &audience.host) {
        (Some(wanted), _) => Some(format!("the token is meant for {names}, the API is {wanted}")),
        (None, Some(host)) => Some(format!("the token is meant for {names} and was sent to {host}")),
        (None, None) => None,
    }
}

fn what_the_token_endpoint_said(evidence: &Evidence, facts: &mut Vec<String>) {
    if evidence.has_no_grant {
        facts.push("there is no refresh token to renew the grant with".to_owned());
    }
    if let Some(failed) = &evidence.token_failure {
        facts.push(what_failed(failed));
    }
    facts.extend(evidence.refresh_token.as_ref().and_then(how_it_was_spent));
    let Some(assertion) = evidence.assertion else { return };
    if let Some(start) = assertion.to_start {
        facts.push(format!("by the server's clock the assertion's start was {}", moment(start)));
    }
    if let Some(end) = assertion.to_end {
        facts.push(format!("by the server's clock the assertion's end was {}", moment(end)));
    }
}

fn what_failed(failed: &FailedTokenRequest) -> String {
    let code = failed.code.as_deref().unwrap_or_else(|| failed.kind.name());
    let status = failed.status.map(|status| format!(" (HTTP {status})")).unwrap_or_default();
    let words = failed.words.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
    format!("the token endpoint says {code}{status}{words}")
}

fn how_it_was_spent(spent: &SpentRefreshToken) -> Option<String> {
    let ago = spent.sent_before?;
    let who = spent.sent_by.as_deref().unwrap_or("a process");
    let outcome = if spent.has_successor { "got its successor" } else { "stored no successor" };
    Some(format!("{who} had sent the same refresh token {ago} earlier and {outcome}"))
}

fn what_the_clocks_say(evidence: &Evidence, facts: &mut Vec<String>) {
    if let Some(jump) = evidence.server_jump {
        facts.push(format!("the provider's clock jumped {jump} ahead during the life of the token"));
    }
    let is_compared = evidence.claims.is_some() || evidence.assertion.is_some();
    if let Some((lo, hi)) = evidence.local_minus_server.filter(|_| is_compared) {
        match (lo > Span::ZERO, hi < Span::ZERO) {
            (true, _) => facts.push(format!("this machine's clock was {lo} to {hi} FAST")),
            (_, true) => facts.push(format!("this machine's clock was {} to {} SLOW", hi.abs(), lo.abs())),
            (false, false) => {}
        }
    }
    let is_opaque = matches!(evidence.form, Some(TokenForm::Opaque | TokenForm::EncryptedJwt));
    if is_opaque && evidence.carried.is_token() && evidence.subject.is_token() {
        facts.push("the token is opaque: a wrong clock on this machine cannot have ended it".to_owned());
    }
}

/// A moment relative to the answer, from the bounds of the time until it.
fn moment((earliest, latest): (Span, Span)) -> String {
    if latest <= Span::ZERO {
        format!("{} to {} before", latest.abs(), earliest.abs())
    } else if earliest > Span::ZERO {
        format!("{earliest} to {latest} ahead")
    } else {
        format!("between {} before and {latest} ahead", earliest.abs())
    }
}
