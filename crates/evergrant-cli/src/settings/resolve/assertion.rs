//! Assertions: what signs them here, or where they come from.
//!
//! `private_key_jwt` shows one in place of a secret, the grants `jwt_bearer` and `saml2_bearer` spend one. One private
//! key serves both. An assertion that another program writes and replaces is named as a file and read for each token
//! request, so that a new one is used at once.

use std::sync::Arc;

use evergrant::assertion::{Assertion, Claims, Signer};
use evergrant::grant::{ClientAuth, Grant};

use super::Findings;
use crate::exit;
use crate::failure::Failure;
use crate::settings::catalog::Setting;
use crate::settings::file::secret_hint;
use crate::settings::layers::Layers;
use crate::settings::origin::Origin;
use crate::settings::values::bad_value;

/// The assertions of a client.
pub(super) struct Assertions {
    /// Shown in place of a secret.
    pub(super) client: Option<Assertion>,
    /// Spent for a token.
    pub(super) grant: Option<Assertion>,
}

/// The assertions that this client needs.
pub(super) fn resolve(
    layers: &Layers,
    client_id: &str,
    client_auth: ClientAuth,
    grant: Grant,
    findings: &mut Findings,
) -> Option<Assertions> {
    let needs_client = client_auth == ClientAuth::PrivateKeyJwt;
    let given = |key, needed: bool, findings: &mut Findings| {
        if needed { findings.keep(given(layers, key)) } else { Some(None) }
    };
    let client = given(Setting::ClientAssertion, needs_client, findings)?;
    let spent = given(Setting::Assertion, grant.spends_an_assertion(), findings)?;
    let must_sign = (needs_client && client.is_none()) || (grant == Grant::JwtBearer && spent.is_none());
    let signer = if must_sign { findings.keep(signer(layers))? } else { None };
    let text = |key| layers.plain(key).map(|found| found.value.trim().to_owned());
    let signed = |subject: String| {
        let claims = Claims { issuer: client_id.to_owned(), subject, audience: text(Setting::AssertionAudience) };
        signer.clone().map(|signer| Assertion::Signed(signer, claims))
    };
    let client = client.or_else(|| signed(client_id.to_owned())).filter(|_| needs_client);
    let spent = spent.or_else(|| {
        signed(text(Setting::Subject).unwrap_or_else(|| client_id.to_owned())).filter(|_| grant == Grant::JwtBearer)
    });
    if needs_client && client.is_none() && !is_named(layers, Setting::ClientAssertion) {
        findings.gap(missing("client authentication private_key_jwt", Setting::ClientAssertion, true));
    }
    if grant.spends_an_assertion() && spent.is_none() && !is_named(layers, Setting::Assertion) {
        findings.gap(missing(&format!("the grant {grant}"), Setting::Assertion, grant == Grant::JwtBearer));
    }
    Some(Assertions { client, grant: spent })
}

fn is_named(layers: &Layers, key: Setting) -> bool {
    layers.secret_origin(key).is_some() || layers.secret_origin(Setting::PrivateKey).is_some()
}

/// An assertion made elsewhere: a file is read again for each request, so only its path is kept.
fn given(layers: &Layers, key: Setting) -> Result<Option<Assertion>, Failure> {
    match layers.secret_origin(key) {
        None => Ok(None),
        Some(Origin::SecretFile { path, .. }) if path.as_os_str() != "-" => match std::fs::metadata(&path) {
            Ok(_) => Ok(Some(Assertion::File(path))),
            Err(error) => Err(Failure::new(exit::CONFIG, format!("cannot read the {}", key.spec().words()))
                .at(path.display())
                .because(error)
                .hint("check the path and its permissions")),
        },
        Some(_) => Ok(layers.secret(key)?.map(|found| Assertion::Text(found.value))),
    }
}

fn signer(layers: &Layers) -> Result<Option<Arc<Signer>>, Failure> {
    let Some(key) = layers.secret(Setting::PrivateKey)? else { return Ok(None) };
    let algorithm = layers.plain(Setting::SigningAlg);
    let key_id = layers.plain(Setting::KeyId).map(|found| found.value.trim().to_owned());
    let read = Signer::from_pem(&key.value, key_id, algorithm.as_ref().map(|found| found.value.as_str()));
    read.map(|signer| Some(Arc::new(signer))).map_err(|error| match &algorithm {
        Some(found) if error.is_about_algorithm() => {
            bad_value(Setting::SigningAlg, &found.origin, &error).hint(error.hint())
        }
        Some(_) | None => {
            Failure::new(exit::CONFIG, "cannot use the private key").at(&key.origin).because(&error).hint(error.hint())
        }
    })
}

fn missing(what: &str, key: Setting, may_sign: bool) -> Failure {
    let failure =
        Failure::new(exit::CONFIG, format!("there is no {}", key.spec().words())).because(format!("{what} needs one"));
    let failure = match may_sign {
        true => failure.hint(format!("to sign here: {}", secret_hint(Setting::PrivateKey.spec()))),
        false => failure,
    };
    failure.hint(format!("if another program makes it: {}", secret_hint(key.spec())))
}
