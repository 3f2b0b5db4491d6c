//! Names for credentials and tokens that tell nothing about them.

use std::fmt;

use evergrant_core::Secret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::grant::Credential;

/// Names one credential in a store: a hash of everything that makes it another identity.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CredentialKey(String);

impl CredentialKey {
    /// The key of `credential` at `token_endpoint`; `label` tells apart identities that look the same here, such as
    /// two subjects or two profiles.
    ///
    /// The order of the scopes does not matter, the secret does not take part: a rotated secret is the same client.
    #[must_use]
    pub fn new(token_endpoint: &str, credential: &Credential, label: &str) -> Self {
        let mut scopes: Vec<_> = credential.scope.as_deref().unwrap_or_default().split_ascii_whitespace().collect();
        scopes.sort_unstable();
        scopes.dedup();
        let scopes = scopes.join(" ");
        let mut parts = vec![
            token_endpoint,
            credential.client_id.as_str(),
            credential.grant.as_str(),
            label,
            &scopes,
            credential.audience.as_deref().unwrap_or_default(),
            credential.resource.as_deref().unwrap_or_default(),
        ];
        parts.extend(credential.more_fields.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
        Self(hashed("evergrant credential", &parts))
    }

    /// The key as text: 64 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A key that a store wrote down; `None` if the text is no key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_key = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_key.then(|| Self(text.to_owned()))
    }

    /// Its first digits as a number: the same in every process that has this credential.
    pub(crate) fn number(&self) -> u64 {
        self.0.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
    }

    /// The first digits, enough to tell the credentials of one store apart, for a person or in a file name.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..16).unwrap_or(&self.0)
    }
}

impl fmt::Debug for CredentialKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// Recognises a token without holding it.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(String);

impl TokenHash {
    /// The hash of this token.
    #[must_use]
    pub fn of(token: &Secret) -> Self {
        Self(hashed("evergrant token", &[token.expose()]))
    }

    /// The hash as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get(..8).unwrap_or_default())
    }
}

/// SHA-256 over parts that are each preceded by their length, so that no two lists of parts look the same.
fn hashed(purpose: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in [purpose].iter().chain(parts) {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential() -> Credential {
        Credential::client_credentials("id", Secret::from("s"))
    }

    #[test]
    fn every_part_of_the_identity_counts() {
        let base = CredentialKey::new("https://a/token", &credential(), "");
        let mut scoped = credential();
        scoped.scope = Some("x".to_owned());
        let mut other_audience = credential();
        other_audience.audience = Some("x".to_owned());
        let mut other_resource = credential();
        other_resource.resource = Some("x".to_owned());
        let mut other_field = credential();
        other_field.more_fields = vec![("orgName".to_owned(), "x".to_owned())];
        let mut keys = vec![
            base.clone(),
            CredentialKey::new("https://b/token", &credential(), ""),
            CredentialKey::new("https://a/token", &credential(), "x"),
            CredentialKey::new("https://a/token", &scoped, ""),
            CredentialKey::new("https://a/token", &other_audience, ""),
            CredentialKey::new("https://a/token", &other_resource, ""),
            CredentialKey::new("https://a/token", &other_field, ""),
        ];
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 7);
        assert_eq!(base.as_str().len(), 64);
        assert_eq!(CredentialKey::parse(base.as_str()), Some(base.clone()));
        for text in ["", base.short(), &base.as_str().to_uppercase(), &format!("{}x", &base.as_str()[1..])] {
            assert_eq!(CredentialKey::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_new_secret_and_another_order_of_scopes_are_the_same_credential() {
        let (mut one, mut other) = (credential(), credential());
        one.scope = Some("read write".to_owned());
        other.scope = Some("write  read write".to_owned());
        other.client_secret = Some(Secret::from("rotated"));
        assert_eq!(CredentialKey::new("t", &one, "l"), CredentialKey::new("t", &other, "l"));
    }

    #[test]
    fn a_hash_recognises_its_token_only() {
        assert_eq!(TokenHash::of(&Secret::from("a")), TokenHash::of(&Secret::from("a")));
        assert_ne!(TokenHash::of(&Secret::from("a")), TokenHash::of(&Secret::from("b")));
    }
}
