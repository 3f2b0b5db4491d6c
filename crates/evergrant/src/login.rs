//! A person logs in once, and what comes of it is kept.
//!
//! Two ways lead to a grant. In a browser: the person is sent to the authorization server and comes back to a redirect
//! URI on this machine with a code. On another device: the person types a short code there while we ask from time to time
//! whether it has been done. Either way the answer's refresh token goes into the store, under the key that the refresh
//! token grant of the same client reads, so that every later command and every running process goes on with it.
//!
//! A code that arrives at the redirect URI is believed only if it can be ours. Its `state` must be the one that was sent
//! out, so that no other page can bring a code of its own (RFC 6749 section 10.12); an `iss` must be the issuer's (RFC
//! 9207); and it is redeemed with the PKCE verifier that only this process knows (RFC 7636), so that a stolen code is
//! worth nothing and a planted one is refused by the server.
//!
//! Limits: a login lives in this process. What another process began cannot be finished here.
//!
//! Source: RFC 6749 section 4.1; RFC 7636; RFC 8252 section 7.3 (loopback redirects); RFC 8628 (device); RFC 9207.

mod device;
mod pkce;

use evergrant_core::Secret;
use evergrant_core::profile::Profile;
use evergrant_core::time::{OffsetInterval, Span};
use evergrant_core::token::Issued;
use evergrant_core::wire::{TokenAnswer, TokenFailure};
use url::Url;

use crate::assertion;
use crate::client_secrets::{self, ClientSecrets};
use crate::clock;
use crate::grant::{Credential, Grant};
use crate::redeem::Brought;
use crate::source::HttpOptions;
use crate::store::{self, CredentialKey, Record, Store, StoreError};
use crate::tls::Tls;
use crate::transport::{
    DiscoverError, Target, TargetError, TokenEndpoint, TokenExchange, TransportError, TransportOptions, discover,
};

pub use device::{DeviceLogin, DeviceStep};

/// A client that people log in for.
#[derive(Debug)]
pub struct Login {
    credential: Credential,
    secrets: ClientSecrets,
    endpoint: TokenEndpoint,
    authorize_url: Option<String>,
    device_url: Option<String>,
    /// The issuer that a redirect may name.
    issuer: Option<String>,
    store: Store,
    key: CredentialKey,
    tls: Tls,
    transport: TransportOptions,
}

/// A login in a browser that has begun.
#[derive(Debug)]
pub struct BrowserLogin {
    url: Url,
    redirect_uri: String,
    state: Secret,
    verifier: Secret,
}

/// What the browser brought to the redirect URI.
#[derive(Clone, Debug, Default)]
pub struct Redirect {
    /// The authorization code.
    pub code: Option<Secret>,
    /// What was sent out as `state`.
    pub state: Option<String>,
    /// The issuer, if it names itself.
    pub issuer: Option<String>,
    /// The error code, if the login failed.
    pub error: Option<String>,
    /// Its explanation.
    pub error_description: Option<String>,
}

/// What a login left in the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoggedIn {
    /// Can the grant be renewed?
    pub has_refresh_token: bool,
    /// How long the first access token lives, if the server said.
    pub expires_in: Option<Span>,
    /// Its scopes, if the server said.
    pub scope: Option<String>,
}

impl Login {
    /// Prepares logins for `credential`, whose results go into `store`. Asks an issuer for its endpoints, if need be.
    ///
    /// # Errors
    /// When a URL cannot be used, or the issuer does not tell.
    pub async fn new(
        profile: &Profile,
        credential: Credential,
        store: Store,
        http: &HttpOptions,
        device_url: Option<String>,
    ) -> Result<Self, LoginError> {
        let (tls, transport) = (http.tls(), http.transport());
        let credential = Credential { grant: Grant::RefreshToken, ..credential };
        let mut found = None;
        if let Some(issuer) = &profile.issuer
            && (profile.token_url.is_none() || profile.authorize_url.is_none())
        {
            found = Some(discover(issuer, &tls, transport).await?);
        }
        let discovered = found.as_ref();
        // As a source names its credential: by the issuer, where it is the issuer that is configured.
        let place = profile.token_url.clone().or_else(|| profile.issuer.clone()).ok_or(LoginError::NoTokenUrl)?;
        let token_url = profile.token_url.clone().or_else(|| discovered.map(|found| found.token_endpoint.clone()));
        let endpoint = TokenEndpoint::new(&token_url.ok_or(LoginError::NoTokenUrl)?, &tls, transport)?;
        let authorize_url = profile.authorize_url.clone();
        Ok(Self {
            key: CredentialKey::new(&place, &credential, ""),
            secrets: ClientSecrets::of(&credential),
            credential,
            endpoint,
            authorize_url: authorize_url.or_else(|| discovered.and_then(|found| found.authorization_endpoint.clone())),
            device_url: device_url.or_else(|| discovered.and_then(|found| found.device_authorization_endpoint.clone())),
            issuer: profile.issuer.clone(),
            store,
            tls,
            transport,
        })
    }

    /// Begins a login in a browser that comes back to `redirect_uri`.
    ///
    /// # Errors
    /// When it is not known where people log in, or that URL cannot be used.
    pub fn begin(&self, redirect_uri: &str) -> Result<BrowserLogin, LoginError> {
        let text = self.authorize_url.as_deref().ok_or(LoginError::NoAuthorizeUrl)?;
        let mut url = Target::parse("authorize URL", text, self.transport.allow_insecure_http)?.url().clone();
        let (state, verifier) = (pkce::random_text(), pkce::random_text());
        let asked = [
            ("scope", &self.credential.scope),
            ("audience", &self.credential.audience),
            ("resource", &self.credential.resource),
        ];
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.credential.client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("state", state.expose())
            .append_pair("code_challenge", &pkce::challenge(&verifier))
            .append_pair("code_challenge_method", "S256")
            .extend_pairs(asks_for_offline_access(self.credential.scope.as_deref()).then_some(("prompt", "consent")))
            .extend_pairs(asked.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
        Ok(BrowserLogin { url, redirect_uri: redirect_uri.to_owned(), state, verifier })
    }

    /// Finishes a login with what the browser brought.
    ///
    /// # Errors
    /// [`LoginError::NotOurs`] if it belongs to another login: the login that has begun goes on. Any other error ends it.
    pub async fn finish(&self, login: &BrowserLogin, redirect: Redirect) -> Result<LoggedIn, LoginError> {
        let code = self.check(login, redirect)?;
        let redirect_uri = Some(login.redirect_uri.clone());
        let brought = Brought::AuthorizationCode { code, redirect_uri, code_verifier: Some(login.verifier.clone()) };
        let exchange = self.ask(&brought.fields()).await?;
        self.keep(exchange).await
    }

    /// The code of a redirect that belongs to this login.
    fn check(&self, login: &BrowserLogin, redirect: Redirect) -> Result<Secret, LoginError> {
        let state = redirect.state.map(Secret::new);
        if state.as_ref() != Some(&login.state) {
            return Err(LoginError::NotOurs);
        }
        if let (Some(named), Some(own)) = (&redirect.issuer, &self.issuer)
            && named != own
        {
            return Err(LoginError::ForeignIssuer);
        }
        if let Some(code) = redirect.error {
            let refused = TokenFailure::of(evergrant_core::wire::TokenFailureKind::Rejected).with_code(&code);
            let refused = match &redirect.error_description {
                Some(text) => refused.with_description(text),
                None => refused,
            };
            return Err(LoginError::Refused(refused));
        }
        redirect.code.filter(|code| !code.is_empty()).ok_or(LoginError::NoCode)
    }

    async fn ask(&self, fields: &[(&str, &str)]) -> Result<TokenExchange, LoginError> {
        let credential = &self.credential;
        let make = |shown: &Credential, occasion: &assertion::Occasion<'_>| shown.request(fields, occasion);
        Ok(client_secrets::ask(&self.endpoint, credential, &self.secrets, None, make, |_| {}).await?)
    }

    /// Makes the tokens durable, in place of an earlier login's.
    async fn keep(&self, exchange: TokenExchange) -> Result<LoggedIn, LoginError> {
        let issued = Issued { sent: exchange.sent, received: exchange.received };
        let answer = exchange.result?;
        let logged_in = LoggedIn {
            has_refresh_token: answer.refresh_token.is_some(),
            expires_in: answer.expires_in,
            scope: answer.scope.clone(),
        };
        let mut lease = self.store.lease(&self.key, clock::boot() + LONGEST_LEASE_WAIT).await?;
        let stored = lease.read().cloned().unwrap_or_default();
        lease.commit(&record(stored, answer, issued, self.store.time_offset())).await?;
        Ok(logged_in)
    }
}

impl BrowserLogin {
    /// Where the browser has to go.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }
}

/// Without a prompt for consent, an OpenID provider leaves the refresh token out (OpenID Connect Core 1.0 section 11).
fn asks_for_offline_access(scope: Option<&str>) -> bool {
    scope.unwrap_or_default().split_ascii_whitespace().any(|scope| scope == "offline_access")
}

/// The stored record with the tokens of a new login.
fn record(stored: Record, answer: TokenAnswer, issued: Issued, store: Option<OffsetInterval>) -> Record {
    Record {
        generation: stored.generation.saturating_add(1),
        access_token: Some(answer.access_token),
        token_type: answer.token_type,
        expires_in: answer.expires_in,
        refresh_token: answer.refresh_token,
        issued: Some(store::Issued::of(issued, None, store)),
        intent: None,
        ..stored
    }
}

/// Why nobody is logged in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// It is not known where tokens are requested.
    #[error("there is no token URL")]
    NoTokenUrl,
    /// It is not known where people log in.
    #[error("there is no authorize URL")]
    NoAuthorizeUrl,
    /// It is not known where a login on another device begins.
    #[error("there is no device URL")]
    NoDeviceUrl,
    /// A URL cannot be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No client could be made for a URL.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The issuer does not tell its endpoints.
    #[error(transparent)]
    Discover(#[from] DiscoverError),
    /// The redirect carries another `state`, or none: another page's doing, or that of an earlier login.
    #[error("what arrived does not belong to this login")]
    NotOurs,
    /// The redirect names another issuer (RFC 9207 section 2.4).
    #[error("the answer comes from another issuer")]
    ForeignIssuer,
    /// The redirect has neither a code nor an error.
    #[error("the answer has no code")]
    NoCode,
    /// The authorization server, or the person, said no.
    #[error("the login was refused: {0}")]
    Refused(TokenFailure),
    /// Nobody finished the login in time.
    #[error("the login was not finished in time")]
    Expired,
    /// The token endpoint gave no token.
    #[error(transparent)]
    Token(#[from] TokenFailure),
    /// What came of it cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A running process may be in the middle of a refresh.
const LONGEST_LEASE_WAIT: Span = Span::from_secs(25);

#[cfg(test)]
mod tests;
