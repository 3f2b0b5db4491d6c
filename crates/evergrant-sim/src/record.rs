//! What a client's store holds, as a model: one record that survives the process.
//!
//! It has what the library's record has that matters to a grant: both tokens of the last commit, when the access token
//! came, the intent to spend the refresh token, and when tokens were minted. Every write is whole and at once; crashes
//! fall between writes.

use evergrant_core::Secret;
use evergrant_core::keeper::{Doubt, Minted, SharedFailure, Stored, StoredToken};
use evergrant_core::time::{Boot, Span};
use evergrant_core::token::Generation;

/// The stored record of one credential.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) generation: Generation,
    pub(crate) refresh_token: String,
    /// When a request was about to be sent with the refresh token, of which no end is known.
    pub(crate) intent: Option<Boot>,
    pub(crate) mints: Vec<Boot>,
    pub(crate) failure: Option<Box<SharedFailure>>,
    token: Option<Minted>,
}

impl Record {
    /// A store with nothing but the refresh token of a login.
    pub(crate) fn new(refresh_token: &str) -> Self {
        let refresh_token = refresh_token.to_owned();
        Self {
            generation: Generation::default(),
            refresh_token,
            intent: None,
            mints: Vec::new(),
            failure: None,
            token: None,
        }
    }

    /// A request is about to be sent; an earlier intent keeps its time, because the grace counts from the first.
    pub(crate) fn intend(&mut self, now: Boot) {
        self.intent.get_or_insert(now);
    }

    /// Both tokens are stored together, and nothing is in doubt.
    pub(crate) fn commit(&mut self, minted: Minted, refresh_token: Option<&Secret>) {
        self.generation = minted.generation;
        if let Some(refresh_token) = refresh_token {
            refresh_token.expose().clone_into(&mut self.refresh_token);
        }
        self.intent = None;
        self.failure = None;
        let sent = minted.issued.sent;
        self.mints.push(sent);
        self.mints.retain(|mint| sent - *mint < Span::from_secs(600));
        self.token = Some(minted);
    }

    /// The stored token.
    pub(crate) fn restored(&self) -> Option<Minted> {
        self.token.clone()
    }

    /// The request with this refresh token of which no end is known.
    pub(crate) fn doubt(&self, now: Boot) -> Option<Doubt> {
        let at = self.intent?;
        Some(Doubt {
            age: Some(now - at),
            words: format!("this client was about to spend this refresh token at {at:?}"),
        })
    }

    /// The record as the keeper knows it.
    pub(crate) fn stored(&self, rotates: bool, now: Boot) -> Stored {
        Stored {
            generation: self.generation,
            grant: rotates.then(|| self.refresh_token.clone()),
            token: self.token.clone().map(StoredToken::Known),
            doubt: self.doubt(now),
            mints: self.mints.clone(),
            failure: self.failure.clone(),
        }
    }
}
