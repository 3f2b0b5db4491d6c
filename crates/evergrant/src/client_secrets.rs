//! The secrets that a client may show: the one in use and, while it is being changed, the next.
//!
//! A provider ends the old secret at a moment that nobody here knows, and some accept both for a while. So two may be
//! set. The one that was accepted last is shown first. If the provider refuses the client, the other one is shown once,
//! within the same flight and the same lease. A refused client has spent and minted nothing: it is authenticated before
//! anything is done for it (RFC 6749 sections 3.2.1 and 5.2).
//!
//! A secret that is kept elsewhere, in a file or in the keyring, is read again for each token request, and once more after
//! a refusal, so a new one is used without anybody being told. A place that holds none, or that cannot be read in time,
//! changes nothing.
//!
//! Several sources may show the same secrets. Changes are counted, so that each of them notices.
//!
//! Limits: which of two secrets was accepted is told, never what they are or in what they differ.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergrant_core::Secret;
use evergrant_core::wire::{TokenFailure, TokenFailureKind};

use crate::assertion::{self, Occasion, ServerTime};
use crate::grant::{ClientAuth, Credential, GrantError, TokenRequest};
use crate::secret_place::SecretPlaces;
use crate::transport::{TokenEndpoint, TokenExchange};

/// What a client may show, and what was accepted last.
pub(crate) struct ClientSecrets {
    known: Mutex<Known>,
    /// Held by the thread that reads the places. A file system that is gone may keep one thread for ever, not more.
    reading: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Known {
    current: Option<Secret>,
    next: Option<Secret>,
    places: SecretPlaces,
    accepted: Option<Secret>,
    /// Does the client authenticate with them? Callers of a gateway may show them all the same.
    is_shown: bool,
    /// How often a secret has become another one.
    changes: u64,
}

impl ClientSecrets {
    /// The secrets of this credential; a public client has none.
    pub(crate) fn of(credential: &Credential) -> Self {
        Self { known: Mutex::new(Known::of(credential)), reading: Arc::default() }
    }

    /// Another set takes the place of this one.
    pub(crate) fn replace(&self, credential: &Credential) {
        let mut known = self.known();
        let changes = known.changes + 1;
        *known = Known { changes, ..Known::of(credential) };
    }

    /// Only this one is shown from now on, whatever is kept elsewhere.
    pub(crate) fn replace_by(&self, secret: Secret) {
        let mut known = self.known();
        let (is_shown, changes) = (known.is_shown, known.changes + 1);
        *known = Known { current: Some(secret), is_shown, changes, ..Known::default() };
    }

    /// How often a secret has become another one: whoever remembers the number sees whether one has since.
    pub(crate) fn changes(&self) -> u64 {
        self.known().changes
    }

    /// Is there a place to look into?
    pub(crate) fn have_places(&self) -> bool {
        self.known().places != SecretPlaces::default()
    }

    /// Reads the places again, for a moment at most.
    pub(crate) async fn read_again(&self) {
        let places = self.known().places.clone();
        if places == SecretPlaces::default() {
            return;
        }
        let Ok(found) = tokio::time::timeout(PATIENCE, self.found_in(places.clone())).await else {
            let hint = "see whether the file system or the keyring that it is in answers";
            tracing::warn!(hint, "a client secret cannot be read again in time; the one known before is used");
            return;
        };
        let mut known = self.known();
        if known.places != places {
            return;
        }
        let known = &mut *known;
        for (secret, found) in [&mut known.current, &mut known.next].into_iter().zip(found) {
            if found.is_some() && *secret != found {
                *secret = found;
                known.changes += 1;
            }
        }
    }

    /// What is in the places. On a thread of its own, because a runtime that ends waits for those it lends.
    async fn found_in(&self, places: SecretPlaces) -> [Option<Secret>; 2] {
        let alone = Arc::clone(&self.reading).lock_owned().await;
        let (tell, told) = tokio::sync::oneshot::channel();
        let work = move || {
            let found = [places.current, places.next].map(|place| place.and_then(|place| place.read_again()));
            drop(alone);
            // Whoever asked may have stopped waiting.
            let _ = tell.send(found);
        };
        // Without a thread nothing is read, and the sender is gone.
        let _ = std::thread::Builder::new().name("client-secret".to_owned()).spawn(work);
        told.await.unwrap_or_default()
    }

    /// Every secret that may be right.
    pub(crate) fn all(&self) -> Vec<Secret> {
        let known = self.known();
        known.current.iter().chain(&known.next).cloned().collect()
    }

    /// Was the next one accepted last?
    pub(crate) fn is_next_in_use(&self) -> bool {
        let known = self.known();
        known.accepted.is_some() && known.accepted == known.next && known.next != known.current
    }

    /// The one to show first.
    fn first(&self) -> Option<Secret> {
        let known = self.known();
        let accepted = known.accepted.as_ref().filter(|accepted| known.next.as_ref() == Some(accepted));
        accepted.or(known.current.as_ref()).or(known.next.as_ref()).cloned()
    }

    /// The one to show when this one was refused.
    fn other_than(&self, refused: Option<&Secret>) -> Option<Secret> {
        let known = self.known();
        known.current.iter().chain(&known.next).find(|secret| known.is_shown && Some(*secret) != refused).cloned()
    }

    fn accept(&self, secret: Option<Secret>) {
        self.known().accepted = secret;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn of(credential: &Credential) -> Self {
        let Credential { client_auth, client_secret, next_client_secret, secret_places, .. } = credential;
        if *client_auth == ClientAuth::None {
            return Self::default();
        }
        Self {
            current: client_secret.clone(),
            next: next_client_secret.clone(),
            places: secret_places.clone(),
            accepted: None,
            is_shown: matches!(client_auth, ClientAuth::Basic | ClientAuth::Post),
            changes: 0,
        }
    }
}

impl fmt::Debug for ClientSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecrets([redacted])")
    }
}

/// Sends the request that `make` makes of a credential, with the secret that was accepted last; refused, with the other.
pub(crate) async fn ask(
    endpoint: &TokenEndpoint,
    credential: &Credential,
    secrets: &ClientSecrets,
    known: Option<ServerTime>,
    make: impl Fn(&Credential, &Occasion<'_>) -> Result<TokenRequest, GrantError>,
    heard: impl Fn(&TokenExchange),
) -> Result<TokenExchange, TokenFailure> {
    let show = async |secret: Option<&Secret>| {
        let shown = Credential { client_secret: secret.cloned(), ..credential.clone() };
        assertion::ask(endpoint, &shown, known, |occasion| make(&shown, occasion), &heard).await
    };
    secrets.read_again().await;
    let mut all = secrets.all();
    let first = secrets.first();
    let mut exchange = show(first.as_ref()).await?;
    if exchange.result.is_ok() {
        secrets.accept(first.clone());
    }
    if !is_client_refused(&exchange) {
        return Ok(without(&all, exchange));
    }
    secrets.read_again().await;
    all.extend(secrets.all());
    let Some(other) = secrets.other_than(first.as_ref()) else { return Ok(without(&all, exchange)) };
    exchange = show(Some(&other)).await?;
    if is_client_refused(&exchange) {
        return Ok(both_refused(&all, exchange));
    }
    if exchange.result.is_ok() {
        tracing::info!(
            client = credential.client_id,
            hint = "once the provider has ended the old secret, take it out of the settings",
            "the client secret was refused and the other one is used from now on"
        );
        secrets.accept(Some(other));
    }
    Ok(without(&all, exchange))
}

/// Was it the client that was refused? Some servers say `unauthorized_client` of a wrong secret.
fn is_client_refused(exchange: &TokenExchange) -> bool {
    let kinds = [TokenFailureKind::InvalidClient, TokenFailureKind::UnauthorizedClient];
    exchange.result.as_ref().is_err_and(|failure| kinds.contains(&failure.kind))
}

/// Says so. The server's words are cut then, so the secrets are taken out before: half of one is not recognised.
fn both_refused(secrets: &[Secret], exchange: TokenExchange) -> TokenExchange {
    let mut exchange = without(secrets, exchange);
    exchange.result = exchange.result.map_err(|failure| {
        let said = failure.description.as_deref().map(|said| format!(": {said}")).unwrap_or_default();
        failure.with_description(&format!("{BOTH_REFUSED}{said}"))
    });
    exchange
}

/// Takes secrets out of what a server repeated of them.
fn without(secrets: &[Secret], mut exchange: TokenExchange) -> TokenExchange {
    exchange.result = exchange.result.map_err(|failure| secrets.iter().fold(failure, TokenFailure::without_secret));
    exchange
}

const BOTH_REFUSED: &str = "both client secrets were refused, the one in use and the next";
/// A lease may be held meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use evergrant_core::time::Boot;

    use super::*;
    use crate::secret_place::SecretPlace;

    fn secrets(current: &str, next: Option<&str>) -> ClientSecrets {
        let mut credential = Credential::client_credentials("id", current.into());
        credential.next_client_secret = next.map(Secret::from);
        ClientSecrets::of(&credential)
    }

    #[test]
    fn the_one_accepted_last_is_shown_first() {
        let secrets = secrets("old", Some("new"));
        assert_eq!(secrets.first(), Some("old".into()));
        assert_eq!(secrets.other_than(Some(&"old".into())), Some("new".into()));
        secrets.accept(Some("new".into()));
        assert!(secrets.is_next_in_use());
        assert_eq!(secrets.first(), Some("new".into()));
        assert_eq!(secrets.other_than(Some(&"new".into())), Some("old".into()));
    }

    #[test]
    fn what_was_accepted_is_forgotten_once_it_is_no_longer_set() {
        let one = secrets("old", Some("new"));
        one.accept(Some("new".into()));
        one.replace(&Credential::client_credentials("id", "newer".into()));
        assert_eq!((one.first(), one.other_than(Some(&"newer".into()))), (Some("newer".into()), None));
    }

    #[test]
    fn one_secret_set_twice_is_shown_once() {
        let secrets = secrets("same", Some("same"));
        assert_eq!(secrets.other_than(secrets.first().as_ref()), None);
        secrets.accept(secrets.first());
        assert!(!secrets.is_next_in_use());
    }

    #[test]
    fn a_client_that_shows_no_secret_has_none() {
        let mut credential = Credential::client_credentials("id", "s".into());
        credential.next_client_secret = Some("t".into());
        credential.client_auth = ClientAuth::Tls;
        assert_eq!(ClientSecrets::of(&credential).other_than(Some(&"s".into())), None, "one request is enough");
        credential.client_auth = ClientAuth::None;
        assert!(ClientSecrets::of(&credential).all().is_empty());
    }

    fn in_file(file: &Path) -> ClientSecrets {
        let mut credential = Credential::client_credentials("id", "first".into());
        credential.secret_places.current = Some(SecretPlace::File(file.to_owned()));
        ClientSecrets::of(&credential)
    }

    #[tokio::test]
    async fn a_file_being_written_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let secrets = in_file(&file);
        for unusable in [&b""[..], b"\n", b"\xff", &[b'x'; (64 << 10) + 1]] {
            std::fs::write(&file, unusable).unwrap();
            secrets.read_again().await;
            assert_eq!(secrets.changes(), 0, "{} bytes", unusable.len());
        }
        std::fs::write(&file, "second\r\n").unwrap();
        for _ in 0..2 {
            secrets.read_again().await;
            assert_eq!((secrets.changes(), secrets.first()), (1, Some("second".into())));
        }
        std::fs::remove_file(file).unwrap();
        secrets.read_again().await;
        assert_eq!((secrets.changes(), secrets.first()), (1, Some("second".into())));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_pipe_that_was_read_is_not_waited_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let secrets = in_file(&pipe);
        secrets.read_again().await;
        assert_eq!(secrets.first(), Some("first".into()));
        assert!(secrets.reading.try_lock().is_ok(), "no thread hangs in it");
    }

    #[tokio::test]
    async fn a_file_system_that_does_not_answer_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "second").unwrap();
        let secrets = in_file(&file);
        let hanging = Arc::clone(&secrets.reading).lock_owned().await;
        secrets.read_again().await;
        assert_eq!(secrets.first(), Some("first".into()));
        drop(hanging);
    }

    #[test]
    fn half_a_secret_that_a_server_repeats_is_not_shown() {
        let secret = "swordfish-without-a-digit";
        let failure = TokenFailure::of(TokenFailureKind::InvalidClient);
        // Long enough that the words about both cut it where the secret is.
        let failure = failure.with_description(&format!("{} {secret}", "no ".repeat(40)));
        let exchange = TokenExchange {
            result: Err(failure),
            sent: Boot::from_nanos(0),
            received: Boot::from_nanos(0),
            head: None,
        };
        let told = both_refused(&[secret.into()], exchange).result.unwrap_err().to_string();
        assert!(told.contains(BOTH_REFUSED) && !told.contains("swordfish"), "{told}");
    }

    #[test]
    fn nothing_secret_is_printed() {
        assert!(!format!("{:?}", secrets("hunter2", Some("hunter3"))).contains("hunter"));
    }
}
