//! What to do with a 401: replay, wait, refresh, or pass it on with a verdict.
//!
//! The order of the questions matters and is kept in one function, [`Keeper::handle_attempt`]: is it about the token at
//! all; is there another token to send; is the token merely too young; is it past its end; does it work elsewhere; and
//! only then is it given up. A waiting request asks again whenever something changed, from the first question on.
//!
//! Limits: a request is sent at most once per generation, except while the newest token settles; on at most four
//! generations; never after its deadline.
//!
//! Source: RFC 9110 section 15.5.2, RFC 6750 section 3.1.

use std::sync::Arc;

use super::Keeper;
use super::acquire::{AcquireError, AcquireErrorKind};
use super::flight::Reason;
use super::report::KeptVerdict;
use super::slots::Held;
use crate::attempt::{Attempt, Refusal};
use crate::event::Event;
use crate::evidence::{Audience, Carried, ClaimTimes, Evidence, FailedTokenRequest, Regions};
use crate::offset::Source;
use crate::policy::Policy;
use crate::time::{Boot, Now, Span};
use crate::token::{CLAIMS_NEED_OFFSET_WITHIN, Generation, Token};
use crate::verdict::{Verdict, diagnose};
use crate::wire::{TokenFailure, TokenFailureKind, TokenForm, TokenShape};

/// What to do with a request that was refused.
#[derive(Clone, Debug)]
pub enum Step {
    /// Send it again with this token.
    Send(Arc<Token>),
    /// Ask again when something changed, and at the latest at this moment.
    Wait(Boot),
    /// Pass the refusal on.
    Pass(Box<Verdict>),
    /// The token has ended and no other can be had in time.
    NoToken(AcquireError, Box<Verdict>),
}

impl Keeper {
    /// A request of this keeper's token was answered with a refusal.
    pub fn handle_refusal(&mut self, attempt: &mut Attempt, refusal: Refusal, now: Now) -> Step {
        self.last_use = Some(now.boot);
        let is_about_token = refusal.status == 401 && refusal.subject.is_token();
        let is_known_route = self.routes.is_known(&refusal.route, now.boot);
        if is_about_token {
            let is_shown = refusal.was_before_execution();
            self.shows_refusals = Some(self.shows_refusals.unwrap_or(true) && is_shown);
        }
        let (generation, sent, received) = (attempt.generation, attempt.sent, refusal.received);
        attempt.mark_refused(refusal);
        if is_about_token {
            self.counters.refusals += 1;
            if !is_known_route && let Some(held) = self.slots.get_mut(generation) {
                let was_suspect = held.is_suspect();
                held.handle_refusal(sent, received);
                if !was_suspect {
                    self.wake();
                }
            }
        }
        self.handle_attempt(attempt, now)
    }

    /// A refused request asks, again, what to do.
    pub fn handle_attempt(&mut self, attempt: &mut Attempt, now: Now) -> Step {
        self.handle_timeout(now);
        let Some(refusal) = attempt.refusal.clone() else { return Step::Wait(attempt.deadline) };
        if refusal.status != 401 || !refusal.subject.is_token() || !attempt.may_send_again() {
            return self.pass(attempt, &refusal, now);
        }
        if now.boot >= attempt.deadline {
            return self.end_of_patience(attempt, &refusal, now);
        }
        if let Some(token) = self.other_token_for(attempt, now.boot) {
            return self.send(attempt, token, now);
        }
        if self.routes.is_known(&refusal.route, now.boot) {
            return self.pass(attempt, &refusal, now);
        }
        let Some(newest) = self.newest_usable(now.boot).cloned() else {
            return self.wait_for_flight(attempt, &refusal, now);
        };
        let refused = attempt.refused_with(newest.generation());
        if refused.is_none() && !attempt.may_try_another() {
            return self.pass(attempt, &refusal, now);
        }
        // What counts is also when the refused request was sent: a token that came of age since is tried once more before
        // its successes elsewhere say anything about the route.
        let sent = if attempt.generation == newest.generation() { Some(attempt.sent) } else { refused };
        let asked = sent.map_or(now.boot, |sent| sent.min(now.boot));
        let settle = self.settle.longest();
        if self.is_excused(&newest, settle, now.boot) || self.is_excused(&newest, settle, asked) {
            return self.try_same_again(attempt, &newest, now);
        }
        self.step_for_settled(attempt, &refusal, &newest, now)
    }

    /// The newest token is old enough to be known everywhere and has refused this request.
    fn step_for_settled(&mut self, attempt: &Attempt, refusal: &Refusal, newest: &Held, now: Now) -> Step {
        if newest.last_success.is_some_and(|sent| sent >= refusal.received) && !newest.is_suspect() {
            // At the end of a life one node's clock is past it and another's is not: that is not the route.
            if attempt.generations_tried() < 2
                && self.is_at_its_end(newest, refusal.received)
                && self.start_flight(Reason::Expired, now.boot)
            {
                return Step::Wait(attempt.deadline);
            }
            self.remember_route(attempt, refusal, now.boot);
            return self.pass(attempt, refusal, now);
        }
        if self.circuit.is_open(now.boot) || !attempt.may_try_another() {
            return self.pass(attempt, refusal, now);
        }
        let judged_at = newest.suspicion.map_or(now.boot + Policy::PROOF_WAIT, |suspicion| suspicion.next_look);
        Step::Wait(judged_at.max(now.boot + SHORTEST_WAIT).min(attempt.deadline))
    }

    /// Can its life have ended by the clock of some node, by its promised length or by the `exp` of a JWT?
    fn is_at_its_end(&self, held: &Held, at: Boot) -> bool {
        let theta = self.estimator.reading(Source::ApiDate, at).settled_within(CLAIMS_NEED_OFFSET_WITHIN);
        let exp = held.token.claims.as_ref().and_then(|claims| claims.exp);
        let by_claims = exp.zip(theta).map(|(exp, theta)| exp - (at + theta.hi));
        held.token.remaining(at).into_iter().chain(by_claims).any(|left| left <= Policy::NODES_DISAGREE_BY)
    }

    /// Refused with two generations while both work elsewhere: it is the route, and its 401s mint nothing for a while.
    fn remember_route(&mut self, attempt: &Attempt, refusal: &Refusal, now: Boot) {
        let tried_two = attempt.refused_with(attempt.generation).is_some() && attempt.generations_tried() >= 2;
        if tried_two {
            self.routes.remember(&refusal.route, now);
        }
    }

    /// No token is left: the flight that is in the air, or the next one, brings another.
    fn wait_for_flight(&mut self, attempt: &Attempt, refusal: &Refusal, now: Now) -> Step {
        let is_hopeless = self.flight.is_none() && (self.failures.is_permanent() || !self.is_renewable);
        if is_hopeless || !attempt.may_try_another() {
            return self.pass(attempt, refusal, now);
        }
        Step::Wait(attempt.deadline)
    }

    /// Patience is over: the refusal is passed on, unless the token has ended and the token endpoint is the culprit.
    fn end_of_patience(&mut self, attempt: &Attempt, refusal: &Refusal, now: Now) -> Step {
        let is_token_left = self.newest_usable(now.boot).is_some();
        let verdict = self.verdict(attempt, refusal, now);
        if is_token_left || self.failures.is_permanent() {
            Step::Pass(Box::new(verdict))
        } else {
            Step::NoToken(self.no_token(now.boot), Box::new(verdict))
        }
    }

    /// A usable token that has not refused this request: a newer one, or an older one while the newer settles or when it
    /// was given up.
    fn other_token_for(&self, attempt: &Attempt, now: Boot) -> Option<Arc<Token>> {
        if !attempt.may_try_another() {
            return None;
        }
        let settle = self.settle.longest();
        let is_open = |held: &&Held| {
            let is_newer = held.generation() > attempt.generation;
            let is_fallback = now < held.token.instants.dead && !held.is_suspect();
            attempt.refused_with(held.generation()).is_none()
                && held.token.is_usable_at(now)
                && (is_newer || is_fallback)
        };
        let has_fallback =
            |generation: Generation| self.slots.get(generation).is_none_or(|held| self.is_excused(held, settle, now));
        self.slots
            .iter()
            .filter(is_open)
            .filter(|held| held.generation() > attempt.generation || has_fallback(attempt.generation))
            .min_by_key(|held| (held.is_suspect(), !held.is_proven(), held.generation()))
            .map(|held| Arc::clone(&held.token))
    }

    /// A new token that is refused may not be known everywhere: the same one is tried again, more and more slowly.
    ///
    /// As soon as somebody's later request succeeds with it, everybody who waits tries at once; but not time and again, or
    /// each success of a busy client would send all that wait to nodes that still do not know the token.
    fn try_same_again(&mut self, attempt: &mut Attempt, newest: &Held, now: Now) -> Step {
        let generation = newest.generation();
        let refused = attempt.refused_with(generation).unwrap_or(now.boot);
        let planned = attempt.planned_retries(generation);
        let at = *attempt.retry_at.get_or_insert_with(|| refused + Policy::propagation_retry(planned));
        let first_at = refused + Policy::propagation_retry(0);
        let is_early_allowed = attempt.early_retries < Policy::EARLY_RETRIES;
        let is_known_somewhere = !newest.is_suspect() && now.boot >= first_at && is_early_allowed;
        if now.boot < at && !is_known_somewhere {
            let look_at = if newest.is_suspect() { at } else { first_at };
            return Step::Wait(look_at.min(attempt.deadline));
        }
        attempt.mark_retry(generation, now.boot < at);
        self.counters.same_token_retries += 1;
        self.send(attempt, Arc::clone(&newest.token), now)
    }

    fn send(&mut self, attempt: &mut Attempt, token: Arc<Token>, now: Now) -> Step {
        self.counters.replays += 1;
        if let Some(refusal) = attempt.refusal.clone() {
            let cause = diagnose(&self.evidence(attempt, &refusal, now)).cause;
            *self.verdicts.entry(cause).or_default() += 1;
        }
        attempt.mark_sent(token.generation, now.boot);
        Step::Send(token)
    }

    fn pass(&mut self, attempt: &Attempt, refusal: &Refusal, now: Now) -> Step {
        Step::Pass(Box::new(self.verdict(attempt, refusal, now)))
    }

    fn newest_usable(&self, now: Boot) -> Option<&Held> {
        self.slots.newest().filter(|held| held.token.is_usable_at(now))
    }

    /// The verdict on a refusal, counted and named.
    pub fn verdict(&mut self, attempt: &Attempt, refusal: &Refusal, now: Now) -> Verdict {
        let mut verdict = diagnose(&self.evidence(attempt, refusal, now));
        self.name_verdict(&mut verdict, refusal.status, &refusal.route.to_string(), now.boot);
        if refusal.status == 401 {
            self.counters.passed_refusals += 1;
        }
        verdict
    }

    /// The verdict on a refusal of credentials that were not this keeper's.
    pub fn verdict_on_foreign(
        &mut self,
        refusal: &Refusal,
        carried: Carried,
        shape: Option<TokenShape>,
        now: Now,
    ) -> Verdict {
        let evidence = Evidence::of_refusal(refusal, carried);
        let evidence = match shape {
            Some(shape) => evidence.with_shape(shape),
            None => evidence,
        };
        self.verdict_on(&evidence, now)
    }

    /// The verdict on evidence that somebody else has gathered, counted and named as this keeper's own are.
    pub fn verdict_on(&mut self, evidence: &Evidence, now: Now) -> Verdict {
        let mut verdict = diagnose(evidence);
        self.name_verdict(&mut verdict, evidence.status, &evidence.route, now.boot);
        verdict
    }

    /// The verdict on a request that was never sent because there was no token.
    pub fn verdict_on_no_token(&mut self, error: &AcquireError, now: Now) -> Verdict {
        let is_budget = error.kind == AcquireErrorKind::BudgetExhausted;
        let budget = is_budget.then(|| TokenFailure::of(TokenFailureKind::RateLimited).with_description(BUDGET));
        let evidence = Evidence {
            has_no_grant: error.kind == AcquireErrorKind::LoginRequired,
            regions: self.regions(),
            ..Evidence::of_no_token(budget.as_ref().or(error.failure.as_ref()))
        };
        self.verdict_on(&evidence, now)
    }

    /// Gives a verdict its name, counts it, and keeps it to be looked up.
    fn name_verdict(&mut self, verdict: &mut Verdict, status: u16, route: &str, now: Boot) {
        self.verdict_count += 1;
        verdict.id = format!("{:04x}-{}", self.seed & 0xffff, self.verdict_count);
        *self.verdicts.entry(verdict.cause).or_default() += 1;
        let Verdict { id, cause, confidence, .. } = verdict;
        let (id, cause, confidence) = (id.clone(), *cause, *confidence);
        self.events.note(Event::Verdict { id, cause, confidence, status, route: route.to_owned() }, now);
        if self.recent_verdicts.len() == VERDICTS_KEPT {
            self.recent_verdicts.pop_front();
        }
        let kept = KeptVerdict { verdict: verdict.clone(), status, route: route.to_owned(), reached: now };
        self.recent_verdicts.push_back(kept);
    }

    /// Everything known about a refused request.
    fn evidence(&mut self, attempt: &Attempt, refusal: &Refusal, now: Now) -> Evidence {
        let recent_mints = self.budget.alive(self.lifetime, now.boot);
        let held = self
            .slots
            .get(attempt.generation)
            .or_else(|| self.last_rejected.as_ref().filter(|held| held.generation() == attempt.generation));
        let newest = self.slots.newest();
        let answered = refusal.received;
        let theta = self.estimator.reading(Source::ApiDate, now.boot).interval;
        let skew = theta.map(|theta| now.skew(theta));
        let token = held.map(|held| &*held.token);
        Evidence {
            generation: Some(attempt.generation),
            newest: newest.map(Held::generation).max(Some(attempt.generation)),
            newest_age: newest.map(|held| held.token.age(answered)),
            age: token.map(|token| token.age(answered)),
            to_dead: token.and_then(|token| token.remaining(answered)),
            to_gone: token.filter(|token| token.instants.is_end_known()).map(|token| token.instants.gone - answered),
            claims: token.and_then(|token| self.claim_times(token, answered)),
            audience: token.and_then(|token| self.audience(token, &refusal.route.host)),
            form: token.map(|token| if token.claims.is_some() { TokenForm::Jwt } else { TokenForm::Opaque }),
            worked_before: held.is_some_and(|held| held.last_success.is_some()),
            works_since: held.and_then(|held| held.last_success).is_some_and(|sent| sent >= answered),
            newer_works: newest.is_some_and(|held| held.generation() > attempt.generation && held.is_proven()),
            refusals: held.and_then(|held| held.suspicion).map_or(0, |suspicion| suspicion.refusals),
            settle: self.settle.longest(),
            revokes_old: self.revokes_old.is_learned(),
            recent_mints,
            idle: held.and_then(|held| held.last_success).map(|used| attempt.sent - used),
            idle_limit: self.idle_limit(),
            is_idle_limit_exact: self.policy.idle_limit.is_some(),
            regions: self.regions(),
            server_jump: self.jump_during(token, answered),
            local_minus_server: skew.map(|skew| (skew.lo, skew.hi)),
            is_known_route: self.routes.is_known(&refusal.route, now.boot),
            token_failure: self.failures.last().map(FailedTokenRequest::from),
            has_no_grant: !self.is_renewable,
            replay_unsafe: refusal.status == 401 && refusal.subject.is_token() && !attempt.may_send_again(),
            ..Evidence::of_refusal(refusal, Carried::Ours)
        }
    }

    fn audience(&self, token: &Token, host: &str) -> Option<Audience> {
        let names = token.claims.as_ref().map(|claims| claims.aud.clone()).filter(|names| !names.is_empty())?;
        Some(Audience { names, wanted: self.profile.audience.clone(), host: Some(host.to_owned()) })
    }

    fn regions(&self) -> Regions {
        Regions::of(self.profile.token_url.as_deref(), self.profile.api_url.as_deref())
    }

    fn jump_during(&self, token: Option<&Token>, answered: Boot) -> Option<Span> {
        let (jump, at) = self.last_server_jump?;
        token.filter(|token| token.issued.sent < at && at <= answered + JUMP_SEEN_WITHIN).map(|_| jump)
    }

    /// A JWT's dates against the API host's clock, which is the one that checks them.
    fn claim_times(&self, token: &Token, at: Boot) -> Option<ClaimTimes> {
        let claims = token.claims.as_ref()?;
        let theta = self.estimator.reading(Source::ApiDate, at).interval?;
        Some(ClaimTimes::at(claims, (at + theta.lo, at + theta.hi)))
    }
}

/// A waiting request looks again no sooner than this, unless it is woken.
const SHORTEST_WAIT: Span = Span::from_millis(5);
/// A step of the server's clock is noticed a few answers after it happened.
const JUMP_SEEN_WITHIN: Span = Span::from_secs(30);
/// What is said in the token endpoint's place if it was not asked.
const BUDGET: &str = "as many tokens were minted as the mint budget allows";
/// Verdicts kept to be looked up by their `id`.
const VERDICTS_KEPT: usize = 32;
