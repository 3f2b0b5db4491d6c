//! Why an answer to a program's own client was a refusal, asked of the source that gave the token.

use evergrant::Diagnosis;
use evergrant::core::verdict::Cause;
use evergrant_sim::{ProviderConfig, SimServer};
use http::{HeaderMap, StatusCode};

use crate::support::builder;

#[tokio::test]
async fn the_source_knows_its_own_token_and_counts_the_verdict() {
    let sim = SimServer::start(ProviderConfig::genesys()).unwrap();
    let source = builder(&sim).build().unwrap();
    let token = source.token().await.unwrap();
    let headers = HeaderMap::new();
    let url = format!("{}/api/v2/users/17?secret=1", sim.url());
    let of = |token: &str| Diagnosis::of(StatusCode::UNAUTHORIZED, &headers).request("GET", &url).token(token);
    let verdict = of(token.expose()).verdict_from(&source).unwrap();
    assert_eq!(verdict.cause, Cause::Propagating, "it is new: {verdict:#?}");
    assert!(verdict.evidence.iter().any(|fact| fact.contains(&token.generation().to_string())), "{verdict:#?}");
    assert!(!verdict.is_replay_unsafe && !verdict.id.is_empty());
    let report = source.status().report;
    assert_eq!(report.verdicts.get(&Cause::Propagating), Some(&1));
    assert_eq!(report.recent_verdicts.last().map(|last| &last.verdict.id), Some(&verdict.id));
    let foreign = of("somebody elses").verdict_from(&source).unwrap();
    assert_eq!(foreign.cause, Cause::MalformedToken);
    assert_eq!(Diagnosis::of(StatusCode::OK, &headers).verdict_from(&source), None);
}
