//! What is asked of the token endpoint: the grant, and who asks for it.
//!
//! A [`Credential`] is one identity at one token endpoint. It becomes a [`TokenRequest`]: a form and, for HTTP Basic,
//! an `Authorization` value. Two details are often missed and decide whether unusual secrets work: the id and the
//! secret are form-encoded *before* they are joined and encoded for Basic, and a client that authenticates with
//! Basic must not repeat its secret in the form.
//!
//! Signed assertions, as grants and in place of a secret, are dated in the server's time, which a request is told as its
//! occasion; how they come about is in [`assertion`](crate::assertion).
//!
//! Source: RFC 6749 sections 2.3.1 (client password), 3.2.1, 4.1.3 (code), 4.4.2 (client credentials), 6
//! (refresh); RFC 7522 and RFC 7523 section 2 (assertions); RFC 8705 section 2 (mutual TLS); RFC 8707 section 2
//! (`resource`). `audience` is the common extension of providers that predate it.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use evergrant_core::Secret;

use crate::assertion::{Assertion, AssertionError, Occasion};
use crate::redeem::Brought;
use crate::secret_place::SecretPlaces;

/// One identity at one token endpoint, and what it asks for.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The client identifier.
    pub client_id: String,
    /// The client secret; a public client has none.
    pub client_secret: Option<Secret>,
    /// The secret that is about to take its place: shown where the provider refuses the other one.
    pub next_client_secret: Option<Secret>,
    /// Where these secrets are kept; they are read there again for each token request.
    pub secret_places: SecretPlaces,
    /// How the client authenticates.
    pub client_auth: ClientAuth,
    /// The grant that is spent for access tokens.
    pub grant: Grant,
    /// The scopes asked for, separated by spaces; the provider's default if absent.
    pub scope: Option<String>,
    /// The audience asked for, where the provider knows the word.
    pub audience: Option<String>,
    /// The resource indicator asked for.
    pub resource: Option<String>,
    /// What the client shows instead of a secret, for [`ClientAuth::PrivateKeyJwt`].
    pub client_assertion: Option<Assertion>,
    /// What is spent, for [`Grant::JwtBearer`] and [`Grant::Saml2Bearer`].
    pub grant_assertion: Option<Assertion>,
    /// Further fields that the provider wants in the form, such as `orgName`.
    pub more_fields: Vec<(String, String)>,
}

impl Credential {
    /// A confidential client that authenticates with Basic and uses the client credentials grant.
    #[must_use]
    pub fn client_credentials(client_id: impl Into<String>, client_secret: Secret) -> Self {
        Self {
            client_id: client_id.into(),
            client_secret: Some(client_secret),
            next_client_secret: None,
            secret_places: SecretPlaces::default(),
            client_auth: ClientAuth::Basic,
            grant: Grant::ClientCredentials,
            scope: None,
            audience: None,
            resource: None,
            client_assertion: None,
            grant_assertion: None,
            more_fields: Vec::new(),
        }
    }

    /// Can this credential be sent at all? Says what is missing before the first request is.
    ///
    /// # Errors
    /// When the client id is empty, or the client authentication and the secret do not fit together.
    pub fn check(&self) -> Result<(), GrantError> {
        if self.client_id.is_empty() {
            return Err(GrantError::NoClientId);
        }
        match (self.client_auth, &self.client_secret) {
            (ClientAuth::Basic | ClientAuth::Post, None) => Err(GrantError::NoClientSecret(self.client_auth)),
            (ClientAuth::None, _) if self.grant == Grant::ClientCredentials => Err(GrantError::PublicClientCredentials),
            (ClientAuth::PrivateKeyJwt, _) if self.client_assertion.is_none() => Err(GrantError::NoClientAssertion),
            _ if self.grant.spends_an_assertion() && self.grant_assertion.is_none() => {
                Err(GrantError::NoAssertion(self.grant))
            }
            (
                ClientAuth::Basic | ClientAuth::Post | ClientAuth::None | ClientAuth::PrivateKeyJwt | ClientAuth::Tls,
                _,
            ) => Ok(()),
        }
    }

    /// Does the other one show the same secrets, from the same places?
    #[must_use]
    pub fn has_secrets_of(&self, other: &Self) -> bool {
        (&self.client_secret, &self.next_client_secret, &self.secret_places)
            == (&other.client_secret, &other.next_client_secret, &other.secret_places)
    }

    /// Does a request hold an assertion that is signed here, so that its dates can be written anew?
    #[must_use]
    pub fn signs(&self) -> bool {
        let used = [
            self.client_assertion.as_ref().filter(|_| self.client_auth == ClientAuth::PrivateKeyJwt),
            self.grant_assertion.as_ref().filter(|_| self.grant.spends_an_assertion()),
        ];
        used.into_iter().flatten().any(Assertion::is_signed_here)
    }

    /// The request for the next access token. `refresh_token` is the newest one the store holds; the client
    /// credentials grant ignores it.
    ///
    /// # Errors
    /// As [`Credential::check`], and when the refresh token grant has no refresh token, or an assertion cannot be had.
    pub(crate) fn token_request(
        &self,
        refresh_token: Option<&Secret>,
        occasion: &Occasion<'_>,
    ) -> Result<TokenRequest, GrantError> {
        let mut fields = vec![("grant_type", self.grant.on_the_wire())];
        let assertion = match (self.grant, &self.grant_assertion) {
            (Grant::JwtBearer | Grant::Saml2Bearer, Some(assertion)) => Some(assertion.write(occasion)?),
            (Grant::JwtBearer | Grant::Saml2Bearer | Grant::ClientCredentials | Grant::RefreshToken, _) => None,
        };
        if let Some(assertion) = &assertion {
            fields.push(("assertion", assertion.expose()));
        }
        if self.grant == Grant::RefreshToken {
            let token = refresh_token.filter(|token| !token.is_empty()).ok_or(GrantError::NoRefreshToken)?;
            fields.push(("refresh_token", token.expose()));
        }
        self.request(&fields, occasion)
    }

    /// The request that redeems what somebody else obtained for this client.
    ///
    /// # Errors
    /// As [`Credential::check`], and when an assertion cannot be had.
    pub(crate) fn redeem_request(
        &self,
        brought: &Brought,
        occasion: &Occasion<'_>,
    ) -> Result<TokenRequest, GrantError> {
        self.request(&brought.fields(), occasion)
    }

    /// A request with these fields, what is asked for, and who asks.
    pub(crate) fn request(&self, fields: &[(&str, &str)], occasion: &Occasion<'_>) -> Result<TokenRequest, GrantError> {
        self.check()?;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        form.extend_pairs(&self.more_fields);
        for (name, value) in [("scope", &self.scope), ("audience", &self.audience), ("resource", &self.resource)] {
            if let Some(value) = value {
                form.append_pair(name, value);
            }
        }
        let mut authorization = None;
        match (self.client_auth, &self.client_secret) {
            (ClientAuth::Basic, Some(secret)) => authorization = Some(basic(&self.client_id, secret)),
            (ClientAuth::Post, Some(secret)) => {
                form.append_pair("client_id", &self.client_id).append_pair("client_secret", secret.expose());
            }
            (ClientAuth::Basic | ClientAuth::Post | ClientAuth::None | ClientAuth::Tls, _) => {
                form.append_pair("client_id", &self.client_id);
            }
            (ClientAuth::PrivateKeyJwt, _) => {
                let assertion = self.client_assertion.as_ref().ok_or(GrantError::NoClientAssertion)?;
                form.append_pair("client_id", &self.client_id)
                    .append_pair("client_assertion_type", CLIENT_ASSERTION_TYPE)
                    .append_pair("client_assertion", assertion.write(occasion)?.expose());
            }
        }
        Ok(TokenRequest { authorization, form: Secret::new(form.finish()) })
    }
}

/// How a client proves to the token endpoint who it is.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum ClientAuth {
    /// HTTP Basic with the client id and secret.
    #[default]
    Basic,
    /// The client id and secret in the form.
    Post,
    /// Only the client id in the form: a public client.
    None,
    /// A signed assertion in the form, RFC 7523 section 2.2.
    PrivateKeyJwt,
    /// The client's certificate in the TLS handshake, RFC 8705 section 2.
    Tls,
}

impl ClientAuth {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Basic, Self::Post, Self::None, Self::PrivateKeyJwt, Self::Tls];

    /// The setting's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Post => "post",
            Self::None => "none",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::Tls => "tls_client_auth",
        }
    }
}

impl fmt::Display for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ClientAuth {
    type Err = GrantError;
    fn from_str(text: &str) -> Result<Self, GrantError> {
        Self::ALL
            .into_iter()
            .find(|auth| auth.as_str() == text)
            .ok_or_else(|| GrantError::UnknownClientAuth(text.to_owned()))
    }
}

/// What is spent at the token endpoint for an access token.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Grant {
    /// The client's own credentials, RFC 6749 section 4.4.
    #[default]
    ClientCredentials,
    /// A refresh token, RFC 6749 section 6.
    RefreshToken,
    /// A signed statement about a subject, RFC 7523 section 2.1.
    JwtBearer,
    /// A SAML 2.0 assertion, RFC 7522 section 2.1.
    Saml2Bearer,
}

impl Grant {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ClientCredentials, Self::RefreshToken, Self::JwtBearer, Self::Saml2Bearer];

    /// The setting's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::RefreshToken => "refresh_token",
            Self::JwtBearer => "jwt_bearer",
            Self::Saml2Bearer => "saml2_bearer",
        }
    }

    /// Is an assertion spent for the token?
    #[must_use]
    pub const fn spends_an_assertion(self) -> bool {
        matches!(self, Self::JwtBearer | Self::Saml2Bearer)
    }

    /// The `grant_type` of the request.
    const fn on_the_wire(self) -> &'static str {
        match self {
            Self::ClientCredentials | Self::RefreshToken => self.as_str(),
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
            Self::Saml2Bearer => "urn:ietf:params:oauth:grant-type:saml2-bearer",
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Grant {
    type Err = GrantError;
    fn from_str(text: &str) -> Result<Self, GrantError> {
        Self::ALL
            .into_iter()
            .find(|grant| grant.as_str() == text)
            .ok_or_else(|| GrantError::UnknownGrant(text.to_owned()))
    }
}

/// A token request ready to be sent.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The value of the `Authorization` field, if the client authenticates with Basic.
    pub authorization: Option<Secret>,
    /// The `application/x-www-form-urlencoded` body.
    pub form: Secret,
}

/// Why a credential cannot be sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GrantError {
    /// The client id is empty.
    #[error("the client id is empty")]
    NoClientId,
    /// This client authentication needs a secret and there is none.
    #[error("client authentication `{0}` needs a client secret")]
    NoClientSecret(ClientAuth),
    /// A public client has nothing to spend for the client credentials grant.
    #[error("the client credentials grant needs a client authentication other than `none`")]
    PublicClientCredentials,
    /// Neither the store nor the settings hold a refresh token.
    #[error("the refresh token grant has no refresh token")]
    NoRefreshToken,
    /// Nothing signs for the client.
    #[error("client authentication `private_key_jwt` needs a private key or a client assertion")]
    NoClientAssertion,
    /// There is nothing to spend.
    #[error("the grant `{0}` needs an assertion, or a private key to sign one with")]
    NoAssertion(Grant),
    /// The assertion cannot be had.
    #[error(transparent)]
    Assertion(#[from] AssertionError),
    /// The setting names no grant of ours.
    #[error("unknown grant `{0}`: expected one of {known}", known = Grant::ALL.map(Grant::as_str).join(", "))]
    UnknownGrant(String),
    /// The setting names no client authentication of ours.
    #[error("unknown client authentication `{0}`: expected one of {known}", known = ClientAuth::ALL.map(ClientAuth::as_str).join(", "))]
    UnknownClientAuth(String),
}

/// RFC 7523 section 2.2.
const CLIENT_ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// RFC 6749 section 2.3.1: both parts are form-encoded, then joined by a colon and encoded as in RFC 7617.
fn basic(client_id: &str, client_secret: &Secret) -> Secret {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = Secret::new(format!("{}:{}", encode(client_id), encode(client_secret.expose())));
    Secret::new(format!("Basic {}", STANDARD.encode(pair.expose())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use evergrant_core::time::Server;
    use proptest::prelude::*;

    use crate::assertion::ServerTime;

    fn occasion() -> Occasion<'static> {
        let then = Server::from_secs(1_800_000_000);
        Occasion { token_url: "https://id.example/token", time: ServerTime { earliest: then, latest: then } }
    }

    fn credential(client_auth: ClientAuth, grant: Grant) -> Credential {
        let mut credential = Credential::client_credentials("id", Secret::from("s3cr3t"));
        credential.client_auth = client_auth;
        credential.grant = grant;
        credential
    }

    fn fields(request: &TokenRequest) -> Vec<(String, String)> {
        form_urlencoded::parse(request.form.expose().as_bytes()).into_owned().collect()
    }

    #[test]
    fn basic_form_encodes_both_parts_first() {
        let mut credential = Credential::client_credentials("my:id", Secret::from("a b%ü"));
        credential.scope = Some("read write".to_owned());
        let request = credential.token_request(None, &occasion()).unwrap();
        let value = request.authorization.unwrap();
        let decoded = STANDARD.decode(value.expose().strip_prefix("Basic ").unwrap()).unwrap();
        assert_eq!(String::from_utf8(decoded).unwrap(), "my%3Aid:a+b%25%C3%BC");
        assert_eq!(request.form.expose(), "grant_type=client_credentials&scope=read+write");
    }

    #[test]
    fn post_sends_id_and_secret_in_the_form_alone() {
        let request = credential(ClientAuth::Post, Grant::ClientCredentials).token_request(None, &occasion()).unwrap();
        assert!(request.authorization.is_none());
        assert_eq!(request.form.expose(), "grant_type=client_credentials&client_id=id&client_secret=s3cr3t");
    }

    #[test]
    fn a_public_client_sends_its_id_with_the_refresh_token() {
        let mut credential = credential(ClientAuth::None, Grant::RefreshToken);
        credential.client_secret = None;
        let request = credential.token_request(Some(&Secret::from("r+1")), &occasion()).unwrap();
        assert_eq!(request.form.expose(), "grant_type=refresh_token&refresh_token=r%2B1&client_id=id");
        assert!(request.authorization.is_none());
    }

    #[test]
    fn what_does_not_fit_together_is_refused_before_sending() {
        let mut public = credential(ClientAuth::None, Grant::ClientCredentials);
        assert_eq!(public.check(), Err(GrantError::PublicClientCredentials));
        public.client_auth = ClientAuth::Basic;
        public.client_secret = None;
        assert_eq!(public.check(), Err(GrantError::NoClientSecret(ClientAuth::Basic)));
        public.client_id.clear();
        assert_eq!(public.check(), Err(GrantError::NoClientId));
        let refresh = credential(ClientAuth::Basic, Grant::RefreshToken);
        assert_eq!(refresh.token_request(None, &occasion()).unwrap_err(), GrantError::NoRefreshToken);
        assert_eq!(
            refresh.token_request(Some(&Secret::from("")), &occasion()).unwrap_err(),
            GrantError::NoRefreshToken
        );
    }

    #[test]
    fn nothing_secret_is_printed() {
        let credential = credential(ClientAuth::Post, Grant::RefreshToken);
        let request = credential.token_request(Some(&Secret::from("refresh-me")), &occasion()).unwrap();
        let basic =
            self::credential(ClientAuth::Basic, Grant::ClientCredentials).token_request(None, &occasion()).unwrap();
        let printed = format!("{credential:?} {request:?} {basic:?}");
        assert!(!printed.contains("s3cr3t") && !printed.contains("refresh-me"), "{printed}");
        assert!(!printed.contains(&STANDARD.encode("id:s3cr3t")), "{printed}");
    }

    #[test]
    fn the_words_of_the_settings_read_back() {
        for auth in ClientAuth::ALL {
            assert_eq!(auth.as_str().parse(), Ok(auth));
        }
        for grant in Grant::ALL {
            assert_eq!(grant.as_str().parse(), Ok(grant));
        }
        assert!("Basic".parse::<ClientAuth>().unwrap_err().to_string().contains("expected one of basic, post"));
    }

    #[test]
    fn an_assertion_made_elsewhere_is_sent_as_it_is() {
        let mut credential = credential(ClientAuth::Basic, Grant::Saml2Bearer);
        assert_eq!(credential.check(), Err(GrantError::NoAssertion(Grant::Saml2Bearer)));
        credential.grant_assertion = Some(Assertion::Text(Secret::from("PHNhbWw-\n")));
        credential.more_fields = vec![("orgName".to_owned(), "acme & co".to_owned())];
        let request = credential.token_request(None, &occasion()).unwrap();
        assert_eq!(
            request.form.expose(),
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Asaml2-bearer&assertion=PHNhbWw-&orgName=acme+%26+co"
        );
        assert!(request.authorization.is_some() && !credential.signs());
    }

    #[test]
    fn a_client_assertion_takes_the_place_of_the_secret() {
        let mut credential = credential(ClientAuth::PrivateKeyJwt, Grant::RefreshToken);
        assert_eq!(credential.check(), Err(GrantError::NoClientAssertion));
        credential.client_assertion = Some(Assertion::Text(Secret::from("a.b.c")));
        let request = credential.token_request(Some(&Secret::from("r")), &occasion()).unwrap();
        let sent = fields(&request);
        let field = |name: &str| sent.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(field("client_assertion"), Some("a.b.c"));
        assert_eq!(field("client_assertion_type"), Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
        assert_eq!((field("client_id"), field("client_secret")), (Some("id"), None));
        assert!(request.authorization.is_none(), "a client shows one proof (RFC 6749 section 2.3)");
    }

    #[test]
    fn with_mutual_tls_only_the_id_is_in_the_form() {
        let mut credential = credential(ClientAuth::Tls, Grant::ClientCredentials);
        credential.client_secret = None;
        let request = credential.token_request(None, &occasion()).unwrap();
        assert_eq!(request.form.expose(), "grant_type=client_credentials&client_id=id");
    }

    proptest! {
        #[test]
        fn any_id_and_secret_arrive_unchanged(id in ".{1,20}", secret in ".{0,20}", scope in proptest::option::of(".{0,9}")) {
            let mut credential = Credential::client_credentials(id.clone(), Secret::new(secret.clone()));
            credential.scope = scope.clone();
            let request = credential.token_request(None, &occasion()).unwrap();
            let pair = STANDARD.decode(request.authorization.as_ref().unwrap().expose().strip_prefix("Basic ").unwrap()).unwrap();
            let pair = String::from_utf8(pair).unwrap();
            let (sent_id, sent_secret) = pair.split_once(':').unwrap();
            let decode = |text: &str| form_urlencoded::parse(format!("v={text}").as_bytes()).next().unwrap().1.into_owned();
            prop_assert_eq!((decode(sent_id), decode(sent_secret)), (id, secret));
            let sent_scope = fields(&request).into_iter().find(|(name, _)| name == "scope").map(|(_, value)| value);
            prop_assert_eq!(sent_scope, scope);
        }
    }
}
