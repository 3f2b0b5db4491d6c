//! What a client's store holds, as a model: one record that survives the process.
//!
//! It has what the library's record has that matters to a grant: both tokens of the last commit, when the access token
//! came, the intent to spend the refresh token, and when tokens were minted. Every write is whole and at once; crashes
//! fall between writes.
//!
//! Times are kept as they were read, with the boot that they belong to. On another boot they are mapped through the clock of
//! the store, as the library's are: to the earliest sending and the latest arrival that can have been.

use evergrant_core::Secret;
use evergrant_core::keeper::{Doubt, Minted, SharedFailure, Stored, StoredToken};
use evergrant_core::time::{Now, OffsetInterval, Span};
use evergrant_core::token::{Generation, Issued};

/// A moment on a process's clocks, and how the store's clock stands to them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// Which boot clock it is.
    pub(crate) boot_id: usize,
    pub(crate) at: Now,
    pub(crate) store: Option<OffsetInterval>,
}

impl Stamp {
    /// Of a process that shares its store with none of another boot.
    pub(crate) fn alone(at: Now) -> Self {
        Self { boot_id: 0, at, store: None }
    }

    /// The time since then, the longest that it can be; `None` if no clock can tell.
    fn age(&self, here: &Self) -> Option<Span> {
        let age = match (self.store, here.store) {
            _ if self.boot_id == here.boot_id => here.at.boot - self.at.boot,
            (Some(then), Some(store)) => here.at.boot - store.earliest(self.at.boot + then.lo),
            _ => here.at.wall - self.at.wall,
        };
        (!age.is_negative()).then_some(age)
    }

    /// When a token was issued that was stored then, on the boot clock of here; `None` if nobody can tell.
    fn issued(&self, issued: Issued, here: &Self) -> Option<Issued> {
        if self.boot_id == here.boot_id {
            return Some(issued);
        }
        let (then, store) = (self.store?, here.store?);
        let (sent, received) = (store.earliest(issued.sent + then.lo), store.latest(issued.received + then.hi));
        Some(Issued { sent, received })
    }

    fn earlier_by(self, ago: Span) -> Self {
        Self { at: Now { boot: self.at.boot - ago, wall: self.at.wall - ago }, ..self }
    }
}

/// A failure that others keep to: when it was met, and how long they wait since.
#[derive(Clone)]
struct Failed {
    shared: SharedFailure,
    at: Stamp,
    wait: Span,
}

/// The stored record of one credential.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) generation: Generation,
    pub(crate) refresh_token: String,
    /// When a request was about to be sent with the refresh token, of which no end is known.
    intent: Option<Stamp>,
    mints: Vec<Stamp>,
    failed: Option<Box<Failed>>,
    /// With when it was stored.
    token: Option<Box<(Minted, Stamp)>>,
}

impl Record {
    /// A store with nothing but the refresh token of a login.
    pub(crate) fn new(refresh_token: &str) -> Self {
        let refresh_token = refresh_token.to_owned();
        let generation = Generation::default();
        Self { generation, refresh_token, intent: None, mints: Vec::new(), failed: None, token: None }
    }

    /// A request is about to be sent; an earlier intent keeps its time, because the grace counts from the first.
    pub(crate) fn intend(&mut self, here: Stamp) {
        self.intent.get_or_insert(here);
    }

    /// The refresh token was certainly not spent; `true` if that was in doubt.
    pub(crate) fn withdraw(&mut self) -> bool {
        self.intent.take().is_some()
    }

    /// When the refresh token was about to be spent, if nobody wrote how that ended; with the number of its boot.
    pub(crate) fn intended(&self) -> Option<Stamp> {
        self.intent
    }

    /// The token endpoint failed, and others keep to that.
    pub(crate) fn fail(&mut self, shared: SharedFailure, here: Stamp) {
        let wait = shared.not_before - here.at.boot;
        self.failed = Some(Box::new(Failed { shared, at: here, wait }));
    }

    /// Both tokens are stored together, and nothing is in doubt.
    pub(crate) fn commit(&mut self, minted: Minted, refresh_token: Option<&Secret>, here: Stamp) {
        self.generation = minted.generation;
        if let Some(refresh_token) = refresh_token {
            refresh_token.expose().clone_into(&mut self.refresh_token);
        }
        (self.intent, self.failed) = (None, None);
        let sent = here.earlier_by(here.at.boot - minted.issued.sent);
        self.mints.push(sent);
        self.mints.retain(|mint| mint.age(&sent).is_none_or(|age| age < Span::from_secs(600)));
        self.token = Some(Box::new((minted, here)));
    }

    /// The stored token, in the time of whoever stored it.
    pub(crate) fn restored(&self) -> Option<Minted> {
        self.token.as_ref().map(|token| token.0.clone())
    }

    /// The request with this refresh token of which no end is known.
    pub(crate) fn doubt(&self, here: &Stamp) -> Option<Doubt> {
        let intent = self.intent?;
        let words = format!("this client was about to spend this refresh token at {:?}", intent.at.boot);
        Some(Doubt { age: intent.age(here), words })
    }

    /// The record as the keeper knows it.
    pub(crate) fn stored(&self, rotates: bool, here: &Stamp) -> Stored {
        let token = self.token.as_deref().map(|(minted, stored)| match stored.issued(minted.issued, here) {
            Some(issued) => StoredToken::Known(Minted { issued, ..minted.clone() }),
            None => {
                let issued = Issued { sent: here.at.boot, received: here.at.boot };
                StoredToken::Stale(Minted { issued, ..minted.clone() })
            }
        });
        let failure = self.failed.as_ref().and_then(|failed| {
            let not_before = here.at.boot - failed.at.age(here)? + failed.wait;
            Some(Box::new(SharedFailure { not_before, ..failed.shared.clone() }))
        });
        Stored {
            generation: self.generation,
            grant: rotates.then(|| self.refresh_token.clone()),
            token,
            doubt: self.doubt(here),
            mints: self.mints.iter().filter_map(|mint| Some(here.at.boot - mint.age(here)?)).collect(),
            failure,
        }
    }
}
