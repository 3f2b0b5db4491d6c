//! Grants that somebody else obtained, redeemed and kept here.
//!
//! A caller of a gateway comes with an authorization code, or with a refresh token from a login of its own. It is
//! redeemed once at the token endpoint, and what comes back is put into the store as a record of its own, told from
//! others by a label. From then on it is a [`TokenSource`] like any other: renewed ahead of time, replayed after a 401,
//! and there again after a restart if the store is durable. The tokens never reach the caller.
//!
//! A code is good for one use (RFC 6749 section 4.1.2), so its exchange is never repeated: if the answer is lost, the
//! person has to log in again. A grant without a refresh token ends with its access token.
//!
//! A caller that showed no client secret gets no help from ours: its code is redeemed as a public client would, and only
//! PKCE (RFC 7636) proves that it is its own.

use std::sync::Arc;

use evergrant_core::Secret;
use evergrant_core::offset::Source;
use evergrant_core::time::Span;
use evergrant_core::token::Issued;
use evergrant_core::wire::{TokenAnswer, TokenFailure, TokenFailureKind};

use crate::client_secrets::ClientSecrets;
use crate::clock;
use crate::driver::{Parts, Shared};
use crate::flight;
use crate::grant::{ClientAuth, Credential, Grant};
use crate::secret_place::SecretPlaces;
use crate::source::{BuildError, TokenSource};
use crate::store::{self, CredentialKey, Record};

/// What is redeemed.
#[derive(Clone, Debug)]
pub enum Brought {
    /// An authorization code, RFC 6749 section 4.1.3.
    AuthorizationCode {
        /// The code.
        code: Secret,
        /// Where the code was sent to.
        redirect_uri: Option<String>,
        /// The PKCE secret.
        code_verifier: Option<Secret>,
    },
    /// A refresh token, RFC 6749 section 6.
    RefreshToken(Secret),
}

/// As whom something is redeemed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RedeemAs {
    /// As this source's client, with its secret.
    Client,
    /// As a public client with the same id.
    Public,
}

/// A grant that was redeemed.
#[derive(Debug)]
pub struct Redeemed {
    /// Its tokens.
    pub source: TokenSource,
    /// Can it be renewed?
    pub has_refresh_token: bool,
    /// How long its first access token lives, if the provider said.
    pub expires_in: Option<Span>,
    /// Its scopes, if the provider said.
    pub scope: Option<String>,
}

impl TokenSource {
    /// Redeems what somebody brought at this source's token endpoint, and keeps it under `label` in this source's store.
    ///
    /// # Errors
    /// What the token endpoint said, or why it could not be asked, or that the grant could not be kept.
    pub async fn redeem(&self, brought: &Brought, client: RedeemAs, label: &str) -> Result<Redeemed, TokenFailure> {
        let shared = self.shared();
        let credential = shared.flights.credential_of_grant(client);
        let unsent = |text: String| TokenFailure::of(TokenFailureKind::Unreachable).with_description(&text);
        let exchange = flight::ask(shared, &credential, &client.secrets(shared), None, |shown, occasion| {
            shown.redeem_request(brought, occasion)
        })
        .await?;
        let answer = exchange.result.map_err(|failure| {
            let mut failure = brought.secrets().fold(failure, TokenFailure::without_secret);
            shared.profile.classify_token_failure(&mut failure);
            failure
        })?;
        let (has_refresh_token, expires_in, scope) =
            (answer.refresh_token.is_some(), answer.expires_in, answer.scope.clone());
        let issued = Issued { sent: exchange.sent, received: exchange.received };
        keep(shared, &credential, label, answer, issued, brought).await.map_err(|error| unsent(error.to_string()))?;
        let source = self.start_grant(client, label).map_err(|error| unsent(error.to_string()))?;
        Ok(Redeemed { source, has_refresh_token, expires_in, scope })
    }

    /// A grant that was redeemed before and is still in the store.
    ///
    /// # Errors
    /// When it cannot be started. That it is no longer in the store shows when a token is asked of it.
    pub fn resume(&self, client: RedeemAs, label: &str) -> Result<Self, BuildError> {
        self.start_grant(client, label)
    }

    /// Takes a grant's tokens out of the store. The provider is not told.
    pub async fn forget_grant(&self, client: RedeemAs, label: &str) {
        let flights = &self.shared().flights;
        let key = CredentialKey::new(flights.place(), &flights.credential_of_grant(client), label);
        let deadline = clock::boot() + LONGEST_LEASE_WAIT;
        if let Err(error) = flights.store().forget(&key, deadline).await {
            tracing::error!(%error, hint = error.hint(), "an ended grant stays in the store");
        }
    }

    fn start_grant(&self, client: RedeemAs, label: &str) -> Result<Self, BuildError> {
        let shared = self.shared();
        let parts = Parts {
            profile: shared.profile.clone(),
            credential: shared.flights.credential_of_grant(client),
            secrets: client.secrets(shared),
            seed: None,
            label: label.to_owned(),
            policy: shared.look(|keeper, _| keeper.policy().clone()),
            store: shared.flights.store().clone(),
            tls: shared.flights.tls(),
            transport: shared.flights.transport(),
        };
        Ok(Self::of(Shared::start(parts)?))
    }
}

impl Brought {
    fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let (first, second) = match self {
            Self::AuthorizationCode { code, code_verifier, .. } => (code, code_verifier.as_ref()),
            Self::RefreshToken(token) => (token, None),
        };
        [first].into_iter().chain(second)
    }

    /// The form's fields that say what is redeemed.
    pub(crate) fn fields(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::AuthorizationCode { code, redirect_uri, code_verifier } => {
                let mut fields = vec![("grant_type", "authorization_code"), ("code", code.expose())];
                fields.extend(redirect_uri.as_deref().map(|uri| ("redirect_uri", uri)));
                fields.extend(code_verifier.as_ref().map(|verifier| ("code_verifier", verifier.expose())));
                fields
            }
            Self::RefreshToken(token) => vec![("grant_type", "refresh_token"), ("refresh_token", token.expose())],
        }
    }
}

impl RedeemAs {
    /// The credential of a grant: the client's, renewed with a refresh token. What it is for was said when it was granted.
    pub(crate) fn credential(self, own: &Credential) -> Credential {
        let mut credential =
            Credential { grant: Grant::RefreshToken, scope: None, audience: None, resource: None, ..own.clone() };
        credential.grant_assertion = None;
        credential.more_fields.clear();
        if self == Self::Public {
            credential.next_client_secret = None;
            credential.secret_places = SecretPlaces::default();
            (credential.client_auth, credential.client_secret) = (ClientAuth::None, None);
            credential.client_assertion = None;
        }
        credential
    }

    /// What the client of a grant shows: the source's own secrets, also when they change.
    fn secrets(self, own: &Shared) -> Arc<ClientSecrets> {
        match self {
            Self::Client => Arc::clone(own.flights.secrets()),
            Self::Public => Arc::new(ClientSecrets::of(&own.flights.credential_of_grant(self))),
        }
    }
}

/// Makes the grant's first tokens durable, as far as the store is.
async fn keep(
    shared: &Arc<Shared>,
    credential: &Credential,
    label: &str,
    answer: TokenAnswer,
    issued: Issued,
    brought: &Brought,
) -> Result<(), store::StoreError> {
    // A server that does not rotate leaves the refresh token out of its answer (RFC 6749 section 6).
    let brought = match brought {
        Brought::RefreshToken(token) => Some(token.clone()),
        Brought::AuthorizationCode { .. } => None,
    };
    let offset = shared.look(|keeper, now| keeper.clocks().reading(Source::AuthDate, now.boot).interval);
    let store = shared.flights.store();
    let key = CredentialKey::new(shared.flights.place(), credential, label);
    let mut lease = store.lease(&key, clock::boot() + LONGEST_LEASE_WAIT).await?;
    let issued = shared.flights.issued(issued, offset);
    let record = Record {
        generation: 1,
        access_token: Some(answer.access_token),
        token_type: answer.token_type,
        expires_in: answer.expires_in,
        refresh_token: answer.refresh_token.or(brought),
        issued: Some(issued),
        ..Record::default()
    };
    lease.commit(&record).await
}

/// A label is new, so nobody else holds its lease.
const LONGEST_LEASE_WAIT: Span = Span::from_secs(5);
