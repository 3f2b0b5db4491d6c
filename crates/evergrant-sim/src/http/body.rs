//! Bodies as hyper sends them: whole, generated, drop by drop, or cut.
//!
//! A cut body must reach the wire before its connection ends. Hyper flushes when a body has nothing ready, so a cut one
//! pauses once between its last byte and its error.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_LENGTH, HeaderValue};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::provider::Payload;

/// A body on its way out.
pub(crate) enum SimBody {
    Whole(Option<Bytes>),
    Torn { bytes: Option<Bytes>, paused: bool },
    Fill { left: u64 },
    Events { sent: u32, count: u32, every: Duration, next: Option<Pin<Box<Sleep>>> },
}

impl SimBody {
    pub(crate) fn whole(payload: Payload) -> Self {
        match payload {
            Payload::Bytes(bytes) => Self::Whole(Some(bytes)),
            Payload::Fill(left) => Self::Fill { left },
            Payload::Events { count, every } => Self::Events { sent: 0, count, every: every.to_duration(), next: None },
        }
    }

    /// An answer that announces its whole length and sends `keep` bytes of it.
    pub(crate) fn torn(response: Response<Payload>, keep: usize) -> Response<Self> {
        let (mut head, payload) = response.into_parts();
        let Payload::Bytes(bytes) = payload else {
            return Response::from_parts(head, Self::Torn { bytes: None, paused: false });
        };
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        let kept = bytes.slice(..keep.min(bytes.len()));
        Response::from_parts(head, Self::Torn { bytes: Some(kept), paused: false })
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let data = |bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        match self.get_mut() {
            Self::Whole(bytes) => bytes.take().map_or(Poll::Ready(None), data),
            Self::Torn { bytes, paused } => match bytes.take() {
                Some(bytes) => data(bytes),
                None if !*paused => {
                    *paused = true;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                None => Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into()))),
            },
            Self::Fill { left: 0 } => Poll::Ready(None),
            Self::Fill { left } => {
                let len = usize::try_from(*left).map_or(FILL.len(), |left| left.min(FILL.len()));
                *left -= u64::try_from(len).unwrap_or(*left);
                data(Bytes::from_static(&FILL[..len]))
            }
            Self::Events { sent, count, every, next } => {
                if let Some(sleep) = next
                    && sleep.as_mut().poll(cx).is_pending()
                {
                    return Poll::Pending;
                }
                if sent == count {
                    return Poll::Ready(None);
                }
                *sent += 1;
                *next = (sent < count).then(|| Box::pin(tokio::time::sleep(*every)));
                data(format!("id: {sent}\ndata: {{\"event\":{sent}}}\n\n").into())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(len_of(bytes.as_ref())),
            Self::Fill { left } => SizeHint::with_exact(*left),
            Self::Torn { .. } | Self::Events { .. } => SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => len_of(bytes.as_ref()) == 0,
            Self::Fill { left } => *left == 0,
            Self::Torn { .. } | Self::Events { .. } => false,
        }
    }
}

fn len_of(bytes: Option<&Bytes>) -> u64 {
    bytes.map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

static FILL: [u8; 64 * 1024] = [Payload::FILL; 64 * 1024];
