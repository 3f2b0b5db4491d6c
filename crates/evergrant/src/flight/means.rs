//! What token requests are made with: the credential, the token endpoint, the store, and the last record.
//!
//! The last record of this process is kept because it may be the only copy: when a rotated refresh token cannot be
//! stored, the next lease, or the first look at a store that works again, writes it there.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};

use evergrant_core::Secret;
use evergrant_core::time::{OffsetInterval, Span};
use evergrant_core::token::Issued;
use evergrant_core::wire::{TokenFailure, TokenFailureKind};
use sha2::{Digest as _, Sha256};

use super::spending::Spending;
use crate::client_secrets::ClientSecrets;
use crate::driver::Parts;
use crate::grant::{Credential, Grant};
use crate::redeem::RedeemAs;
use crate::source::BuildError;
use crate::store::{self, CredentialKey, Lease, Record, Stamp, Store, StoreError, TokenHash};
use crate::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard};
use crate::tls::Tls;
use crate::transport::{TokenEndpoint, TransportOptions, discover};
use crate::{clock, doubt};

/// What token requests are made with.
pub(crate) struct Flights {
    credential: Credential,
    secrets: Arc<ClientSecrets>,
    /// The change of the secrets that this source has taken into account.
    secrets_seen: AtomicU64,
    seed: Option<Secret>,
    store: Store,
    key: CredentialKey,
    /// The token endpoint's or the issuer's URL.
    place: String,
    /// The last record of this process. If it could not be stored it is newer than the store's, and the only copy.
    last: Mutex<Option<Record>>,
    /// What was refused last: the name of a refresh token, or that there was none.
    refused: Mutex<Option<Option<TokenHash>>>,
    is_store_down: AtomicBool,
    spending: Spending,
    endpoint: OnceLock<TokenEndpoint>,
    issuer: Option<String>,
    tls: Arc<Tls>,
    transport: TransportOptions,
}

impl Flights {
    pub(crate) fn new(parts: Parts) -> Result<Self, BuildError> {
        let endpoint = OnceLock::new();
        let place = match (&parts.profile.token_url, &parts.profile.issuer) {
            (Some(url), _) => {
                // A fresh cell takes the first value.
                let _ = endpoint.set(TokenEndpoint::new(url, &parts.tls, parts.transport)?);
                url.clone()
            }
            (None, Some(issuer)) => issuer.clone(),
            (None, None) => return Err(BuildError::NoTokenUrl),
        };
        Ok(Self {
            key: CredentialKey::new(&place, &parts.credential, &parts.label),
            place,
            credential: parts.credential,
            secrets_seen: AtomicU64::new(parts.secrets.changes()),
            secrets: parts.secrets,
            seed: parts.seed,
            store: parts.store,
            last: Mutex::default(),
            refused: Mutex::default(),
            is_store_down: AtomicBool::new(false),
            spending: Spending::default(),
            endpoint,
            issuer: parts.profile.issuer,
            tls: parts.tls,
            transport: parts.transport,
        })
    }

    pub(crate) fn secrets(&self) -> &Arc<ClientSecrets> {
        &self.secrets
    }

    /// Takes the secrets into account as they are; `true` if one has become another since the last time. Sources that
    /// show the same secrets do so each for itself.
    pub(crate) fn note_secrets(&self) -> bool {
        let changes = self.secrets.changes();
        self.secrets_seen.swap(changes, Ordering::Relaxed) != changes
    }

    pub(super) fn seed(&self) -> Option<&Secret> {
        self.seed.as_ref()
    }

    pub(crate) fn key(&self) -> &CredentialKey {
        &self.key
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn tls(&self) -> Arc<Tls> {
        Arc::clone(&self.tls)
    }

    pub(crate) fn transport(&self) -> TransportOptions {
        self.transport
    }

    pub(crate) fn credential_of_grant(&self, client: RedeemAs) -> Credential {
        client.credential(&self.credential)
    }

    pub(crate) fn client_id(&self) -> String {
        self.credential.client_id.clone()
    }

    pub(crate) fn is_client(&self, id: &str, secret: Option<&Secret>) -> bool {
        let is_id = is_same(id, &self.credential.client_id);
        // A public client's secret is none, or an empty one where a library insists on sending something.
        let nothing = Secret::from("");
        let ours = self.secrets.all();
        let ours = if ours.is_empty() { std::slice::from_ref(&nothing) } else { &ours };
        let shown = secret.unwrap_or(&nothing).expose();
        is_id & ours.iter().fold(false, |any, ours| is_same(shown, ours.expose()) | any)
    }

    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    pub(crate) fn rotates(&self) -> bool {
        self.credential.grant == Grant::RefreshToken
    }

    pub(crate) fn spending(&self) -> &Spending {
        &self.spending
    }

    /// The token endpoint, found through the issuer's discovery document the first time if no URL is configured.
    pub(crate) async fn endpoint(&self) -> Result<&TokenEndpoint, TokenFailure> {
        if let Some(endpoint) = self.endpoint.get() {
            return Ok(endpoint);
        }
        let unreachable = |text: String| TokenFailure::of(TokenFailureKind::Unreachable).with_description(&text);
        let issuer = self.issuer.as_deref().unwrap_or_default();
        let found =
            discover(issuer, &self.tls, self.transport).await.map_err(|error| unreachable(error.to_string()))?;
        let endpoint = TokenEndpoint::new(&found.token_endpoint, &self.tls, self.transport)
            .map_err(|error| unreachable(error.to_string()))?;
        Ok(self.endpoint.get_or_init(|| endpoint))
    }

    /// The stored record, or this process's own if storing that one failed.
    fn newer_of(&self, stored: Record) -> Record {
        self.held().filter(|held| held.generation > stored.generation).unwrap_or(stored)
    }

    /// The record that this process knows.
    pub(crate) fn held(&self) -> Option<Record> {
        self.last().clone()
    }

    pub(super) fn keep(&self, record: &Record) {
        *self.last() = Some(record.clone());
        *self.refused() = None;
    }

    pub(crate) fn keep_if_newer(&self, record: &Record) {
        if self.last().as_ref().is_none_or(|last| last.generation < record.generation) {
            self.keep(record);
        }
    }

    /// Does the stored record offer what this process has not tried yet?
    pub(crate) fn is_news(&self, stored: &Record) -> bool {
        let known = self.last().as_ref().map_or(0, |last| last.generation);
        let named = doubt::name_of(stored);
        stored.generation > known || self.refused().as_ref().is_some_and(|refused| named.is_some() && named != *refused)
    }

    pub(super) fn refuse(&self, record: &Record) {
        *self.refused() = Some(doubt::name_of(record));
    }

    fn refused(&self) -> MutexGuard<'_, Option<Option<TokenHash>>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, Option<Record>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Did the store fail when it was used last?
    pub(crate) fn is_store_down(&self) -> bool {
        self.is_store_down.load(Ordering::Relaxed)
    }

    /// Notes whether the store works, and tells what was noted before.
    pub(crate) fn note_store_down(&self, is_down: bool) -> bool {
        self.is_store_down.swap(is_down, Ordering::Relaxed)
    }

    /// Now, as it is stored.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp::of(clock::now(), self.store.time_offset())
    }

    /// When a token was issued, as it is stored; `auth` is the auth host's offset.
    pub(crate) fn issued(&self, issued: Issued, auth: Option<OffsetInterval>) -> store::Issued {
        store::Issued::of(issued, auth, self.store.time_offset())
    }

    /// The lease and the record under it, with a refresh token from outside taken in.
    pub(super) async fn lease(&self) -> Result<(Option<Lease>, Record), StoreError> {
        // Whoever holds the lease may ask twice, and what it gets is worth waiting for: it will be adopted.
        let patience = Span::from_duration(self.transport.timeout).scaled(2, 1) + COMMIT_TIME;
        let deadline = clock::boot() + patience.min(LONGEST_LEASE_WAIT);
        match self.store.lease_holding(self.held().as_ref(), &self.key, deadline).await {
            Ok(lease) => {
                let mut record = self.newer_of(lease.read().cloned().unwrap_or_default());
                if let Some(seed) = &self.seed {
                    record.take_seed(seed);
                }
                Ok((Some(lease), record))
            }
            Err(error) if self.rotates() => {
                self.note_store_down(true);
                Err(error)
            }
            Err(error) => {
                self.note_store_down(true);
                tracing::error!(%error, hint = error.hint(), "the store cannot be used; the token stays in memory");
                Ok((None, self.newer_of(Record::default())))
            }
        }
    }
}

/// Compares hashes, so that the time taken tells nothing about where or by how much two texts differ.
fn is_same(left: &str, right: &str) -> bool {
    let (left, right) = (Sha256::digest(left), Sha256::digest(right));
    left.iter().zip(right.iter()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// What the store may need beside the token requests.
const COMMIT_TIME: Span = Span::from_secs(2);
/// A holder that stands still, a stopped process, must not keep callers beyond their own patience.
const LONGEST_LEASE_WAIT: Span = Span::from_secs(22);
