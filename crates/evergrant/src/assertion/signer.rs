//! A private key that signs JWT assertions, and what they say.
//!
//! The key is a PEM file as every tool writes it. What it is good for is found out by signing once: an RSA key signs
//! RS256, an elliptic key what its curve allows, unless the configuration names another algorithm. A key that cannot
//! sign is therefore an error at start, never at the first refresh.

use std::fmt;
use std::str::FromStr;

use evergrant_core::Secret;
use evergrant_core::time::Span;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;

use super::time::Occasion;

/// A key that signs.
#[derive(Clone)]
pub struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    key_id: Option<String>,
}

/// What an assertion says, besides its dates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    /// Who says it: the client, or whoever the authorization server trusts.
    pub issuer: String,
    /// About whom.
    pub subject: String,
    /// For whom; the token endpoint if absent.
    pub audience: Option<String>,
}

impl Signer {
    /// The key in a PEM text, with the name that the server knows it by. `algorithm` is a name of RFC 7518 section 3.1.
    ///
    /// # Errors
    /// When the text is no private key that can sign, or not with that algorithm.
    pub fn from_pem(pem: &Secret, key_id: Option<String>, algorithm: Option<&str>) -> Result<Self, SignError> {
        let text = pem.expose();
        check_label(text)?;
        let wanted = algorithm.map(parse_algorithm).transpose()?;
        let candidates = CANDIDATES.into_iter().filter(|candidate| wanted.is_none_or(|wanted| wanted == *candidate));
        let signs = |algorithm: &Algorithm| {
            let key = read(text, *algorithm)?;
            encode(&Header::new(*algorithm), &"", &key).ok().map(|_| key)
        };
        let found = candidates.into_iter().find_map(|algorithm| Some((signs(&algorithm)?, algorithm)));
        let (key, algorithm) = found.ok_or_else(|| match algorithm {
            Some(name) => SignError::WrongAlgorithm(name.to_owned()),
            None => SignError::Unusable,
        })?;
        Ok(Self { key, algorithm, key_id })
    }

    /// The algorithm's name.
    #[must_use]
    pub fn algorithm(&self) -> String {
        format!("{:?}", self.algorithm)
    }

    /// Signs the claims for one request.
    pub(crate) fn sign(&self, claims: &Claims, occasion: &Occasion<'_>) -> Result<Secret, SignError> {
        let mut header = Header::new(self.algorithm);
        header.kid.clone_from(&self.key_id);
        let body = Body {
            iss: &claims.issuer,
            sub: &claims.subject,
            aud: claims.audience.as_deref().unwrap_or(occasion.token_url),
            iat: occasion.time.earliest.as_unix_secs(),
            exp: (occasion.time.latest + LIFETIME).as_unix_secs(),
            jti: unique(),
        };
        encode(&header, &body, &self.key).map(Secret::new).map_err(|_| SignError::Unusable)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("algorithm", &self.algorithm)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// The claims of RFC 7523 section 3.
#[derive(Serialize)]
struct Body<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
}

/// Why a key cannot be used. None of the words holds any part of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignError {
    /// Not PEM.
    #[error("the private key is not PEM: it does not begin with `-----BEGIN`")]
    NotPem,
    /// PEM, but of something else.
    #[error("it is a {0}, not a private key")]
    NotAKey(&'static str),
    /// Protected by a passphrase.
    #[error("the private key is protected by a passphrase")]
    Encrypted,
    /// A key of a kind that signs nothing here.
    #[error(
        "the private key cannot sign: it is neither RSA (2048 bits or more), nor P-256, P-384 or Ed25519, or not in PKCS#8"
    )]
    Unusable,
    /// The key is of another kind than the algorithm needs.
    #[error("the private key cannot sign with {0}")]
    WrongAlgorithm(String),
    /// The configuration names an algorithm that is not offered.
    #[error(
        "`{0}` is no signing algorithm: expected one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
    )]
    UnknownAlgorithm(String),
}

impl SignError {
    /// Is the configured algorithm at fault, rather than the key?
    #[must_use]
    pub const fn is_about_algorithm(&self) -> bool {
        matches!(self, Self::WrongAlgorithm(_) | Self::UnknownAlgorithm(_))
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NotPem | Self::NotAKey(_) => "name the file of the private key itself, in PEM form",
            Self::Encrypted => {
                "take the passphrase off: `openssl pkcs8 -topk8 -nocrypt -in KEY -out KEY.pem`, with mode 0600"
            }
            Self::Unusable => {
                "write the key as PKCS#8: `openssl pkcs8 -topk8 -nocrypt -in KEY -out KEY.pem`, with mode 0600"
            }
            Self::WrongAlgorithm(_) | Self::UnknownAlgorithm(_) => {
                "leave the algorithm out to take the one that fits the key"
            }
        }
    }
}

/// Says what a PEM text is if it is no private key.
fn check_label(text: &str) -> Result<(), SignError> {
    let Some((_, label)) = text.split_once("-----BEGIN ") else { return Err(SignError::NotPem) };
    let label = label.split("-----").next().unwrap_or_default();
    match label {
        "CERTIFICATE" => Err(SignError::NotAKey("certificate")),
        "ENCRYPTED PRIVATE KEY" => Err(SignError::Encrypted),
        _ if text.contains("Proc-Type: 4,ENCRYPTED") => Err(SignError::Encrypted),
        _ if label.ends_with("PUBLIC KEY") => Err(SignError::NotAKey("public key")),
        _ => Ok(()),
    }
}

fn parse_algorithm(name: &str) -> Result<Algorithm, SignError> {
    Algorithm::from_str(name.trim())
        .ok()
        .filter(|algorithm| CANDIDATES.contains(algorithm))
        .ok_or_else(|| SignError::UnknownAlgorithm(name.to_owned()))
}

fn read(text: &str, algorithm: Algorithm) -> Option<EncodingKey> {
    use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
    let pem = text.as_bytes();
    match algorithm {
        RS256 | RS384 | RS512 | PS256 | PS384 | PS512 => EncodingKey::from_rsa_pem(pem),
        ES256 | ES384 => EncodingKey::from_ec_pem(pem),
        EdDSA => EncodingKey::from_ed_pem(pem),
        HS256 | HS384 | HS512 | _ => return None,
    }
    .ok()
}

/// A `jti` that nobody has used: servers refuse one that they have seen (RFC 7523 section 3).
fn unique() -> String {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).expect("the operating system provides random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How long an assertion holds after the latest time that it may be for the server. Servers that cap the lifetime cap it
/// at five minutes or an hour.
pub(super) const LIFETIME: Span = Span::from_secs(120);

/// In the order in which a key is tried.
const CANDIDATES: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
