//! The store file: versioned JSON that starts with its own name.
//!
//! ```json
//! {"evergrant_store":1,"sealing":"plain","credentials":{"<key>":{"revision":4,"generation":2,"record":{...}}}}
//! {"evergrant_store":1,"sealing":"xchacha20poly1305","key_id":"..","credentials":{"<key>":
//!   {"revision":4,"generation":2,"nonce":"..","sealed":".."}}}
//! {"evergrant_store":2,"sealing":"xchacha20poly1305","key_id":"..","derivation":{"algorithm":"argon2id",..},
//!   "credentials":{..}}
//! ```
//!
//! Version 2 is version 1 and a derivation, from which a passphrase makes the key. A file without one is still written as
//! version 1, so that programs of both versions can share it. The version is written first, so the first bytes tell a torn store of ours from a file that was never one. Entries
//! of other credentials are carried along as they are. `revision` counts writes; it is how a writer knows that nobody
//! wrote in between.

use std::collections::BTreeMap;

use evergrant_core::Secret;
use evergrant_core::time::Span;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::failed::Failed;
use super::passphrase::Derivation;
use super::record::{Intent, Issued, Record, Stamp};
use super::seal::{SealKey, Sealed};
use super::{CredentialKey, TokenHash};

/// The version of entries, and of files whose key is not made from a passphrase.
pub(super) const VERSION: u64 = 1;
/// The version of files that say how a passphrase becomes their key; the newest that this program knows.
pub(super) const NEWEST: u64 = 2;

/// A whole store file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Document {
    evergrant_store: u64,
    pub(super) sealing: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) derivation: Option<Derivation>,
    pub(super) credentials: BTreeMap<String, Entry>,
}

/// One credential in the file: its record in plain or sealed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) revision: u64,
    pub(super) generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

/// How records are written into the file.
#[derive(Clone, Debug)]
pub(super) enum Sealing {
    Plain,
    Sealed(SealKey),
}

impl Sealing {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Sealed(_) => "xchacha20poly1305",
        }
    }

    pub(super) fn key_id(&self) -> Option<&str> {
        match self {
            Self::Plain => None,
            Self::Sealed(key) => Some(key.id()),
        }
    }
}

/// Why bytes are not a store of this version.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Unreadable {
    /// It was ours and is torn or changed.
    Damaged(String),
    /// It never was ours.
    Foreign(String),
    /// It is ours, of another version.
    Version(u64),
}

impl Document {
    pub(super) fn empty(sealing: &Sealing, derivation: Option<Derivation>) -> Self {
        Self {
            evergrant_store: if derivation.is_some() { NEWEST } else { VERSION },
            sealing: sealing.name().to_owned(),
            key_id: sealing.key_id().map(str::to_owned),
            derivation,
            credentials: BTreeMap::new(),
        }
    }

    /// Reads a file. Empty and zero-filled files are what some file systems leave of a file after a power cut.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        if bytes.iter().all(|byte| *byte == 0) {
            let what = if bytes.is_empty() { "it is empty" } else { "it holds only zero bytes" };
            return Err(Unreadable::Damaged(what.to_owned()));
        }
        // Only the position is told: the parser's message may quote the text, and the text may be a token.
        let torn = |error: serde_json::Error| {
            let what = if error.is_eof() { "it ends too early" } else { "it is not valid" };
            Unreadable::Damaged(format!("{what}, line {} column {}", error.line(), error.column()))
        };
        let version: Version = serde_json::from_slice(bytes).map_err(|error| {
            if bytes.starts_with(FIRST_BYTES) || FIRST_BYTES.starts_with(bytes) {
                torn(error)
            } else {
                Unreadable::Foreign("it does not begin as a store does".to_owned())
            }
        })?;
        if !(VERSION..=NEWEST).contains(&version.evergrant_store) {
            return Err(Unreadable::Version(version.evergrant_store));
        }
        let document: Self = serde_json::from_slice(bytes).map_err(torn)?;
        // What a version does not have is not carried along either: its next writer would drop it.
        if document.derivation.is_some() != (document.evergrant_store == NEWEST) {
            return Err(Unreadable::Damaged("its version and its head do not fit together".to_owned()));
        }
        Ok(document)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("a document of strings and numbers always serialises");
        bytes.push(b'\n');
        bytes
    }
}

impl Entry {
    pub(super) fn close(sealing: &Sealing, key: &CredentialKey, revision: u64, record: &Record) -> Self {
        let stored = serde_json::to_value(Stored::from(record)).expect("a record of strings and numbers serialises");
        let mut entry = Self { revision, generation: record.generation, record: None, nonce: None, sealed: None };
        match sealing {
            Sealing::Plain => entry.record = Some(stored),
            Sealing::Sealed(seal_key) => {
                let sealed = seal_key.seal(stored.to_string().as_bytes(), &entry.context(key));
                (entry.nonce, entry.sealed) = (Some(sealed.nonce), Some(sealed.text));
            }
        }
        entry
    }

    /// The record again, or what is wrong with the entry.
    pub(super) fn open(&self, sealing: &Sealing, key: &CredentialKey) -> Result<Record, String> {
        let stored: Stored = match sealing {
            Sealing::Plain => {
                let value = self.record.clone().ok_or("an entry has no record")?;
                serde_json::from_value(value).map_err(|_| "an entry has members of the wrong kind")?
            }
            Sealing::Sealed(seal_key) => {
                let (Some(nonce), Some(text)) = (self.nonce.clone(), self.sealed.clone()) else {
                    return Err("an entry has no sealed text".to_owned());
                };
                let text = seal_key
                    .open(&Sealed { nonce, text }, &self.context(key))
                    .ok_or("an entry was changed after it was sealed")?;
                serde_json::from_slice(&text).map_err(|_| "a sealed entry has members of the wrong kind")?
            }
        };
        if stored.generation != self.generation {
            return Err("an entry names two generations".to_owned());
        }
        Ok(stored.into())
    }

    /// What a sealed record is tied to.
    fn context(&self, key: &CredentialKey) -> Vec<u8> {
        format!("evergrant store {VERSION} {} {} {}", key.as_str(), self.generation, self.revision).into_bytes()
    }
}

/// Where a sealed file gets its key from, in messages.
pub(super) const WITH_KEY: &str = "sealed with a key";
pub(super) const WITH_PASSPHRASE: &str = "sealed with a passphrase";

const FIRST_BYTES: &[u8] = b"{\"evergrant_store\":";

#[derive(Deserialize)]
struct Version {
    evergrant_store: u64,
}

/// A record as the file spells it. Private, so that nothing else can print a record by serialising it.
#[derive(Serialize, Deserialize)]
struct Stored {
    generation: u64,
    access_token: Option<SecretText>,
    token_type: Option<String>,
    expires_in_ns: Option<Span>,
    refresh_token: Option<SecretText>,
    seeds: Vec<TokenHash>,
    issued: Option<Issued>,
    intent: Option<Intent>,
    mints: Vec<Stamp>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "Failed::if_readable")]
    failed: Option<Failed>,
}

struct SecretText(Secret);

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

impl From<&Record> for Stored {
    fn from(record: &Record) -> Self {
        Self {
            generation: record.generation,
            access_token: record.access_token.clone().map(SecretText),
            token_type: record.token_type.clone(),
            expires_in_ns: record.expires_in,
            refresh_token: record.refresh_token.clone().map(SecretText),
            seeds: record.seeds.clone(),
            issued: record.issued.clone(),
            intent: record.intent.clone(),
            mints: record.mints.clone(),
            failed: record.failed.clone(),
        }
    }
}

impl From<Stored> for Record {
    fn from(stored: Stored) -> Self {
        Self {
            generation: stored.generation,
            access_token: stored.access_token.map(|text| text.0),
            token_type: stored.token_type,
            expires_in: stored.expires_in_ns,
            refresh_token: stored.refresh_token.map(|text| text.0),
            seeds: stored.seeds,
            issued: stored.issued,
            intent: stored.intent,
            mints: stored.mints,
            failed: stored.failed,
        }
    }
}
