//! Bodies on their way to the caller.
//!
//! An upstream's body is handed on frame by frame as it arrives. A 401 was looked into before it was decided whether
//! the caller sees it: what was read stands in front of the rest. Each body keeps its request counted as open until
//! its last byte was taken.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;

use crate::activity::Open;
use crate::expect::Withdrawn;
use crate::upstream::Arriving;

/// A body for the caller.
pub(crate) struct CallerBody {
    kind: Kind,
    /// Counts the request as open until the body is dropped.
    open: Option<Open>,
    /// Keeps the connection of a request whose body is not sent until its answer is through.
    withdrawn: Option<Withdrawn>,
}

enum Kind {
    Whole(Option<Bytes>),
    Streamed(Arriving),
    Peeked(Peeked),
}

impl CallerBody {
    /// Bytes that are all there.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self { kind: Kind::Whole((!bytes.is_empty()).then_some(bytes)), open: None, withdrawn: None }
    }

    /// An upstream's body as it arrives.
    pub(crate) fn streamed(body: Arriving) -> Self {
        Self { kind: Kind::Streamed(body), open: None, withdrawn: None }
    }

    /// An upstream's body whose beginning was read.
    pub(crate) fn peeked(body: Peeked) -> Self {
        Self { kind: Kind::Peeked(body), open: None, withdrawn: None }
    }

    /// Keeps the connection of a request whose body is not sent as long as this body lives.
    pub(crate) fn keeping(mut self, withdrawn: Option<Withdrawn>) -> Self {
        self.withdrawn = withdrawn;
        self
    }

    /// Counts the request as open as long as this body lives.
    pub(crate) fn holding(mut self, open: Open) -> Self {
        self.open = Some(open);
        self
    }
}

impl Body for CallerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = match &mut this.kind {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Streamed(body) => Pin::new(body).poll_frame(cx),
            Kind::Peeked(body) => body.poll_frame(cx),
        };
        if let (Poll::Ready(Some(Err(_))), Some(open)) = (&frame, &this.open) {
            open.note_cut();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Streamed(body) => body.is_end_stream(),
            Kind::Peeked(body) => body.frames.is_empty() && body.rest.as_ref().is_none_or(Body::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Streamed(body) => body.size_hint(),
            Kind::Peeked(body) => body.size_hint(),
        }
    }
}

/// A body whose beginning was read: the frames in their order, then what has not been read.
pub(crate) struct Peeked {
    frames: VecDeque<Result<Frame<Bytes>, hyper::Error>>,
    rest: Option<Arriving>,
    /// The beginning as one slice.
    prefix: Vec<u8>,
    exact: bool,
}

impl Peeked {
    /// Reads up to `limit` bytes of a body, or what comes within `patience`.
    pub(crate) async fn read(body: Arriving, limit: usize, patience: Duration) -> Self {
        let exact = body.size_hint().exact().is_some();
        let mut peeked = Self { frames: VecDeque::new(), rest: Some(body), prefix: Vec::new(), exact };
        // Each step leaves the frames read so far in place, so running out of patience loses nothing.
        _ = tokio::time::timeout(patience, async { while peeked.step(limit).await {} }).await;
        peeked
    }

    /// The first bytes of the body.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    async fn step(&mut self, limit: usize) -> bool {
        let Some(rest) = &mut self.rest else { return false };
        let Some(frame) = rest.frame().await else {
            self.rest = None;
            return false;
        };
        if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
            let room = limit.saturating_sub(self.prefix.len());
            self.prefix.extend_from_slice(&data[..data.len().min(room)]);
        }
        let failed = frame.is_err();
        self.frames.push_back(frame);
        // A body that broke off has not the length that it announced.
        self.exact &= !failed;
        if failed || rest.is_end_stream() {
            self.rest = None;
        }
        self.prefix.len() < limit && self.rest.is_some()
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(frame));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        if !self.exact {
            return SizeHint::default();
        }
        let read: usize = self.frames.iter().flatten().filter_map(Frame::data_ref).map(Bytes::len).sum();
        let rest = self.rest.as_ref().and_then(|rest| rest.size_hint().exact()).unwrap_or(0);
        SizeHint::with_exact(read as u64 + rest)
    }
}
