//! Who gets which token, and who waits.
//!
//! A request that may be repeated gets the active token; if that one is refused it is repeated with another. A request
//! that may not be repeated travels on proof alone: on the previous token while the new one settles, else on a token
//! that worked and was not refused since, probed first where a probe is known.

use std::fmt;
use std::sync::Arc;

use super::flight::Reason;
use super::slots::Held;
use super::{Keeper, View};
use crate::attempt::Replay;
use crate::policy::Policy;
use crate::time::{Boot, Now, Span};
use crate::token::Token;
use crate::wire::TokenFailure;

/// What a request needs of its token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Need {
    /// Any token that should work: the request can be repeated.
    #[default]
    Usable,
    /// A token that is proven: the request cannot be repeated.
    Proven,
    /// A token proven within [`Policy::PROOF_FRESH`]: the request is too large to be lost.
    ProvenRecently,
    /// A token with at least this much life left.
    Lasting(Span),
}

/// The answer to a request for a token.
#[derive(Clone, Debug)]
pub enum Acquire {
    /// Send this token.
    Ready(Arc<Token>),
    /// Ask again when something changed, and at the latest at this moment.
    Wait(Boot),
    /// There is no token, and waiting longer does not help.
    Failed(AcquireError),
}

/// Why there is no token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AcquireError {
    /// What kind of failure it is.
    pub kind: AcquireErrorKind,
    /// What the token endpoint, or the way to it, said.
    pub failure: Option<TokenFailure>,
    /// When it makes sense to ask again.
    pub retry_after: Option<Span>,
}

/// The kinds of failure to get a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AcquireErrorKind {
    /// The token endpoint refuses the credential; it is asked again now and then.
    Rejected,
    /// The token endpoint could not be reached.
    Unreachable,
    /// The token endpoint answers, but not with a token.
    Unavailable,
    /// No answer came in time.
    TimedOut,
    /// As many tokens were minted as the budget allows.
    BudgetExhausted,
    /// There is nothing left to renew the token with; a person has to log in.
    LoginRequired,
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            AcquireErrorKind::Rejected => "the token endpoint rejects the credential",
            AcquireErrorKind::Unreachable => "the token endpoint cannot be reached",
            AcquireErrorKind::Unavailable => "the token endpoint gives no token",
            AcquireErrorKind::TimedOut => "no token arrived in time",
            AcquireErrorKind::BudgetExhausted => "the mint budget is used up",
            AcquireErrorKind::LoginRequired => "login_required: the grant cannot be renewed",
        })?;
        match &self.failure {
            Some(failure) => write!(f, ": {failure}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for AcquireError {}

impl Keeper {
    /// A caller that started to wait at `asked` wants a token before `deadline`.
    pub fn handle_acquire(&mut self, need: Need, asked: Boot, deadline: Boot, now: Now) -> Acquire {
        self.handle_timeout(now);
        let at = now.boot;
        self.check_after_idling(at);
        if self.is_idle_check_awaited() && at < deadline.min(asked + PROOF_PATIENCE) {
            return Acquire::Wait(deadline.min(asked + PROOF_PATIENCE));
        }
        if let Need::Lasting(least) = need
            && self.newest_lasts_less_than(least, at)
            && at < deadline
            && self.start_flight(Reason::Asked, at)
        {
            return Acquire::Wait(deadline);
        }
        let Some(held) = self.serving(need, at) else { return self.nothing_to_serve(asked, deadline, at) };
        let is_flight_awaited = self.flight.is_some() && at < deadline;
        if is_flight_awaited && (at >= held.token.instants.hard || self.is_awaiting_longer_life(need, at)) {
            return Acquire::Wait(deadline.min(held.token.instants.gone));
        }
        let token = Arc::clone(&held.token);
        match need {
            Need::Usable | Need::Lasting(_) => Acquire::Ready(token),
            Need::Proven | Need::ProvenRecently => self.acquire_proven(need, &token, asked, deadline, now),
        }
    }

    /// What a request of this class needs.
    ///
    /// A POST may be repeated after a 401 that shows that nothing was executed. Where the provider's errors are known to
    /// show it, or every refusal so far did, the POST needs no more than a GET.
    #[must_use]
    pub fn need_of(&self, replay: Replay) -> Need {
        match replay {
            Replay::Free => Need::Usable,
            Replay::IfRefused if self.shows_refusals == Some(true) => Need::Usable,
            Replay::IfRefused => Need::Proven,
            Replay::Never => Need::ProvenRecently,
        }
    }

    /// A request that cannot be repeated was sent; it ends with [`Keeper::handle_unrepeatable_end`].
    pub fn handle_unrepeatable_begin(&mut self) {
        self.unrepeatable_in_flight += 1;
    }

    /// A request that cannot be repeated has been answered, or was given up.
    pub fn handle_unrepeatable_end(&mut self) {
        self.unrepeatable_in_flight = self.unrepeatable_in_flight.saturating_sub(1);
    }

    /// What callers may use without asking until something is due.
    #[must_use]
    pub fn view(&self, now: Boot) -> View {
        let serving = self.serving(Need::Usable, now);
        let fresh_until = match serving {
            Some(held) => [Some(held.token.instants.hard), self.poll_timeout(), self.idle_from()]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(Boot::FAR),
            None => now,
        };
        let settle = self.settle.longest();
        let is_unsure = |held: &Held| !held.is_proven() || held.is_young(settle, now);
        View {
            token: serving.map(|held| Arc::clone(&held.token)),
            fresh_until,
            is_watchful: self.slots.candidate.is_some()
                || self.slots.iter().any(is_unsure)
                || self.circuit.open_until().is_some(),
        }
    }

    /// The token to send at this moment.
    pub(super) fn serving(&self, need: Need, now: Boot) -> Option<&Held> {
        let active = self.slots.active.as_ref().filter(|held| held.token.is_usable_at(now))?;
        if let Need::Lasting(least) = need
            && active.token.remaining(now).is_some_and(|left| left < least)
            && let Some(candidate) = self.slots.candidate.as_ref().filter(|held| held.token.is_usable_at(now))
        {
            // Its caller asked for a long life; that it may be new to some nodes is the lesser evil.
            return Some(candidate);
        }
        let previous = self.slots.previous.as_ref().filter(|held| now < held.token.instants.dead && !held.is_suspect());
        let is_settling = active.is_young(self.settle.longest(), now);
        let prefers_previous = match need {
            Need::Proven | Need::ProvenRecently => is_settling,
            Need::Usable | Need::Lasting(_) => is_settling && active.is_suspect(),
        };
        Some(if prefers_previous { previous.unwrap_or(active) } else { active })
    }

    /// Hands out a proven token, or has one proven first.
    fn acquire_proven(&mut self, need: Need, token: &Arc<Token>, asked: Boot, deadline: Boot, now: Now) -> Acquire {
        let Some(held) = self.slots.get(token.generation) else { return Acquire::Wait(deadline) };
        let is_fresh = held.last_success.is_some_and(|sent| now.boot - sent <= Policy::PROOF_FRESH);
        let is_enough = held.is_proven() && (need == Need::Proven || is_fresh);
        if is_enough {
            return Acquire::Ready(Arc::clone(token));
        }
        if held.is_suspect() && !self.circuit.is_open(now.boot) {
            // Nothing that cannot be repeated travels on a suspect token: it is proven or replaced soon.
            let is_late = now.boot >= deadline;
            return if is_late { Acquire::Failed(self.no_token(now.boot)) } else { Acquire::Wait(deadline) };
        }
        let patience = asked + PROOF_PATIENCE;
        // A probe that showed nothing is not repeated for one request: a server that is busy or odd would get a flood.
        let is_tried = self.is_probed_since(token, asked);
        if now.boot >= patience.min(deadline) || is_tried || !self.probe(token, now.boot) {
            return Acquire::Ready(Arc::clone(token));
        }
        Acquire::Wait(patience.min(deadline))
    }

    /// No token can be served: wait for one as long as that may help.
    fn nothing_to_serve(&mut self, asked: Boot, deadline: Boot, now: Boot) -> Acquire {
        self.start_flight(Reason::NoToken, now);
        let is_cold = !self.has_minted && self.failures.look_misconfigured();
        let patience = if is_cold { deadline.min(asked + self.policy.cold_patience) } else { deadline };
        let is_hopeless = self.flight.is_none() && (self.failures.is_permanent() || !self.is_renewable);
        if is_hopeless || now >= patience {
            return Acquire::Failed(self.no_token(now));
        }
        Acquire::Wait(patience)
    }

    /// Why no token can be had right now.
    pub(super) fn no_token(&mut self, now: Boot) -> AcquireError {
        let failure = self.failures.last().cloned();
        let retry_at = self.failures.not_before().filter(|at| *at > now);
        let budget_at = self.next_budget(Reason::NoToken, now);
        let kind = if !self.is_renewable {
            AcquireErrorKind::LoginRequired
        } else if budget_at > now {
            AcquireErrorKind::BudgetExhausted
        } else {
            failure.as_ref().map_or(AcquireErrorKind::TimedOut, |failure| self.failures.kind_of(failure))
        };
        let retry_after = retry_at.into_iter().chain((budget_at > now).then_some(budget_at)).max().map(|at| at - now);
        AcquireError { kind, failure, retry_after }
    }

    fn newest_lasts_less_than(&self, least: Span, now: Boot) -> bool {
        self.slots.newest().is_none_or(|held| {
            let is_as_long_as_they_get =
                held.token.lifetime.is_some_and(|life| life <= least) && held.token.age(now) < ASK_AGAIN_AFTER;
            held.token.remaining(now).is_some_and(|left| left < least) && !is_as_long_as_they_get
        })
    }

    fn is_awaiting_longer_life(&self, need: Need, now: Boot) -> bool {
        matches!(need, Need::Lasting(least) if self.newest_lasts_less_than(least, now))
    }

    /// When an unused token becomes doubtful.
    fn idle_from(&self) -> Option<Boot> {
        let limit = self.idle_limit()?;
        Some(self.last_use? + limit)
    }

    pub(super) fn idle_limit(&self) -> Option<Span> {
        self.policy.idle_limit.or(self.profile.idle_limit)
    }

    /// A token that was not used for too long is probed before use, or replaced if no probe is known.
    fn check_after_idling(&mut self, now: Boot) {
        if self.idle_from().is_none_or(|from| now < from) {
            return;
        }
        self.last_use = Some(now);
        let Some(token) = self.slots.active.as_ref().map(|held| Arc::clone(&held.token)) else { return };
        let is_probed = self.probe(&token, now);
        if !is_probed {
            self.start_flight(Reason::Idle, now);
        }
        self.idle_check = is_probed.then_some(token.generation);
    }

    fn is_idle_check_awaited(&self) -> bool {
        let is_probing = self.probing.is_some() && self.idle_check.is_some();
        is_probing || self.flight.as_ref().is_some_and(|flight| flight.reason == Reason::Idle)
    }
}

/// How long a request that cannot be repeated waits for a proof.
const PROOF_PATIENCE: Span = Span::from_secs(1);
/// A provider whose lifetimes are shorter than asked for is not asked again and again.
const ASK_AGAIN_AFTER: Span = Span::from_secs(10);
