//! Holding requests until the provider's rate limit lets them through.
//!
//! The rules are [`Pacer`]'s; this module waits. A request asks with [`Pace::enter`] before it is sent and gets a
//! [`Pass`]; its answer is shown to the pass, which tells what to do about a 429. A pass that is dropped gives its
//! place back, whatever became of the request, and so does a caller that goes away while it waits.
//!
//! As long as no answer has named a limit and nobody waits, a request costs one load of an atomic and one look for a
//! header field: no lock, no allocation. While somebody waits, one task releases requests and ends when nobody is left.
//!
//! One credential has one pace. It outlives a reload as long as its rules stay the same, and the sites that share a
//! credential share it, if their rules agree.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use evergrant::clock::boot;
use evergrant::store::CredentialKey;
use evergrant_core::pace::{
    self, Aftermath, Arrival, CallerKey, Heard, PaceRules, PaceStatus, Pacer, Refused, Release, TicketId, WhyRefused,
};
use evergrant_core::time::{Boot, Span};
use evergrant_core::wire::{RateSample, parse_rate_sample};
use http::{HeaderMap, HeaderName, StatusCode};
use tokio::sync::{Notify, oneshot};

use crate::broker::Caller;
use crate::headers;
use crate::peer::{Owner, Peer};

/// The pace of every credential of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Paces(Mutex<BTreeMap<CredentialKey, Weak<Pace>>>);

impl Paces {
    /// The pace of a credential: the one there is, unless it follows other rules.
    pub(crate) fn of(&self, credential: &CredentialKey, rules: &PaceRules) -> Arc<Pace> {
        let mut paces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paces.retain(|_, pace| pace.strong_count() > 0);
        if let Some(pace) = paces.get(credential).and_then(Weak::upgrade).filter(|pace| pace.rules == *rules) {
            return pace;
        }
        let pace = Arc::new(Pace::new(rules.clone()));
        paces.insert(credential.clone(), Arc::downgrade(&pace));
        pace
    }
}

/// The pace of one credential.
#[derive(Debug)]
pub(crate) struct Pace {
    rules: PaceRules,
    /// Does the pacer want to hear of every request? It does until the first answer, which may name a limit.
    is_watching: AtomicBool,
    state: Mutex<State>,
    /// Something was told to the pacer while somebody waits.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    pacer: Pacer,
    waiting: BTreeMap<TicketId, oneshot::Sender<Result<Pass, Refused>>>,
    /// Does a task release those who wait?
    is_driven: bool,
}

impl Pace {
    fn new(rules: PaceRules) -> Self {
        let state = State { pacer: Pacer::new(rules.clone()), waiting: BTreeMap::new(), is_driven: false };
        Self { rules, is_watching: AtomicBool::new(true), state: Mutex::new(state), changed: Notify::new() }
    }

    /// Waits for the right to send a request.
    pub(crate) async fn enter(self: &Arc<Self>, caller: &CallerKey, deadline: Boot) -> Result<Pass, Refused> {
        if !self.is_watching.load(Ordering::Relaxed) {
            return Ok(Pass::UNCOUNTED);
        }
        // In a box, so that a request that need not wait does not hold the room for it.
        Box::pin(self.ask(|pacer| pacer.handle_arrival(caller, deadline, boot()))).await
    }

    /// Waits for the right to send a request again that got a 429.
    pub(crate) async fn enter_again(
        self: &Arc<Self>,
        caller: &CallerKey,
        after: Aftermath,
        deadline: Boot,
    ) -> Result<Pass, Refused> {
        if let Aftermath::AgainAt(at) = after {
            let wait = at - boot();
            if at > deadline {
                return Err(Refused { why: WhyRefused::Limited, retry_after: wait });
            }
            tokio::time::sleep(wait.to_duration()).await;
        }
        self.ask(|pacer| pacer.handle_return(caller, deadline, boot())).await
    }

    /// The right to send a request at once that has waited before, as a replay.
    pub(crate) fn enter_at_once(self: &Arc<Self>, caller: &CallerKey) -> Pass {
        if !self.is_watching.load(Ordering::Relaxed) {
            return Pass::UNCOUNTED;
        }
        let pass = self.lock().pacer.handle_unasked(caller, boot());
        Pass::counted(self, pass)
    }

    /// Hears an answer.
    pub(crate) fn hear(self: &Arc<Self>, pass: Pass, status: StatusCode, headers: &HeaderMap) -> Aftermath {
        let is_429 = status == StatusCode::TOO_MANY_REQUESTS;
        if pass.counted.is_none() && !is_429 && !headers.contains_key(ALLOWED) {
            return Aftermath::HandOn;
        }
        let retry_after = if is_429 { evergrant::retry_after(headers) } else { None };
        let heard = Heard { is_429, retry_after, sample: sample_of(headers) };
        let mut state = self.lock();
        let pass = match pass.take() {
            Some(pass) => pass,
            None => state.pacer.handle_unasked(&CallerKey::Others, boot()),
        };
        let after = state.pacer.handle_answer(pass, heard, boot());
        self.note_change(&state);
        after
    }

    /// What is known and what happened, for people.
    pub(crate) fn status(&self) -> PaceStatus {
        self.lock().pacer.status(boot())
    }

    async fn ask(self: &Arc<Self>, ask: impl FnOnce(&mut Pacer) -> Arrival) -> Result<Pass, Refused> {
        let (place, released) = {
            let mut state = self.lock();
            match ask(&mut state.pacer) {
                Arrival::Admit(pass) => return Ok(Pass::counted(self, pass)),
                Arrival::Refuse(refused) => return Err(refused),
                Arrival::Wait(ticket) => {
                    let (release, released) = oneshot::channel();
                    state.waiting.insert(ticket, release);
                    self.is_watching.store(true, Ordering::Relaxed);
                    if !std::mem::replace(&mut state.is_driven, true) {
                        tokio::spawn(Arc::clone(self).drive());
                    }
                    (Place { pace: self, ticket }, released)
                }
            }
        };
        self.changed.notify_one();
        let released = released.await;
        drop(place);
        // The driver ends after those who wait, except with the whole process.
        released.unwrap_or(Err(Refused { why: WhyRefused::TooLate, retry_after: Span::from_secs(1) }))
    }

    /// Releases those who wait, until nobody does.
    async fn drive(self: Arc<Self>) {
        loop {
            let changed = self.changed.notified();
            let Some(next) = self.release() else { return };
            // The boot clock runs on while the machine sleeps and the timer does not, so no sleep is long.
            let pause = (next - boot()).to_duration().min(LONGEST_PAUSE);
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Releases whose turn it is. Says when to look again, or nothing if nobody waits.
    fn release(self: &Arc<Self>) -> Option<Boot> {
        let mut state = self.lock();
        while let Some(release) = state.pacer.poll(boot()) {
            let (ticket, result) = match release {
                Release::Admit(ticket, pass) => (ticket, Ok(Pass::counted(self, pass))),
                Release::Refuse(ticket, refused) => (ticket, Err(refused)),
            };
            // A caller that goes away takes its ticket back first, so somebody listens; if not, the pass must not be
            // dropped here, where the lock is held.
            let Some(waiting) = state.waiting.remove(&ticket) else { continue };
            if let Err(Ok(pass)) = waiting.send(result)
                && let Some(pass) = pass.take()
            {
                state.pacer.handle_unsent(pass);
            }
        }
        let next = state.pacer.timeout(boot());
        state.is_driven = next.is_some();
        self.note_mood(&state);
        next
    }

    fn note_mood(&self, state: &State) {
        let is_quiet = state.pacer.is_quiet();
        if self.is_watching.load(Ordering::Relaxed) == is_quiet {
            self.is_watching.store(!is_quiet, Ordering::Relaxed);
        }
    }

    /// To be called after everything that was told to the pacer from outside.
    fn note_change(&self, state: &State) {
        self.note_mood(state);
        if state.is_driven {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic inside the lock is a broken invariant of the pacer; its counts are usable all the same.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who a request counts for: the name that it gives itself, which is taken off, else its handle, else its connection.
pub(crate) fn caller_of(headers: &mut HeaderMap, caller: &Caller, peer: &Peer) -> CallerKey {
    let named = headers.remove(headers::CALLER);
    let name = named.as_ref().and_then(|value| value.to_str().ok()).map(str::trim).filter(|name| !name.is_empty());
    match (name, caller.handle, peer.addr, peer.owner) {
        (Some(name), ..) => CallerKey::Named(name.chars().take(PaceRules::LONGEST_NAME).collect()),
        (None, Some(handle), ..) => CallerKey::Handle(handle.to_string()),
        (None, None, Some(addr), _) => CallerKey::Connection(addr),
        (None, None, None, Owner::User(uid)) => CallerKey::User(Some(uid)),
        (None, None, None, Owner::Unknown) => CallerKey::User(None),
    }
}

/// The right to send one request. Dropping it gives it back.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub(crate) struct Pass {
    counted: Option<Counted>,
}

#[derive(Debug)]
struct Counted {
    pace: Arc<Pace>,
    pass: pace::Pass,
    is_sent: bool,
}

impl Pass {
    /// For a request that nobody counts.
    pub(crate) const UNCOUNTED: Self = Self { counted: None };

    fn counted(pace: &Arc<Pace>, pass: pace::Pass) -> Self {
        Self { counted: Some(Counted { pace: Arc::clone(pace), pass, is_sent: false }) }
    }

    /// The request goes out now.
    pub(crate) fn mark_sent(&mut self) {
        if let Some(counted) = &mut self.counted {
            counted.is_sent = true;
        }
    }

    /// The pacer's own pass, which has to be given back to it.
    fn take(mut self) -> Option<pace::Pass> {
        self.counted.take().map(|counted| counted.pass)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(Counted { pace, pass, is_sent }) = self.counted.take() else { return };
        let mut state = pace.lock();
        if is_sent {
            state.pacer.handle_no_answer(pass);
        } else {
            state.pacer.handle_unsent(pass);
        }
        pace.note_change(&state);
    }
}

/// A place in the queue. Dropping it before its turn leaves the queue.
struct Place<'a> {
    pace: &'a Arc<Pace>,
    ticket: TicketId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.pace.lock();
        if state.waiting.remove(&self.ticket).is_some() {
            state.pacer.handle_cancel(self.ticket);
            self.pace.note_change(&state);
        }
    }
}

/// What an answer says about the limit.
fn sample_of(headers: &HeaderMap) -> Option<RateSample> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    parse_rate_sample(text(RateSample::COUNT)?, text(RateSample::ALLOWED)?, text(RateSample::RESET)?)
}

/// The field that tells whether an answer names a limit.
const ALLOWED: HeaderName = HeaderName::from_static(RateSample::ALLOWED);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::HandleId;

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect::<HeaderMap>()
    }

    fn named(name: &str) -> CallerKey {
        CallerKey::Named(name.to_owned())
    }

    #[test]
    fn a_caller_is_its_name_or_its_handle_or_its_connection() {
        let addr = "127.0.0.1:4711".parse().unwrap();
        let (tcp, unix) = (Some(addr), None);
        let caller = |name: &'static str, peer_addr, handle: Option<u64>| {
            let mut headers = fields(&[("evergrant-caller", name)]);
            let peer = Peer { addr: peer_addr, owner: Owner::User(7) };
            let key = caller_of(&mut headers, &Caller { handle: handle.map(HandleId), grant: None }, &peer);
            assert!(headers.is_empty(), "the name is not sent on");
            key
        };
        assert_eq!(caller("nightly", tcp, Some(1)), named("nightly"));
        assert_eq!(caller(" ", tcp, Some(1)), CallerKey::Handle("h1".to_owned()));
        assert_eq!(caller("", tcp, None), CallerKey::Connection(addr));
        assert_eq!(caller("", unix, None), CallerKey::User(Some(7)));
        let long = "x".repeat(1_000).leak();
        assert_eq!(caller(long, unix, None), named(&"x".repeat(PaceRules::LONGEST_NAME)));
    }

    #[tokio::test]
    async fn a_provider_without_a_limit_is_not_watched_after_the_first_answer() {
        let pace = Arc::new(Pace::new(PaceRules::default()));
        let pass = pace.enter(&named("a"), Boot::FAR).await.unwrap();
        assert!(pass.counted.is_some());
        assert_eq!(pace.hear(pass, StatusCode::OK, &HeaderMap::new()), Aftermath::HandOn);
        let pass = pace.enter(&named("a"), Boot::FAR).await.unwrap();
        assert!(pass.counted.is_none());
        let limited =
            fields(&[("inin-ratelimit-count", "1"), ("inin-ratelimit-allowed", "300"), ("inin-ratelimit-reset", "60")]);
        assert_eq!(pace.hear(pass, StatusCode::OK, &limited), Aftermath::HandOn);
        assert!(pace.enter(&named("a"), Boot::FAR).await.unwrap().counted.is_some());
        assert_eq!(pace.status().allowed, Some(300));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_goes_away_leaves_the_queue_and_the_task_ends_with_the_last() {
        let pace = Arc::new(Pace::new(PaceRules::default()));
        let pass = pace.enter(&named("a"), Boot::FAR).await.unwrap();
        let refused = fields(&[("retry-after", "3000")]);
        assert_eq!(pace.hear(pass, StatusCode::TOO_MANY_REQUESTS, &refused), Aftermath::Again);
        let waiting = tokio::spawn({
            let pace = Arc::clone(&pace);
            async move { pace.enter(&named("b"), Boot::FAR).await }
        });
        while pace.status().waiting == 0 {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        while pace.status().waiting > 0 || Arc::strong_count(&pace) > 1 {
            tokio::task::yield_now().await;
        }
        assert!(!pace.lock().is_driven);
    }

    #[tokio::test]
    async fn one_credential_has_one_pace_as_long_as_its_rules_agree() {
        let credential = evergrant::Credential::client_credentials("id", "secret".into());
        let key = CredentialKey::new("https://login.example/token", &credential, "");
        let (paces, rules) = (Paces::default(), PaceRules::default());
        let pace = paces.of(&key, &rules);
        assert!(Arc::ptr_eq(&pace, &paces.of(&key, &rules)));
        let other = paces.of(&key, &PaceRules { queue: 1, ..rules });
        assert!(!Arc::ptr_eq(&pace, &other));
    }
}
