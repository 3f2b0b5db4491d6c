//! What a store holds, for people: every credential, and whatever lies beside.
//!
//! As [`inspect`](super::inspect): nothing is made, locked, moved or written, and what is damaged stays where it is.

use std::path::PathBuf;

use super::{CredentialKey, Record, Store, StoreError};

/// Everything in a store.
#[derive(Debug, Default)]
pub struct Contents {
    /// Is there anything yet?
    pub exists: bool,
    /// Its credentials, in the order of their names; not those that were forgotten.
    pub credentials: Vec<Listed>,
    /// Files beside the store that are no part of it: damaged ones that were kept, and what a crash left behind.
    pub beside: Vec<PathBuf>,
}

/// One credential in a store.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub key: CredentialKey,
    /// What is kept of it, or what is wrong with that.
    pub record: Result<Record, String>,
}

impl Store {
    /// Everything in the store.
    ///
    /// # Errors
    /// When the store cannot be read; a damaged one is reported as foreign, because it is left untouched.
    pub async fn contents(&self) -> Result<Contents, StoreError> {
        let mut contents = match self {
            Self::Memory(store) => store.contents(),
            Self::File(store) => store.contents().await?,
            #[cfg(feature = "keyring")]
            Self::Keyring(store) => store.contents().await?,
            #[cfg(feature = "redis")]
            Self::Redis(store) => store.contents().await?,
        };
        contents.credentials.retain(Listed::is_kept);
        Ok(contents)
    }
}

impl Listed {
    /// Is there anything to show? Not where the tokens were forgotten.
    pub(super) fn is_kept(&self) -> bool {
        self.record.as_ref().map_or(true, Record::has_tokens)
    }
}
