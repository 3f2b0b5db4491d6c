//! Uploads whose caller asks before it sends: `Expect: 100-continue`.
//!
//! The question is the upstream's to answer (RFC 9110 section 10.1.1). It is passed on, and the caller's body is not
//! touched until the upstream says 100, or says nothing for a second, or begins an answer that is no refusal. hyper tells
//! the caller to go on at the moment at which its body is first read, so nothing else has to be done for that. An answer
//! of 400 or above that comes instead finds the body unsent: a refused token costs a head and no upload, and the request
//! is sent again with another token whatever the length of its body is.
//!
//! A request that announced a body and then sends none cannot be followed by another one, so its connection to the
//! upstream is closed once its answer was read; [`Withdrawn`] holds it open until then. The caller's connection is closed
//! by hyper for the same reason.
//!
//! Limits: HTTP/1.1 on both sides. hyper shows interim answers of HTTP/1.1 only, so such a request goes out on an HTTP/1.1
//! connection even where the upstream offers HTTP/2. A caller that speaks HTTP/2 is not asked to wait.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::patience::Unsent;
use crate::tee::{Outbound, SendError};

/// A body that is sent only if the upstream wants it: the proxy's half.
pub(crate) struct Asking {
    body: Arc<Mutex<Option<Outbound>>>,
    /// The question that is open.
    gate: Mutex<Arc<Gate>>,
}

impl Asking {
    pub(crate) fn new(body: Outbound) -> Self {
        Self { body: Arc::new(Mutex::new(Some(body))), gate: Mutex::default() }
    }

    /// The body for one try, which waits until it is wanted. Call it again only after [`Asking::withdraw`] said yes.
    pub(crate) fn ask(&self) -> Outbound {
        let gate = Arc::new(Gate::default());
        *lock(&self.gate) = Arc::clone(&gate);
        let asked = Asked { body: None, waiting: Arc::clone(&self.body), gate, timer: None, unsent: None };
        Outbound::Asked(Box::new(asked))
    }

    /// The upstream began to answer and did not refuse: it may have the body.
    pub(crate) fn permit(&self) {
        lock(&self.gate).permit();
    }

    /// Takes the offer back; `None` if the body is on its way already.
    pub(crate) fn withdraw(&self) -> Option<Withdrawn> {
        let gate = Arc::clone(&lock(&self.gate));
        let mut state = lock(&gate.0);
        if matches!(state.phase, Phase::Begun) {
            return None;
        }
        state.phase = Phase::Withdrawn;
        drop(state);
        Some(Withdrawn(gate))
    }
}

impl Drop for Asking {
    /// A body that was withdrawn and is not offered again: a caller that was not told to send it must not be read from.
    fn drop(&mut self) {
        let phase = lock(&lock(&self.gate).0).phase;
        if matches!(phase, Phase::Withdrawn | Phase::Over)
            && let Some(body) = lock(&self.body).take()
        {
            body.leave_unread();
        }
    }
}

/// Lets the connection of an offer that was taken back end when it is dropped.
#[derive(Debug)]
pub(crate) struct Withdrawn(Arc<Gate>);

impl Drop for Withdrawn {
    fn drop(&mut self) {
        self.0.turn(Phase::Over);
    }
}

/// A body that waits until it is wanted: the connection's half.
pub(crate) struct Asked {
    /// The body once it is wanted.
    body: Option<Outbound>,
    /// Where it is until then.
    waiting: Arc<Mutex<Option<Outbound>>>,
    gate: Arc<Gate>,
    /// When silence is taken for a yes.
    timer: Option<Pin<Box<Sleep>>>,
    pub(crate) unsent: Option<Unsent>,
}

impl Asked {
    /// What the upstream is asked.
    pub(crate) fn question(&self) -> Question {
        Question(Arc::clone(&self.gate))
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, SendError>>> {
        if self.body.is_none() {
            std::task::ready!(self.poll_wanted(cx))?;
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        if let Some(unsent) = &self.unsent {
            unsent.note(&frame);
        }
        frame
    }

    fn poll_wanted(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let mut state = lock(&self.gate.0);
        if matches!(state.phase, Phase::Asked) {
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(SILENCE)));
            if timer.as_mut().poll(cx).is_ready() {
                state.phase = Phase::Permitted;
            }
        }
        match state.phase {
            Phase::Asked | Phase::Withdrawn => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Phase::Over => Poll::Ready(Err(SendError::Withdrawn)),
            Phase::Permitted | Phase::Begun => {
                state.phase = Phase::Begun;
                self.body = lock(&self.waiting).take();
                self.timer = None;
                Poll::Ready(Ok(()))
            }
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_some_and(Body::is_end_stream)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => lock(&self.waiting).as_ref().map_or_else(SizeHint::default, Body::size_hint),
        }
    }
}

/// One question to the upstream, in the request that asks it.
pub(crate) struct Question(Arc<Gate>);

impl Question {
    /// Lets the upstream's 100 open the way for the body.
    pub(crate) fn listen<B>(self, request: &mut Request<B>) {
        hyper::ext::on_informational(request, move |interim| {
            if interim.status() == StatusCode::CONTINUE {
                self.0.permit();
            }
        });
    }
}

/// What became of one question.
#[derive(Debug, Default)]
struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    /// No answer yet.
    #[default]
    Asked,
    /// The upstream wants the body.
    Permitted,
    /// The body was touched.
    Begun,
    /// The body will not come; the answer is still being read.
    Withdrawn,
    /// The connection has no purpose any more.
    Over,
}

impl Gate {
    fn permit(&self) {
        if matches!(lock(&self.0).phase, Phase::Asked) {
            self.turn(Phase::Permitted);
        }
    }

    fn turn(&self, phase: Phase) {
        let mut state = lock(&self.0);
        state.phase = phase;
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long an upstream may say nothing before it gets the body: many know no 100.
const SILENCE: Duration = Duration::from_secs(1);
