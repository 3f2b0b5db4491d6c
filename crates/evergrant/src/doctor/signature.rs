//! The signature of a JWT against the keys that the provider publishes.
//!
//! The algorithm comes from the key, or where the key names none from the discovery document, and it must be one that
//! only the holder of a private key can sign with. What the token's header says is compared with that and never
//! believed: `none`, or a shared secret that is really a public key, are the oldest attacks there are. Claims are not
//! looked at here, so no clock takes part.
//!
//! Keys are fetched only from where the issuer's discovery document points. The issuer is the configured one, or the
//! one that the token names if it has the same origin as the token endpoint, which is configured too.
//!
//! Source: RFC 8725 sections 3.1 and 3.2, RFC 7517 sections 4 and 5, RFC 9068 section 4.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use evergrant_core::profile::Discovery;
use evergrant_core::token::Token;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::Method;
use serde::Deserialize;
use url::Url;

use super::report::{Check, Name};
use super::visit::Visit;
use super::words::counted;
use crate::transport::{ApiProbe, discover};

/// The parts of a JWT's header that choose a key. Hints of the sender, not facts.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

/// Checks the token's signature, if it has one and the keys can be found.
pub(super) async fn check(
    visit: &Visit<'_>,
    token: &Token,
    token_url: Option<&str>,
    discovery: Option<&Discovery>,
) -> Check {
    let skipped = |why: &str| Check::skipped(Name::Signature, why);
    let Some(claims) = &token.claims else { return skipped("an opaque token has no signature") };
    let Some(header) = header(token.access_token.expose()) else { return skipped("its header cannot be read") };
    let fetched;
    let discovery = match discovery {
        Some(known) => Some(known),
        None => {
            let issuer = claims.iss.as_deref().filter(|issuer| is_of_token_endpoint(issuer, token_url));
            fetched = match issuer {
                Some(issuer) => discover(issuer, &visit.tls, visit.options()).await.ok(),
                None => None,
            };
            fetched.as_ref()
        }
    };
    let check = Check::ok(Name::Signature);
    if let Some(fault) = never_acceptable(&header) {
        return check.saw(fault).fault(
            "do not trust this token: have the provider sign with a private key (RS256 or ES256) whose public part it publishes",
        );
    }
    let Some((discovery, uri)) = discovery.and_then(|found| Some((found, found.jwks_uri.as_deref()?))) else {
        return skipped("no keys are known: no discovery document of the issuer names any; set EVERGRANT_ISSUER");
    };
    match fetch(visit, uri).await {
        Ok(keys) => verify(check, token.access_token.expose(), &header, &keys, discovery),
        Err(why) => check
            .saw(format!("the keys at {uri} cannot be read: {why}"))
            .warning("APIs that verify tokens need these keys: check that the provider's JWKS is reachable"),
    }
}

fn header(token: &str) -> Option<Header> {
    let part = token.split('.').next()?.trim_end_matches('=');
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Why no key of any provider could make such a signature worth something.
fn never_acceptable(header: &Header) -> Option<String> {
    if header.alg.eq_ignore_ascii_case("none") {
        return Some("the token is not signed (alg none): anybody could have made it".to_owned());
    }
    match header.alg.parse::<Algorithm>() {
        Ok(algorithm) if is_asymmetric(algorithm) => None,
        Ok(_) => {
            Some(format!("the token is signed with a shared secret ({}), which no published key can check", header.alg))
        }
        Err(_) => Some("the token names a signature algorithm that is not known".to_owned()),
    }
}

fn is_asymmetric(algorithm: Algorithm) -> bool {
    !matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

fn is_of_token_endpoint(issuer: &str, token_url: Option<&str>) -> bool {
    let origin = |text: &str| Url::parse(text).ok().map(|url| url.origin());
    origin(issuer).is_some() && origin(issuer) == token_url.and_then(origin)
}

async fn fetch(visit: &Visit<'_>, uri: &str) -> Result<JwkSet, String> {
    let url = Url::parse(uri).map_err(|error| error.to_string())?;
    let origin = url.origin().ascii_serialization();
    let probe = ApiProbe::new(&origin, &visit.tls, visit.options()).map_err(|error| error.to_string())?;
    let path = url.as_str().strip_prefix(&origin).unwrap_or_else(|| url.path());
    let exchange = probe.send(Method::GET, path, None).await;
    let answer = exchange.result.map_err(|failure| failure.to_string())?;
    if answer.head.status != 200 {
        return Err(format!("status {}", answer.head.status));
    }
    serde_json::from_slice(&answer.body).map_err(|_| "the answer is no set of keys".to_owned())
}

fn verify(check: Check, token: &str, header: &Header, keys: &JwkSet, discovery: &Discovery) -> Check {
    let is_candidate = |key: &&Jwk| {
        let is_named = header.kid.is_none() || key.common.key_id == header.kid;
        is_named && key.common.public_key_use != Some(PublicKeyUse::Encryption)
    };
    let candidates: Vec<_> = keys.keys.iter().filter(is_candidate).collect();
    if candidates.is_empty() {
        let known: Vec<_> = keys.keys.iter().filter_map(|key| key.common.key_id.as_deref()).take(KEYS_SHOWN).collect();
        let named = header.kid.as_deref().unwrap_or("no key");
        return check.saw(format!("it is signed with the key `{named}`; published are: {}", known.join(", "))).fault(
            "the provider signs with a key that it does not publish: APIs will refuse its tokens; tell the provider",
        );
    }
    let mut refused = Vec::new();
    for key in candidates {
        let name = key.common.key_id.as_deref().unwrap_or("without name");
        match verified_by(token, header, key, discovery) {
            Ok(true) => {
                let count = counted(keys.keys.len(), "published key");
                return check.saw(format!("verified by the key `{name}` with {}, one of {count}", header.alg));
            }
            Ok(false) => refused.push(format!("the key `{name}` did not make this signature")),
            Err(why) => refused.push(format!("the key `{name}` cannot be used: {why}")),
        }
    }
    let check = refused.into_iter().fold(check, Check::saw);
    check.fault(
        "no published key made this signature: the token was changed on its way, or another provider answers; check the token URL and who is in between",
    )
}

/// Did this key sign the token, with an algorithm that the provider uses with it?
fn verified_by(token: &str, header: &Header, key: &Jwk, discovery: &Discovery) -> Result<bool, String> {
    let algorithm = header.alg.parse::<Algorithm>().map_err(|_| "unknown algorithm".to_owned())?;
    let allowed = allowed(key, discovery);
    if !allowed.contains(&algorithm) {
        let names: Vec<_> = allowed.iter().map(|algorithm| format!("{algorithm:?}")).collect();
        return Err(format!("the token says {}, the provider uses {}", header.alg, names.join(" or ")));
    }
    let (message, signature) = token.rsplit_once('.').ok_or("no signature")?;
    let key = DecodingKey::from_jwk(key).map_err(|error| error.to_string())?;
    jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, algorithm).map_err(|error| error.to_string())
}

/// The algorithms that a key may be used with, from the provider's own documents.
fn allowed(key: &Jwk, discovery: &Discovery) -> Vec<Algorithm> {
    let fits = |algorithm: &Algorithm| match &key.algorithm {
        AlgorithmParameters::RSA(_) => matches!(
            algorithm,
            Algorithm::RS256
                | Algorithm::RS384
                | Algorithm::RS512
                | Algorithm::PS256
                | Algorithm::PS384
                | Algorithm::PS512
        ),
        AlgorithmParameters::EllipticCurve(curve) => {
            let of_curve = match curve.curve {
                EllipticCurve::P256 => Some(Algorithm::ES256),
                EllipticCurve::P384 => Some(Algorithm::ES384),
                EllipticCurve::P521 | EllipticCurve::Ed25519 | _ => None,
            };
            of_curve == Some(*algorithm)
        }
        AlgorithmParameters::OctetKeyPair(_) => *algorithm == Algorithm::EdDSA,
        AlgorithmParameters::OctetKey(_) | AlgorithmParameters::Other(_) | _ => false,
    };
    let of_key = key.common.key_algorithm.and_then(|named| named.to_string().parse::<Algorithm>().ok());
    let named: Vec<Algorithm> = match of_key {
        Some(algorithm) => vec![algorithm],
        None => discovery.signing_algs.iter().filter_map(|name| name.parse().ok()).collect(),
    };
    // RFC 9068 section 2.1: RS256 is what every such provider has.
    let named = if named.is_empty() { vec![Algorithm::RS256, Algorithm::ES256] } else { named };
    named.into_iter().filter(|algorithm| is_asymmetric(*algorithm)).filter(fits).collect()
}

const KEYS_SHOWN: usize = 8;
