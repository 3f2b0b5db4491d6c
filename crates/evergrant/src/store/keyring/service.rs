//! The Secret Service, spoken to over the session bus.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use evergrant_core::Secret;
use secret_service::{Collection, EncryptionType, Error, SecretService};

use super::fault;
use crate::secret_place::secret_of;
use crate::store::{CredentialKey, KeyringFault, KeyringName, KeyringSecret, StoreError};

/// A connection, with a keyring that is unlocked.
pub(in crate::store) struct Service(SecretService<'static>);

/// Whom a locked keyring asks for its password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) enum Ask {
    /// Its user, unless this process has asked before.
    OnceAProcess,
    /// Nobody.
    Nobody,
}

static HAS_ASKED: AtomicBool = AtomicBool::new(false);

/// One credential as the keyring holds it.
pub(super) struct Item {
    pub(super) key: CredentialKey,
    pub(super) bytes: Vec<u8>,
}

impl Service {
    /// Connects and unlocks.
    pub(in crate::store) async fn connect(ask: Ask) -> Result<Self, StoreError> {
        let service = Self(soon(SecretService::connect(EncryptionType::Dh)).await.map_err(unreachable)?);
        let collection = service.collection().await?;
        if soon(collection.is_locked()).await.map_err(said)? {
            if ask == Ask::Nobody || HAS_ASKED.swap(true, Ordering::Relaxed) {
                return Err(fault(KeyringFault::Locked));
            }
            let asked = tokio::time::timeout(PERSON, collection.unlock()).await;
            if !matches!(asked, Ok(Ok(()))) || soon(collection.is_locked()).await.map_err(said)? {
                return Err(fault(KeyringFault::Locked));
            }
        }
        drop(collection);
        Ok(service)
    }

    pub(super) async fn item(&self, name: &KeyringName, key: &CredentialKey) -> Result<Option<Item>, StoreError> {
        let secret = self.secret(of_credential(name, key)).await?;
        Ok(secret.map(|bytes| Item { key: key.clone(), bytes }))
    }

    pub(super) async fn items(&self, name: &KeyringName) -> Result<Vec<Item>, StoreError> {
        let collection = self.collection().await?;
        let mut items = Vec::new();
        for found in soon(collection.search_items(of_name(name))).await.map_err(said)? {
            let attributes = soon(found.get_attributes()).await.map_err(said)?;
            let Some(key) = attributes.get(CREDENTIAL).and_then(|text| CredentialKey::parse(text)) else { continue };
            items.push(Item { key, bytes: soon(found.get_secret()).await.map_err(said)? });
        }
        Ok(items)
    }

    pub(super) async fn put(&self, name: &KeyringName, item: Item) -> Result<(), StoreError> {
        let label = format!("Evergrant: credential {} ({name})", item.key.short());
        self.replace(&label, of_credential(name, &item.key), &item.bytes, JSON).await
    }

    pub(super) async fn remove(&self, name: &KeyringName, key: &CredentialKey) -> Result<(), StoreError> {
        self.delete(of_credential(name, key)).await.map(drop)
    }

    pub(super) async fn store_key(&self) -> Result<Option<Secret>, StoreError> {
        let bytes = self.secret(of_store_key()).await?;
        let text = bytes.map(|bytes| String::from_utf8(bytes).map(Secret::new)).transpose();
        text.map_err(|_not_text| fault(KeyringFault::Damaged("the store key is not text".to_owned())))
    }

    pub(super) async fn put_store_key(&self, key: &Secret) -> Result<(), StoreError> {
        self.replace("Evergrant: key of encrypted stores", of_store_key(), key.expose().as_bytes(), TEXT).await
    }

    /// A client's secret. Other programs may have written it, so it is looked at.
    pub(in crate::store) async fn client_secret(&self, item: &KeyringSecret) -> Result<Option<Secret>, StoreError> {
        let Some(bytes) = self.secret(of_client_secret(item)).await? else { return Ok(None) };
        let no_text = || fault(KeyringFault::Damaged("the client secret is empty or not text".to_owned()));
        secret_of(bytes).ok_or_else(no_text).map(Some)
    }

    pub(in crate::store) async fn put_client_secret(
        &self,
        item: &KeyringSecret,
        secret: &Secret,
    ) -> Result<(), StoreError> {
        let label = format!("Evergrant: secret of client {} ({})", item.client_id(), item.name());
        self.replace(&label, of_client_secret(item), secret.expose().as_bytes(), TEXT).await
    }

    pub(in crate::store) async fn forget_client_secret(&self, item: &KeyringSecret) -> Result<bool, StoreError> {
        self.delete(of_client_secret(item)).await
    }

    async fn secret(&self, attributes: HashMap<&str, &str>) -> Result<Option<Vec<u8>>, StoreError> {
        let collection = self.collection().await?;
        let found = soon(collection.search_items(attributes)).await.map_err(said)?;
        match found.as_slice() {
            [] => Ok(None),
            [one] => soon(one.get_secret()).await.map(Some).map_err(said),
            several => {
                let cause = format!("there are {} of it", several.len());
                Err(fault(KeyringFault::Damaged(cause)))
            }
        }
    }

    async fn replace(
        &self,
        label: &str,
        attributes: HashMap<&str, &str>,
        secret: &[u8],
        content_type: &str,
    ) -> Result<(), StoreError> {
        let collection = self.collection().await?;
        let made = soon(collection.create_item(label, attributes, secret, true, content_type)).await;
        made.map(drop).map_err(said)
    }

    /// Removes every item with these attributes. `false` if there is none.
    async fn delete(&self, attributes: HashMap<&str, &str>) -> Result<bool, StoreError> {
        let collection = self.collection().await?;
        let found = soon(collection.search_items(attributes)).await.map_err(said)?;
        for item in &found {
            soon(item.delete()).await.map_err(said)?;
        }
        Ok(!found.is_empty())
    }

    async fn collection(&self) -> Result<Collection<'_>, StoreError> {
        soon(self.0.get_default_collection()).await.map_err(|error| match error {
            Failed::Service(Error::NoResult) => fault(KeyringFault::NoCollection),
            other @ (Failed::Service(_) | Failed::TimedOut) => unreachable(other),
        })
    }
}

/// What the service did not do, or not in time.
enum Failed {
    Service(Error),
    TimedOut,
}

/// What needs no person is done soon, or not at all.
async fn soon<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Failed> {
    match tokio::time::timeout(ANSWER, work).await {
        Ok(result) => result.map_err(Failed::Service),
        Err(_) => Err(Failed::TimedOut),
    }
}

fn unreachable(failed: Failed) -> StoreError {
    match failed {
        Failed::Service(Error::Unavailable) => {
            fault(KeyringFault::Unreachable("there is none on the session bus, or no session bus".to_owned()))
        }
        Failed::Service(Error::Zbus(error)) => fault(KeyringFault::Unreachable(error.to_string())),
        other @ (Failed::Service(_) | Failed::TimedOut) => said(other),
    }
}

fn said(failed: Failed) -> StoreError {
    match failed {
        Failed::TimedOut => fault(KeyringFault::TimedOut),
        Failed::Service(Error::Locked | Error::Prompt | Error::PromptDisconnected) => fault(KeyringFault::Locked),
        Failed::Service(error) => fault(KeyringFault::Said(error.to_string())),
    }
}

fn of_credential<'a>(name: &'a KeyringName, key: &'a CredentialKey) -> HashMap<&'static str, &'a str> {
    let mut attributes = of_name(name);
    attributes.insert(CREDENTIAL, key.as_str());
    attributes
}

fn of_name(name: &KeyringName) -> HashMap<&'static str, &str> {
    HashMap::from([("application", "evergrant"), ("kind", "credential"), ("store", name.as_str())])
}

fn of_client_secret(item: &KeyringSecret) -> HashMap<&str, &str> {
    HashMap::from([
        ("application", "evergrant"),
        ("kind", "client-secret"),
        ("name", item.name().as_str()),
        ("client", item.client_id()),
    ])
}

fn of_store_key() -> HashMap<&'static str, &'static str> {
    HashMap::from([("application", "evergrant"), ("kind", "store-key")])
}

const CREDENTIAL: &str = "credential";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
/// A service that lives answers in milliseconds.
const ANSWER: Duration = Duration::from_secs(10);
/// As long as somebody may look for the keyring's password.
const PERSON: Duration = Duration::from_secs(45);
