//! One refresh from lease to commit, as decisions: what to do next, and what the keeper is told.
//!
//! Whoever carries a refresh out holds the store's lease for the whole read, request and write, and is told here step by
//! step what comes next. The order is what keeps a grant whose refresh token rotates: the intent is durable before the
//! request is sent, both new tokens are durable together before either is served, and a refused refresh token is looked
//! for in the store once more before anybody is told. What another process has minted in the meantime is adopted.
//!
//! A refresh token is in doubt while an intent names it: a request with it was about to be sent, and nobody wrote how that
//! ended. Within the provider's grace it may be sent again; after it only when nothing is left to serve. If the provider
//! refuses a token in doubt, the rotation is lost, and the intent says to whom and when. The intent of the first request is
//! kept through all later ones: the grace counts from the first use.
//!
//! A failure that says something of the token endpoint and nothing of who asked is stored as well, and nobody sends a request
//! before the wait after it is over. Not so one that may have spent a refresh token: that has to be asked for again at once.
//!
//! ```text
//! lease -> [adopt | postpone | not renewable | in doubt] -> intend -> send -> commit -> end
//!                                                             ^        |-> look again -> [adopt | intend | fail]
//!                                                             '- lost -'-> withdraw -> [share] -> fail
//! ```
//!
//! Limits: nothing here knows a store. Writing, retrying a write, and losing a lease are the driver's.
//!
//! Source: RFC 6749 section 6; RFC 9700 section 4.14.2 (rotation and reuse detection).

use super::Keeper;
use super::fleet::SharedFailure;
use super::flight::{FlightId, FlightNext, Minted};
use crate::time::{Boot, Now, Span};
use crate::token::{Generation, Issued};
use crate::wire::{ExpiresInNote, TokenAnswer, TokenFailure, TokenFailureKind};

/// What a store holds of a credential, in the keeper's terms.
#[derive(Clone, Default, Debug)]
pub struct Stored {
    /// Counts committed answers; 0 means that none was committed yet.
    pub generation: Generation,
    /// Names the refresh token, if there is one. Two names are equal if the tokens are.
    pub grant: Option<String>,
    /// The access token.
    pub token: Option<StoredToken>,
    /// Why the refresh token may be spent.
    pub doubt: Option<Doubt>,
    /// When this and other processes have minted: each mint by the moment at which it was asked for.
    pub mints: Vec<Boot>,
    /// The failure of the token endpoint that was met last, if no token came since.
    pub failure: Option<Box<SharedFailure>>,
}

/// A stored access token, on this boot's clock.
#[derive(Clone, Debug)]
pub enum StoredToken {
    /// It is known how old it is.
    Known(Minted),
    /// It is from another boot, and no clock tells how old it is.
    Stale(Minted),
}

/// A request that was about to be sent with the refresh token that is still there, and of which no end is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Doubt {
    /// How long ago, as far as any clock can tell.
    pub age: Option<Span>,
    /// Who was about to send it, and when: `process 5 on host was about to spend this refresh token at ...`.
    pub words: String,
}

impl Doubt {
    /// Is the provider still in its grace for that request, as far as anybody can tell?
    #[must_use]
    pub fn is_within_grace(&self) -> bool {
        self.age.is_some_and(|age| age <= GRACE)
    }
}

/// What whoever carries the refresh out does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// With a refresh token that rotates make an intent durable, a new one unless an old one names this refresh token. Then
    /// [`Refresh::handle_intent`].
    Intend,
    /// Send the request. Then [`Refresh::handle_answer`] or [`Refresh::handle_failure`].
    Send,
    /// Load the record once more, without the lease's help. Then [`Refresh::handle_looked_again`].
    LookAgain,
    /// Take the intent back if one was written: the refresh token was certainly not spent. Then [`Refresh::handle_withdrawn`].
    Withdraw,
    /// Where a fleet shares the store, store this failure beside what is there, so that others keep to it. Then
    /// [`Refresh::handle_shared`]; anywhere else [`Refresh::handle_unshared`].
    Share(SharedFailure),
    /// Store both tokens under this generation, the mint, no failure, and nothing in doubt. Then [`Refresh::handle_commit`].
    Commit(Generation),
    /// Give the lease back: it is over, and the keeper knows.
    End(Ending),
}

/// How a refresh ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// A newer token was published before the lease was there.
    Overtaken,
    /// Another process had minted; its token was taken over.
    Adopted(Generation),
    /// There is no refresh token.
    NotRenewable,
    /// The refresh token may be spent, and there is still a token to serve.
    InDoubt,
    /// No token came.
    Failed(TokenFailure),
    /// No request was sent: another process has just met this failure.
    Postponed(TokenFailure),
    /// A token came and is served.
    Minted(Generation),
    /// Another process was first, with a token whose age no clock tells. The keeper was told nothing.
    Unknown,
}

/// What became of a commit.
#[derive(Clone, Debug)]
pub enum Committed {
    /// The tokens are stored, or as good as this process can keep them.
    Ours,
    /// Somebody else has stored a record that is at least as new.
    Theirs(Stored),
}

/// One refresh under way.
#[derive(Clone, Debug)]
pub struct Refresh {
    flight: FlightId,
    rotates: bool,
    /// The newest generation when it began: whatever is newer overtakes it.
    newest: Generation,
    generation: Generation,
    grant: Option<String>,
    /// The doubt that the request at hand is sent in.
    doubt: Option<Doubt>,
    /// The one that it leaves behind.
    next_doubt: Option<Doubt>,
    has_looked_again: bool,
    failure: Option<TokenFailure>,
    minted: Option<Minted>,
}

impl Refresh {
    /// A flight that begins now. `rotates`: its grant is a refresh token.
    #[must_use]
    pub fn new(flight: FlightId, rotates: bool, keeper: &Keeper) -> Self {
        Self {
            flight,
            rotates,
            newest: keeper.newest_generation(),
            generation: Generation::default(),
            grant: None,
            doubt: None,
            next_doubt: None,
            has_looked_again: false,
            failure: None,
            minted: None,
        }
    }

    /// The flight.
    #[must_use]
    pub const fn flight(&self) -> FlightId {
        self.flight
    }

    /// Is its grant a refresh token?
    #[must_use]
    pub const fn rotates(&self) -> bool {
        self.rotates
    }

    /// The doubt that the refresh token at hand is in.
    #[must_use]
    pub const fn doubt(&self) -> Option<&Doubt> {
        self.doubt.as_ref()
    }

    /// The token that is to be committed, once there is one.
    #[must_use]
    pub const fn minted(&self) -> Option<&Minted> {
        self.minted.as_ref()
    }

    /// Has a newer token come since it began?
    #[must_use]
    pub fn is_overtaken(&self, keeper: &Keeper) -> bool {
        keeper.newest_generation() > self.newest
    }

    /// A newer token came while the lease was waited for.
    pub fn handle_overtaken(&self, keeper: &mut Keeper) -> Ending {
        keeper.handle_overtaken(self.flight);
        Ending::Overtaken
    }

    /// There is no lease, and without one the refresh token is not spent.
    pub fn handle_no_lease(&self, failure: TokenFailure, keeper: &mut Keeper, now: Now) -> Ending {
        keeper.handle_flight_failed(self.flight, failure.clone(), now);
        Ending::Failed(failure)
    }

    /// The lease is there, and this is the record under it; or there is no store, and this is what the process knows.
    pub fn handle_lease(&mut self, stored: Stored, keeper: &mut Keeper, now: Now) -> Next {
        keeper.handle_known_mints(stored.mints.iter().copied());
        if self.is_overtaken(keeper) {
            return Next::End(self.handle_overtaken(keeper));
        }
        let is_worth_it = |token: &Minted| {
            let is_young = |life: Span| now.boot - token.issued.sent < life.scaled(1, 2);
            token.generation > self.newest && token.lifetime.is_some_and(is_young)
        };
        if let Some(StoredToken::Known(token)) = &stored.token
            && is_worth_it(token)
        {
            return self.adopt(token.clone(), keeper, now);
        }
        self.take(&stored);
        if self.rotates && self.grant.is_none() {
            keeper.handle_not_renewable(self.flight, now);
            keeper.handle_timeout(now);
            return Next::End(Ending::NotRenewable);
        }
        if let Some(shared) = stored.failure.filter(|shared| self.doubt.is_none() && now.boot < shared.not_before) {
            keeper.handle_shared_failure(self.flight, &shared, now);
            return Next::End(Ending::Postponed(shared.failure));
        }
        let may_be_sent = self.doubt.as_ref().is_none_or(Doubt::is_within_grace);
        if may_be_sent || keeper.handle_doubt(self.flight, now) { Next::Intend } else { Next::End(Ending::InDoubt) }
    }

    /// The intent is durable, and the refresh token is in this doubt from now on; or it could not be made so.
    pub fn handle_intent(
        &mut self,
        intent: Result<Option<Doubt>, TokenFailure>,
        keeper: &mut Keeper,
        now: Now,
    ) -> Next {
        match intent {
            Ok(doubt) => {
                self.next_doubt = doubt;
                keeper.note_request();
                Next::Send
            }
            Err(failure) => self.handle_failure(failure, keeper, now),
        }
    }

    /// The token endpoint gave out a token.
    pub fn handle_answer(&mut self, answer: &mut TokenAnswer, issued: Issued, keeper: &Keeper) -> Next {
        if self.doubt.is_some() && answer.expires_in_note == Some(ExpiresInNote::NotPositive) {
            // The answer of the first request once more, with a token that has ended since; not one without an end.
            answer.expires_in = Some(Span::ZERO);
        }
        let generation = self.generation.max(keeper.newest_generation()).next();
        self.minted = Some(Minted {
            generation,
            access_token: answer.access_token.clone(),
            issued,
            lifetime: answer.expires_in,
            is_renewable: !self.rotates || self.grant.is_some() || answer.refresh_token.is_some(),
        });
        Next::Commit(generation)
    }

    /// No token came.
    pub fn handle_failure(&mut self, failure: TokenFailure, keeper: &mut Keeper, now: Now) -> Next {
        let is_refused = self.rotates && failure.kind == TokenFailureKind::InvalidGrant;
        if is_refused && !std::mem::replace(&mut self.has_looked_again, true) {
            self.failure = Some(failure);
            return Next::LookAgain;
        }
        self.fail(failure, keeper, now)
    }

    /// What the store holds now. A refused refresh token may have been replaced by somebody who holds no lease, or no
    /// longer holds it.
    pub fn handle_looked_again(&mut self, found: Option<Stored>, keeper: &mut Keeper, now: Now) -> Next {
        let is_news = |found: &Stored| found.generation > self.generation || found.grant != self.grant;
        match found.filter(is_news) {
            Some(Stored { generation, token: Some(StoredToken::Known(token)), .. }) if generation > self.generation => {
                self.adopt(token, keeper, now)
            }
            Some(changed) => {
                self.take(&changed);
                Next::Intend
            }
            None => match self.failure.take() {
                Some(failure) => self.fail(failure, keeper, now),
                None => Next::Intend,
            },
        }
    }

    /// The intent is taken back, or stays although nothing came of it.
    pub fn handle_withdrawn(&mut self, keeper: &mut Keeper, now: Now) -> Next {
        self.next_doubt = None;
        match self.failure.take() {
            Some(failure) => self.tell(failure, keeper, now),
            None => Next::Intend,
        }
    }

    /// The failure is stored, and others keep to it. They go first.
    pub fn handle_shared(&mut self, keeper: &mut Keeper, now: Now) -> Next {
        keeper.step_back(now);
        self.handle_unshared()
    }

    /// There is nobody to share it with, or the store did not take it.
    pub fn handle_unshared(&mut self) -> Next {
        let failure = self.failure.take();
        Next::End(failure.map_or(Ending::Unknown, Ending::Failed))
    }

    /// The tokens are stored, or somebody else was first.
    pub fn handle_commit(&mut self, committed: Committed, keeper: &mut Keeper, now: Now) -> Next {
        match committed {
            Committed::Ours => match self.minted.take() {
                Some(minted) => {
                    let generation = minted.generation;
                    keeper.handle_minted(self.flight, minted, now);
                    Next::End(Ending::Minted(generation))
                }
                None => Next::End(Ending::Unknown),
            },
            Committed::Theirs(Stored { token: Some(StoredToken::Known(token)), .. }) => self.adopt(token, keeper, now),
            Committed::Theirs(_) => Next::End(Ending::Unknown),
        }
    }

    fn take(&mut self, stored: &Stored) {
        self.generation = stored.generation;
        self.grant.clone_from(&stored.grant);
        self.doubt = stored.doubt.clone().filter(|_| self.rotates);
    }

    fn adopt(&self, token: Minted, keeper: &mut Keeper, now: Now) -> Next {
        let generation = token.generation;
        keeper.handle_adopted(self.flight, token, now);
        Next::End(Ending::Adopted(generation))
    }

    fn fail(&mut self, failure: TokenFailure, keeper: &mut Keeper, now: Now) -> Next {
        let failure = match &self.doubt {
            Some(doubt) if self.rotates && failure.kind == TokenFailureKind::InvalidGrant => {
                rotation_lost(failure, doubt)
            }
            Some(_) | None => failure,
        };
        if self.rotates && self.doubt.is_none() && !failure.refresh_token_may_be_spent() {
            self.failure = Some(failure);
            return Next::Withdraw;
        }
        self.tell(failure, keeper, now)
    }

    fn tell(&mut self, failure: TokenFailure, keeper: &mut Keeper, now: Now) -> Next {
        match keeper.handle_flight_failed(self.flight, failure.clone(), now) {
            FlightNext::AskAgain => {
                self.doubt = self.next_doubt.take().or_else(|| self.doubt.take());
                Next::Intend
            }
            FlightNext::Over => {
                let may_wait = !self.rotates || (self.doubt.is_none() && !failure.refresh_token_may_be_spent());
                match keeper.failure_to_share().filter(|_| may_wait) {
                    Some(shared) => {
                        self.failure = Some(failure);
                        Next::Share(shared)
                    }
                    None => Next::End(Ending::Failed(failure)),
                }
            }
        }
    }
}

impl Keeper {
    /// The store holds this at start. `rotates`: the grant is a refresh token.
    pub fn handle_stored(&mut self, stored: Stored, rotates: bool, now: Now) {
        self.handle_known_mints(stored.mints);
        match stored.token {
            Some(StoredToken::Known(minted)) => self.handle_restored(minted, now),
            Some(StoredToken::Stale(minted)) => self.handle_stale(minted, now),
            None => {}
        }
        if rotates && stored.doubt.is_some_and(|doubt| doubt.is_within_grace()) {
            self.handle_unfinished(now);
        }
    }

    /// Another process has put this into the store.
    pub fn handle_news(&mut self, stored: Stored, now: Now) {
        self.handle_known_mints(stored.mints);
        match stored.token {
            Some(StoredToken::Known(minted)) => self.handle_published(minted, now),
            // Its age will be known when the token endpoint has shown its clock; until then ours is the better one.
            Some(StoredToken::Stale(minted)) if self.newest_generation() == Generation::default() => {
                self.handle_stale(minted, now);
            }
            Some(StoredToken::Stale(_)) | None => {}
        }
    }
}

/// The refusal of a refresh token in doubt, with the name of what happened to it.
fn rotation_lost(failure: TokenFailure, doubt: &Doubt) -> TokenFailure {
    let text = format!("{} and its answer was never stored; the provider refuses it now", doubt.words);
    TokenFailure { kind: TokenFailureKind::RotationLost, code: None, ..failure.with_description(&text) }
}

/// Providers that give a grace give at least this much, as far as is known; nobody tells how long theirs is.
const GRACE: Span = Span::from_secs(30);
