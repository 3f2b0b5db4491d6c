//! One token request from lease to commit.
//!
//! The store's lease is held for the whole read, request and write. What another process minted in the meantime is
//! adopted instead of minting again. A grant whose refresh token rotates writes its intent before the request and both
//! new tokens together before either is served: a crash in between leaves a record that says what was under way.
//!
//! The answer may be lost although the server acted. The keeper then asks once more within the same lease; within the
//! provider's grace the same refresh token gives the answer again. What a process left unfinished is taken up by the
//! next one that holds the lease (see `doubt`). A refused refresh token is looked for in the store once more before
//! anybody is told, and nothing that is stored is ever removed because of an error.
//!
//! If the store fails, the client credentials grant goes on without it: its tokens are cheap. A refresh token is not
//! spent without a lease, because another process may be spending it.
//!
//! Source: RFC 6749 sections 5.1 and 6; RFC 9700 section 4.14.2 (rotation).

mod means;
mod stored;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evergrant_core::keeper::{FlightId, FlightNext, Minted};
use evergrant_core::offset::{Sample, Source};
use evergrant_core::time::{Boot, Span};
use evergrant_core::token::{Generation, Issued};
use evergrant_core::wire::{ExpiresInNote, TokenAnswer, TokenFailure, TokenFailureKind, read_claims};

use crate::assertion::{Occasion, ServerTime};
use crate::client_secrets::{self, ClientSecrets};
use crate::driver::Shared;
use crate::grant::{Credential, GrantError, TokenRequest};
use crate::store::{Intent, Lease, Record, STEPS, StoreError};
use crate::transport::TokenExchange;
use crate::{clock, doubt, spans};
pub(crate) use means::Flights;
pub(crate) use stored::{Restored, mints_of, restore, restored};

/// Runs one flight to its end and tells the keeper how it ended, also if it panics or its runtime ends.
pub(crate) fn fly(shared: Arc<Shared>, flight: FlightId) -> impl Future<Output = ()> {
    // Read now, not when the flight gets its turn: whatever is newer than this overtakes it.
    let newest = shared.look(|keeper, _| keeper.newest_generation());
    async move {
        let _watch = Watch { shared: Arc::clone(&shared), flight };
        let span = spans::token_request(shared.flights.place());
        take_off(shared, flight, newest, &span).await;
    }
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

async fn take_off(shared: Arc<Shared>, flight: FlightId, newest: Generation, span: &tracing::Span) {
    let leased = tokio::select! {
        biased;
        leased = shared.flights.lease() => leased,
        () = overtaken(&shared, newest) => return shared.act(|keeper, _| keeper.handle_overtaken(flight)),
    };
    let (mut lease, mut record) = match leased {
        Ok(leased) => leased,
        Err(error) => {
            tracing::error!(%error, hint = error.hint(), "the store cannot be used; the refresh token is not spent without it");
            let failure = TokenFailure::of(TokenFailureKind::Unreachable).with_description(&error.to_string());
            shared.act(|keeper, now| keeper.handle_flight_failed(flight, failure.clone(), now));
            return;
        }
    };
    tracing::trace!(target: STEPS, "lease acquired");
    let mints = mints_of(&shared, &record);
    shared.act(|keeper, _| keeper.handle_known_mints(mints));
    if !adopt(&shared, flight, newest, &record) && may_fly(&shared, flight, &record) {
        let generation = pursue(&shared, flight, &mut lease, &mut record, span).await;
        span.record("evergrant.generation", generation.map(|generation| generation.0));
    }
    if let Some(lease) = lease {
        lease.release().await;
    }
    tracing::trace!(target: STEPS, "lease given back");
}

/// Ends when another process has published a newer token than this.
async fn overtaken(shared: &Shared, newest: Generation) {
    let mut changes = shared.changes();
    while shared.look(|keeper, _| keeper.newest_generation()) <= newest {
        shared.wait(&mut changes, Boot::FAR).await;
    }
}

/// Is there a refresh token, and may it be sent now?
fn may_fly(shared: &Shared, flight: FlightId, record: &Record) -> bool {
    let flights = &shared.flights;
    if !flights.rotates() {
        return true;
    }
    if record.refresh_token.is_none() {
        if record.generation > 0 && !record.has_tokens() {
            tracing::warn!(
                generation = record.generation,
                hint = "name the store that it was moved to, or log in again",
                "login_required: the grant was moved to another store or forgotten"
            );
            flights.keep_if_newer(record);
        } else {
            tracing::warn!("login_required: there is no refresh token to renew the grant with");
        }
        flights.refuse(record);
        shared.act(|keeper, now| {
            keeper.handle_not_renewable(flight, now);
            keeper.handle_timeout(now);
        });
        return false;
    }
    let Some(doubt) = doubt::doubt_of(record) else { return true };
    let is_within_grace = doubt::is_within_grace(doubt, flights);
    let goes_on = is_within_grace || shared.act(|keeper, now| keeper.handle_doubt(flight, now));
    tracing::warn!(
        owner = %doubt.owner,
        attempt = doubt.attempt_id,
        is_within_grace,
        sends_again = goes_on,
        "a refresh was begun and nobody knows how it ended"
    );
    goes_on
}

/// Asks until there is a token, of the generation returned, or no sense in asking on.
async fn pursue(
    shared: &Shared,
    flight: FlightId,
    lease: &mut Option<Lease>,
    record: &mut Record,
    span: &tracing::Span,
) -> Option<Generation> {
    let mut has_looked_again = false;
    loop {
        let doubt = doubt::doubt_of(record).cloned();
        match request(shared, lease, record).await {
            Ok((mut answer, issued)) => {
                if doubt.is_some() && answer.expires_in_note == Some(ExpiresInNote::NotPositive) {
                    // The answer of the first request once more, with a token that has ended since; not one without an end.
                    answer.expires_in = Some(Span::ZERO);
                }
                return commit(shared, flight, lease.as_mut(), record, answer, issued).await;
            }
            Err(failure) => {
                let is_refused = failure.kind == TokenFailureKind::InvalidGrant && shared.flights.rotates();
                if is_refused && !has_looked_again {
                    has_looked_again = true;
                    match look_again(shared, flight, record).await {
                        LookedAgain::Adopted => return None,
                        LookedAgain::Changed => continue,
                        LookedAgain::Same => {}
                    }
                }
                let failure = if is_refused { doubt::named(failure, doubt.as_ref()) } else { failure };
                if is_refused {
                    shared.flights.refuse(record);
                }
                tracing::warn!(%failure, "token request failed");
                spans::note_failure(span, &failure);
                if doubt.is_none() && !failure.refresh_token_may_be_spent() {
                    withdraw(lease, record).await;
                }
                let next = shared.act(|keeper, now| keeper.handle_flight_failed(flight, failure.clone(), now));
                if next == FlightNext::Over {
                    return None;
                }
            }
        }
    }
}

enum LookedAgain {
    Adopted,
    Changed,
    Same,
}

/// A refused refresh token may have been replaced by somebody who holds no lease, or no longer holds it.
async fn look_again(shared: &Shared, flight: FlightId, record: &mut Record) -> LookedAgain {
    let flights = &shared.flights;
    let Ok(Some(stored)) = flights.store().load(flights.key()).await else { return LookedAgain::Same };
    if stored.generation <= record.generation && stored.refresh_token == record.refresh_token {
        return LookedAgain::Same;
    }
    if let Some(Restored::Known(minted)) = restored(shared, &stored)
        && stored.generation > record.generation
    {
        flights.keep(&stored);
        shared.act(|keeper, now| keeper.handle_adopted(flight, minted, now));
        return LookedAgain::Adopted;
    }
    *record = stored;
    LookedAgain::Changed
}

/// The refresh token was certainly not spent: nothing is in doubt.
async fn withdraw(lease: &mut Option<Lease>, record: &mut Record) {
    if record.intent.take().is_some()
        && let Some(lease) = lease
        && let Err(error) = lease.write(record).await
    {
        tracing::debug!(%error, "an intent stays in the store although nothing came of it");
    }
}

/// Another process may have minted while this one waited for the lease.
fn adopt(shared: &Shared, flight: FlightId, newest: Generation, record: &Record) -> bool {
    if shared.look(|keeper, _| keeper.newest_generation()) > newest {
        shared.act(|keeper, _| keeper.handle_overtaken(flight));
        return true;
    }
    let Some(Restored::Known(adopted)) = restored(shared, record) else { return false };
    let half_left = adopted.lifetime.is_some_and(|life| clock::boot() - adopted.issued.sent < life.scaled(1, 2));
    if adopted.generation <= newest || !half_left {
        return false;
    }
    tracing::info!(generation = %adopted.generation, "token adopted from the store");
    shared.flights.keep_if_newer(record);
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
    let refused = |text: String| TokenFailure::of(TokenFailureKind::Unreachable).with_description(&text);
    let refresh_token = record.refresh_token.clone();
    if flights.rotates() && refresh_token.is_none() {
        return Err(refused(GrantError::NoRefreshToken.to_string()));
    }
    // What fails here was never sent, so it leaves no intent.
    flights.endpoint().await?;
    record.note_mint(flights.stamp());
    if let Some(lease) = lease.as_mut().filter(|_| flights.rotates()) {
        if doubt::doubt_of(record).is_none() {
            record.intent = Some(Intent::new(record.refresh_token.as_ref(), flights.stamp()));
        }
        tracing::trace!(target: STEPS, "intent to be written");
        lease.write(record).await.map_err(|error| refused(error.to_string()))?;
        tracing::trace!(target: STEPS, "intent written");
    }
    let at_most = lease.as_ref().and_then(Lease::request_time);
    // Whatever changes from here on, this request may not have shown.
    flights.note_secrets();
    let make = |shown: &Credential, occasion: &Occasion<'_>| shown.token_request(refresh_token.as_ref(), occasion);
    let exchange = tokio::select! {
        biased;
        () = lease_lost(lease.as_ref()) => {
            // The request may be on its way, and what becomes of it is no longer ours to store.
            return Err(TokenFailure::of(TokenFailureKind::TimedOut).with_description("the lease on the store was lost"));
        }
        exchange = ask(shared, flights.credential(), flights.secrets(), at_most, make) => exchange?,
    };
    tracing::trace!(target: STEPS, "answer received");
    exchange
        .result
        .map(|answer| (answer, Issued { sent: exchange.sent, received: exchange.received }))
        .map_err(|failure| record.refresh_token.iter().fold(failure, TokenFailure::without_secret))
}

/// Sends a token request. A client whose secret or whose signed assertion was refused may show another one, once:
/// nothing was done for it.
pub(crate) async fn ask(
    shared: &Shared,
    credential: &Credential,
    secrets: &ClientSecrets,
    at_most: Option<Duration>,
    make: impl Fn(&Credential, &Occasion<'_>) -> Result<TokenRequest, GrantError>,
) -> Result<TokenExchange, TokenFailure> {
    let endpoint = shared.flights.endpoint().await?.within(at_most);
    let known = shared.look(|keeper, now| keeper.clocks().reading(Source::AuthDate, now.boot).interval);
    let known = known.map(|theta| ServerTime::by_offset(theta, clock::boot()));
    let has_sent = AtomicBool::new(false);
    client_secrets::ask(&endpoint, credential, secrets, known, make, |exchange| {
        if has_sent.swap(true, Ordering::Relaxed) {
            shared.act(|keeper, _| keeper.handle_sent_again());
        }
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

async fn lease_lost(lease: Option<&Lease>) {
    match lease {
        Some(lease) => lease.lost().await,
        None => std::future::pending().await,
    }
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
    record: &mut Record,
    answer: TokenAnswer,
    issued: Issued,
) -> Option<Generation> {
    let newest = shared.look(|keeper, _| keeper.newest_generation());
    record.generation = record.generation.max(newest.0).saturating_add(1);
    record.access_token = Some(answer.access_token);
    record.token_type = answer.token_type;
    record.expires_in = answer.expires_in;
    record.refresh_token = answer.refresh_token.or_else(|| record.refresh_token.take());
    let offset = shared.look(|keeper, now| keeper.clocks().reading(Source::AuthDate, now.boot).interval);
    record.issued = Some(shared.flights.issued(issued, offset));
    record.intent = None;
    tracing::trace!(target: STEPS, "tokens to be committed");
    if let Some(lease) = lease
        && let Some(stored) = write_persistently(shared, lease, record).await
    {
        let Some(Restored::Known(minted)) = restored(shared, &stored) else { return None };
        tracing::info!(generation = %minted.generation, "another process was first; its token is adopted");
        shared.flights.keep(&stored);
        shared.act(|keeper, now| keeper.handle_adopted(flight, minted, now));
        return None;
    }
    tracing::trace!(target: STEPS, "tokens committed");
    shared.flights.keep(record);
    let Some(Restored::Known(minted)) = restored(shared, record) else { return None };
    let generation = minted.generation;
    tracing::info!(
        %generation,
        expires_in_s = minted.lifetime.map(Span::as_secs),
        expires_in_note = answer.expires_in_note.map(tracing::field::debug),
        "token minted"
    );
    sample_mint(shared, &minted);
    shared.act(|keeper, now| keeper.handle_minted(flight, minted, now));
    tracing::trace!(target: STEPS, "token served");
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

/// A record that cannot be written is tried again: with a rotated refresh token it is the only copy. The result is what
/// another process has stored instead.
async fn write_persistently(shared: &Shared, lease: &mut Lease, record: &Record) -> Option<Record> {
    let flights = &shared.flights;
    let deadline = clock::boot() + COMMIT_PATIENCE;
    for wait in COMMIT_RETRIES {
        match lease.commit(record).await {
            Ok(()) => return None,
            Err(error) => {
                if let StoreError::Superseded { .. } | StoreError::LeaseTaken { .. } = error
                    && let Ok(Some(stored)) = flights.store().load(flights.key()).await
                    && stored.generation >= record.generation
                {
                    return Some(stored);
                }
                tracing::error!(%error, hint = error.hint(), "the token cannot be stored; trying again");
                if clock::boot() >= deadline {
                    break;
                }
                tokio::time::sleep(wait.to_duration()).await;
            }
        }
    }
    flights.note_store_down(true);
    tracing::error!("the token is not stored; it is lost when this process ends before the store works again");
    None
}

/// Callers wait for the commit; a server that does not answer must not keep them for long.
const COMMIT_PATIENCE: Span = Span::from_secs(3);
const COMMIT_RETRIES: [Span; 4] = [Span::ZERO, Span::from_millis(100), Span::from_millis(500), Span::from_secs(1)];
