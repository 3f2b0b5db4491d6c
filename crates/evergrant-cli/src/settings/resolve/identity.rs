//! Who asks for tokens: a client with its grant, or somebody who has a token already.
//!
//! Without a grant setting a client uses client credentials, unless it has a refresh token and no secret. A refresh
//! token rotates at most providers: each use returns the next and ends the last. Kept in memory only, the newest is lost
//! with the process and the grant with it, so that combination needs permission. For client credentials memory is fine.

use evergrant::SecretPlaces;
use evergrant::grant::{ClientAuth, Credential, Grant};
use evergrant::settings;
use evergrant::store::StoreUrl;
use evergrant_core::Secret;

use super::{Findings, assertion, client_secret, switch};
use crate::exit;
use crate::failure::{Failure, nearest};
use crate::settings::catalog::Setting;
use crate::settings::file::secret_hint;
use crate::settings::layers::Layers;
use crate::settings::origin::{Found, Origin};
use crate::settings::values::bad_value;

/// Who asks for tokens.
#[derive(Debug)]
pub(crate) enum Identity {
    /// A client.
    Client(Box<Client>),
    /// A token that somebody else keeps.
    ReadyToken(Secret),
}

/// A client, and the first refresh token if its grant needs one.
#[derive(Debug)]
pub(crate) struct Client {
    /// The client and what it asks for.
    pub(crate) credential: Credential,
    /// The refresh token that the store has not seen yet.
    pub(crate) seed: Option<Secret>,
    /// Whom its assertions are about.
    pub(crate) label: Option<String>,
}

impl Identity {
    /// The client, if it is one.
    pub(crate) fn client(&self) -> Option<&Client> {
        match self {
            Self::Client(client) => Some(client),
            Self::ReadyToken(_) => None,
        }
    }

    /// The first refresh token.
    pub(crate) fn seed(&self) -> Option<&Secret> {
        self.client().and_then(|client| client.seed.as_ref())
    }
}

/// The identity, if everything it needs is there.
pub(super) fn resolve(layers: &Layers, store: Option<&StoreUrl>, findings: &mut Findings) -> Option<Identity> {
    let secret = |key, findings: &mut Findings| {
        let found = findings.keep(layers.secret(key)).flatten()?;
        client_secret::check_white_space(key, &found.value, &found.origin, findings);
        Some(found)
    };
    let Some(client_id) = layers.plain(Setting::ClientId) else {
        if let Some(ready) = secret(Setting::AccessToken, findings) {
            return Some(Identity::ReadyToken(ready.value));
        }
        findings.gap(no_client_id(layers));
        return None;
    };
    let client_name = client_id.value.trim().to_owned();
    let client_secret = secret(Setting::ClientSecret, findings);
    let next_client_secret = secret(Setting::ClientSecretNext, findings);
    let secret_places = SecretPlaces {
        current: client_secret::place(layers, client_secret::CURRENT, &client_name, findings),
        next: client_secret::place(layers, client_secret::NEXT, &client_name, findings),
    };
    let has_secret = client_secret.is_some() || secret_places.current.is_some();
    client_secret::check_change_over(has_secret, client_secret.as_ref(), next_client_secret.as_ref(), layers, findings);
    let refresh_token = secret(Setting::RefreshToken, findings);
    let client_auth = findings.keep(client_auth(layers))?;
    let grant = findings.keep(grant(layers, has_secret, refresh_token.is_some()))?;
    let volatile = switch(layers, Setting::AllowVolatile, findings);
    check_families(&client_id, client_secret.as_ref(), findings);
    match grant {
        Grant::ClientCredentials => warn_of_ignored_refresh_token(refresh_token.as_ref(), findings),
        Grant::RefreshToken if store == Some(&StoreUrl::Memory) => {
            if !volatile {
                findings.errors.push(volatile_grant());
            } else if refresh_token.is_none() {
                findings.gap(no_refresh_token());
            }
        }
        // A durable store may hold one from an earlier run, or from a login.
        Grant::RefreshToken | Grant::JwtBearer | Grant::Saml2Bearer => {}
    }
    if matches!(client_auth, ClientAuth::Basic | ClientAuth::Post)
        && !has_secret
        && layers.secret_origin(Setting::ClientSecret).is_none()
        && layers.origin(Setting::ClientSecretIn).is_none()
    {
        findings.gap(no_client_secret(client_auth));
    }
    if client_auth == ClientAuth::Tls && layers.plain(Setting::ClientCert).is_none() {
        findings.gap(no_client_cert());
    }
    let text = |key| layers.plain(key).map(|found| found.value.trim().to_owned());
    let assertions = assertion::resolve(layers, &client_name, client_auth, grant, findings)?;
    let credential = Credential {
        client_id: client_name,
        client_secret: client_secret.map(|found| found.value),
        next_client_secret: next_client_secret.map(|found| found.value),
        secret_places,
        client_auth,
        grant,
        scope: text(Setting::Scope),
        audience: text(Setting::Audience),
        resource: text(Setting::Resource),
        client_assertion: assertions.client,
        grant_assertion: assertions.grant,
        more_fields: findings.keep(more_fields(layers))?,
    };
    let seed = refresh_token.filter(|_| grant == Grant::RefreshToken).map(|found| found.value);
    if client_auth == ClientAuth::None && grant == Grant::ClientCredentials {
        findings.errors.push(public_client_credentials(layers));
    }
    let label = text(Setting::Subject).filter(|_| grant.spends_an_assertion());
    Some(Identity::Client(Box::new(Client { credential, seed, label })))
}

/// `NAME=VALUE`, none of which may take the place of a field that has a setting of its own.
fn more_fields(layers: &Layers) -> Result<Vec<(String, String)>, Failure> {
    let Some(found) = layers.plain(Setting::TokenField) else { return Ok(Vec::new()) };
    let parts = found.value.split(',').filter(|part| !part.trim().is_empty());
    let bad = |cause: String| bad_value(Setting::TokenField, &found.origin, cause);
    parts
        .map(|part| {
            let (name, value) = part
                .split_once('=')
                .map(|(name, value)| (name.trim(), value.trim()))
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| bad(format!("`{}` is not NAME=VALUE", part.trim())).hint("write orgName=acme"))?;
            if OWN_FIELDS.contains(&name) {
                return Err(bad(format!("the field `{name}` has a setting of its own"))
                    .hint("`evergrant token --help` lists the settings"));
            }
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// Fields of a token request that other settings fill in.
const OWN_FIELDS: [&str; 14] = [
    "grant_type",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "assertion",
    "refresh_token",
    "code",
    "code_verifier",
    "redirect_uri",
    "device_code",
    "scope",
    "audience",
    "resource",
];

fn no_client_cert() -> Failure {
    Failure::new(exit::CONFIG, "there is no client certificate")
        .because("client authentication tls_client_auth shows one")
        .hint("set EVERGRANT_CLIENT_CERT and EVERGRANT_CLIENT_KEY to PEM files")
}

fn client_auth(layers: &Layers) -> Result<ClientAuth, Failure> {
    let Some(found) = layers.plain(Setting::ClientAuth) else { return Ok(ClientAuth::Basic) };
    let known = ClientAuth::ALL.into_iter().find(|auth| auth.as_str() == found.value.trim());
    known.ok_or_else(|| unknown_word(Setting::ClientAuth, &found, &ClientAuth::ALL.map(ClientAuth::as_str)))
}

fn grant(layers: &Layers, has_secret: bool, has_refresh_token: bool) -> Result<Grant, Failure> {
    let Some(found) = layers.plain(Setting::Grant) else {
        return Ok(settings::implied_grant(has_secret, has_refresh_token));
    };
    settings::grant(found.value.trim())
        .ok_or_else(|| unknown_word(Setting::Grant, &found, &Grant::ALL.map(Grant::as_str)))
}

fn unknown_word(key: Setting, found: &Found<String>, known: &[&'static str]) -> Failure {
    let word = found.value.trim();
    let failure = bad_value(key, &found.origin, format!("`{word}` is none of {}", known.join(", ")));
    match nearest(word, known.iter().copied()) {
        Some(name) => failure.hint(format!("did you mean {name}?")),
        None => failure.hint(format!("write {}", known.join(" or "))),
    }
}

/// An id from one family of variables and a secret from another are seldom meant for each other.
fn check_families(client_id: &Found<String>, secret: Option<&Found<Secret>>, findings: &mut Findings) {
    let family = |origin: &Origin| match origin {
        Origin::Variable(name) | Origin::EnvFile { name, .. } => {
            Some(name.split("CLIENT").next().unwrap_or_default().trim_end_matches("OAUTH").to_owned())
        }
        Origin::Flag(_) | Origin::SecretFile { .. } | Origin::File(_) | Origin::Socket(_) | Origin::Default => None,
    };
    let Some(secret) = secret else { return };
    if let (Some(of_id), Some(of_secret)) = (family(&client_id.origin), family(&secret.origin))
        && of_id != of_secret
    {
        findings.warn(
            Failure::new(exit::CONFIG, "the client id and the client secret come from different tools' variables")
                .at(format!("{} and {}", client_id.origin, secret.origin))
                .hint("set both in one family, as EVERGRANT_CLIENT_ID and EVERGRANT_CLIENT_SECRET"),
        );
    }
}

fn warn_of_ignored_refresh_token(refresh_token: Option<&Found<Secret>>, findings: &mut Findings) {
    if let Some(found) = refresh_token {
        findings.warn(
            Failure::new(exit::CONFIG, "the refresh token is ignored")
                .at(&found.origin)
                .because("the grant is client_credentials, which needs none")
                .hint("to use it, set EVERGRANT_GRANT=refresh_token and a store that lasts, as --store file:PATH"),
        );
    }
}

fn volatile_grant() -> Failure {
    Failure::new(exit::CONFIG, "a refresh token that changes with every use cannot live in memory alone")
        .at("store = memory")
        .because("the newest refresh token would be lost with this process, and the grant with it")
        .hint("keep it with --store file:PATH (set EVERGRANT_STORE_KEY) or --store file+plain:PATH")
        .hint("if the provider's refresh tokens do not change, or the loss is acceptable: --allow-volatile")
}

fn no_client_id(layers: &Layers) -> Failure {
    let failure = Failure::new(exit::CONFIG, "there is no client id");
    let failure = match layers.secret_origin(Setting::ClientSecret) {
        Some(origin) => failure.because(format!("a client secret is set ({origin}), but no id that goes with it")),
        None => failure.because("nothing says which OAuth client asks for tokens"),
    };
    failure.hint("set EVERGRANT_CLIENT_ID and EVERGRANT_CLIENT_SECRET, or read them with --env-file FILE")
}

fn no_client_secret(auth: ClientAuth) -> Failure {
    Failure::new(exit::CONFIG, "there is no client secret")
        .because(format!("client authentication {auth} needs one"))
        .hint(secret_hint(Setting::ClientSecret.spec()))
        .hint("a public client, which has none, says so with --client-auth none")
}

fn no_refresh_token() -> Failure {
    Failure::new(exit::CONFIG, "there is no refresh token")
        .because("the grant is refresh_token, and memory holds none at the start")
        .hint(secret_hint(Setting::RefreshToken.spec()))
}

fn public_client_credentials(layers: &Layers) -> Failure {
    let origin = layers.origin(Setting::ClientAuth).unwrap_or(Origin::Default);
    bad_value(Setting::ClientAuth, &origin, "a public client (`none`) has nothing to show for client credentials")
        .hint("use basic or post with a client secret, or --grant refresh_token")
}
