//! A table of cases: evidence in, verdict out. Look-alikes stand next to each other.

use super::*;
use crate::evidence::ClaimTimes;
use crate::token::Generation;

fn ours() -> Evidence {
    Evidence {
        generation: Some(Generation(3)),
        newest: Some(Generation(3)),
        age: Some(Span::from_secs(600)),
        to_dead: Some(Span::from_secs(3000)),
        settle: Span::from_secs(10),
        route: "GET /api/v2/users/{id}".to_owned(),
        ..Evidence::of_answer(401, Subject::Token, Carried::Ours)
    }
}

fn young() -> Evidence {
    Evidence { age: Some(Span::from_secs(1)), ..ours() }
}

fn subject(status: u16, subject: Subject) -> Evidence {
    Evidence { status, subject, ..ours() }
}

/// A JWT whose dates lie this many seconds from the server's clock, give or take one.
fn jwt(to_exp: i64, to_nbf: i64) -> Evidence {
    let about = |secs: i64| Some((Span::from_secs(secs - 1), Span::from_secs(secs + 1)));
    Evidence { is_opaque: false, claims: Some(ClaimTimes { to_exp: about(to_exp), to_nbf: about(to_nbf) }), ..young() }
}

#[test]
fn each_row_of_the_table_has_its_cause() {
    use Confidence::{Certain, Likely, Possible};
    let worked = || Evidence { worked_before: true, refusals: 2, ..ours() };
    let table = [
        (subject(407, Subject::Proxy), Cause::ProxyAuth, Certain),
        (subject(429, Subject::Rate), Cause::RateLimited, Certain),
        (subject(403, Subject::Scope), Cause::InsufficientScope, Certain),
        (subject(403, Subject::Permission), Cause::MissingPermission, Certain),
        (subject(401, Subject::Address), Cause::IpNotAllowed, Certain),
        (subject(401, Subject::NoTokenSeen), Cause::TokenLostInTransit, Likely),
        // Another kind of proof is asked for: the age of the token is no cause.
        (Evidence { subject: Subject::DpopNonce, ..young() }, Cause::Unknown, Possible),
        (Evidence::of_answer(401, Subject::Token, Carried::Callers), Cause::CallerToken, Certain),
        (Evidence::of_answer(401, Subject::NoTokenSeen, Carried::Nothing), Cause::MissingToken, Certain),
        (Evidence { complaint: Some(Complaint::Expired), ..ours() }, Cause::Expired, Certain),
        // Expired or superseded: the end of the life decides, not the successor.
        (Evidence { to_dead: Some(Span::ZERO), newest: Some(Generation(4)), ..worked() }, Cause::Expired, Certain),
        (Evidence { newest: Some(Generation(4)), newer_works: true, ..worked() }, Cause::Superseded, Likely),
        (Evidence { newest: Some(Generation(4)), ..worked() }, Cause::Superseded, Possible),
        (Evidence { newest: Some(Generation(4)), revokes_old: true, ..worked() }, Cause::RevokedByRefresh, Likely),
        // Expired by a jump of the server's clock, or revoked: the jump must reach the end.
        (Evidence { server_jump: Some(Span::from_secs(3000)), ..worked() }, Cause::Expired, Likely),
        (Evidence { server_jump: Some(Span::from_secs(2999)), ..worked() }, Cause::Revoked, Likely),
        // A JWT's dates count only when the whole offset interval agrees.
        (jwt(-2, -60), Cause::Expired, Certain),
        (jwt(0, -60), Cause::Propagating, Likely),
        (jwt(60, 2), Cause::NotYetValid, Certain),
        (jwt(60, 0), Cause::NotYetValid, Possible),
        // Propagation or revocation: a young token that never worked, or works elsewhere, is spreading.
        (young(), Cause::Propagating, Likely),
        (Evidence { worked_before: true, works_since: true, ..young() }, Cause::Propagating, Certain),
        (Evidence { worked_before: true, ..young() }, Cause::Revoked, Likely),
        // Route-specific or revoked: a later success of the same token decides.
        (Evidence { works_since: true, ..worked() }, Cause::RouteSpecific, Certain),
        (Evidence { is_known_route: true, ..worked() }, Cause::RouteSpecific, Likely),
        // Evicted, idle or revoked.
        (worked(), Cause::Revoked, Likely),
        (Evidence { recent_mints: 11, ..worked() }, Cause::Evicted, Possible),
        (
            Evidence { idle: Some(Span::from_secs(900)), idle_limit: Some(Span::from_secs(900)), ..worked() },
            Cause::IdleTimeout,
            Likely,
        ),
        (
            Evidence { idle: Some(Span::from_secs(899)), idle_limit: Some(Span::from_secs(900)), ..worked() },
            Cause::Revoked,
            Likely,
        ),
        // Never sent: what the token endpoint said is proof, its silence is none.
        (
            Evidence { token_failure: Some(TokenFailureKind::InvalidClient), ..subject(503, Subject::NeverSent) },
            Cause::ClientRejected,
            Certain,
        ),
        (
            Evidence { token_failure: Some(TokenFailureKind::RateLimited), ..subject(503, Subject::NeverSent) },
            Cause::RateLimited,
            Certain,
        ),
        (
            Evidence { token_failure: Some(TokenFailureKind::Unreachable), ..subject(503, Subject::NeverSent) },
            Cause::Unknown,
            Possible,
        ),
        // Never worked, not young, nothing else known.
        (ours(), Cause::Unknown, Possible),
        (Evidence { token_failure: Some(TokenFailureKind::InvalidClient), ..ours() }, Cause::ClientRejected, Likely),
        (Evidence { token_failure: Some(TokenFailureKind::ServerError), ..ours() }, Cause::Unknown, Possible),
    ];
    for (at, (evidence, cause, confidence)) in table.into_iter().enumerate() {
        let verdict = diagnose(&evidence);
        assert_eq!((verdict.cause, verdict.confidence), (cause, confidence), "row {at}: {evidence:#?}");
        assert!(!verdict.remedy.is_empty() && !verdict.evidence.is_empty());
    }
}

#[test]
fn an_opaque_token_is_never_blamed_on_this_machines_clock() {
    let skewed = Evidence {
        local_minus_server: Some((Span::from_secs(3600), Span::from_secs(3601))),
        worked_before: true,
        ..ours()
    };
    let verdict = diagnose(&skewed);
    assert_ne!(verdict.fault, Fault::ThisClock);
    assert!(verdict.evidence.iter().any(|fact| fact.contains("cannot have ended it")), "{verdict:#?}");
}

#[test]
fn the_header_is_cause_confidence_and_id() {
    let verdict = Verdict { id: "v1".into(), ..diagnose(&ours()) };
    assert_eq!(verdict.header(), "unknown; possible; v1");
    let unsafe_to_repeat = Evidence { replay_unsafe: true, ..ours() };
    let verdict = Verdict { id: "v2".into(), ..diagnose(&unsafe_to_repeat) };
    assert_eq!(verdict.header(), "unknown; possible; v2; replay=unsafe");
}
