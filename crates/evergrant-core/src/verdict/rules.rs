//! The rules, in the order in which they are asked.
//!
//! Each rule is a function from evidence to a cause and how sure it is, or to nothing. The order is the argument: what
//! was never sent, what the answer names, what the text of the token shows, what the server states, what clocks prove,
//! and only then what other requests suggest. A later rule may rely on every earlier one having said nothing.
//!
//! Two rules hold across all of them. A 403 never blames the token's age: the server knew the token. And a rival that
//! cannot be told apart makes a cause `possible`: the provider evicts the oldest of too many tokens, ends idle ones and
//! obeys an administrator with the same words.

use super::Cause;
use super::Confidence::{self, Certain, Likely, Possible};
use crate::attempt::Subject;
use crate::evidence::{AssertionTimes, Carried, Evidence, FailedTokenRequest};
use crate::policy::Policy;
use crate::time::Span;
use crate::wire::{Complaint, TokenDefect, TokenFailureKind};

/// A cause and how sure it is.
type Finding = (Cause, Confidence);

/// The first rule that has something to say.
pub(super) fn cause(evidence: &Evidence) -> Option<Finding> {
    if matches!(evidence.subject, Subject::NeverSent | Subject::TokenRequest) {
        return said_by_the_token_endpoint(evidence);
    }
    if let Some(finding) = named_by_the_answer(evidence) {
        return finding;
    }
    shown_by_what_was_sent(evidence)
        .or_else(|| stated_by_the_server(evidence))
        .or_else(|| proven_by_clocks(evidence))
        .or_else(|| shown_by_the_destination(evidence))
        .or_else(|| suggested_by_clocks(evidence))
        .or_else(|| suggested_by_the_shape(evidence))
        .or_else(|| shown_by_other_requests(evidence))
        .or_else(|| shown_by_the_token_endpoint(evidence))
        .or_else(|| shown_by_its_end(evidence))
        .or_else(|| suggested_by_little(evidence))
}

/// What the answer refuses, if that is something else than the token. `Some(None)` if nothing may be guessed.
fn named_by_the_answer(evidence: &Evidence) -> Option<Option<Finding>> {
    let is_bare = evidence.carried == Carried::Nothing;
    Some(match evidence.subject {
        Subject::Proxy => Some((Cause::ProxyAuth, Certain)),
        Subject::Rate => Some((Cause::RateLimited, Certain)),
        Subject::Scope | Subject::Claims => Some((Cause::InsufficientScope, Certain)),
        Subject::Permission if evidence.is_named => Some((Cause::MissingPermission, Certain)),
        // A page for people comes from something in front of the API, which knows nothing of permissions.
        Subject::Permission if evidence.is_web_page => None,
        Subject::Permission if is_bare => Some((Cause::MissingToken, Likely)),
        Subject::Permission => Some((Cause::MissingPermission, Likely)),
        Subject::Address => Some((Cause::IpNotAllowed, Certain)),
        Subject::Unreadable => Some((Cause::MalformedToken, if is_proof(evidence) { Certain } else { Likely })),
        // Another kind of proof is wanted, or the token was not looked at: nothing is known about it.
        Subject::DpopNonce | Subject::NotChecked => None,
        Subject::Token | Subject::NoTokenSeen | Subject::Other if evidence.status == 403 => None,
        Subject::Token | Subject::NoTokenSeen | Subject::Other => return None,
        Subject::NeverSent | Subject::TokenRequest => return None,
    })
}

/// Causes that follow from what was sent, or was not.
fn shown_by_what_was_sent(evidence: &Evidence) -> Option<Finding> {
    let has = |defect| evidence.shape.as_ref().is_some_and(|shape| shape.defects.contains(&defect));
    let is_unseen = evidence.subject == Subject::NoTokenSeen;
    match evidence.carried {
        Carried::UnknownHandle => return Some((Cause::CallerToken, Certain)),
        _ if has(TokenDefect::Empty) => return Some((Cause::MissingToken, Certain)),
        Carried::Nothing if evidence.is_redirected => return Some((Cause::TokenLostInTransit, Likely)),
        Carried::Nothing => return Some((Cause::MissingToken, Certain)),
        _ if is_proof(evidence) && !has_worked(evidence) => return Some((Cause::MalformedToken, Certain)),
        Carried::Callers => return Some((Cause::CallerToken, Certain)),
        Carried::Ours | Carried::Unmanaged | Carried::NotShown => {}
    }
    if !is_unseen {
        return None;
    }
    // A token that stands behind no `Bearer` is not seen as one.
    if has(TokenDefect::NoScheme) || has(TokenDefect::OtherScheme) {
        return Some((Cause::MalformedToken, Likely));
    }
    let is_shown = evidence.carried != Carried::NotShown;
    Some((if is_shown || evidence.is_redirected { Cause::TokenLostInTransit } else { Cause::MissingToken }, Likely))
}

/// Causes that the server states in its code or its words.
fn stated_by_the_server(evidence: &Evidence) -> Option<Finding> {
    Some(match evidence.complaint? {
        Complaint::Expired => (Cause::Expired, Certain),
        Complaint::NotYetValid => (Cause::NotYetValid, Certain),
        Complaint::Revoked if has_successor(evidence) && evidence.revokes_old => (Cause::RevokedByRefresh, Likely),
        Complaint::Revoked => (Cause::Revoked, Certain),
        Complaint::Audience => (Cause::WrongAudience, Certain),
        // Another issuer is another region, tenant or stage of the provider; so is a key that nobody here knows.
        Complaint::Issuer | Complaint::Key => (Cause::WrongRegion, Likely),
        Complaint::Malformed => (Cause::MalformedToken, Certain),
        Complaint::Signature => (Cause::MalformedToken, Likely),
        Complaint::Reused | Complaint::AssertionTime | Complaint::UnknownClient | Complaint::DisabledClient => {
            return None;
        }
    })
}

/// The end, or the beginning, of the token's life on clocks that leave no other reading, whichever node was asked.
fn proven_by_clocks(evidence: &Evidence) -> Option<Finding> {
    let apart = Policy::NODES_DISAGREE_BY;
    if evidence.claims.and_then(|claims| claims.to_exp).is_some_and(|(_, latest)| latest <= -apart) {
        return Some((Cause::Expired, Certain));
    }
    if evidence.claims.and_then(|claims| claims.to_nbf).is_some_and(|(earliest, _)| earliest > apart) {
        return Some((Cause::NotYetValid, Certain));
    }
    evidence.is_past_gone().then_some((Cause::Expired, Certain))
}

/// The token and the API do not belong together.
fn shown_by_the_destination(evidence: &Evidence) -> Option<Finding> {
    let regions = evidence.regions;
    if let (Some(accepted), Some(api)) = (regions.accepted, regions.api)
        && accepted != api
    {
        return Some((Cause::WrongRegion, Certain));
    }
    if has_worked(evidence) {
        return None;
    }
    if let (Some(token), Some(api)) = (regions.token, regions.api)
        && token != api
    {
        return Some((Cause::WrongRegion, Likely));
    }
    let audience = evidence.audience.as_ref()?;
    let wanted = audience.wanted.as_ref()?;
    (!audience.names.contains(wanted)).then_some((Cause::WrongAudience, Likely))
}

/// The token's life may be over, or not have begun.
fn suggested_by_clocks(evidence: &Evidence) -> Option<Finding> {
    if evidence.is_past_dead() {
        return Some((Cause::Expired, Likely));
    }
    if let (Some(jump), Some(left)) = (evidence.server_jump, evidence.to_dead)
        && jump >= left
    {
        return Some((Cause::Expired, Likely));
    }
    let claims = evidence.claims?;
    if claims.to_exp.is_some_and(|(earliest, _)| earliest <= Span::ZERO) {
        return Some((Cause::Expired, Likely));
    }
    let may_be_early = claims.to_nbf.is_some_and(|(_, latest)| latest > Span::ZERO);
    (may_be_early && !has_worked(evidence)).then_some((Cause::NotYetValid, Possible))
}

/// The text may be a token, but not for this API, or not whole.
fn suggested_by_the_shape(evidence: &Evidence) -> Option<Finding> {
    let defects = &evidence.shape.as_ref()?.defects;
    let is_odd = [TokenDefect::Cut, TokenDefect::NoScheme, TokenDefect::OtherScheme]
        .iter()
        .any(|defect| defects.contains(defect));
    (is_odd && !has_worked(evidence)).then_some((Cause::MalformedToken, Likely))
}

/// Causes that follow from what happened to other requests and other tokens.
fn shown_by_other_requests(evidence: &Evidence) -> Option<Finding> {
    // An error code that nobody knows may name another reason, one that passes as well.
    let may_be_another = !evidence.is_named && evidence.error_code.is_some();
    let shown = if evidence.works_since && !may_be_another { Certain } else { Likely };
    if evidence.is_known_route {
        return Some((Cause::RouteSpecific, shown));
    }
    let is_young = evidence.is_younger_than_settle();
    if is_young && (!evidence.worked_before || evidence.works_since) {
        return Some((Cause::Propagating, shown));
    }
    if evidence.works_here_since {
        // Neither the token nor the route: one node refused what another accepts.
        return Some((Cause::Unknown, Possible));
    }
    if evidence.works_since && evidence.to_dead.is_some_and(|left| left <= Policy::NODES_DISAGREE_BY) {
        // At its end a token is refused by one node and accepted by another whose clock is a little behind.
        return Some((Cause::Expired, Likely));
    }
    if evidence.works_since {
        // One success shows one node: only a route that refuses token after token is known to be the reason.
        return Some((Cause::RouteSpecific, Likely));
    }
    if !has_successor(evidence) {
        return None;
    }
    Some(match (evidence.revokes_old, evidence.newer_works) {
        (true, _) => (Cause::RevokedByRefresh, Likely),
        (false, true) => (Cause::Superseded, Likely),
        (false, false) => (Cause::Superseded, Possible),
    })
}

/// A token that worked and then stopped, long before its end: somebody ended it. Who did cannot be seen from here.
fn shown_by_its_end(evidence: &Evidence) -> Option<Finding> {
    if !evidence.worked_before {
        return None;
    }
    let may_be_evicted = evidence.recent_mints >= MINTS_THAT_EVICT;
    if let (Some(idle), Some(limit)) = (evidence.idle, evidence.idle_limit)
        && idle >= limit
    {
        let is_sure = evidence.is_idle_limit_exact && !may_be_evicted;
        return Some((Cause::IdleTimeout, if is_sure { Likely } else { Possible }));
    }
    if may_be_evicted {
        return Some((Cause::Evicted, Possible));
    }
    // Without a known end it may as well have come to it.
    Some((Cause::Revoked, if evidence.to_dead.is_some() { Likely } else { Possible }))
}

/// Nothing is known but a detail that may matter.
fn suggested_by_little(evidence: &Evidence) -> Option<Finding> {
    let is_long = evidence.shape.as_ref().is_some_and(|shape| shape.defects.contains(&TokenDefect::Long));
    if is_long {
        return Some((Cause::MalformedToken, Possible));
    }
    let audience = evidence.audience.as_ref()?;
    let host = audience.host.as_deref()?;
    let is_foreign = |name: &String| host_of(name).is_some_and(|named| named != host);
    (audience.wanted.is_none() && audience.names.iter().all(is_foreign)).then_some((Cause::WrongAudience, Possible))
}

/// A refused token for which the token endpoint gives no successor: what ended one may have ended the other.
fn shown_by_the_token_endpoint(evidence: &Evidence) -> Option<Finding> {
    let (cause, confidence) = said_by_the_token_endpoint(evidence)?;
    // Why there is no next token mostly says nothing about this one.
    let ends_tokens = matches!(
        cause,
        Cause::ClientRejected
            | Cause::LoginRequired
            | Cause::RefreshTokenReused
            | Cause::RotationLost
            | Cause::WrongRegion
            | Cause::AssertionOutOfTime
    );
    ends_tokens.then_some((cause, confidence.min(Likely)))
}

/// What the token endpoint said, or what there was not even to ask with.
fn said_by_the_token_endpoint(evidence: &Evidence) -> Option<Finding> {
    if evidence.has_no_grant {
        return Some((Cause::LoginRequired, Certain));
    }
    let failed = evidence.token_failure.as_ref()?;
    match failed.kind {
        TokenFailureKind::InvalidClient => Some(of_a_refused_client(evidence, failed)),
        // Whoever named it so has seen who spent the refresh token.
        TokenFailureKind::RotationLost => Some((Cause::RotationLost, Likely)),
        TokenFailureKind::InvalidGrant => Some(of_a_refused_grant(evidence, failed)),
        TokenFailureKind::UnauthorizedClient | TokenFailureKind::UnsupportedGrantType => {
            Some((Cause::ClientRejected, Certain))
        }
        TokenFailureKind::InvalidScope => Some((Cause::InsufficientScope, Certain)),
        TokenFailureKind::RateLimited => Some((Cause::RateLimited, Certain)),
        TokenFailureKind::Rejected if failed.status == Some(407) => Some((Cause::ProxyAuth, Certain)),
        TokenFailureKind::ServerError
        | TokenFailureKind::Malformed
        | TokenFailureKind::Lost
        | TokenFailureKind::Unreachable
        | TokenFailureKind::TimedOut
        | TokenFailureKind::Redirected
        | TokenFailureKind::Rejected => None,
    }
}

/// `invalid_client`: wrong credentials, a client that is switched off, another region's client, or a late assertion.
fn of_a_refused_client(evidence: &Evidence, failed: &FailedTokenRequest) -> Finding {
    let regions = evidence.regions;
    let is_accepted_elsewhere = regions.accepted.is_some_and(|accepted| Some(accepted) != regions.token);
    if let Some(finding) = of_a_late_assertion(evidence, failed, Certain) {
        return finding;
    }
    match failed.complaint {
        _ if is_accepted_elsewhere => (Cause::WrongRegion, Certain),
        Some(Complaint::DisabledClient) => (Cause::ClientRejected, Certain),
        _ if regions.token.is_some() && regions.api.is_some() && regions.token != regions.api => {
            (Cause::WrongRegion, Likely)
        }
        // A mistyped id and the id of another region's client are unknown alike.
        Some(Complaint::UnknownClient) if regions.token.is_some() => (Cause::WrongRegion, Possible),
        _ => of_a_late_assertion(evidence, failed, Possible).unwrap_or((Cause::ClientRejected, Certain)),
    }
}

/// `invalid_grant`: a refresh token, code or assertion that is over, was used before, or is not valid at this time.
fn of_a_refused_grant(evidence: &Evidence, failed: &FailedTokenRequest) -> Finding {
    if let Some(finding) = of_a_late_assertion(evidence, failed, Certain) {
        return finding;
    }
    if failed.complaint == Some(Complaint::Reused) {
        return (Cause::RefreshTokenReused, Certain);
    }
    if let Some(spent) = evidence.refresh_token.as_ref().filter(|spent| spent.sent_before.is_some()) {
        let cause = if spent.has_successor { Cause::RefreshTokenReused } else { Cause::RotationLost };
        return (cause, Likely);
    }
    if evidence.assertion.is_some() {
        return of_a_late_assertion(evidence, failed, Possible).unwrap_or((Cause::ClientRejected, Likely));
    }
    let is_over = matches!(failed.complaint, Some(Complaint::Expired | Complaint::Revoked));
    (Cause::LoginRequired, if is_over { Certain } else { Likely })
}

/// The assertion's dates are the reason, with at least this confidence.
fn of_a_late_assertion(evidence: &Evidence, failed: &FailedTokenRequest, least: Confidence) -> Option<Finding> {
    let is_stated = failed.complaint == Some(Complaint::AssertionTime);
    let confidence = if is_stated { Some(Certain) } else { evidence.assertion.and_then(outside) };
    confidence.filter(|confidence| *confidence >= least).map(|confidence| (Cause::AssertionOutOfTime, confidence))
}

/// How sure it is that the server's clock stands outside the assertion's validity.
fn outside(times: AssertionTimes) -> Option<Confidence> {
    let before = times.to_start.map(|(earliest, latest)| (earliest > Span::ZERO, latest > Span::ZERO));
    let after = times.to_end.map(|(earliest, latest)| (latest <= Span::ZERO, earliest <= Span::ZERO));
    let ends = [before, after];
    let is_so = |is: fn((bool, bool)) -> bool| ends.into_iter().flatten().any(is);
    match (is_so(|(surely, _)| surely), is_so(|(_, maybe)| maybe)) {
        (true, _) => Some(Certain),
        (false, true) => Some(Possible),
        (false, false) => None,
    }
}

fn is_proof(evidence: &Evidence) -> bool {
    evidence.shape.as_ref().is_some_and(crate::wire::TokenShape::is_proof)
}

fn has_worked(evidence: &Evidence) -> bool {
    evidence.worked_before || evidence.works_since
}

fn has_successor(evidence: &Evidence) -> bool {
    evidence.newest > evidence.generation
}

/// The host of an audience that is a URL.
fn host_of(name: &str) -> Option<&str> {
    let (_, rest) = name.split_once("://")?;
    rest.split(['/', ':', '?']).next()
}

/// Ten tokens of one user are what a Genesys organisation is known to keep alive.
pub(super) const MINTS_THAT_EVICT: usize = 10;
