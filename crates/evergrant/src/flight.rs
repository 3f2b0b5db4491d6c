//! One token request from lease to commit.
//!
//! What is done next is decided in the core (`keeper::Refresh`), where the simulation finds it too; here it is done. The
//! store's lease is held for the whole read, request and write. A lease that is lost ends the request, and a record that
//! cannot be written is tried again: with a rotated refresh token it is the only copy. Nothing that is stored is ever
//! removed because of an error.
//!
//! If the store fails, the client credentials grant goes on without it: its tokens are cheap. A refresh token is not
//! spent without a lease, because another process may be spending it.
//!
//! Source: RFC 6749 sections 5.1 and 6; RFC 9700 section 4.14.2 (rotation).

mod means;
mod spending;
mod stored;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evergrant_core::keeper::{Committed, Doubt, Ending, FlightId, Next, Refresh, SharedFailure};
use evergrant_core::offset::{Sample, Source};
use evergrant_core::time::{Boot, Span};
use evergrant_core::token::{Generation, Issued};
use evergrant_core::wire::{TokenAnswer, TokenFailure, TokenFailureKind, read_claims};

use crate::assertion::{Occasion, ServerTime};
use crate::client_secrets::{self, ClientSecrets};
use crate::driver::Shared;
use crate::grant::{Credential, GrantError, TokenRequest};
use crate::store::{Failed, Intent, Lease, Record, STEPS, StoreError};
use crate::transport::TokenExchange;
use crate::{clock, doubt, spans, sync};
pub(crate) use means::Flights;
use spending::OnItsWay;
pub(crate) use stored::{restore, stored};

/// Runs one flight to its end and tells the keeper how it ended, also if it panics or its runtime ends.
pub(crate) fn fly(shared: Arc<Shared>, flight: FlightId) -> impl Future<Output = ()> {
    // Begun now, not when the flight gets its turn: whatever is newer than now overtakes it.
    let refresh = shared.look(|keeper, _| Refresh::new(flight, shared.flights.rotates(), keeper));
    // So is the watch: a runtime that ends drops flights that never had a turn.
    let watch = Watch { shared: Arc::clone(&shared), flight };
    async move {
        let _watch = watch;
        let span = spans::token_request(shared.flights.place());
        take_off(shared, refresh, &span).await;
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

async fn take_off(shared: Arc<Shared>, refresh: Refresh, span: &tracing::Span) {
    let leased = tokio::select! {
        biased;
        leased = shared.flights.lease() => leased,
        () = overtaken(&shared, &refresh) => {
            shared.act(|keeper, _| refresh.handle_overtaken(keeper));
            return;
        }
    };
    match leased {
        Ok((lease, record)) => {
            tracing::trace!(target: STEPS, "lease acquired");
            let errand = Errand { shared: &shared, refresh, lease, record, answer: None, on_its_way: None };
            errand.run(span).await;
        }
        Err(error) => {
            tracing::error!(%error, hint = error.hint(), "the store cannot be used; the refresh token is not spent without it");
            let failure = unreachable(&error);
            shared.act(|keeper, now| refresh.handle_no_lease(failure, keeper, now));
        }
    }
}

/// Ends when another process has published a newer token.
async fn overtaken(shared: &Shared, refresh: &Refresh) {
    let mut changes = shared.changes();
    while !shared.look(|keeper, _| refresh.is_overtaken(keeper)) {
        shared.wait(&mut changes, Boot::FAR).await;
    }
}

/// A refresh with what it needs: the core says what to do, and it is done here.
struct Errand<'a> {
    shared: &'a Shared,
    refresh: Refresh,
    lease: Option<Lease>,
    record: Record,
    /// The answer that is to be committed.
    answer: Option<(TokenAnswer, Issued)>,
    /// From the first intent on, if a refresh token is spent.
    on_its_way: Option<OnItsWay>,
}

impl Errand<'_> {
    async fn run(mut self, span: &tracing::Span) {
        let stored = stored(self.shared, &self.record);
        self.note_refused(self.record.refresh_token.is_none());
        let mut next = self.shared.act(|keeper, now| self.refresh.handle_lease(stored, keeper, now));
        self.tell_doubt(&next);
        let ending = loop {
            next = match next {
                Next::Intend => self.intend().await,
                Next::Send => self.send(span).await,
                Next::LookAgain => self.look_again().await,
                Next::Withdraw => self.withdraw().await,
                Next::Share(failure) => self.share(&failure).await,
                Next::Commit(generation) => self.commit(generation).await,
                Next::End(ending) => break ending,
            };
        };
        self.conclude(&ending, span);
        if let Some(lease) = self.lease {
            lease.release().await;
        }
        tracing::trace!(target: STEPS, "lease given back");
    }

    /// What fails here was never sent, so it leaves no intent.
    async fn intend(&mut self) -> Next {
        let intent = self.write_intent().await.inspect_err(|failure| tracing::warn!(%failure, "token request failed"));
        self.shared.act(|keeper, now| self.refresh.handle_intent(intent, keeper, now))
    }

    async fn write_intent(&mut self) -> Result<Option<Doubt>, TokenFailure> {
        let flights = &self.shared.flights;
        flights.endpoint().await?;
        let Some(lease) = self.lease.as_mut().filter(|_| self.refresh.rotates()) else { return Ok(None) };
        if self.on_its_way.is_none() {
            let begun = flights.spending().begin();
            let ended = || TokenFailure::of(TokenFailureKind::Unreachable).with_description("the source is ending");
            self.on_its_way = Some(begun.ok_or_else(ended)?);
        }
        if doubt::doubt_of(&self.record).is_none() {
            self.record.intent = Some(Intent::new(self.record.refresh_token.as_ref(), flights.stamp()));
        }
        tracing::trace!(target: STEPS, "intent to be written");
        lease.write(&self.record).await.map_err(|error| unreachable(&error))?;
        tracing::trace!(target: STEPS, "intent written");
        Ok(doubt::doubt_of(&self.record).map(|intent| doubt::doubt(intent, flights)))
    }

    async fn send(&mut self, span: &tracing::Span) -> Next {
        match self.request().await {
            Ok((mut answer, issued)) => {
                let next = self.shared.look(|keeper, _| self.refresh.handle_answer(&mut answer, issued, keeper));
                self.answer = Some((answer, issued));
                next
            }
            Err(failure) => {
                tracing::warn!(%failure, "token request failed");
                spans::note_failure(span, &failure);
                self.note_refused(failure.kind == TokenFailureKind::InvalidGrant);
                self.shared.act(|keeper, now| self.refresh.handle_failure(failure, keeper, now))
            }
        }
    }

    async fn request(&self) -> Result<(TokenAnswer, Issued), TokenFailure> {
        let flights = &self.shared.flights;
        let refresh_token = self.record.refresh_token.as_ref();
        let at_most = self.lease.as_ref().and_then(Lease::request_time);
        // Whatever changes from here on, this request may not have shown.
        flights.note_secrets();
        let make = |shown: &Credential, occasion: &Occasion<'_>| shown.token_request(refresh_token, occasion);
        let exchange = tokio::select! {
            biased;
            () = lease_lost(self.lease.as_ref()) => {
                // The request may be on its way, and what becomes of it is no longer ours to store.
                let failure = TokenFailure::of(TokenFailureKind::TimedOut);
                return Err(failure.with_description("the lease on the store was lost"));
            }
            exchange = ask(self.shared, flights.credential(), flights.secrets(), at_most, make) => exchange?,
        };
        tracing::trace!(target: STEPS, "answer received");
        exchange
            .result
            .map(|answer| (answer, Issued { sent: exchange.sent, received: exchange.received }))
            .map_err(|failure| refresh_token.into_iter().fold(failure, TokenFailure::without_secret))
    }

    async fn look_again(&mut self) -> Next {
        let flights = &self.shared.flights;
        let found = flights.store().load(flights.key()).await.ok().flatten();
        let known = found.as_ref().map(|record| stored(self.shared, record));
        let next = self.shared.act(|keeper, now| self.refresh.handle_looked_again(known, keeper, now));
        if let Some(found) = found.filter(|_| matches!(next, Next::Intend | Next::End(Ending::Adopted(_)))) {
            self.record = found;
        }
        next
    }

    async fn withdraw(&mut self) -> Next {
        if self.record.intent.take().is_some()
            && let Some(lease) = &mut self.lease
            && let Err(error) = lease.write(&self.record).await
        {
            tracing::debug!(%error, "an intent stays in the store although nothing came of it");
        }
        self.shared.act(|keeper, now| self.refresh.handle_withdrawn(keeper, now))
    }

    /// Lets the others know. Whoever does not hear of it finds out by itself.
    async fn share(&mut self, failure: &SharedFailure) -> Next {
        let flights = &self.shared.flights;
        let Some(lease) = self.lease.as_mut().filter(|_| flights.store().is_of_a_fleet()) else {
            return self.refresh.handle_unshared();
        };
        self.record.failed = Failed::new(failure, flights.stamp());
        match lease.write(&self.record).await {
            Ok(()) => self.shared.act(|keeper, now| self.refresh.handle_shared(keeper, now)),
            Err(error) => {
                tracing::debug!(%error, "a failure of the token endpoint is not told to other processes");
                self.refresh.handle_unshared()
            }
        }
    }

    /// Makes both tokens durable together, then lets the keeper serve the new one.
    async fn commit(&mut self, generation: Generation) -> Next {
        let flights = &self.shared.flights;
        if let Some((answer, issued)) = self.answer.take() {
            tracing::debug!(expires_in_note = answer.expires_in_note.map(tracing::field::debug), "token received");
            let offset = self.shared.look(|keeper, now| keeper.clocks().reading(Source::AuthDate, now.boot).interval);
            sample_mint(self.shared, &answer, issued);
            let record = &mut self.record;
            record.generation = generation.0;
            record.access_token = Some(answer.access_token);
            record.token_type = answer.token_type;
            record.expires_in = answer.expires_in;
            record.refresh_token = answer.refresh_token.or_else(|| record.refresh_token.take());
            let issued = flights.issued(issued, offset);
            record.note_mint(issued.sent.clone());
            record.issued = Some(issued);
            (record.intent, record.failed) = (None, None);
        }
        tracing::trace!(target: STEPS, "tokens to be committed");
        let theirs = match &mut self.lease {
            Some(lease) => write_persistently(self.shared, lease, &self.record).await,
            None => None,
        };
        let committed = match theirs {
            Some(theirs) => {
                self.record = theirs;
                Committed::Theirs(stored(self.shared, &self.record))
            }
            None => {
                tracing::trace!(target: STEPS, "tokens committed");
                Committed::Ours
            }
        };
        flights.keep(&self.record);
        self.shared.act(|keeper, now| self.refresh.handle_commit(committed, keeper, now))
    }

    fn tell_doubt(&self, next: &Next) {
        if let Some((intent, doubt)) = doubt::doubt_of(&self.record).zip(self.refresh.doubt()) {
            tracing::warn!(
                owner = %intent.owner,
                attempt = intent.attempt_id,
                is_within_grace = doubt.is_within_grace(),
                sends_again = *next == Next::Intend,
                "a refresh was begun and nobody knows how it ended"
            );
        }
    }

    /// Before the keeper is told: whoever waits for a person then looks for another grant than this one.
    fn note_refused(&self, is_refused: bool) {
        if is_refused && self.refresh.rotates() {
            self.shared.flights.refuse(&self.record);
        }
    }

    fn conclude(&self, ending: &Ending, span: &tracing::Span) {
        let flights = &self.shared.flights;
        match ending {
            Ending::Overtaken | Ending::InDoubt | Ending::Unknown => {}
            Ending::Adopted(generation) => {
                tracing::info!(%generation, "token adopted from the store");
                flights.keep_if_newer(&self.record);
            }
            Ending::NotRenewable => self.conclude_not_renewable(),
            Ending::Postponed(failure) => {
                tracing::info!(%failure, "no token request: another process has just met a failure");
            }
            Ending::Failed(failure) => {
                if failure.kind == TokenFailureKind::RotationLost {
                    tracing::warn!(%failure, "the rotation of the refresh token is lost");
                }
                spans::note_failure(span, failure);
            }
            Ending::Minted(generation) => {
                let expires_in_s = self.record.expires_in.map(Span::as_secs);
                tracing::info!(%generation, expires_in_s, "token minted");
                tracing::trace!(target: STEPS, "token served");
                span.record("evergrant.generation", generation.0);
            }
        }
    }

    fn conclude_not_renewable(&self) {
        let record = &self.record;
        if record.generation > 0 && !record.has_tokens() {
            tracing::warn!(
                generation = record.generation,
                hint = "name the store that it was moved to, or log in again",
                "login_required: the grant was moved to another store or forgotten"
            );
            self.shared.flights.keep_if_newer(record);
        } else {
            tracing::warn!("login_required: there is no refresh token to renew the grant with");
        }
        self.shared.flights.refuse(record);
    }
}

fn unreachable(error: &StoreError) -> TokenFailure {
    TokenFailure::of(TokenFailureKind::Unreachable).with_description(&error.to_string())
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

/// A JWT says when it was issued, by the issuer's clock.
fn sample_mint(shared: &Shared, answer: &TokenAnswer, issued: Issued) {
    let Some(claims) = read_claims(answer.access_token.expose()) else { return };
    if let Some(iat) = claims.iat {
        let Issued { sent, received } = issued;
        shared.take_sample(Source::JwtMint, Sample::of_mint(iat, claims.exp, answer.expires_in, sent, received));
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
                sync::sleep(wait.to_duration()).await;
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
