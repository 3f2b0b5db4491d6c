//! One HTTP/1.1 connection to the API, driven by the request that uses it.
//!
//! The usual way is a task for each connection and channels to it; then every request costs two tasks several wake-ups
//! of each other. A lane has no task: whoever waits for its answer, or for the next piece of its answer's body, drives
//! the connection on the way. hyper's own connection does the work all the same.
//!
//! An answer that has arrived whole gives its lane back before the caller sees it. A longer one holds its lane until
//! the end of its [`Arriving`] body, and a lane whose answer is dropped half-way is closed, because nothing else can
//! follow on it. The one case that needs a task after all is an answer that begins before the request body has ended:
//! the caller may send the rest before it reads on, so a task drives the lane until both are through.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::TRANSFER_ENCODING;
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};

use super::connect::Stream;
use super::fault::Fault;
use super::pool::Pool;
use super::relay::Relay;
use crate::tee::Outbound;

/// An HTTP/1.1 connection and what drives it.
pub(super) struct Lane {
    sender: http1::SendRequest<Outbound>,
    /// `None` once it has ended.
    connection: Option<http1::Connection<Stream, Outbound>>,
    relay: Arc<Relay>,
    /// Leads to the relay.
    waker: Waker,
    has_answered: bool,
}

/// Why a lane brought no answer.
pub(super) enum Unanswered {
    /// No byte of the request was sent. Here it is again, and why.
    Unsent(Box<Request<Outbound>>, Fault),
    /// Some of the request may have arrived.
    Failed(Fault),
}

impl Unanswered {
    pub(super) fn of(mut error: TrySendError<Request<Outbound>>, had_answered: bool) -> Self {
        let request = error.take_message();
        let fault = Fault::of_connection(error.into_error(), had_answered);
        match request {
            Some(request) => Self::Unsent(Box::new(request), fault),
            None => Self::Failed(fault),
        }
    }

    pub(super) fn into_fault(self) -> Fault {
        match self {
            Self::Unsent(_, fault) | Self::Failed(fault) => fault,
        }
    }
}

impl Lane {
    /// Begins to speak HTTP/1.1 on a new connection.
    pub(super) async fn open(stream: Stream) -> Result<Box<Self>, Fault> {
        let handshake = builder().handshake(stream).await;
        let (sender, connection) = handshake.map_err(|error| Fault::of_connection(error, false))?;
        let relay = Arc::new(Relay::default());
        let waker = Waker::from(Arc::clone(&relay));
        Ok(Box::new(Self { sender, connection: Some(connection), relay, waker, has_answered: false }))
    }

    /// Sends a request and drives the connection until the head of its answer is there.
    pub(super) async fn send(
        mut self: Box<Self>,
        request: Request<Outbound>,
        pool: &Arc<Pool>,
    ) -> Result<Response<Arriving>, Unanswered> {
        let has_body = !request.body().is_end_stream();
        self.relay.hush();
        let answered = {
            let mut answer = pin!(self.sender.try_send_request(in_origin_form(request)));
            let (connection, relay, waker) = (&mut self.connection, &self.relay, &self.waker);
            std::future::poll_fn(|cx| {
                relay.hush();
                let answer = until_quiet(relay, || {
                    drive(connection, waker);
                    answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
                });
                relay.watch(cx.waker());
                answer
            })
            .await
        };
        match answered {
            Ok(response) => {
                self.has_answered = true;
                Ok(response.map(|body| Arriving::begin(body, self, pool, has_body)))
            }
            Err(error) => Err(Unanswered::of(error, self.has_answered)),
        }
    }

    /// Can the next request be sent?
    pub(super) fn is_free(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Looks after a lane at rest: has the server closed it?
    pub(super) fn is_dead(&mut self) -> bool {
        self.relay.hush();
        drive(&mut self.connection, &self.waker);
        !self.is_free()
    }

    pub(super) fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Drives the lane on a task of its own until its exchange is through.
    async fn finish(mut self: Box<Self>, pool: Arc<Pool>) {
        std::future::poll_fn(|cx| {
            self.relay.hush();
            let free = until_quiet(&self.relay, || {
                drive(&mut self.connection, &self.waker);
                if self.connection.is_none() || self.sender.is_ready() { Poll::Ready(()) } else { Poll::Pending }
            });
            self.relay.watch(cx.waker());
            free
        })
        .await;
        pool.put(self);
    }
}

/// How HTTP/1.1 is spoken to the API.
pub(super) fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_headers(RESPONSE_FIELDS);
    builder
}

/// The request as HTTP/1.1 writes it to an origin server: its target, and chunks for a body without a length (RFC 9112
/// sections 3.2.1 and 7.1).
pub(super) fn in_origin_form(mut request: Request<Outbound>) -> Request<Outbound> {
    if let Some(path) = std::mem::take(request.uri_mut()).into_parts().path_and_query {
        *request.uri_mut() = path.into();
    }
    let body = request.body();
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        // hyper takes a GET without a framing field for one without a body.
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    request
}

/// Does what the connection can do now.
fn drive(connection: &mut Option<http1::Connection<Stream, Outbound>>, waker: &Waker) {
    let Some(running) = connection else { return };
    // How it ended is told to whoever waits for an answer or a body.
    if Pin::new(running).poll(&mut Context::from_waker(waker)).is_ready() {
        *connection = None;
    }
}

/// Repeats a step that had to wait as long as it woke itself, a few times.
fn until_quiet<T>(relay: &Relay, mut step: impl FnMut() -> Poll<T>) -> Poll<T> {
    for _ in 1..STEPS {
        let result = step();
        if result.is_ready() || !relay.take_woken() {
            return result;
        }
    }
    step()
}

/// The body of an answer as it arrives.
pub(crate) struct Arriving {
    /// What has arrived already.
    first: Option<Frame<Bytes>>,
    rest: Incoming,
    /// What has to be driven for the rest to arrive.
    lane: Option<(Box<Lane>, Arc<Pool>)>,
}

impl Arriving {
    /// A body that somebody else drives.
    pub(super) fn driven(body: Incoming) -> Self {
        Self { first: None, rest: body, lane: None }
    }

    /// The body of a lane's answer. A lane that is through already goes back to the pool at once.
    fn begin(body: Incoming, lane: Box<Lane>, pool: &Arc<Pool>, has_request_body: bool) -> Self {
        let mut arriving = Self::driven(body);
        lane.relay.hush();
        if lane.is_free() {
            // What is left of the body is in its channel: a piece at most, and the end.
            if let Poll::Ready(Some(Ok(frame))) = arriving.poll_rest(&mut Context::from_waker(Waker::noop())) {
                arriving.first = Some(frame);
            }
            pool.put(lane);
        } else if lane.connection.is_some() {
            if has_request_body {
                tokio::spawn(lane.finish(Arc::clone(pool)));
            } else {
                arriving.lane = Some((lane, Arc::clone(pool)));
            }
        }
        arriving
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    /// The whole body has arrived, so its lane is free, or it is of no use any more.
    fn release(&mut self) {
        let Some((mut lane, pool)) = self.lane.take() else { return };
        if lane.is_free() || !lane.is_dead() {
            pool.put(lane);
        }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some((lane, _)) = &mut this.lane else { return this.poll_rest(cx) };
        let mut quiet = Context::from_waker(Waker::noop());
        let rest = &mut this.rest;
        lane.relay.hush();
        let frame = until_quiet(&lane.relay, || {
            let at_hand = Pin::new(&mut *rest).poll_frame(&mut quiet);
            if at_hand.is_ready() {
                return at_hand;
            }
            drive(&mut lane.connection, &lane.waker);
            Pin::new(&mut *rest).poll_frame(&mut quiet)
        });
        match &frame {
            Poll::Pending => lane.relay.watch(cx.waker()),
            Poll::Ready(Some(Err(_))) => this.lane = None,
            Poll::Ready(Some(Ok(_))) if !rest.is_end_stream() => {}
            Poll::Ready(Some(Ok(_)) | None) => this.release(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.size_hint();
        let first = self.first.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + first);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + first);
        }
        hint
    }
}

const RESPONSE_FIELDS: usize = 256;
/// How often a step is repeated for its own wake-ups before the runtime decides when it goes on.
const STEPS: u32 = 8;
