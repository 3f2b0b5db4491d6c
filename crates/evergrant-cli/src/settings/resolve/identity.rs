//! Who asks for tokens: a client with its grant, or somebody who has a token already.
//!
//! Without a grant setting a client uses client credentials, unless it has a refresh token and no secret. A refresh
//! token rotates at most providers: each use returns the next and ends the last. Kept in memory only, the newest is lost
//! with the process and the grant with it, so that combination needs permission. For client credentials memory is fine.

use evergrant::grant::{ClientAuth, Credential, Grant};
use evergrant::store::StoreUrl;
use evergrant_core::Secret;

use super::{Findings, switch};
use crate::exit;
use crate::failure::{Failure, nearest};
use crate::settings::catalog::Setting;
use crate::settings::file::secret_hint;
use crate::settings::layers::Layers;
use crate::settings::origin::{Found, Origin};
use crate::settings::values::bad_value;

const GRANTS: [Grant; 2] = [Grant::ClientCredentials, Grant::RefreshToken];
const AUTHS: [ClientAuth; 3] = [ClientAuth::Basic, ClientAuth::Post, ClientAuth::None];
/// Words of the design that a later version will know.
const LATER: [&str; 5] = ["authorization_code", "saml2_bearer", "jwt_bearer", "private_key_jwt", "client_secret_jwt"];

/// Who asks for tokens.
#[derive(Debug)]
pub(crate) enum Identity {
    /// A client, and the first refresh token if its grant needs one.
    Client {
        /// The client and what it asks for.
        credential: Credential,
        /// The refresh token that the store has not seen yet.
        seed: Option<Secret>,
    },
    /// A token that somebody else keeps.
    ReadyToken(Secret),
}

/// The identity, if everything it needs is there.
pub(super) fn resolve(layers: &Layers, store: Option<&StoreUrl>, findings: &mut Findings) -> Option<Identity> {
    let secret = |key, findings: &mut Findings| {
        let found = findings.keep(layers.secret(key)).flatten()?;
        check_white_space(key, &found, findings);
        Some(found)
    };
    let Some(client_id) = layers.plain(Setting::ClientId) else {
        if let Some(ready) = secret(Setting::AccessToken, findings) {
            return Some(Identity::ReadyToken(ready.value));
        }
        findings.gap(no_client_id(layers));
        return None;
    };
    let client_secret = secret(Setting::ClientSecret, findings);
    let refresh_token = secret(Setting::RefreshToken, findings);
    let client_auth = findings.keep(client_auth(layers))?;
    let grant = findings.keep(grant(layers, client_secret.is_some(), refresh_token.is_some()))?;
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
        // A durable store may hold one from an earlier run.
        Grant::RefreshToken => {}
    }
    if client_auth != ClientAuth::None
        && client_secret.is_none()
        && layers.secret_origin(Setting::ClientSecret).is_none()
    {
        findings.gap(no_client_secret(client_auth));
    }
    let text = |key| layers.plain(key).map(|found| found.value.trim().to_owned());
    let credential = Credential {
        client_id: client_id.value.trim().to_owned(),
        client_secret: client_secret.map(|found| found.value),
        client_auth,
        grant,
        scope: text(Setting::Scope),
        audience: text(Setting::Audience),
        resource: text(Setting::Resource),
    };
    let seed = refresh_token.filter(|_| grant == Grant::RefreshToken).map(|found| found.value);
    if client_auth == ClientAuth::None && grant == Grant::ClientCredentials {
        findings.errors.push(public_client_credentials(layers));
    }
    Some(Identity::Client { credential, seed })
}

fn client_auth(layers: &Layers) -> Result<ClientAuth, Failure> {
    let Some(found) = layers.plain(Setting::ClientAuth) else { return Ok(ClientAuth::Basic) };
    let known = AUTHS.into_iter().find(|auth| auth.as_str() == found.value.trim());
    known.ok_or_else(|| unknown_word(Setting::ClientAuth, &found, &AUTHS.map(ClientAuth::as_str)))
}

fn grant(layers: &Layers, has_secret: bool, has_refresh_token: bool) -> Result<Grant, Failure> {
    let Some(found) = layers.plain(Setting::Grant) else {
        let only_refresh_token = has_refresh_token && !has_secret;
        return Ok(if only_refresh_token { Grant::RefreshToken } else { Grant::ClientCredentials });
    };
    let known = GRANTS.into_iter().find(|grant| grant.as_str() == found.value.trim());
    known.ok_or_else(|| unknown_word(Setting::Grant, &found, &GRANTS.map(Grant::as_str)))
}

fn unknown_word(key: Setting, found: &Found<String>, known: &[&'static str]) -> Failure {
    let word = found.value.trim();
    let cause = if LATER.contains(&word) {
        format!("`{word}` is not in this version")
    } else {
        format!("`{word}` is none of {}", known.join(", "))
    };
    let failure = bad_value(key, &found.origin, cause);
    match nearest(word, known.iter().copied()) {
        Some(name) => failure.hint(format!("did you mean {name}?")),
        None => failure.hint(format!("write {}", known.join(" or "))),
    }
}

/// White space that came along when a secret was copied. The secret is sent as it is or not at all: never trimmed.
fn check_white_space(key: Setting, found: &Found<Secret>, findings: &mut Findings) {
    let text = found.value.expose();
    let place = if text.starts_with(char::is_whitespace) {
        "begins with"
    } else if text.ends_with(char::is_whitespace) {
        "ends with"
    } else if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "contains"
    } else {
        return;
    };
    let failure = Failure::new(exit::CONFIG, format!("the {} {place} white space", key.spec().words()))
        .at(&found.origin)
        .because("it probably came along when the secret was copied")
        .hint("store it again without spaces and line breaks, as with `printf %s SECRET > FILE`");
    // A space inside is unusual but allowed (RFC 6749 appendix A.2); at an end it is a slip, and a line break always.
    let may_be_meant = place == "contains" && !text.chars().any(char::is_control);
    if may_be_meant { findings.warn(failure) } else { findings.errors.push(failure) }
}

/// An id from one family of variables and a secret from another are seldom meant for each other.
fn check_families(client_id: &Found<String>, secret: Option<&Found<Secret>>, findings: &mut Findings) {
    let family = |origin: &Origin| match origin {
        Origin::Variable(name) | Origin::EnvFile { name, .. } => {
            Some(name.split("CLIENT").next().unwrap_or_default().trim_end_matches("OAUTH").to_owned())
        }
        Origin::Flag(_) | Origin::SecretFile { .. } | Origin::File(_) | Origin::Default => None,
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
