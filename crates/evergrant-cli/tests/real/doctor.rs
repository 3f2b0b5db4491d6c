//! `evergrant doctor` against foreign servers, real certificates, a faked clock, a gateway and a browser.
//!
//! Each seed names the check that must find it and words of its evidence and remedy; no other check may call it a fault.

mod certificates;
mod page;

use std::path::Path;
use std::process::Command;

use evergrant_core::time::Span;
use evergrant_sim::config::{CLIENT_ID, CLIENT_SECRET, ProviderConfig};
use evergrant_sim::faults::{Event, TokenFault};
use evergrant_sim::http::SimServer;
use serde_json::Value;

use crate::faked_wall::FakedWall;
use crate::gateway::Gateway;
use crate::oidc::Idp;
use crate::parts::scratch;
use crate::redis_server::RedisServer;
use certificates::{Authority, Front, Leaf};

/// The exit code of a run that found a fault.
const FOUND: i32 = 12;

/// A run of the doctor with these settings and nothing else.
fn doctor(folder: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evergrant"));
    command.args(["doctor", "--json", "--propagation", "300ms"]).env_clear().env("HOME", folder);
    command.envs(settings.iter().map(|(name, value)| (format!("EVERGRANT_{name}"), value)));
    command
}

/// What it found.
struct Found(Value);

impl Found {
    fn by(command: &mut Command, code: i32) -> Self {
        let output = command.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(!said.contains(CLIENT_SECRET) && !said.contains("robot-secret"), "{said}");
        Self(serde_json::from_slice(&output.stdout).unwrap())
    }

    fn check(&self, name: &str) -> &Value {
        let checks = self.0["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {:#}", self.0))
    }

    fn names_in(&self, state: &str) -> Vec<&str> {
        let checks = self.0["checks"].as_array().unwrap().iter().filter(|check| check["state"] == state);
        checks.map(|check| check["name"].as_str().unwrap()).collect()
    }

    /// These checks found faults and no others; the first one says these words.
    fn has_faults(&self, names: &[&str], evidence: &str, remedy: &str) {
        assert_eq!(self.names_in("fault"), names, "{:#}", self.0);
        self.says(names[0], evidence, remedy);
    }

    fn says(&self, name: &str, evidence: &str, remedy: &str) {
        let check = self.check(name);
        assert!(check["evidence"].to_string().contains(evidence), "`{evidence}` is not in {check:#}");
        assert!(check["remedy"].as_str().unwrap_or_default().contains(remedy), "`{remedy}` is not in {check:#}");
    }
}

/// The settings of a client of a simulated provider behind these URLs.
fn client<'a>(token_url: &'a str, upstream: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("PROVIDER", "genesys"),
        ("TOKEN_URL", token_url),
        ("UPSTREAM", upstream),
        ("CLIENT_ID", CLIENT_ID),
        ("CLIENT_SECRET", CLIENT_SECRET),
    ]
}

// A certified server that signs its tokens.

fn robot(idp: &Idp) -> Vec<(&str, &str)> {
    vec![
        ("PROVIDER", "oidc"),
        ("ISSUER", idp.text("issuer")),
        ("UPSTREAM", idp.text("api")),
        ("CLIENT_ID", "robot"),
        ("CLIENT_SECRET", "robot-secret"),
        ("RESOURCE", idp.text("resource")),
        ("PROBE_PATH", "/x"),
    ]
}

fn idp(folder: &Path, ahead_secs: i64, spoil: &str) -> Idp {
    Idp::start_with(folder, ahead_secs, &[("TOKEN_SECS", "600"), ("SPOIL", spoil)])
}

#[test]
fn a_healthy_openid_provider_has_no_finding_and_its_signature_is_verified() {
    let folder = scratch("doctor-idp");
    let idp = idp(&folder, 0, "");
    let found = Found::by(&mut doctor(&folder, &robot(&idp)), 0);
    assert_eq!(found.0["state"], "ok", "{:#}", found.0);
    for name in ["discovery", "token_endpoint", "token", "signature", "lifetime", "propagation", "api", "clock"] {
        assert_eq!(found.check(name)["state"], "ok", "{name}: {:#}", found.0);
    }
    found.says("signature", "verified by the key `one` with RS256", "");
}

#[test]
fn a_wrong_clock_of_a_provider_makes_no_token_look_bad() {
    let folder = scratch("doctor-idp-ahead");
    let idp = idp(&folder, 3_600, "");
    let found = Found::by(&mut doctor(&folder, &robot(&idp)), FOUND);
    found.has_faults(&["clock"], "SLOW", "60 minutes slow");
    found.says("token", "its dates hold now by the server's own clock", "");
}

#[test]
fn a_token_signed_by_a_key_that_is_not_published_is_found() {
    let folder = scratch("doctor-foreign-key");
    let idp = idp(&folder, 0, "foreign_key");
    let found = Found::by(&mut doctor(&folder, &robot(&idp)), FOUND);
    found.has_faults(&["signature", "api"], "signed with the key `other`; published are: one", "does not publish");
}

#[test]
fn a_token_without_a_signature_is_found() {
    let folder = scratch("doctor-alg-none");
    let idp = idp(&folder, 0, "alg_none");
    let found = Found::by(&mut doctor(&folder, &robot(&idp)), FOUND);
    found.has_faults(&["signature", "api"], "not signed (alg none)", "do not trust this token");
}

#[test]
fn a_token_that_was_changed_on_its_way_is_found() {
    let folder = scratch("doctor-changed");
    let idp = idp(&folder, 0, "changed");
    let found = Found::by(&mut doctor(&folder, &robot(&idp)), FOUND);
    found.has_faults(&["signature", "api"], "did not make this signature", "changed on its way");
}

#[test]
fn a_token_for_another_audience_is_found() {
    let folder = scratch("doctor-audience");
    let idp = idp(&folder, 0, "audience");
    let found = Found::by(&mut doctor(&folder, &robot(&idp)), FOUND);
    found.has_faults(&["api"], "the server says", "EVERGRANT_AUDIENCE");
    found.says("token", "it is meant for urn:somebody:else", "wrong audience");
    assert_eq!(found.check("signature")["state"], "ok", "{:#}", found.0);
    assert_eq!(found.check("api")["verdict"]["cause"], "wrong_audience", "{:#}", found.0);
}

// Certificates.

/// A run against a provider behind TLS with this certificate.
fn behind(name: &str, make: impl FnOnce(&Authority) -> Leaf, trusts: bool, wall: Option<&FakedWall>) -> Found {
    let folder = scratch(name);
    let authority = Authority::new(&folder);
    let provider = SimServer::start(ProviderConfig::genesys()).unwrap();
    let front = Front::start(&make(&authority), &provider.url());
    let (token_url, upstream) = (format!("{}/oauth/token", front.url()), front.url());
    let mut settings = client(&token_url, &upstream);
    let root = authority.root();
    if trusts {
        settings.push(("CA_FILE", root.to_str().unwrap()));
    }
    let mut command = doctor(&folder, &settings);
    if let Some(wall) = wall {
        command.envs(wall.variables());
    }
    let is_bad = !trusts || wall.is_some() || !name.ends_with("good");
    Found::by(&mut command, if is_bad { FOUND } else { 0 })
}

#[test]
fn a_good_certificate_is_shown_with_its_end() {
    let found = behind("doctor-tls-good", |authority| authority.leaf("localhost", 0, 30), true, None);
    assert_eq!(found.0["state"], "ok", "{:#}", found.0);
    found.says("token_tls", "30 days left by this machine's clock", "");
    found.says("token_tls", "trusted for localhost", "");
}

#[test]
fn an_expired_certificate_is_found() {
    let found = behind("doctor-tls-expired", |authority| authority.leaf("localhost", -60, 30), true, None);
    found.has_faults(&["token_tls"], "ended 30 days ago", "have the certificate CN=localhost of localhost renewed");
}

#[test]
fn a_certificate_of_an_expired_authority_is_found() {
    let make = |authority: &Authority| authority.intermediate(-60, 30).leaf("localhost", -60, 3650);
    let found = behind("doctor-tls-expired-ca", make, true, None);
    found.has_faults(
        &["token_tls"],
        "not trusted: CN=Doctor Intermediate",
        "CN=Doctor Intermediate of localhost renewed",
    );
}

#[test]
fn a_certificate_of_an_unknown_authority_is_found() {
    let found = behind("doctor-tls-unknown", |authority| authority.leaf("localhost", 0, 30), false, None);
    found.has_faults(&["token_tls"], "not trusted for localhost", "name its certificate with --ca-file");
}

#[test]
fn a_certificate_for_another_name_is_found() {
    let found = behind("doctor-tls-name", |authority| authority.leaf("other.example", 0, 30), true, None);
    found.has_faults(
        &["token_tls"],
        "it is made out to other.example",
        "check the host in the region or the token URL",
    );
}

// The clock of this machine.

#[test]
fn a_certificate_that_only_this_machines_clock_refuses_is_not_blamed() {
    let folder = scratch("doctor-wall-tls");
    let wall = FakedWall::new(&folder, 400 * 86_400);
    let make = |authority: &Authority| authority.leaf("localhost", 0, 30);
    let found = behind("doctor-tls-wall", make, true, Some(&wall));
    found.has_faults(&["token_tls", "clock"], "the server's own clock says", "set this machine's clock");
}

#[test]
fn a_wrong_clock_of_this_machine_is_found() {
    let folder = scratch("doctor-wall");
    let wall = FakedWall::new(&folder, 3_600);
    let provider = SimServer::start_split(ProviderConfig::genesys()).unwrap();
    let (token_url, upstream) = (provider.token_url(), provider.url());
    let mut command = doctor(&folder, &client(&token_url, &upstream));
    let found = Found::by(command.envs(wall.variables()), FOUND);
    found.has_faults(&["clock"], "FAST", "agree with each other, so likely this machine is wrong");
    assert_eq!(found.check("api")["state"], "ok", "an opaque token does not mind");
}

#[test]
fn a_reference_tells_which_of_two_clocks_is_wrong() {
    let folder = scratch("doctor-reference");
    let right = SimServer::start(ProviderConfig::genesys()).unwrap();
    let behind = SimServer::start(ProviderConfig::genesys().with_offset(Span::from_secs(-600))).unwrap();
    let (token_url, upstream) = (behind.token_url(), behind.url());
    let mut command = doctor(&folder, &client(&token_url, &upstream));
    let found = Found::by(command.args(["--reference", &right.url()]), FOUND);
    found.has_faults(&["clock"], "by the reference: this machine agrees", "the provider's clock is wrong");

    let wall = FakedWall::new(&folder, -900);
    let (token_url, upstream) = (right.token_url(), right.url());
    let mut command = doctor(&folder, &client(&token_url, &upstream));
    let other = SimServer::start(ProviderConfig::genesys()).unwrap();
    let found = Found::by(command.args(["--reference", &other.url()]).envs(wall.variables()), FOUND);
    found.has_faults(&["clock"], "SLOW", "wrong by the reference too: let NTP set this machine's clock");
}

// A store that a fleet shares.

/// A run against a healthy provider with this Redis as its store.
fn with_redis(name: &str, url: &str, code: i32) -> Found {
    let folder = scratch(name);
    let provider = SimServer::start(ProviderConfig::genesys()).unwrap();
    let (token_url, upstream) = (provider.token_url(), provider.url());
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let settings = [client(&token_url, &upstream), vec![("STORE", url), ("STORE_KEY", key)]].concat();
    Found::by(&mut doctor(&folder, &settings), code)
}

#[test]
fn a_redis_that_keeps_its_data_has_no_finding() {
    let server = RedisServer::start(&["--appendonly", "yes"]);
    let found = with_redis("doctor-redis-good", &server.url(), 0);
    assert_eq!(found.0["state"], "ok", "{:#}", found.0);
    found.says("store", "logs every write", "");
    assert_eq!(server.records(), [""; 0], "looking writes nothing");
}

#[test]
fn a_redis_without_persistence_is_found() {
    let server = RedisServer::start(&[]);
    let found = with_redis("doctor-redis-volatile", &server.url(), 0);
    assert_eq!(found.names_in("warning"), ["store"], "{:#}", found.0);
    found.says("store", "keeps nothing on disk: a restart forgets every record", "appendonly yes");
}

#[test]
fn a_redis_that_throws_keys_away_is_found() {
    let server =
        RedisServer::start(&["--appendonly", "yes", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]);
    let found = with_redis("doctor-redis-evicts", &server.url(), 0);
    assert_eq!(found.names_in("warning"), ["store"], "{:#}", found.0);
    found.says("store", "throws keys away (allkeys-lru)", "noeviction");
}

#[test]
fn a_redis_that_is_gone_or_wants_a_password_is_found() {
    let mut server = RedisServer::start(&["--requirepass", "not-given"]);
    let found = with_redis("doctor-redis-password", &server.url(), FOUND);
    found.has_faults(&["store"], "it refuses the user name or password", "redis://USER:PASSWORD@HOST:PORT");
    server.kill();
    let found = with_redis("doctor-redis-gone", &server.url(), FOUND);
    found.has_faults(&["store"], "it cannot be reached", "check that Redis runs");
}

// A gateway.

#[tokio::test(flavor = "multi_thread")]
async fn a_running_gateway_is_asked_whether_it_holds_a_token() {
    let folder = scratch("doctor-gateway");
    let provider = SimServer::start(ProviderConfig::genesys().with_lifetime(Span::from_secs(600))).unwrap();
    let (token_url, upstream) = (provider.token_url(), provider.url());
    let settings = client(&token_url, &upstream);
    let gateway = Gateway::start(&folder, None, &settings);
    crate::until("the gateway holds a token", async || gateway.status().await["ready"] == true).await;
    let admin = gateway.admin().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let with_admin = [settings.as_slice(), &[("ADMIN_LISTEN", admin.as_str())]].concat();
    let found = Found::by(&mut doctor(&folder, &with_admin), 0);
    assert_eq!(found.check("gateway")["state"], "ok", "{:#}", found.0);
    found.says("gateway", "holds a usable token", "");

    let elsewhere = [&client(&token_url, "http://127.0.0.1:1")[..], &[("ADMIN_LISTEN", admin.as_str())]].concat();
    let found = Found::by(&mut doctor(&folder, &elsewhere), FOUND);
    found.says("gateway", "none of its listeners is for", "the same settings");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_a_token_is_found() {
    let folder = scratch("doctor-gateway-dry");
    let provider = SimServer::start(ProviderConfig::genesys()).unwrap();
    provider.handle().apply(Event::token(TokenFault::Status(503, None)));
    let (token_url, upstream) = (provider.token_url(), provider.url());
    let settings = client(&token_url, &upstream);
    let gateway = Gateway::start(&folder, None, &settings);
    let admin = gateway.admin().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let with_admin = [settings.as_slice(), &[("ADMIN_LISTEN", admin.as_str())]].concat();
    let found = Found::by(&mut doctor(&folder, &with_admin), FOUND);
    assert_eq!(found.names_in("fault"), ["token_endpoint", "gateway"], "{:#}", found.0);
    found.says("gateway", "holds no usable token", "evergrant explain --last");
}
