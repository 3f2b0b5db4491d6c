//! Evidence in, verdict out: the table of hand-made cases, and what must hold for any evidence at all.

use std::collections::BTreeMap;

use evergrant_core::attempt::Subject;
use evergrant_core::evidence::{
    AssertionTimes, Audience, Carried, ClaimTimes, Evidence, FailedTokenRequest, Regions, SpentRefreshToken,
};
use evergrant_core::profile::Region;
use evergrant_core::time::Span;
use evergrant_core::token::Generation;
use evergrant_core::verdict::{Cause, Confidence, Fault, Verdict, diagnose};
use evergrant_core::wire::{Complaint, TokenFailureKind, TokenForm, TokenShape};
use proptest::option;
use proptest::prelude::*;

use crate::case::{self, Case};

const FILES: [(&str, &str); 5] = [
    ("sent", include_str!("../verdicts/sent.toml")),
    ("life", include_str!("../verdicts/life.toml")),
    ("others", include_str!("../verdicts/others.toml")),
    ("grant", include_str!("../verdicts/grant.toml")),
    ("settings", include_str!("../verdicts/settings.toml")),
];

pub(crate) fn cases() -> Vec<Case> {
    FILES.iter().flat_map(|(_, text)| case::read(text)).collect()
}

#[test]
fn each_case_gets_its_verdict() {
    let mut wrong = Vec::new();
    for Case { name, evidence, expected } in cases() {
        let verdict = diagnose(&evidence);
        let got = (verdict.cause, verdict.confidence, verdict.fault);
        if got != (expected.cause, expected.confidence, expected.fault) {
            wrong.push(format!("{name}: got {got:?}: {:#?}", verdict.evidence));
        }
        if !verdict.remedy.contains(&expected.remedy) {
            wrong.push(format!("{name}: remedy {:?} lacks {:?}", verdict.remedy, expected.remedy));
        }
        if let Some(fact) = expected.fact
            && !verdict.evidence.iter().any(|sentence| sentence.contains(&fact))
        {
            wrong.push(format!("{name}: no sentence has {fact:?}: {:#?}", verdict.evidence));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_cause_has_at_least_two_cases_and_the_table_at_least_eighty() {
    let cases = cases();
    let mut by_cause = BTreeMap::new();
    cases.iter().for_each(|case| *by_cause.entry(case.expected.cause).or_insert(0) += 1);
    for cause in Cause::ALL {
        assert!(by_cause.get(&cause).is_some_and(|count| *count >= 2), "{cause}: {:?}", by_cause.get(&cause));
    }
    assert!(cases.len() >= 80, "{}", cases.len());
}

#[test]
fn names_of_cases_are_unique() {
    let mut names = BTreeMap::new();
    cases().into_iter().for_each(|case| *names.entry(case.name).or_insert(0) += 1);
    assert!(names.values().all(|count| *count == 1), "{names:#?}");
}

#[test]
fn names_in_json_are_the_names_in_code() {
    for cause in Cause::ALL {
        assert_eq!(serde_json::to_value(cause).unwrap(), cause.name());
    }
    for kind in KINDS {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
    }
}

#[test]
fn every_remedy_names_a_command_a_setting_or_a_page() {
    for Case { name, evidence, .. } in cases() {
        let remedy = diagnose(&evidence).remedy;
        let places = ["`evergrant", "EVERGRANT_", "Admin > ", "HTTPS_PROXY", "documentation"];
        assert!(places.iter().any(|place| remedy.contains(place)), "{name}: {remedy}");
        assert!(remedy.len() <= 130 && !remedy.ends_with('.'), "{name}: {remedy}");
    }
}

#[test]
fn the_header_is_cause_confidence_and_id() {
    let unknown =
        Evidence { age: Some(Span::from_secs(600)), ..Evidence::of_answer(401, Subject::Token, Carried::Ours) };
    let verdict = Verdict { id: "v1".into(), ..diagnose(&unknown) };
    assert_eq!(verdict.header(), "unknown; possible; v1");
    let verdict = Verdict { id: "v2".into(), ..diagnose(&Evidence { replay_unsafe: true, ..unknown }) };
    assert_eq!(verdict.header(), "unknown; possible; v2; replay=unsafe");
    assert!(verdict.evidence.iter().any(|fact| fact.starts_with("replay=unsafe")));
}

/// Causes that say that the token's life had ended or not begun.
const OF_AGE: [Cause; 8] = [
    Cause::Expired,
    Cause::NotYetValid,
    Cause::Propagating,
    Cause::Superseded,
    Cause::RevokedByRefresh,
    Cause::Evicted,
    Cause::IdleTimeout,
    Cause::Revoked,
];

const KINDS: [TokenFailureKind; 14] = [
    TokenFailureKind::RotationLost,
    TokenFailureKind::InvalidGrant,
    TokenFailureKind::InvalidClient,
    TokenFailureKind::UnauthorizedClient,
    TokenFailureKind::InvalidScope,
    TokenFailureKind::UnsupportedGrantType,
    TokenFailureKind::RateLimited,
    TokenFailureKind::ServerError,
    TokenFailureKind::Malformed,
    TokenFailureKind::Lost,
    TokenFailureKind::Unreachable,
    TokenFailureKind::TimedOut,
    TokenFailureKind::Redirected,
    TokenFailureKind::Rejected,
];

fn span() -> impl Strategy<Value = Span> {
    prop_oneof![
        Just(Span::ZERO),
        Just(Span::from_nanos(1)),
        Just(Span::from_nanos(-1)),
        (-100_000_i64..100_000).prop_map(Span::from_secs)
    ]
}

fn pair() -> impl Strategy<Value = (Span, Span)> {
    (span(), span()).prop_map(|(a, b)| (a.min(b), a.max(b)))
}

fn complaint() -> impl Strategy<Value = Complaint> {
    prop::sample::select(vec![
        Complaint::Expired,
        Complaint::NotYetValid,
        Complaint::Revoked,
        Complaint::Malformed,
        Complaint::Signature,
        Complaint::Key,
        Complaint::Issuer,
        Complaint::Audience,
        Complaint::Reused,
        Complaint::AssertionTime,
        Complaint::UnknownClient,
        Complaint::DisabledClient,
    ])
}

fn region() -> impl Strategy<Value = Option<Region>> {
    prop::sample::select(vec![None, Some(Region::EuCentral1), Some(Region::UsEast1)])
}

fn answer() -> impl Strategy<Value = Evidence> {
    let subjects = vec![
        (401, Subject::Token),
        (403, Subject::Token),
        (401, Subject::NoTokenSeen),
        (403, Subject::Scope),
        (403, Subject::Permission),
        (401, Subject::Address),
        (407, Subject::Proxy),
        (401, Subject::DpopNonce),
        (401, Subject::Claims),
        (429, Subject::Rate),
        (400, Subject::Unreadable),
        (504, Subject::NotChecked),
        (400, Subject::TokenRequest),
        (503, Subject::NeverSent),
        (401, Subject::Other),
        (403, Subject::Other),
    ];
    let carried = vec![
        Carried::Ours,
        Carried::Unmanaged,
        Carried::Callers,
        Carried::UnknownHandle,
        Carried::Nothing,
        Carried::NotShown,
    ];
    let flags = prop::collection::vec(any::<bool>(), 12);
    (prop::sample::select(subjects), prop::sample::select(carried), flags, option::of(complaint())).prop_map(
        |((status, subject), carried, flags, complaint)| Evidence {
            is_named: flags[0],
            is_web_page: flags[1],
            is_redirected: flags[2],
            worked_before: flags[3],
            works_since: flags[4],
            works_here_since: flags[4] && flags[5],
            newer_works: flags[6],
            revokes_old: flags[7],
            is_idle_limit_exact: flags[8],
            is_known_route: flags[9],
            has_no_grant: flags[10],
            replay_unsafe: flags[11],
            complaint,
            ..Evidence::of_answer(status, subject, carried)
        },
    )
}

fn token_side() -> impl Strategy<Value = Evidence> {
    let shape = option::of("(Bearer |)[ -~]{0,30}").prop_map(|text| TokenShape::of_authorization(&text?));
    let form = prop::sample::select(vec![None, Some(TokenForm::Opaque), Some(TokenForm::Jwt)]);
    let claims = option::of((option::of(pair()), option::of(pair())))
        .prop_map(|claims| claims.map(|(to_exp, to_nbf)| ClaimTimes { to_exp, to_nbf }));
    let spans = prop::collection::vec(option::of(span()), 7);
    (shape, form, claims, spans, 0_u64..4, 0_u64..4, 0_usize..20).prop_map(
        |(shape, form, claims, spans, generation, newest, recent_mints)| Evidence {
            form: if claims.is_some() { Some(TokenForm::Jwt) } else { form },
            shape,
            claims,
            age: spans[0],
            newest_age: spans[1],
            to_dead: spans[2],
            to_gone: spans[2].and_then(|dead| Some(dead + spans[3]?.abs())),
            idle: spans[4],
            idle_limit: spans[5],
            server_jump: spans[6],
            settle: Span::from_secs(10),
            generation: Some(Generation(generation)),
            newest: Some(Generation(newest)),
            recent_mints,
            ..Evidence::of_answer(401, Subject::Token, Carried::Ours)
        },
    )
}

fn grant_side() -> impl Strategy<Value = Evidence> {
    let failed = (prop::sample::select(KINDS.to_vec()), option::of(complaint()), any::<bool>()).prop_map(
        |(kind, complaint, is_407)| FailedTokenRequest {
            status: is_407.then_some(407),
            complaint,
            ..FailedTokenRequest::of(kind)
        },
    );
    let spent = (option::of(span()), any::<bool>()).prop_map(|(sent_before, has_successor)| SpentRefreshToken {
        sent_before,
        sent_by: None,
        has_successor,
    });
    let assertion = (option::of(pair()), option::of(pair()), any::<bool>())
        .prop_map(|(to_start, to_end, is_dated_here)| AssertionTimes { to_start, to_end, is_dated_here });
    let audience = (option::of("[a-c]"), option::of("[a-c]")).prop_map(|(wanted, host)| Audience {
        names: vec!["https://a/".to_owned()],
        wanted,
        host,
    });
    let regions = (region(), region(), region()).prop_map(|(token, api, accepted)| Regions { token, api, accepted });
    let sides = (option::of(failed), option::of(spent), option::of(assertion), option::of(audience), regions);
    (sides, option::of(pair())).prop_map(
        |((token_failure, refresh_token, assertion, audience, regions), local_minus_server)| Evidence {
            token_failure,
            refresh_token,
            assertion,
            audience,
            regions,
            local_minus_server,
            ..Evidence::of_answer(401, Subject::Token, Carried::Ours)
        },
    )
}

fn anything() -> impl Strategy<Value = Evidence> {
    (answer(), token_side(), grant_side()).prop_map(|(answer, token, grant)| Evidence {
        form: token.form,
        shape: token.shape,
        claims: token.claims,
        age: token.age,
        newest_age: token.newest_age,
        to_dead: token.to_dead,
        to_gone: token.to_gone,
        idle: token.idle,
        idle_limit: token.idle_limit,
        server_jump: token.server_jump,
        settle: token.settle,
        generation: token.generation,
        newest: token.newest,
        recent_mints: token.recent_mints,
        token_failure: grant.token_failure,
        refresh_token: grant.refresh_token,
        assertion: grant.assertion,
        audience: grant.audience,
        regions: grant.regions,
        local_minus_server: grant.local_minus_server,
        ..answer
    })
}

proptest! {
    #[test]
    fn any_evidence_gets_a_verdict_with_facts_and_a_remedy(evidence in anything()) {
        let verdict = diagnose(&evidence);
        prop_assert!(!verdict.remedy.is_empty() && !verdict.evidence.is_empty());
        prop_assert!(verdict.evidence.iter().all(|fact| !fact.contains('\n') && fact.len() < 400));
        prop_assert_eq!(verdict.is_replay_unsafe, evidence.replay_unsafe);
    }

    #[test]
    fn a_403_never_blames_the_age_of_the_token(evidence in anything()) {
        let verdict = diagnose(&Evidence { status: 403, ..evidence.clone() });
        let is_answer = !matches!(evidence.subject, Subject::NeverSent | Subject::TokenRequest);
        prop_assert!(!is_answer || !OF_AGE.contains(&verdict.cause), "{:?}", verdict);
    }

    #[test]
    fn no_clock_of_this_machine_ends_an_opaque_token(evidence in anything()) {
        let opaque = Evidence { form: Some(TokenForm::Opaque), claims: None, assertion: None, ..evidence };
        let verdict = diagnose(&opaque);
        prop_assert!(verdict.fault != Fault::ThisClock || verdict.cause == Cause::AssertionOutOfTime, "{:?}", verdict);
    }

    #[test]
    fn nothing_known_is_never_certain_to_be_the_token(refusals in 0_u32..9, worked_before: bool) {
        let evidence = Evidence {
            refusals,
            worked_before,
            ..Evidence::of_answer(401, Subject::Token, Carried::Ours)
        };
        prop_assert_ne!(diagnose(&evidence).confidence, Confidence::Certain);
    }

    #[test]
    fn evidence_survives_being_written_and_read(evidence in anything()) {
        let text = serde_json::to_string(&evidence).unwrap();
        prop_assert_eq!(serde_json::from_str::<Evidence>(&text).unwrap(), evidence);
    }
}
