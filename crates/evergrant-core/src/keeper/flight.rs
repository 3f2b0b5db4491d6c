//! Token requests: when one is made, and what follows from its outcome.
//!
//! At most one flight is in the air. It belongs to nobody: a caller that gives up cancels nothing, and every waiter gets
//! the same result. A lost answer is asked for once more within the flight, because the server may have acted; with a
//! rotating refresh token waiting longer would leave the provider's grace.
//!
//! Failures are sorted by what helps. Transient ones back off. Permanent ones, an RFC 6749 error with status 400 or 401,
//! fail fast and are asked again at 1, 2 and 5 minutes and then every 15, because secrets get fixed and providers err.
//!
//! Source: RFC 6749 sections 5.1, 5.2 and 6.

use super::slots::Held;
use super::{Action, Keeper};
use crate::Secret;
use crate::event::Event;
use crate::keeper::acquire::AcquireErrorKind;
use crate::offset::Source;
use crate::policy::Policy;
use crate::time::{Boot, Now, Span};
use crate::token::{CLAIMS_NEED_OFFSET_WITHIN, Generation, Instants, Issued, Token};
use crate::wire::{Defect, TokenFailure, TokenFailureKind};

/// Names one token request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlightId(u64);

/// Why a token request is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The newest token has passed its soft instant.
    Scheduled,
    /// Callers wait and there is no token.
    NoToken,
    /// A token was refused and given up.
    Refused,
    /// The token has reached its end although it was refused before that was known.
    Expired,
    /// A caller wants a longer life than the newest token has left.
    Asked,
    /// The token was not used for so long that it may have been ended.
    Idle,
    /// A process that is gone began a refresh, and nobody knows how it ended.
    Unfinished,
}

impl Reason {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::NoToken => "no_token",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Asked => "asked",
            Self::Idle => "idle",
            Self::Unfinished => "unfinished",
        }
    }
}

/// How a token came to hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    Minted(Reason),
    Adopted(Reason),
    Published,
    Restored,
}

impl Origin {
    fn is_for_refusal(self) -> bool {
        matches!(self, Self::Minted(Reason::Refused) | Self::Adopted(Reason::Refused))
    }

    fn event(self, generation: Generation, took: Span) -> Event {
        match self {
            Self::Minted(reason) => {
                Event::TokenMinted { generation, reason: reason.name(), took_s: took.as_secs_f64() }
            }
            Self::Adopted(_) | Self::Published => Event::TokenAdopted { generation },
            Self::Restored => Event::TokenRestored { generation },
        }
    }
}

/// The token request in the air.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    id: FlightId,
    pub(super) reason: Reason,
    has_asked_twice: bool,
}

impl Flight {
    pub(super) fn id(&self) -> FlightId {
        self.id
    }
}

/// What to do after a failed token request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlightNext {
    /// Ask once more, at once, within the same flight and lease: the answer may be lost although the server acted.
    AskAgain,
    /// The flight is over.
    Over,
}

/// A token that the token endpoint has issued, or that another process put into the store.
#[derive(Clone, Debug)]
pub struct Minted {
    /// Its place in the order of tokens, from the store or one above [`Keeper::newest_generation`].
    pub generation: Generation,
    /// Its text.
    pub access_token: Secret,
    /// When it was asked for and arrived.
    pub issued: Issued,
    /// What the server said of its lifetime.
    pub lifetime: Option<Span>,
    /// Can it be renewed without a person?
    pub is_renewable: bool,
}

/// Failures of token requests since the last success.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures {
    pub(super) streak: u32,
    pub(super) not_before: Option<Boot>,
    half_open_tries: u32,
    pub(super) last: Option<TokenFailure>,
}

impl Failures {
    pub(super) fn last(&self) -> Option<&TokenFailure> {
        self.last.as_ref()
    }

    pub(super) fn not_before(&self) -> Option<Boot> {
        self.not_before
    }

    pub(super) fn is_permanent(&self) -> bool {
        self.last.as_ref().is_some_and(|failure| failure.kind.is_permanent())
    }

    /// Is this what a wrong token URL looks like? Torn and empty answers are not: they come from the right one.
    pub(super) fn look_misconfigured(&self) -> bool {
        let Some(failure) = &self.last else { return false };
        let is_foreign = matches!(failure.defect, Some(Defect::WebPage | Defect::NotJson | Defect::NoToken));
        let kinds = [TokenFailureKind::Unreachable, TokenFailureKind::Redirected, TokenFailureKind::Rejected];
        is_foreign || kinds.contains(&failure.kind)
    }

    pub(super) fn kind_of(&self, failure: &TokenFailure) -> AcquireErrorKind {
        match failure.kind {
            TokenFailureKind::InvalidGrant
            | TokenFailureKind::RotationLost
            | TokenFailureKind::InvalidClient
            | TokenFailureKind::UnauthorizedClient
            | TokenFailureKind::InvalidScope
            | TokenFailureKind::UnsupportedGrantType => AcquireErrorKind::Rejected,
            TokenFailureKind::Unreachable => AcquireErrorKind::Unreachable,
            TokenFailureKind::TimedOut => AcquireErrorKind::TimedOut,
            TokenFailureKind::RateLimited
            | TokenFailureKind::ServerError
            | TokenFailureKind::Malformed
            | TokenFailureKind::Lost
            | TokenFailureKind::Redirected
            | TokenFailureKind::Rejected => AcquireErrorKind::Unavailable,
        }
    }
}

impl Keeper {
    /// A flight brought a new token.
    pub fn handle_minted(&mut self, flight: FlightId, minted: Minted, now: Now) {
        let Some(reason) = self.land(flight) else { return };
        self.counters.mints += 1;
        self.has_minted = true;
        self.budget.handle_mint(minted.issued.sent, now.boot);
        self.latency.handle_sample(minted.issued.received - minted.issued.sent);
        self.take_in(minted, Origin::Minted(reason), now);
    }

    /// A flight brought no token.
    pub fn handle_flight_failed(&mut self, flight: FlightId, mut failure: TokenFailure, now: Now) -> FlightNext {
        let Some(current) = self.flight.as_mut().filter(|current| current.id == flight) else {
            return FlightNext::Over;
        };
        self.counters.token_failures += 1;
        self.profile.classify_token_failure(&mut failure);
        if failure.kind.answer_may_be_lost() && !current.has_asked_twice {
            current.has_asked_twice = true;
            return FlightNext::AskAgain;
        }
        self.flight = None;
        self.back_off(&failure, now.boot);
        let retry_in = self.failures.not_before.map_or(Span::ZERO, |at| at - now.boot);
        self.events.note(
            Event::RefreshFailed {
                failure: failure.kind.name(),
                detail: failure.to_string(),
                retry_in_s: retry_in.as_secs_f64(),
            },
            now.boot,
        );
        self.failures.last = Some(failure);
        self.wake();
        FlightNext::Over
    }

    /// A token request is about to be sent.
    pub(super) fn note_request(&mut self) {
        self.counters.token_requests += 1;
    }

    /// A refused token request was sent once more within its flight, with another proof of who the client is.
    pub fn handle_sent_again(&mut self) {
        self.counters.token_requests += 1;
    }

    /// Starts a flight unless one is in the air or the brakes say no; `true` if one is in the air afterwards.
    pub(super) fn start_flight(&mut self, reason: Reason, now: Boot) -> bool {
        if self.flight.is_some() {
            return true;
        }
        if !self.is_renewable || self.may_fly_at(reason, now) > now {
            return false;
        }
        self.flights += 1;
        let id = FlightId(self.flights);
        self.flight = Some(Flight { id, reason, has_asked_twice: false });
        self.actions.push_back(Action::RequestToken { flight: id, reason });
        true
    }

    /// Starts the scheduled refresh, or the first token request, when it is due.
    pub(super) fn refresh_if_due(&mut self, now: Boot) {
        match self.slots.newest().map(|newest| newest.token.instants.soft) {
            Some(soft) if now < soft || self.is_waiting_for_unrepeatable(now) => {}
            Some(_) => _ = self.start_flight(Reason::Scheduled, now),
            None => _ = self.start_flight(Reason::NoToken, now),
        }
    }

    /// When the next scheduled refresh can start.
    pub(super) fn next_refresh(&self) -> Option<Boot> {
        if self.flight.is_some() || !self.is_renewable {
            return None;
        }
        let brakes = self.failures.not_before.max(self.budget_known_until);
        let Some(newest) = self.slots.newest() else { return brakes };
        let Instants { soft, dead, .. } = newest.token.instants;
        let waits = self.revokes_old.is_learned() && self.unrepeatable_in_flight > 0;
        let due = if waits { soft + (dead - soft).scaled(1, 2) } else { soft };
        Some(brakes.map_or(due, |brakes| brakes.max(due)))
    }

    /// The earliest moment at which a flight for this reason may start.
    fn may_fly_at(&mut self, reason: Reason, now: Boot) -> Boot {
        let after_failure = self.failures.not_before.unwrap_or(now);
        let after_budget = self.next_budget(reason, now);
        self.budget_known_until = (after_budget > now).then_some(after_budget);
        let after_circuit = match reason {
            Reason::Refused => self.circuit.open_until().unwrap_or(now),
            Reason::Scheduled
            | Reason::NoToken
            | Reason::Expired
            | Reason::Asked
            | Reason::Idle
            | Reason::Unfinished => now,
        };
        after_failure.max(after_budget).max(after_circuit)
    }

    /// When the budget allows a mint for this reason.
    pub(super) fn next_budget(&mut self, reason: Reason, now: Boot) -> Boot {
        let limit = self.policy.mint_budget_for(self.lifetime);
        let is_scheduled = matches!(reason, Reason::Scheduled | Reason::NoToken | Reason::Expired | Reason::Unfinished);
        self.budget.next_allowed(limit, is_scheduled, now)
    }

    /// With a provider that ends the old token at refresh, requests that cannot be repeated end first, for a while.
    fn is_waiting_for_unrepeatable(&self, now: Boot) -> bool {
        let Some(newest) = self.slots.newest() else { return false };
        let Instants { soft, dead, .. } = newest.token.instants;
        let is_lesson_learned = self.revokes_old.is_learned() && self.unrepeatable_in_flight > 0;
        is_lesson_learned && now < soft + (dead - soft).scaled(1, 2)
    }

    pub(super) fn land(&mut self, flight: FlightId) -> Option<Reason> {
        let landed = self.flight.take_if(|current| current.id == flight)?;
        self.failures = Failures::default();
        self.wake();
        Some(landed.reason)
    }

    /// Puts a new token in its slot.
    pub(super) fn take_in(&mut self, minted: Minted, origin: Origin, now: Now) {
        self.is_renewable = minted.is_renewable;
        self.lifetime = minted.lifetime;
        if self.is_given_up(&minted) {
            // The provider, or the store, hands out the very token that it refuses. Asking again at once cannot help.
            self.counters.same_token_answers += 1;
            self.events.note(Event::TokenUnchanged { generation: minted.generation }, now.boot);
            self.failures.not_before = Some(now.boot + LONGEST_SAME_TOKEN_WAIT.scaled(1, 10));
            return;
        }
        let jitter = self.jitter(minted.generation);
        let p99 = self.latency.p99();
        let Minted { generation, access_token, issued, lifetime, .. } = minted;
        let same = self.slots.iter().find(|held| held.token.access_token == access_token).map(Held::generation);
        let generation = same.unwrap_or(generation);
        let mut token = Token::new(generation, access_token, issued, lifetime, &self.policy, p99, jitter);
        let theta = self.estimator.reading(Source::ApiDate, now.boot).settled_within(CLAIMS_NEED_OFFSET_WITHIN);
        if theta.is_some_and(|theta| !token.shorten_by_claims(theta, &self.policy, p99, jitter)) {
            self.counters.contradicted_claims += 1;
        }
        // An answer that names no life leaves it to the claims, and the budget has to allow for what they say.
        self.lifetime = lifetime.or_else(|| token.remaining(issued.sent));
        if let Some(held) = self.slots.get_mut(generation) {
            self.counters.same_token_answers += 1;
            let left = token.remaining(now.boot).unwrap_or(LONGEST_SAME_TOKEN_WAIT);
            held.token = std::sync::Arc::new(token);
            self.events.note(Event::TokenUnchanged { generation }, now.boot);
            self.failures.not_before =
                Some(now.boot + left.scaled(1, 2).clamp(Span::from_secs(1), LONGEST_SAME_TOKEN_WAIT));
            return;
        }
        self.newest = self.newest.max(generation);
        self.revokes_old.handle_refresh();
        self.events.note(origin.event(generation, issued.received - issued.sent), now.boot);
        self.place(Held::new(token, origin.is_for_refusal()), now.boot);
    }

    fn is_given_up(&self, minted: &Minted) -> bool {
        let is_same_text = |held: &Held| held.token.access_token == minted.access_token;
        self.slots.is_rejected(minted.generation) || self.last_rejected.as_ref().is_some_and(is_same_text)
    }

    /// A usable active token keeps serving while the new one settles; otherwise the new one serves at once.
    fn place(&mut self, new: Held, now: Boot) {
        let left = self.slots.active.as_ref().map(|active| active.token.instants.dead - now);
        let not_valid_for = self.not_valid_for(&new.token, now).unwrap_or(Span::ZERO);
        self.slots.candidate = Some(new);
        let settle = self.settle.span().max(not_valid_for);
        let wait = left.map_or(Span::ZERO, |left| settle.min(left.scaled(1, 2)));
        let is_active_spent =
            self.slots.active.as_ref().is_none_or(|active| active.is_suspect() || now >= active.token.instants.hard);
        if is_active_spent || self.revokes_old.is_learned() {
            self.promote(now);
        } else {
            self.promote_at = Some(now + wait.max(Span::ZERO));
        }
    }

    /// How long the API host's clock, at the latest, still holds a JWT for not yet valid.
    pub(super) fn not_valid_for(&self, token: &Token, now: Boot) -> Option<Span> {
        let claims = token.claims.as_ref()?;
        let from = claims.nbf.or(claims.iat)?;
        let theta = self.estimator.reading(Source::ApiDate, now).interval?;
        Some(from - (now + theta.lo)).filter(|left| *left > Span::ZERO)
    }

    fn back_off(&mut self, failure: &TokenFailure, now: Boot) {
        let luck = self.luck(BACKOFF, Generation(self.flights));
        let asked_for = failure
            .retry_after
            .and_then(|after| after.wait(now, self.estimator.reading(Source::AuthDate, now).interval));
        let wait = if failure.kind.is_permanent() {
            self.failures.half_open_tries += 1;
            Policy::half_open_after(self.failures.half_open_tries - 1)
        } else {
            let remaining = self.slots.active.as_ref().map(|active| active.token.instants.gone - now);
            asked_for.unwrap_or_else(|| self.policy.backoff(self.failures.streak, remaining, luck))
        };
        self.failures.streak = self.failures.streak.saturating_add(1);
        self.failures.not_before = Some(now + wait);
    }
}

pub(super) const JITTER: u64 = 1;
const BACKOFF: u64 = 2;
pub(super) const SPREAD: u64 = 3;
/// A provider that answers with the token that we have already is asked again no later than this.
const LONGEST_SAME_TOKEN_WAIT: Span = Span::from_secs(30);
