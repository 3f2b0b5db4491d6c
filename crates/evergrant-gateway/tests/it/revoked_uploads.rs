//! Uploads too long to be sent twice, while the tokens that they travel on are revoked.
//!
//! The provider's ledger is the judge: it counts executions and hashes what was executed. Each upload was either
//! executed once and its caller told so, or refused in a way that says that nothing was done, and not executed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use evergrant::core::policy::Policy;
use evergrant::core::profile::{Probe, ProbeMethod, Profile};
use evergrant::core::time::Span;
use evergrant::{Credential, TokenSource};
use evergrant_gateway::{GatewayConfig, Upstream};
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET};
use evergrant_sim::{Event, ProviderConfig, SimHandle, SimServer};
use http::{Request, StatusCode};

use crate::pattern::Pattern;
use crate::support::*;

const UPLOAD: usize = 10 << 20;
const CALLERS: usize = 4;
const UPLOADS_EACH: usize = 8;

/// What the caller of an upload was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Done,
    Refused,
    NoToken,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_at_the_instant_of_revocation_are_executed_once_or_refused_cleanly() {
    for refuse_early in [false, true] {
        let sim = SimServer::start(ProviderConfig { refuse_early, ..ProviderConfig::rfc() }).unwrap();
        let gateway = gateway_to(&sim).await;
        let uploads = (0..CALLERS).map(|caller| tokio::spawn(upload_all(gateway.addr, sim.handle(), caller)));
        let mut told = BTreeMap::new();
        for task in uploads.collect::<Vec<_>>() {
            for (id, was_told, hash) in task.await.unwrap() {
                assert_matches_ledger(&sim, &id, was_told, &hash);
                *told.entry(was_told).or_insert(0) += 1;
            }
        }
        let refused = sim.handle().ledger().refused();
        println!("refuse early {refuse_early}: {told:?}, {refused} refusals by the API, probes included");
        assert_eq!(sim.handle().ledger().duplicated_effects(), 0);
        let done = told.get(&Told::Done).copied().unwrap_or(0);
        assert!(done * 3 > CALLERS * UPLOADS_EACH, "too few uploads went through: {told:?}");
        assert!(refused > 0, "no revocation struck");
        assert!(refused < 1_000, "{refused} requests with a token that was known to be bad");
    }
}

fn assert_matches_ledger(sim: &SimServer, id: &str, told: Told, hash: &str) {
    let effect = sim.handle().ledger().effects.get(id).cloned();
    match told {
        Told::Done => {
            let effect = effect.unwrap_or_else(|| panic!("{id} was told to be done and was not"));
            assert_eq!(effect.executions, 1, "{id}");
            assert_eq!((effect.body_len, effect.body_hash.as_str()), (UPLOAD as u64, hash), "{id}");
        }
        Told::Refused | Told::NoToken => assert!(effect.is_none(), "{id} was told to be refused and was executed"),
    }
}

async fn gateway_to(sim: &SimServer) -> TestGateway {
    let mut profile = Profile::oauth2();
    profile.token_url = Some(sim.token_url());
    profile.probe = Some(Probe { method: ProbeMethod::Head, path: "/api/v2/tokens/me".to_owned() });
    profile.api_url = Some(sim.url());
    let credential = Credential::client_credentials(CLIENT_ID, CLIENT_SECRET.into());
    let policy = Policy { mint_budget: Some(10_000), settle: Some(Span::from_millis(200)), ..Policy::default() };
    let source = TokenSource::builder(profile, credential).policy(policy).build().unwrap();
    let mut config = GatewayConfig::new(Upstream::parse(&sim.url()).unwrap());
    config.take_free_ports();
    config.timeouts.token_wait = Duration::from_secs(5);
    TestGateway::bind(config, source, test_tls()).await
}

/// Revokes every token at some moment of the upload that begins now; the same moments in every run, as far as the
/// machine allows.
fn revoke_soon(sim: SimHandle, caller: usize, number: usize) {
    let after = Duration::from_millis((caller as u64 * 37 + number as u64 * 53) % 160);
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        sim.apply(Event::RevokeAll);
    });
}

/// One caller's uploads: what each is called, what was told about it, and the hash of what was sent.
async fn upload_all(gateway: SocketAddr, sim: SimHandle, caller: usize) -> Vec<(String, Told, String)> {
    let (pattern, client) = (Pattern::new(), crate::support::caller());
    let mut told = Vec::new();
    for number in 0..UPLOADS_EACH {
        let id = format!("upload-{caller}-{number}");
        // No two bodies are equal, so that one taken for another shows.
        let body: Bytes = pattern.bytes(caller * 1_000 + number * 7, UPLOAD);
        let hash = evergrant_sim::api::body_hash(&body);
        if caller.is_multiple_of(2) && number % 4 == 1 {
            revoke_soon(sim.clone(), caller, number);
        }
        let request = Request::post(format!("http://{gateway}/api/v2/uploads")).header("sim-effect", &id);
        let (response, text) = fetch(&client, request.body(full(body)).unwrap()).await;
        let verdict = response.headers().get("evergrant-verdict").map(|value| value.to_str().unwrap().to_owned());
        let was_told = match response.status() {
            status if status.is_success() => Told::Done,
            StatusCode::UNAUTHORIZED if verdict.as_ref().is_some_and(|text| text.ends_with("; replay=unsafe")) => {
                Told::Refused
            }
            StatusCode::SERVICE_UNAVAILABLE => Told::NoToken,
            status => panic!("{id}: {status}, verdict {verdict:?}: {}", String::from_utf8_lossy(&text)),
        };
        told.push((id, was_told, hash));
    }
    told
}
