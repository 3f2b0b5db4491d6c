//! A source of tokens that work: the library's front door.
//!
//! A [`TokenSource`] owns one credential's keeper and gives its token to everybody who asks. The common case costs one
//! atomic load and one clock read: the keeper publishes the token together with the instant until which nobody needs to
//! ask again. Everything else takes a lock for a moment, and waits, if it has to, without one.
//!
//! Clones share everything. The background task ends when the last clone is dropped; without it, in a runtime that only
//! runs while a request is served, every call still checks what is due.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use evergrant::{Credential, TokenSource};
//! use evergrant::core::profile::{Profile, Region};
//!
//! let credential = Credential::client_credentials("my-id", "my-secret".into());
//! let source = TokenSource::builder(Profile::genesys(Region::parse("eu-west-1")?), credential).build()?;
//! let token = source.token().await?;
//! println!("{}", token.expose().len());
//! # Ok(()) }
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evergrant_core::Secret;
use evergrant_core::attempt::{Refusal, Route, Subject};
use evergrant_core::evidence::Carried;
use evergrant_core::keeper::{Acquire, AcquireError, Need};
use evergrant_core::offset::{Reading, SkewPoint, Source};
use evergrant_core::policy::Policy;
use evergrant_core::profile::Profile;
use evergrant_core::time::{Boot, Span};
use evergrant_core::token::Token;
use evergrant_core::verdict::Verdict;

use crate::client_secrets::ClientSecrets;
use crate::clock;
use crate::driver::Shared;
use crate::exchange::{Exchange, RequestTraits};
use crate::grant::{Credential, GrantError};
use crate::guard::TokenGuard;
use crate::news;
use crate::status::{EventStatus, SkewMoment, SkewStatus, SourceStatus};
use crate::store::{CredentialKey, Store, StoreUrl};
use crate::sync::watch;
use crate::tls::{ClientIdentity, Tls};
use crate::transport::{TransportError, TransportOptions};

/// Gives out one credential's token and keeps it working.
#[derive(Clone)]
pub struct TokenSource {
    shared: Arc<Shared>,
}

impl TokenSource {
    /// Begins to describe a source.
    #[must_use]
    pub fn builder(profile: Profile, credential: Credential) -> Builder {
        Builder {
            profile,
            credential,
            seed: None,
            label: String::new(),
            policy: Policy::default(),
            store: None,
            http: HttpOptions::default(),
        }
    }

    /// A token that works, waiting for one if need be, within the policy's patience.
    ///
    /// # Errors
    /// When there is none and waiting longer does not help.
    pub async fn token(&self) -> Result<TokenGuard, AcquireError> {
        if let Some(guard) = self.try_token() {
            return Ok(guard);
        }
        // On the heap, so that the common case does not carry the room that a wait needs.
        Box::pin(self.token_for(Need::Usable, None)).await
    }

    /// The token if nothing has to be waited or asked for: one atomic load and one clock read.
    #[inline]
    #[must_use]
    pub fn try_token(&self) -> Option<TokenGuard> {
        let published = self.shared.published();
        let is_fresh = published.token.is_some() && clock::boot() < published.fresh_until;
        is_fresh.then(|| TokenGuard::published(published))
    }

    /// A token with at least `least` of its life left, as far as the provider gives such tokens.
    ///
    /// # Errors
    /// As [`TokenSource::token`].
    pub async fn token_lasting(&self, least: Span, deadline: Option<Boot>) -> Result<TokenGuard, AcquireError> {
        self.token_for(Need::Lasting(least), deadline).await
    }

    /// A token for a caller that began to wait earlier, at `asked`, and whose turn comes only now: its patience counts from
    /// then. With `least` as from [`TokenSource::token_lasting`].
    ///
    /// # Errors
    /// As [`TokenSource::token`].
    pub async fn token_asked_at(&self, asked: Boot, least: Option<Span>) -> Result<TokenGuard, AcquireError> {
        let need = least.map_or(Need::Usable, Need::Lasting);
        self.token_since(asked, need, asked + self.shared.patience()).await
    }

    /// One request of a caller, to be taken through all its sends.
    #[must_use]
    pub fn exchange(&self, traits: RequestTraits) -> Exchange {
        Exchange::new(Arc::clone(&self.shared), traits)
    }

    /// Is a usable token at hand?
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let now = clock::boot();
        self.shared.published().token.as_ref().is_some_and(|token| token.is_usable_at(now))
    }

    /// A picture of this moment, without any secret.
    #[must_use]
    pub fn status(&self) -> SourceStatus {
        SourceStatus::of(&self.shared)
    }

    /// What happened since a revision of the list of events (0: all that is kept), oldest first, without any secret.
    #[must_use]
    pub fn events_since(&self, revision: u64) -> Vec<EventStatus> {
        self.shared
            .look(|keeper, now| keeper.events().since(revision).map(|entry| EventStatus::of(entry, now.boot)).collect())
    }

    /// Tells when something happened that [`TokenSource::events_since`] can name.
    #[must_use]
    pub fn watch_events(&self) -> EventWatch {
        EventWatch(self.shared.watch_events())
    }

    /// How this machine's clock stood to the provider's over the last minutes, oldest first.
    #[must_use]
    pub fn skew_history(&self) -> Vec<SkewMoment> {
        self.shared.look(|keeper, now| {
            let moment = |point: SkewPoint| SkewMoment {
                age_s: (now.boot - point.at).as_secs_f64(),
                skew: SkewStatus { lo: point.skew.lo.as_secs_f64(), hi: point.skew.hi.as_secs_f64() },
            };
            keeper.skews().points().map(moment).collect()
        })
    }

    /// What is known about one of the provider's clocks, from what this source sent and got.
    #[must_use]
    pub fn clock_reading(&self, source: Source) -> Reading {
        self.shared.look(|keeper, now| keeper.clocks().reading(source, now.boot))
    }

    /// The client secret was replaced: later token requests use the new one, and earlier failures are forgotten.
    pub fn replace_client_secret(&self, secret: Secret) {
        self.shared.flights.secrets().replace_by(secret);
        self.shared.handle_new_secrets();
    }

    /// The same with every secret of `credential`, which is another one of this client, and with its files.
    pub fn replace_client_secrets(&self, credential: &Credential) {
        self.shared.flights.secrets().replace(credential);
        self.shared.handle_new_secrets();
    }

    /// The API moved: later probes of the token go there.
    ///
    /// # Errors
    /// When the URL may not be used or TLS cannot be set up; probes go where they went.
    pub fn replace_api_url(&self, url: &str) -> Result<(), TransportError> {
        self.shared.replace_api_url(url)
    }

    /// Waits until no token request is under way and every answer is stored, so that the process may end.
    ///
    /// A refresh token that rotates is spent by the request; ending between request and answer would lose its successor.
    /// The wait is bounded by one token request and its commit: one that begins meanwhile, because the answer of the first
    /// was of no use, is left to whoever takes up what is in doubt.
    pub async fn shutdown(self) {
        let mut changes = self.shared.changes();
        let last = self.shared.look(|keeper, _| keeper.flight_in_the_air());
        while last.is_some() && self.shared.look(|keeper, _| keeper.flight_in_the_air()) == last {
            self.shared.wait(&mut changes, clock::boot() + SHUTDOWN_CHECK).await;
        }
    }

    /// The same for a process that wants to end at once: it waits only where that could lose more than a token, which is
    /// while a refresh token is on its way. None is spent after this call, for any clone of the source.
    pub async fn shutdown_in_haste(self) {
        if self.shared.flights.rotates() {
            self.shared.flights.spending().stop().await;
        }
    }

    /// What is known about the provider.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.shared.profile
    }

    /// What tells this credential apart from others, without any secret.
    #[must_use]
    pub fn key(&self) -> &CredentialKey {
        self.shared.flights.key()
    }

    /// The client's id.
    #[must_use]
    pub fn client_id(&self) -> String {
        self.shared.flights.client_id()
    }

    /// The verdict on there being no token.
    #[must_use]
    pub fn verdict_on_no_token(&self, error: &AcquireError) -> Verdict {
        self.shared.act(|keeper, now| keeper.verdict_on_no_token(error, now))
    }

    /// The verdict on a request that carried a gateway's handle which the gateway does not know.
    #[must_use]
    pub fn verdict_on_unknown_handle(&self, route: Route) -> Verdict {
        self.verdict_on_unsent(401, Subject::Token, Carried::UnknownHandle, route)
    }

    /// The verdict on a request that is not sent because the provider wants fewer.
    #[must_use]
    pub fn verdict_on_rate_limit(&self, route: Route) -> Verdict {
        self.verdict_on_unsent(429, Subject::Rate, Carried::Nothing, route)
    }

    fn verdict_on_unsent(&self, status: u16, subject: Subject, carried: Carried, route: Route) -> Verdict {
        let refusal = Refusal::of_status(status, subject, route, clock::boot());
        self.shared.act(|keeper, now| keeper.verdict_on_foreign(&refusal, carried, None, now))
    }

    /// Is it the same source, with the same token at every moment?
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Are these the id and the secret of this credential's client? Takes the same time whatever is wrong with them.
    #[must_use]
    pub fn is_client(&self, id: &str, secret: Option<&Secret>) -> bool {
        self.shared.flights.is_client(id, secret)
    }

    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The API that the profile names.
    pub(crate) fn api_url(&self) -> Option<String> {
        self.shared.profile.api_url.clone()
    }

    async fn token_for(&self, need: Need, deadline: Option<Boot>) -> Result<TokenGuard, AcquireError> {
        let asked = clock::boot();
        self.token_since(asked, need, deadline.unwrap_or_else(|| asked + self.shared.patience())).await
    }

    async fn token_since(&self, asked: Boot, need: Need, deadline: Boot) -> Result<TokenGuard, AcquireError> {
        let token = self.shared.acquire(need, asked, deadline).await?;
        Ok(TokenGuard::own(token))
    }
}

/// Waits for events of a source.
#[derive(Debug)]
pub struct EventWatch(watch::Receiver<u64>);

impl EventWatch {
    /// Ends when something has happened since the last call; never, once the source is gone.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSource").finish_non_exhaustive()
    }
}

impl Shared {
    /// Waits for a token that meets the need.
    pub(crate) async fn acquire(&self, need: Need, asked: Boot, deadline: Boot) -> Result<Arc<Token>, AcquireError> {
        self.wait_for_restored(deadline).await;
        let mut changes = self.changes();
        let mut has_looked = false;
        loop {
            changes.mark_unchanged();
            match self.act(|keeper, now| keeper.handle_acquire(need, asked, deadline, now)) {
                Acquire::Ready(token) => return Ok(token),
                Acquire::Failed(error) => {
                    let waits_for_a_person = self.look(|keeper, _| keeper.is_waiting_for_a_person());
                    let may_look = waits_for_a_person && !std::mem::replace(&mut has_looked, true);
                    if may_look && self.is_look_due() && news::look_for_help(self).await {
                        continue;
                    }
                    return Err(error);
                }
                Acquire::Wait(until) => self.wait(&mut changes, until).await,
            }
        }
    }
}

/// A flight that ends without a change that waiters care about is noticed this much later.
const SHUTDOWN_CHECK: Span = Span::from_millis(50);

/// How a source reaches the network.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// More certificate authorities, as a PEM file.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate, for servers that ask for one.
    pub identity: Option<ClientIdentity>,
    /// May secrets travel over `http://` beyond loopback?
    pub allow_insecure_http: bool,
    /// The longest that one token request may take.
    pub token_timeout: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self { ca_file: None, identity: None, allow_insecure_http: false, token_timeout: Duration::from_secs(10) }
    }
}

impl HttpOptions {
    /// Whom to trust, and what to show.
    #[must_use]
    pub fn tls(&self) -> Tls {
        Tls::new(self.ca_file.clone()).with_identity(self.identity.clone())
    }

    pub(crate) fn transport(&self) -> TransportOptions {
        TransportOptions { timeout: self.token_timeout, allow_insecure_http: self.allow_insecure_http }
    }
}

/// Describes a source before it starts.
#[derive(Debug)]
pub struct Builder {
    profile: Profile,
    credential: Credential,
    seed: Option<Secret>,
    label: String,
    policy: Policy,
    store: Option<Store>,
    http: HttpOptions,
}

impl Builder {
    /// The refresh token to begin with; what the store holds of its descendants wins.
    #[must_use]
    pub fn refresh_token(mut self, seed: Secret) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Tells apart credentials that look the same, such as two subjects of one client.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// When tokens are refreshed and how long anything waits.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Where tokens are kept; memory if nothing is said.
    #[must_use]
    pub fn store(mut self, store: Store) -> Self {
        self.store = Some(store);
        self
    }

    /// How the network is reached.
    #[must_use]
    pub fn http(mut self, http: HttpOptions) -> Self {
        self.http = http;
        self
    }

    /// Starts the source on the current tokio runtime. The first token request is made at once, without a caller.
    ///
    /// # Errors
    /// When something configured cannot work: a URL, a certificate file, a credential without a secret.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn build(self) -> Result<TokenSource, BuildError> {
        self.credential.check()?;
        let tls = Arc::new(self.http.tls());
        let store = match self.store {
            Some(store) => store,
            None => Store::open(&StoreUrl::Memory, None).map_err(BuildError::Store)?,
        };
        let shared = Shared::start(crate::driver::Parts {
            profile: self.profile,
            secrets: Arc::new(ClientSecrets::of(&self.credential)),
            credential: self.credential,
            seed: self.seed,
            label: self.label,
            policy: self.policy,
            store,
            tls,
            transport: self.http.transport(),
        })?;
        Ok(TokenSource { shared })
    }
}

/// Why a source cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The credential is incomplete.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// A URL or the TLS set-up cannot be used.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(crate::store::StoreError),
    /// Neither a token URL nor an issuer is known.
    #[error("no token URL: set EVERGRANT_TOKEN_URL, a region or an issuer")]
    NoTokenUrl,
}
