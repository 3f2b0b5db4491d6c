//! A client secret that is changed while a source uses it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use evergrant::core::keeper::AcquireErrorKind;
use evergrant::core::verdict::Cause;
use evergrant::store::{Store, StoreUrl};
use evergrant::{Brought, Client, ClientError, Credential, RedeemAs, SecretPlace, SecretPlaces, TokenSource};
use evergrant_sim::config::{CLIENT_SECRET, REFRESH_TOKEN};
use evergrant_sim::ledger::TokenOutcome;
use evergrant_sim::{Event, SimServer};

use crate::support::{call_for, credential, genesys, living, rotating, until};

const NEW: &str = "n3w-s3cret-of-the-change-over";

fn changed() -> Event {
    Event::SetClientSecret(NEW.to_owned())
}

fn ended(sim: &SimServer, outcome: TokenOutcome) -> u64 {
    sim.handle().ledger().token_requests_ended(outcome)
}

/// A file with the secret of today, which ends with this value.
struct SecretFile(PathBuf);

impl SecretFile {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("evergrant-change-over-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = Self(folder.join("secret"));
        file.write(CLIENT_SECRET);
        file
    }

    /// As careful writers do.
    fn write(&self, secret: &str) {
        let beside = self.0.with_extension("new");
        std::fs::write(&beside, format!("{secret}\n")).unwrap();
        std::fs::rename(beside, &self.0).unwrap();
    }

    fn folder(&self) -> &Path {
        self.0.parent().unwrap()
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.folder());
    }
}

fn with_next() -> Credential {
    Credential { next_client_secret: Some(NEW.into()), ..credential() }
}

fn start(sim: &SimServer, credential: Credential) -> (TokenSource, Client) {
    let source = TokenSource::builder(genesys(sim), credential).build().unwrap();
    (source.clone(), Client::builder(source).build().unwrap())
}

#[tokio::test]
async fn the_next_secret_takes_over_where_the_provider_changes_it() {
    let sim = SimServer::start(living(2)).unwrap();
    let (source, client) = start(&sim, with_next());
    call_for(&client, Duration::from_millis(500)).await;
    sim.handle().apply(changed());
    call_for(&client, Duration::from_secs(5)).await;
    assert_eq!(ended(&sim, TokenOutcome::InvalidClient), 1, "the one that worked is remembered");
    assert!(ended(&sim, TokenOutcome::Issued) >= 3);
    let told = source.status().report.counters.token_requests;
    assert_eq!(told, sim.handle().ledger().token.requests, "every request is counted");
    let old = Event::SetClientSecret(CLIENT_SECRET.to_owned());
    sim.handle().apply(old);
    call_for(&client, Duration::from_secs(3)).await;
    assert_eq!(ended(&sim, TokenOutcome::InvalidClient), 2, "and back, if the change is taken back");
}

#[tokio::test]
async fn a_rotating_grant_keeps_its_refresh_token_through_a_change_of_the_secret() {
    let mut config = living(2);
    config.rotation.rotate = true;
    config.rotation.reuse_detection = true;
    let sim = SimServer::start(config).unwrap();
    let source = {
        let memory = Store::open(&StoreUrl::Memory, None).unwrap();
        let builder = rotating(&sim, memory);
        let source = builder.build().unwrap();
        source.replace_client_secrets(&with_next());
        source
    };
    let client = Client::builder(source).build().unwrap();
    call_for(&client, Duration::from_millis(500)).await;
    sim.handle().apply(changed());
    call_for(&client, Duration::from_secs(4)).await;
    for lost in [TokenOutcome::InvalidGrant, TokenOutcome::ReuseDetected] {
        assert_eq!(ended(&sim, lost), 0, "{lost:?}");
    }
}

#[tokio::test]
async fn a_secret_changed_in_its_file_is_used_without_a_word() {
    let (sim, file) = (SimServer::start(living(2)).unwrap(), SecretFile::new("file"));
    let secret_places = SecretPlaces { current: Some(SecretPlace::File(file.0.clone())), next: None };
    let (_source, client) = start(&sim, Credential { secret_places, ..credential() });
    call_for(&client, Duration::from_millis(500)).await;
    file.write(NEW);
    sim.handle().apply(changed());
    call_for(&client, Duration::from_secs(5)).await;
    assert_eq!(ended(&sim, TokenOutcome::InvalidClient), 0);
}

#[tokio::test]
async fn a_file_that_is_changed_too_late_ends_the_refusals_all_the_same() {
    let (sim, file) = (SimServer::start(living(2)).unwrap(), SecretFile::new("late"));
    let secret_places = SecretPlaces { current: Some(SecretPlace::File(file.0.clone())), next: None };
    let (source, client) = start(&sim, Credential { secret_places, ..credential() });
    source.token().await.unwrap();
    sim.handle().apply(changed());
    until("the old secret is refused", || ended(&sim, TokenOutcome::InvalidClient) > 0).await;
    let issued = ended(&sim, TokenOutcome::Issued);
    file.write(NEW);
    until("the new one is found without a caller", || ended(&sim, TokenOutcome::Issued) > issued).await;
    call_for(&client, Duration::from_millis(300)).await;
}

#[tokio::test]
async fn every_source_that_shows_a_secret_notices_its_change() {
    let mut config = living(2);
    config.rotation.rotate = true;
    let (sim, file) = (SimServer::start(config).unwrap(), SecretFile::new("shared"));
    let secret_places = SecretPlaces { current: Some(SecretPlace::File(file.0.clone())), next: None };
    let (source, _client) = start(&sim, Credential { secret_places, ..credential() });
    source.token().await.unwrap();
    let brought = Brought::RefreshToken(REFRESH_TOKEN.into());
    let grant = source.redeem(&brought, RedeemAs::Client, "caller").await.unwrap().source;
    grant.token().await.unwrap();
    sim.handle().apply(changed());
    let is_refused = |source: &TokenSource| source.status().report.last_failure.is_some();
    until("both are refused", || is_refused(&source) && is_refused(&grant)).await;
    file.write(NEW);
    for one in [&source, &grant] {
        until("it is refused no longer", || !is_refused(one)).await;
        one.token().await.unwrap();
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_secret_that_came_through_a_pipe_is_read_once() {
    let (sim, file) = (SimServer::start(living(2)).unwrap(), SecretFile::new("pipe"));
    let pipe = file.folder().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let secret_places = SecretPlaces { current: Some(SecretPlace::File(pipe)), next: None };
    let (_source, client) = start(&sim, Credential { secret_places, ..credential() });
    call_for(&client, Duration::from_secs(3)).await;
    assert!(ended(&sim, TokenOutcome::Issued) >= 2);
}

#[tokio::test]
async fn when_both_are_refused_the_verdict_says_so_and_shows_neither() {
    let sim = SimServer::start(living(60)).unwrap();
    let wrong = Credential { client_secret: Some("0ld-s3cret".into()), ..with_next() };
    let (source, client) = start(&sim, wrong);
    let error = source.token().await.unwrap_err();
    assert_eq!(error.kind, AcquireErrorKind::Rejected);
    let text = error.to_string();
    assert!(text.contains("invalid_client") && text.contains("both client secrets were refused"), "{text}");
    assert_eq!(sim.handle().ledger().token.requests, 2, "each was shown once");
    let Err(ClientError::NoToken { verdict, .. }) = client.get("/api/v2/things").send().await else {
        panic!("an answer")
    };
    assert_eq!(verdict.cause, Cause::ClientRejected);
    let evidence = verdict.evidence.join(" ");
    assert!(evidence.contains("both client secrets were refused"), "{evidence}");
    assert!(!format!("{text}{evidence}").contains("s3cret"), "{text}{evidence}");
    assert_eq!(source.status().report.counters.mints, 0, "a refusal takes nothing from the budget");
}
