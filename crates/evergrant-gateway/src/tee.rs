//! A request body that is streamed on at once and kept for a replay within bounds.
//!
//! A 401 comes after the request was sent, and sending it again needs its body. [`Tee`] hands the caller's body to the
//! upstream connection frame by frame, never waiting for more, and copies each frame into a buffer beside it. The
//! buffer ends at a limit for one body and a [`Budget`] for all bodies together; a body that meets either goes on
//! streaming, its copy is dropped, and the request is not replayable.
//!
//! An upstream may answer before it has read the body. Then the connection either goes on reading it, or drops it and
//! the rest comes back here; [`Tee::settle`] waits for the first or reads the rest itself, for a bounded time. Only a
//! body that was read to its end, trailers included, is ever sent twice (RFC 9110 section 9.2.2).
//!
//! Frames are copied, not shared: a frame of one byte may keep a whole read buffer alive, which the budget could not
//! see. The lock inside is held for a copy or less and exists for requests with a body only.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::activity::Receiving;
use crate::expect::Asked;
use crate::patience::{Sent, Unsent};

/// A request body on its way to the upstream.
pub(crate) enum Outbound {
    /// Nothing to send.
    Empty,
    /// The caller's body as it arrives, not kept.
    Plain(Plain),
    /// The caller's body as it arrives, copied into a [`Tee`].
    Teed(Teed),
    /// A body sent again from the copy.
    Again(Again),
    /// A body that is sent only if the upstream wants it.
    Asked(Box<Asked>),
}

/// Why a body was not sent to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The caller broke it off.
    #[error("the caller broke the request off")]
    Caller(#[source] hyper::Error),
    /// The upstream has answered without it.
    #[error("the upstream did not ask for the body")]
    Withdrawn,
}

impl Outbound {
    /// The caller's body as it arrives, not kept.
    pub(crate) fn plain(source: Incoming, receiving: Receiving) -> Self {
        Self::Plain(Plain { source: Source::new(source, receiving), unsent: None })
    }

    /// Tells when the body was sent to its end.
    pub(crate) fn watch(&mut self) -> Sent {
        let unsent = match self {
            Self::Empty => return Sent::ALREADY,
            Self::Plain(body) => &mut body.unsent,
            Self::Teed(body) => &mut body.unsent,
            Self::Again(body) => &mut body.unsent,
            Self::Asked(body) => &mut body.unsent,
        };
        let (notice, sent) = Sent::watch();
        *unsent = Some(notice);
        sent
    }

    /// Lets go of the caller's body without reading another byte of it.
    pub(crate) fn leave_unread(self) {
        match self {
            Self::Plain(mut body) => drop(body.source.0.take()),
            Self::Teed(mut body) => drop(body.source.take().and_then(|mut source| source.0.take())),
            Self::Empty | Self::Again(_) | Self::Asked(_) => {}
        }
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = SendError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SendError>>> {
        let (frame, unsent) = match self.get_mut() {
            Self::Empty => return Poll::Ready(None),
            Self::Plain(body) => (body.source.poll_frame(cx), &body.unsent),
            Self::Teed(body) => (body.poll_frame(cx), &body.unsent),
            Self::Again(body) => return Poll::Ready(body.next_frame().map(Ok)),
            Self::Asked(body) => return body.poll_frame(cx),
        };
        if let Some(unsent) = unsent {
            unsent.note(&frame);
        }
        frame.map_err(SendError::Caller)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Plain(body) => body.source.is_end_stream(),
            Self::Teed(body) => body.source.as_ref().is_none_or(Source::is_end_stream),
            Self::Asked(body) => body.is_end_stream(),
            Self::Again(body) => body.data.is_none() && body.trailers.is_none() && body.exact,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Plain(body) => body.source.size_hint(),
            Self::Teed(body) => body.source.as_ref().map_or_else(SizeHint::default, Source::size_hint),
            Self::Asked(body) => body.size_hint(),
            Self::Again(body) if body.exact => {
                SizeHint::with_exact(body.data.as_ref().map_or(0, |data| data.len() as u64))
            }
            Self::Again(_) => SizeHint::default(),
        }
    }
}

/// A caller's body.
///
/// One that nobody wants to its end is read on for a while: an answer that is complete would otherwise be followed by
/// a reset, because bytes that nobody reads make the system close a connection that way, and a reset may overtake the
/// answer (RFC 9112 section 9.6).
struct Source(Option<(Incoming, Receiving)>);

impl Source {
    fn new(body: Incoming, receiving: Receiving) -> Self {
        Self(Some((body, receiving)))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.0.as_mut().map_or(Poll::Ready(None), |(body, _)| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(SizeHint::default, |(body, _)| body.size_hint())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let Some((mut body, receiving)) = self.0.take().filter(|(body, _)| !body.is_end_stream()) else { return };
        // Without a runtime there is no connection either.
        if let Ok(runtime) = Handle::try_current() {
            let read_on = async move {
                while let Some(Ok(_)) = body.frame().await {}
                drop((body, receiving));
            };
            runtime.spawn(timeout(LINGER, read_on));
        }
    }
}

/// A caller's body that is not kept.
pub(crate) struct Plain {
    source: Source,
    unsent: Option<Unsent>,
}

/// The proxy's half of a teed body: knows how far the copy is and can send it again.
pub(crate) struct Tee {
    shared: Arc<Shared>,
    /// Was the length announced? Then a replay announces it too, else it is chunked again.
    exact: bool,
}

impl Tee {
    /// Splits a caller's body into the half that is sent and the half that remembers.
    pub(crate) fn new(source: Incoming, receiving: Receiving, limit: usize, budget: Arc<Budget>) -> (Self, Teed) {
        let exact = source.size_hint().exact().is_some();
        let source = Source::new(source, receiving);
        let shared = Arc::new(Shared {
            kept: Mutex::new(Kept { state: State::Reading, bytes: Vec::new(), trailers: None, charge: 0, rest: None }),
            changed: Notify::new(),
            limit,
            budget,
        });
        (Self { shared: Arc::clone(&shared), exact }, Teed { source: Some(source), shared, unsent: None })
    }

    /// Waits until the whole body is in the copy; `false` if it is too long, was broken off, or takes too long.
    pub(crate) async fn settle(&self, patience: Duration) -> bool {
        if let Some(settled) = self.shared.lock().settled() {
            return settled;
        }
        timeout(patience, self.read_rest()).await.unwrap_or(false)
    }

    async fn read_rest(&self) -> bool {
        loop {
            let changed = self.shared.changed.notified();
            let rest = {
                let mut kept = self.shared.lock();
                if let Some(settled) = kept.settled() {
                    return settled;
                }
                kept.rest.take()
            };
            let Some(mut rest) = rest else {
                changed.await;
                continue;
            };
            while self.shared.lock().settled().is_none() {
                let frame = std::future::poll_fn(|cx| rest.poll_frame(cx)).await;
                self.shared.take(frame.as_ref(), rest.is_end_stream());
            }
        }
    }

    /// The body once more. Call it only after [`Tee::settle`] said yes.
    pub(crate) fn again(&self) -> Outbound {
        let mut kept = self.shared.lock();
        let kept = &mut *kept;
        let data = match &mut kept.state {
            State::Complete(Some(data)) => data.clone(),
            State::Complete(none @ None) => none.insert(Bytes::from(std::mem::take(&mut kept.bytes))).clone(),
            State::Reading | State::TooLong | State::Broken => unreachable!("only a settled body is sent again"),
        };
        let trailers = kept.trailers.clone();
        Outbound::Again(Again {
            exact: self.exact && trailers.is_none(),
            data: (!data.is_empty()).then_some(data),
            trailers,
            unsent: None,
            _shared: Arc::clone(&self.shared),
        })
    }
}

impl Drop for Tee {
    /// Nobody will ask for a replay any more: the rest of the body streams on without being kept.
    fn drop(&mut self) {
        let mut kept = self.shared.lock();
        if matches!(kept.state, State::Reading) {
            kept.give_up(State::TooLong, &self.shared.budget);
        }
        kept.rest = None;
    }
}

/// The upstream connection's half of a teed body.
pub(crate) struct Teed {
    source: Option<Source>,
    shared: Arc<Shared>,
    unsent: Option<Unsent>,
}

impl Teed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        let frame = std::task::ready!(source.poll_frame(cx));
        self.shared.take(frame.as_ref(), source.is_end_stream());
        Poll::Ready(frame)
    }
}

impl Drop for Teed {
    /// A connection that stops reading gives the rest of the body back.
    fn drop(&mut self) {
        let mut kept = self.shared.lock();
        // With the proxy's half gone, nobody is left to read the rest.
        if matches!(kept.state, State::Reading) && Arc::strong_count(&self.shared) > 1 {
            kept.rest = self.source.take();
            drop(kept);
            self.shared.changed.notify_one();
        }
    }
}

/// A body that is sent from its copy.
pub(crate) struct Again {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
    exact: bool,
    unsent: Option<Unsent>,
    /// Keeps the bytes charged to the budget while they are being written.
    _shared: Arc<Shared>,
}

impl Again {
    fn next_frame(&mut self) -> Option<Frame<Bytes>> {
        self.data.take().map(Frame::data).or_else(|| self.trailers.take().map(Frame::trailers))
    }
}

/// The memory that all copies share.
pub(crate) struct Budget {
    left: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bytes) })
    }

    /// Bytes that are not in use.
    #[cfg(test)]
    fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    fn charge(&self, bytes: usize) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

struct Shared {
    kept: Mutex<Kept>,
    changed: Notify,
    limit: usize,
    budget: Arc<Budget>,
}

struct Kept {
    state: State,
    bytes: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// What this copy holds of the budget.
    charge: usize,
    /// The part of the body that the upstream connection did not want.
    rest: Option<Source>,
}

enum State {
    Reading,
    /// Read to the end; the bytes move into shared form at the first replay.
    Complete(Option<Bytes>),
    /// Over the limit or the budget, or not wanted any more.
    TooLong,
    /// The caller broke off.
    Broken,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A panic inside the lock is impossible short of exhausted memory; the data is plain bytes either way.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one frame, or the end, to the copy.
    fn take(&self, frame: Option<&Result<Frame<Bytes>, hyper::Error>>, ends: bool) {
        let mut kept = self.lock();
        if !matches!(kept.state, State::Reading) {
            return;
        }
        match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.append(&mut kept, data);
                } else if let Some(trailers) = frame.trailers_ref() {
                    kept.trailers = Some(trailers.clone());
                }
            }
            Some(Err(_)) => kept.give_up(State::Broken, &self.budget),
            None => {}
        }
        if matches!(kept.state, State::Reading) && (ends || frame.is_none()) {
            kept.state = State::Complete(None);
        }
        if !matches!(kept.state, State::Reading) {
            drop(kept);
            self.changed.notify_one();
        }
    }

    fn append(&self, kept: &mut Kept, data: &Bytes) {
        let length = kept.bytes.len() + data.len();
        if length > self.limit {
            return kept.give_up(State::TooLong, &self.budget);
        }
        let grown = if length > kept.charge { length.next_power_of_two().max(1024).min(self.limit) } else { 0 };
        let more = grown.saturating_sub(kept.charge);
        if more > 0 {
            if !self.budget.charge(more) {
                return kept.give_up(State::TooLong, &self.budget);
            }
            kept.charge += more;
            let additional = grown - kept.bytes.len();
            kept.bytes.reserve_exact(additional);
        }
        kept.bytes.extend_from_slice(data);
    }
}

impl Kept {
    /// Is the question of replaying this body decided, and how?
    fn settled(&self) -> Option<bool> {
        match self.state {
            State::Reading => None,
            State::Complete(_) => Some(true),
            State::TooLong | State::Broken => Some(false),
        }
    }

    fn give_up(&mut self, why: State, budget: &Budget) {
        self.state = why;
        self.bytes = Vec::new();
        self.trailers = None;
        budget.release(std::mem::take(&mut self.charge));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let kept = self.kept.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.budget.release(kept.charge);
    }
}

/// How long a caller's body that nobody wants is read on.
const LINGER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(limit: usize, budget: &Arc<Budget>) -> Shared {
        let kept = Kept { state: State::Reading, bytes: Vec::new(), trailers: None, charge: 0, rest: None };
        Shared { kept: Mutex::new(kept), changed: Notify::new(), limit, budget: Arc::clone(budget) }
    }

    fn send(shared: &Shared, bytes: usize) {
        shared.take(Some(&Ok(Frame::data(Bytes::from(vec![b'x'; bytes])))), false);
    }

    #[test]
    fn a_copy_at_the_limit_is_complete_and_one_byte_more_is_not() {
        let budget = Budget::new(10_000);
        for (bytes, whole) in [(5_000, true), (5_001, false)] {
            let shared = shared(5_000, &budget);
            send(&shared, 1);
            send(&shared, bytes - 1);
            shared.take(None, true);
            assert_eq!(shared.lock().settled(), Some(whole));
            assert_eq!(shared.lock().bytes.len(), if whole { bytes } else { 0 });
        }
        assert_eq!(budget.left(), 10_000, "what is dropped is given back");
    }

    #[test]
    fn what_is_held_is_charged() {
        let budget = Budget::new(10_000);
        let first = shared(8_000, &budget);
        for _ in 0..6_000 {
            send(&first, 1);
        }
        assert!(first.lock().bytes.capacity() <= 10_000 - budget.left());
        let second = shared(8_000, &budget);
        send(&second, 5_000);
        assert_eq!(second.lock().settled(), Some(false), "the budget is used up");
        drop(first);
        assert_eq!(budget.left(), 10_000);
    }
}
