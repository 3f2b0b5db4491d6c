//! One request of a caller through all its sends.
//!
//! Whoever sends HTTP, a gateway, a client, a middleware, asks an [`Exchange`] for a token, sends, shows it the head of
//! the answer, and does what it says: pass the answer on, or send again with another token. All waiting happens inside:
//! for a flight, for a new token to become known, for a proof.
//!
//! A success costs no lock most of the time: it is reported only when the keeper wants to know.
//!
//! Source: RFC 9110 section 15.5.2; the order of decisions is the keeper's.

use std::sync::Arc;

use evergrant_core::attempt::{Attempt, Refusal, Replay, Route};
use evergrant_core::evidence::Carried;
use evergrant_core::keeper::{AcquireError, Need, Step, is_proof};
use evergrant_core::time::{Boot, Server};
use evergrant_core::token::{Generation, Token};
use evergrant_core::verdict::Verdict;
use evergrant_core::wire::{TokenShape, parse_challenges, parse_http_date};
use http::header::{AGE, CACHE_CONTROL, DATE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::clock;
use crate::driver::Shared;
use crate::guard::bearer;
use crate::retry_after;
use crate::sync::watch;
use crate::trace;

/// What is known of a request before it is sent.
#[derive(Clone, Debug)]
pub struct RequestTraits {
    /// Its method.
    pub method: Method,
    /// Does it carry an `Idempotency-Key`?
    pub has_idempotency_key: bool,
    /// Is its body kept, as far as is known, so that it can be sent again?
    pub is_body_kept: bool,
    /// The latest moment to send it; the policy's patience from now if absent.
    pub deadline: Option<Boot>,
}

/// The head of an answer, and what else the decision needs.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// For 401, 403, 407 and 429: the first 16 KiB of its body, as far as they arrived. Else empty.
    pub body_prefix: &'a [u8],
    /// When its head arrived.
    pub received: Boot,
    /// The host name that the request was sent to.
    pub host: &'a str,
    /// The path that it was sent to; a query is dropped.
    pub path: &'a str,
    /// Is the whole request body at hand, and nothing of the answer handed on?
    pub can_send_again: bool,
}

/// What to do with an answer.
#[derive(Debug)]
pub enum Ruling {
    /// Pass it on; with the verdict, if it is a refusal.
    Pass(Option<Box<Verdict>>),
    /// Drop it and send the request again with this token.
    Replay(Sendable),
    /// Drop it: the token has ended and no other can be had in time.
    NoToken(AcquireError, Box<Verdict>),
}

/// A token for one send.
#[derive(Clone, Debug)]
pub struct Sendable {
    header: HeaderValue,
    generation: Generation,
}

impl Sendable {
    /// `Bearer` and the token, marked as sensitive.
    #[must_use]
    pub fn authorization(&self) -> &HeaderValue {
        &self.header
    }

    /// Which token it is.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    fn of(token: &Token) -> Self {
        Self { header: bearer(&token.access_token), generation: token.generation }
    }
}

/// One request of a caller, from the first token to the answer that is passed on.
pub struct Exchange {
    shared: Arc<Shared>,
    attempt: Attempt,
    method: Method,
    has_idempotency_key: bool,
    /// The generation that the last refusal was about.
    refused: Option<Generation>,
    counts_as_unrepeatable: bool,
}

impl Exchange {
    pub(crate) fn new(shared: Arc<Shared>, traits: RequestTraits) -> Self {
        let now = clock::boot();
        let replay = Replay::of(traits.method.as_str(), traits.has_idempotency_key, traits.is_body_kept);
        let patience = traits.deadline.map_or_else(|| shared.patience(), |deadline| deadline - now);
        let attempt = Attempt::new(replay, now, patience);
        let RequestTraits { method, has_idempotency_key, .. } = traits;
        Self { shared, attempt, method, has_idempotency_key, refused: None, counts_as_unrepeatable: false }
    }

    /// The token for the first send.
    ///
    /// # Errors
    /// When there is none and waiting longer does not help.
    pub async fn begin(&mut self) -> Result<Sendable, AcquireError> {
        let need = match self.attempt.replay {
            Replay::Free => Need::Usable,
            Replay::IfRefused if self.shared.published().shows_refusals => Need::Usable,
            Replay::IfRefused => Need::Proven,
            Replay::Never => Need::ProvenRecently,
        };
        if need == Need::Usable
            && let Some(sendable) = self.published()
        {
            return Ok(sendable);
        }
        let token = self.shared.acquire(need, self.attempt.started, self.attempt.deadline).await?;
        if need != Need::Usable {
            self.counts_as_unrepeatable = true;
            self.shared.act(|keeper, _| keeper.handle_unrepeatable_begin());
        }
        self.attempt.mark_sent(token.generation, clock::boot());
        Ok(Sendable::of(&token))
    }

    /// Can an answer with this status be a refusal, so that [`Exchange::judge`] wants to see the beginning of its body?
    #[must_use]
    pub const fn may_be_refusal(status: StatusCode) -> bool {
        matches!(status.as_u16(), 401 | 403 | 407 | 429)
    }

    /// Does an answer that is no refusal, and that arrives now, need its header fields for [`Exchange::accept`]? Most do
    /// not, and a caller to whom fields are dear can leave them out.
    #[must_use]
    pub fn wants_fields(&self, received: Boot) -> bool {
        self.shared.wants_api_date(received)
    }

    /// Takes note of an answer that is no refusal: its date, and that its token works.
    pub fn accept(&self, answer: &Answer<'_>) {
        self.sample_clock(answer);
        self.report_success(answer);
    }

    /// What to do with the answer to the last send. Waits if waiting helps.
    pub async fn judge(&mut self, answer: Answer<'_>) -> Ruling {
        let changes = self.shared.changes();
        match self.show(&answer) {
            Ok(ruling) => ruling,
            Err(until) => self.wait_for_ruling(changes, until).await,
        }
    }

    /// The same for a caller that cannot wait where it is: the ruling, if nothing has to be waited for. Else there is none
    /// yet, and [`Exchange::ruling`] waits for it, wherever that is called.
    pub fn judge_now(&mut self, answer: Answer<'_>) -> Option<Ruling> {
        self.show(&answer).ok()
    }

    /// The ruling on the answer that [`Exchange::judge_now`] was shown.
    pub async fn ruling(&mut self) -> Ruling {
        let changes = self.shared.changes();
        match self.ask_again() {
            Ok(ruling) => ruling,
            Err(until) => self.wait_for_ruling(changes, until).await,
        }
    }

    /// The ruling on an answer, or how long to wait for it.
    fn show(&mut self, answer: &Answer<'_>) -> Result<Ruling, Boot> {
        let Some(refusal) = self.refusal_of(answer) else {
            self.accept(answer);
            return Ok(Ruling::Pass(None));
        };
        self.sample_clock(answer);
        self.refused = Some(self.attempt.generation);
        if answer.can_send_again && self.attempt.replay == Replay::Never {
            // The body was not kept, but it is still there: its caller has not begun to send it.
            self.attempt.replay = Replay::of(self.method.as_str(), self.has_idempotency_key, true);
        }
        let attempt = &mut self.attempt;
        let step = self.shared.act(|keeper, now| keeper.handle_refusal(attempt, refusal, now));
        self.ruling_of(step)
    }

    async fn wait_for_ruling(&mut self, mut changes: watch::Receiver<u64>, mut until: Boot) -> Ruling {
        loop {
            self.shared.wait(&mut changes, until).await;
            match self.ask_again() {
                Ok(ruling) => return ruling,
                Err(later) => until = later,
            }
        }
    }

    fn ask_again(&mut self) -> Result<Ruling, Boot> {
        let attempt = &mut self.attempt;
        let step = self.shared.act(|keeper, now| keeper.handle_attempt(attempt, now));
        self.ruling_of(step)
    }

    fn ruling_of(&self, step: Step) -> Result<Ruling, Boot> {
        match step {
            Step::Send(token) => {
                if let Some(refusal) = &self.attempt.refusal {
                    trace::tell_replay(self.refused.unwrap_or_default(), token.generation, refusal);
                }
                Ok(Ruling::Replay(Sendable::of(&token)))
            }
            Step::Pass(verdict) => Ok(Ruling::Pass(Some(verdict))),
            Step::NoToken(error, verdict) => Ok(Ruling::NoToken(error, verdict)),
            Step::Wait(until) => Err(until),
        }
    }

    /// The verdict on the last refusal, for a caller whose replay got no answer and who passes that refusal on.
    #[must_use]
    pub fn verdict_on_last_refusal(&self) -> Option<Verdict> {
        let mut attempt = self.attempt.clone();
        attempt.generation = self.refused?;
        let refusal = attempt.refusal.clone()?;
        Some(self.shared.act(|keeper, now| keeper.verdict(&attempt, &refusal, now)))
    }

    /// The verdict on a request that cannot be sent because there is no token.
    #[must_use]
    pub fn verdict_on_no_token(&self, error: &AcquireError) -> Verdict {
        self.shared.act(|keeper, now| keeper.verdict_on_no_token(error, now))
    }

    /// The verdict on a refusal of credentials that the caller brought in this Authorization field, or `None` if the
    /// answer is no refusal. Of the field only the shape is looked at.
    #[must_use]
    pub fn judge_foreign(&self, answer: &Answer<'_>, authorization: Option<&HeaderValue>) -> Option<Verdict> {
        let refusal = self.refusal_of(answer)?;
        let text = authorization.map(|value| String::from_utf8_lossy(value.as_bytes()));
        let shape = text.and_then(|text| TokenShape::of_authorization(&text));
        Some(self.shared.act(|keeper, now| keeper.verdict_on_foreign(&refusal, Carried::Callers, shape, now)))
    }

    /// The token that needs no question.
    fn published(&mut self) -> Option<Sendable> {
        let published = self.shared.published();
        let now = clock::boot();
        let token = published.token.as_ref().filter(|_| now < published.fresh_until)?;
        let sendable = Sendable { header: published.header.clone(), generation: token.generation };
        drop(published);
        self.attempt.mark_sent(sendable.generation, now);
        Some(sendable)
    }

    fn report_success(&self, answer: &Answer<'_>) {
        let status = answer.status.as_u16();
        if !is_proof(status) {
            return;
        }
        let (generation, sent) = (self.attempt.generation, self.attempt.sent);
        let can_prove = answer.status == StatusCode::OK && self.method == Method::GET && !answer.path.contains('?');
        if can_prove && self.shared.published().wants_proving_path {
            self.shared.act(|keeper, _| keeper.handle_proving_path(answer.path));
        }
        if self.shared.takes_report(answer.received) {
            self.shared.act(|keeper, now| keeper.handle_success(generation, sent, now));
        }
    }

    fn refusal_of(&self, answer: &Answer<'_>) -> Option<Refusal> {
        if !Self::may_be_refusal(answer.status) {
            return None;
        }
        let status = answer.status.as_u16();
        let challenges = parse_challenges(answer.headers.get_all(WWW_AUTHENTICATE).iter().map(HeaderValue::as_bytes));
        let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let route = Route::new(answer.host, self.method.as_str(), answer.path);
        let refusal =
            Refusal::read(&self.shared.profile, status, &challenges, answer.body_prefix, route, answer.received)?;
        Some(Refusal {
            correlation_id: header("inin-correlation-id").or_else(|| header("x-request-id")).or(refusal.correlation_id),
            retry_after: retry_after(answer.headers),
            can_send_again: answer.can_send_again,
            ..refusal
        })
    }

    fn sample_clock(&self, answer: &Answer<'_>) {
        self.shared.sample_api_date(self.attempt.sent, answer.received, || date_of(answer));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.counts_as_unrepeatable {
            self.shared.act(|keeper, now| {
                keeper.handle_unrepeatable_end();
                keeper.handle_timeout(now);
            });
        }
    }
}

/// The date of an answer, and whether it was written for this very answer.
///
/// RFC 9111 section 3.5: a shared cache may answer a request that carries Authorization only if the stored answer says
/// `public`, `s-maxage` or `must-revalidate`; an `Age` says that it did.
fn date_of(answer: &Answer<'_>) -> Option<(Server, bool)> {
    let date = parse_http_date(answer.headers.get(DATE)?.to_str().ok()?)?;
    let may_be_cached = answer.headers.get_all(CACHE_CONTROL).iter().any(|value| {
        let value = value.to_str().unwrap_or_default();
        !value.contains("no-store") && ["public", "s-maxage", "must-revalidate"].iter().any(|word| value.contains(word))
    });
    Some((date, !may_be_cached && !answer.headers.contains_key(AGE)))
}
