//! One token request from lease to commit.
//!
//! The store's lease is held for the whole read, request and write. What another process minted in the meantime is
//! adopted instead of minting again. A grant whose refresh token rotates writes its intent before the request and both
//! new tokens together before either is served: a crash in between leaves a record that says what was under way.
//!
//! The answer may be lost although the server acted. The keeper then asks once more within the same lease; within the
//! provider's grace the same refresh token gives the answer again.
//!
//! If the store fails, the client credentials grant goes on without it: its tokens are cheap. A refresh token is not
//! spent without a lease, because another process may be spending it.
//!
//! Source: RFC 6749 sections 5.1 and 6; RFC 9700 section 4.14.2 (rotation).

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use evergrant_core::Secret;
use evergrant_core::keeper::{FlightId, FlightNext, Minted};
use evergrant_core::offset::{Sample, Source};
use evergrant_core::time::{Boot, Span};
use evergrant_core::token::{Generation, Issued};
use evergrant_core::wire::{TokenAnswer, TokenFailure, TokenFailureKind, read_claims};
use sha2::{Digest as _, Sha256};

use crate::assertion::{self, Occasion, ServerTime};
use crate::clock;
use crate::driver::{Parts, Shared};
use crate::grant::{ClientAuth, Credential, Grant, GrantError, TokenRequest};
use crate::redeem::RedeemAs;
use crate::source::BuildError;
use crate::spans;
use crate::store::{self, CredentialKey, Intent, Lease, Record, Stamp, Store, StoreError};
use crate::tls::Tls;
use crate::transport::{TokenEndpoint, TokenExchange, TransportOptions, discover};

/// What token requests are made with.
pub(crate) struct Flights {
    credential: Mutex<Credential>,
    seed: Option<Secret>,
    store: Store,
    key: CredentialKey,
    /// The token endpoint's or the issuer's URL.
    place: String,
    /// The last record of this process. If it could not be stored it is newer than the store's, and the only copy.
    last: Mutex<Option<Record>>,
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
            credential: Mutex::new(parts.credential),
            seed: parts.seed,
            store: parts.store,
            last: Mutex::default(),
            endpoint,
            issuer: parts.profile.issuer,
            tls: parts.tls,
            transport: parts.transport,
        })
    }

    pub(crate) fn replace_client_secret(&self, secret: Secret) {
        self.credential.lock().unwrap_or_else(PoisonError::into_inner).client_secret = Some(secret);
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
        client.credential(&self.credential.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn client_id(&self) -> String {
        self.credential.lock().unwrap_or_else(PoisonError::into_inner).client_id.clone()
    }

    pub(crate) fn is_client(&self, id: &str, secret: Option<&Secret>) -> bool {
        let ours = self.credential.lock().unwrap_or_else(PoisonError::into_inner);
        let is_id = is_same(id, &ours.client_id);
        // A public client's secret is none, or an empty one where a library insists on sending something.
        let nothing = Secret::from("");
        let is_secret = is_same(
            secret.unwrap_or(&nothing).expose(),
            ours.client_secret.as_ref().filter(|_| ours.client_auth != ClientAuth::None).unwrap_or(&nothing).expose(),
        );
        is_id & is_secret
    }

    fn credential(&self) -> Credential {
        self.credential.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn rotates(&self) -> bool {
        self.credential().grant == Grant::RefreshToken
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
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|last| last.generation > stored.generation).cloned().unwrap_or(stored)
    }

    fn keep(&self, record: &Record) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(record.clone());
    }

    /// The lease and the record under it, with a refresh token from outside taken in.
    async fn lease(&self) -> Result<(Option<Lease>, Record), StoreError> {
        // Whoever holds the lease may ask twice, and what it gets is worth waiting for: it will be adopted.
        let patience = Span::from_duration(self.transport.timeout).scaled(2, 1) + COMMIT_TIME;
        let deadline = clock::boot() + patience.min(LONGEST_LEASE_WAIT);
        match self.store.lease(&self.key, deadline).await {
            Ok(lease) => {
                let mut record = self.newer_of(lease.read().cloned().unwrap_or_default());
                if let Some(seed) = &self.seed {
                    record.take_seed(seed);
                }
                Ok((Some(lease), record))
            }
            Err(error) if self.rotates() => Err(error),
            Err(error) => {
                tracing::error!(%error, hint = error.hint(), "the store cannot be used; the token stays in memory");
                Ok((None, self.newer_of(Record::default())))
            }
        }
    }
}

/// Takes over what the store holds at start.
pub(crate) async fn restore(shared: &Shared) {
    let flights = &shared.flights;
    match flights.store.load(&flights.key).await {
        Ok(Some(mut record)) => {
            if let Some(seed) = &flights.seed {
                record.take_seed(seed);
            }
            let mints = mints_of(&record);
            let restored = minted_from(&record, flights.rotates());
            shared.act(|keeper, now| {
                keeper.handle_known_mints(mints);
                if let Some(restored) = restored {
                    keeper.handle_restored(restored, now);
                }
            });
        }
        Ok(None) => {}
        Err(error) => tracing::error!(%error, hint = error.hint(), "the store cannot be read"),
    }
}

/// Runs one flight to its end and tells the keeper how it ended, also if it panics or its runtime ends.
pub(crate) async fn fly(shared: Arc<Shared>, flight: FlightId) {
    let _watch = Watch { shared: Arc::clone(&shared), flight };
    let span = spans::token_request(shared.flights.place());
    take_off(shared, flight, &span).await;
}

/// Ends a flight that has not told its end: nobody may wait for it for ever. To one that has, it changes nothing.
struct Watch {
    shared: Arc<Shared>,
    flight: FlightId,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let failure =
            TokenFailure::of(TokenFailureKind::Unreachable).with_description("the token request was given up");
        self.shared.act(|keeper, now| keeper.handle_flight_failed(self.flight, failure, now));
    }
}

async fn take_off(shared: Arc<Shared>, flight: FlightId, span: &tracing::Span) {
    let (mut lease, mut record) = match shared.flights.lease().await {
        Ok(leased) => leased,
        Err(error) => {
            tracing::error!(%error, hint = error.hint(), "the store cannot be used; the refresh token is not spent without it");
            let failure = TokenFailure::of(TokenFailureKind::Unreachable).with_description(&error.to_string());
            shared.act(|keeper, now| keeper.handle_flight_failed(flight, failure.clone(), now));
            return;
        }
    };
    let mints = mints_of(&record);
    shared.act(|keeper, _| keeper.handle_known_mints(mints));
    if adopt(&shared, flight, &record) {
        return;
    }
    if shared.flights.rotates() && record.refresh_token.is_none() {
        tracing::warn!("login_required: there is no refresh token to renew the grant with");
        shared.act(|keeper, now| {
            keeper.handle_not_renewable(flight, now);
            keeper.handle_timeout(now);
        });
        return;
    }
    loop {
        match request(&shared, &mut lease, &mut record).await {
            Ok((answer, issued)) => {
                let generation = commit(&shared, flight, lease.as_mut(), record, answer, issued).await;
                span.record("evergrant.generation", generation.map(|generation| generation.0));
                return;
            }
            Err(failure) => {
                tracing::warn!(%failure, "token request failed");
                spans::note_failure(span, &failure);
                let next = shared.act(|keeper, now| keeper.handle_flight_failed(flight, failure.clone(), now));
                if next == FlightNext::Over {
                    return;
                }
            }
        }
    }
}

/// Another process may have minted while this one waited for the lease.
fn adopt(shared: &Shared, flight: FlightId, record: &Record) -> bool {
    let Some(adopted) = minted_from(record, shared.flights.rotates()) else { return false };
    let newest = shared.look(|keeper, _| keeper.newest_generation());
    let half_left = adopted.lifetime.is_some_and(|life| clock::boot() - adopted.issued.sent < life.scaled(1, 2));
    if adopted.generation <= newest || !half_left {
        return false;
    }
    tracing::info!(generation = %adopted.generation, "token adopted from the store");
    shared.act(|keeper, now| keeper.handle_adopted(flight, adopted, now));
    true
}

/// Sends one token request; with a rotating grant its intent is durable before.
async fn request(
    shared: &Shared,
    lease: &mut Option<Lease>,
    record: &mut Record,
) -> Result<(TokenAnswer, Issued), TokenFailure> {
    let flights = &shared.flights;
    let credential = flights.credential();
    let refused = |text: String| TokenFailure::of(TokenFailureKind::Unreachable).with_description(&text);
    let refresh_token = record.refresh_token.clone();
    if flights.rotates() && refresh_token.is_none() {
        return Err(refused(GrantError::NoRefreshToken.to_string()));
    }
    let now = clock::now();
    record.note_mint(Stamp::of(now));
    if let Some(lease) = lease.as_mut().filter(|_| flights.rotates()) {
        record.intent = Some(Intent::new(record.refresh_token.as_ref(), now));
        lease.write(record).await.map_err(|error| refused(error.to_string()))?;
    }
    let make = |occasion: &Occasion<'_>| credential.token_request(refresh_token.as_ref(), occasion);
    let exchange = ask(shared, &credential, make).await?;
    let secrets = credential.client_secret.iter().chain(&record.refresh_token);
    exchange
        .result
        .map(|answer| (answer, Issued { sent: exchange.sent, received: exchange.received }))
        .map_err(|failure| secrets.fold(failure, TokenFailure::without_secret))
}

/// Sends a token request. If the answer shows that an assertion signed here was out of time by the server's clock, it
/// is signed anew and sent once more: it was refused for its dates, so nothing was done.
pub(crate) async fn ask(
    shared: &Shared,
    credential: &Credential,
    make: impl Fn(&Occasion<'_>) -> Result<TokenRequest, GrantError>,
) -> Result<TokenExchange, TokenFailure> {
    let endpoint = shared.flights.endpoint().await?;
    let known = shared.look(|keeper, now| keeper.clocks().reading(Source::AuthDate, now.boot).interval);
    let known = known.map(|theta| ServerTime::by_offset(theta, clock::boot()));
    assertion::ask(endpoint, credential, known, make, |exchange| {
        tracing::trace!(
            token_url = endpoint.target().place(),
            took_ms = (exchange.received - exchange.sent).as_millis(),
            ok = exchange.result.is_ok(),
            "token request answered"
        );
        sample(shared, exchange);
    })
    .await
}

/// Every answer of the token endpoint, errors too, tells its time; none of them comes from a cache.
pub(crate) fn sample(shared: &Shared, exchange: &TokenExchange) {
    if let Some(head) = &exchange.head
        && let Some(date) = head.date
    {
        shared.sample_clock(Source::AuthDate, exchange.sent, exchange.received, date, head.age.is_none());
    }
}

/// Makes both tokens durable together, then lets the keeper serve the new one.
async fn commit(
    shared: &Shared,
    flight: FlightId,
    lease: Option<&mut Lease>,
    mut record: Record,
    answer: TokenAnswer,
    issued: Issued,
) -> Option<Generation> {
    let newest = shared.look(|keeper, _| keeper.newest_generation());
    record.generation = record.generation.max(newest.0).saturating_add(1);
    record.access_token = Some(answer.access_token);
    record.token_type = answer.token_type;
    record.expires_in = answer.expires_in;
    record.refresh_token = answer.refresh_token.or(record.refresh_token);
    let offset = shared.look(|keeper, now| keeper.clocks().reading(Source::AuthDate, now.boot).interval);
    let sent = Stamp { boot: issued.sent, ..Stamp::of(clock::now()) };
    record.issued = Some(store::Issued { sent, received: issued.received, offset });
    record.intent = None;
    shared.flights.keep(&record);
    if let Some(lease) = lease {
        write_persistently(lease, &record).await;
    }
    let minted = minted_from(&record, shared.flights.rotates())?;
    let generation = minted.generation;
    tracing::info!(
        %generation,
        expires_in_s = minted.lifetime.map(Span::as_secs),
        expires_in_note = answer.expires_in_note.map(tracing::field::debug),
        "token minted"
    );
    sample_mint(shared, &minted);
    shared.act(|keeper, now| keeper.handle_minted(flight, minted, now));
    Some(generation)
}

/// A JWT says when it was issued, by the issuer's clock.
fn sample_mint(shared: &Shared, minted: &Minted) {
    let Some(claims) = read_claims(minted.access_token.expose()) else { return };
    if let Some(iat) = claims.iat {
        let Issued { sent, received } = minted.issued;
        shared.take_sample(Source::JwtMint, Sample::of_mint(iat, claims.exp, minted.lifetime, sent, received));
    }
}

/// A record that cannot be written is tried again: with a rotated refresh token it is the only copy.
async fn write_persistently(lease: &mut Lease, record: &Record) {
    for wait in COMMIT_RETRIES {
        match lease.write(record).await {
            Ok(()) => return,
            Err(error) => {
                tracing::error!(%error, hint = error.hint(), "the token cannot be stored; trying again");
                tokio::time::sleep(wait.to_duration()).await;
            }
        }
    }
    tracing::error!("the token is not stored and is lost when this process ends");
}

/// Compares hashes, so that the time taken tells nothing about where or by how much two texts differ.
fn is_same(left: &str, right: &str) -> bool {
    let (left, right) = (Sha256::digest(left), Sha256::digest(right));
    left.iter().zip(right.iter()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// The record's token on this boot's clock.
fn minted_from(record: &Record, rotates: bool) -> Option<Minted> {
    let access_token = record.access_token.clone()?;
    let (sent, received) = record.issued.as_ref()?.on_this_boot(None)?;
    Some(Minted {
        generation: Generation(record.generation),
        access_token,
        issued: Issued { sent, received },
        lifetime: record.expires_in,
        is_renewable: !rotates || record.refresh_token.is_some(),
    })
}

/// When this and other processes minted, as far as the boot clock can tell.
fn mints_of(record: &Record) -> Vec<Boot> {
    let now = clock::now();
    record.mints.iter().filter_map(|mint| Some(now.boot - mint.age(now)?)).collect()
}

/// What the store may need beside the token requests.
const COMMIT_TIME: Span = Span::from_secs(2);
/// A holder that stands still, a stopped process, must not keep callers beyond their own patience.
const LONGEST_LEASE_WAIT: Span = Span::from_secs(22);
const COMMIT_RETRIES: [Span; 4] = [Span::ZERO, Span::from_millis(100), Span::from_millis(500), Span::from_secs(1)];
