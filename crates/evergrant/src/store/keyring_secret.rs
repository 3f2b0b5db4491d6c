//! A client secret that the desktop's keyring keeps.
//!
//! There is one item for each client and name, so that a secret and the one that will take its place lie side by side.
//! Nothing of it is a store's: no lease and no format, the item is the secret itself, and other programs may write it
//! (`secret-tool store --label=LABEL application evergrant kind client-secret name default client ID`).
//!
//! All functions block. They run on a thread of their own, because whoever calls may be inside a runtime or in none.

use evergrant_core::Secret;

use super::{KeyringFault, KeyringName};
#[cfg(feature = "keyring")]
use super::{
    StoreError,
    keyring::{Ask, Service, apart},
};

/// One client's secret in the keyring.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyringSecret {
    name: KeyringName,
    client_id: String,
}

impl KeyringSecret {
    /// The secret of this client under this name.
    #[must_use]
    pub fn new(name: KeyringName, client_id: impl Into<String>) -> Self {
        Self { name, client_id: client_id.into() }
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &KeyringName {
        &self.name
    }

    /// The client.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }
}

#[cfg(feature = "keyring")]
impl KeyringSecret {
    /// The secret, if the keyring holds one. A locked keyring asks its user, once a process.
    ///
    /// # Errors
    /// When the keyring cannot be used, or what it holds is no text.
    pub fn fetch(&self) -> Result<Option<Secret>, KeyringFault> {
        self.fetch_as(Ask::OnceAProcess)
    }

    /// The same, without a word to anybody.
    pub(crate) fn fetch_unasked(&self) -> Result<Option<Secret>, KeyringFault> {
        self.fetch_as(Ask::Nobody)
    }

    /// Puts the secret into the keyring, in place of the one that is there.
    ///
    /// # Errors
    /// When the keyring cannot be used.
    pub fn put(&self, secret: &Secret) -> Result<(), KeyringFault> {
        let (item, secret) = (self.clone(), secret.clone());
        apart(async move || Service::connect(Ask::OnceAProcess).await?.put_client_secret(&item, &secret).await)
            .map_err(fault)
    }

    /// Takes the secret out of the keyring. `false` if there was none.
    ///
    /// # Errors
    /// When the keyring cannot be used.
    pub fn forget(&self) -> Result<bool, KeyringFault> {
        let item = self.clone();
        apart(async move || Service::connect(Ask::OnceAProcess).await?.forget_client_secret(&item).await).map_err(fault)
    }

    fn fetch_as(&self, ask: Ask) -> Result<Option<Secret>, KeyringFault> {
        let item = self.clone();
        apart(async move || Service::connect(ask).await?.client_secret(&item).await).map_err(fault)
    }
}

/// The service fails in one way only.
#[cfg(feature = "keyring")]
fn fault(error: StoreError) -> KeyringFault {
    if let StoreError::Keyring { fault } = error { fault } else { KeyringFault::Said(error.to_string()) }
}

#[cfg(not(feature = "keyring"))]
impl KeyringSecret {
    /// Nothing: this build knows no keyring.
    ///
    /// # Errors
    /// Always.
    pub fn fetch(&self) -> Result<Option<Secret>, KeyringFault> {
        Err(none())
    }

    pub(crate) fn fetch_unasked(&self) -> Result<Option<Secret>, KeyringFault> {
        Err(none())
    }

    /// Nothing: this build knows no keyring.
    ///
    /// # Errors
    /// Always.
    pub fn put(&self, _secret: &Secret) -> Result<(), KeyringFault> {
        Err(none())
    }

    /// Nothing: this build knows no keyring.
    ///
    /// # Errors
    /// Always.
    pub fn forget(&self) -> Result<bool, KeyringFault> {
        Err(none())
    }
}

#[cfg(not(feature = "keyring"))]
fn none() -> KeyringFault {
    KeyringFault::Unreachable("this build was made without the feature `keyring`".to_owned())
}
