//! A body whose beginning was read.
//!
//! A refusal says in its body what it refuses, and whoever passes the refusal on must still hand out the whole body. So
//! a bounded part is read, for a bounded time, and kept in front of what has not been read: frames in their order, a
//! failure in its place.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;

/// What was read of a body, followed by the rest of it.
pub struct Peeked<B: Body> {
    frames: VecDeque<Result<Frame<Bytes>, B::Error>>,
    rest: Option<B>,
    prefix: Vec<u8>,
    /// Is the length that the unread body announced still to be relied on?
    is_sized: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Peeked<B> {
    /// A body of which nothing is read yet.
    pub(crate) fn new(body: B) -> Self {
        let rest = (!body.is_end_stream()).then_some(body);
        Self { frames: VecDeque::new(), rest, prefix: Vec::new(), is_sized: true }
    }

    /// Reads until there are `limit` bytes, or as far as the body comes within `patience`.
    pub(crate) async fn read(&mut self, limit: usize, patience: Duration) {
        // Each step leaves what was read in place, so running out of patience loses nothing.
        let _ = tokio::time::timeout(patience, async { while self.step(limit).await {} }).await;
    }

    /// The bytes that [`Peeked::read`] read, at most its limit.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Reads one frame; says whether to go on.
    async fn step(&mut self, limit: usize) -> bool {
        let Some(rest) = &mut self.rest else { return false };
        let Some(frame) = rest.frame().await else {
            self.rest = None;
            return false;
        };
        if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
            let room = limit.saturating_sub(self.prefix.len());
            self.prefix.extend_from_slice(data.get(..room).unwrap_or(data));
        }
        let has_failed = frame.is_err();
        self.is_sized &= !has_failed;
        if has_failed || rest.is_end_stream() {
            self.rest = None;
        }
        self.frames.push_back(frame);
        self.prefix.len() < limit && self.rest.is_some()
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Peeked<B>
where
    B::Error: Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if let Some(frame) = this.frames.pop_front() {
            return Poll::Ready(Some(frame));
        }
        match &mut this.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        if !self.is_sized {
            return SizeHint::default();
        }
        let read = self.frames.iter().flatten().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum::<u64>();
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(read + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(read + upper);
        }
        hint
    }
}

impl<B: Body> fmt::Debug for Peeked<B> {
    /// Without the bytes, which may be anybody's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peeked").field("bytes_read", &self.prefix.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::future::poll_fn;
    use std::io;

    /// Gives its frames one by one, then stalls or ends.
    struct Script {
        frames: VecDeque<Result<Frame<Bytes>, io::Error>>,
        stalls: bool,
    }

    impl Body for Script {
        type Data = Bytes;
        type Error = io::Error;
        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            let this = self.get_mut();
            match this.frames.pop_front() {
                None if this.stalls => Poll::Pending,
                frame => Poll::Ready(frame),
            }
        }
    }

    fn script(parts: &[&'static str], stalls: bool) -> Script {
        let frames = parts.iter().map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes())))).collect();
        Script { frames, stalls }
    }

    #[tokio::test]
    async fn what_was_read_comes_first_and_nothing_is_lost() {
        let mut body = Peeked::new(script(&["abc", "def", "ghi"], false));
        body.read(5, Duration::from_secs(1)).await;
        assert_eq!(body.prefix(), b"abcde");
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcdefghi");
    }

    #[tokio::test]
    async fn a_body_that_stalls_is_not_waited_for_longer_than_patience() {
        let mut body = Peeked::new(script(&["abc"], true));
        body.read(100, Duration::from_millis(20)).await;
        assert_eq!(body.prefix(), b"abc");
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "abc");
    }

    #[tokio::test]
    async fn a_failure_stays_in_its_place_and_the_length_is_no_longer_promised() {
        let mut inner = script(&["abc"], false);
        inner.frames.push_back(Err(io::ErrorKind::ConnectionReset.into()));
        let mut body = Peeked::new(inner);
        body.read(100, Duration::from_secs(1)).await;
        assert_eq!(body.size_hint().exact(), None);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        assert_eq!(body.frame().await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn an_unread_body_keeps_its_length() {
        let full = http_body_util::Full::new(Bytes::from_static(b"abcdef"));
        let mut body = Peeked::new(full);
        assert_eq!(body.size_hint().exact(), Some(6));
        body.read(2, Duration::from_secs(1)).await;
        assert_eq!((body.prefix(), body.size_hint().exact()), (&b"ab"[..], Some(6)));
        let nothing: Peeked<http_body_util::Empty<Bytes>> = Peeked::new(http_body_util::Empty::new());
        assert!(nothing.is_end_stream());
        let all: Result<_, Infallible> = body.collect().await;
        assert_eq!(all.unwrap().to_bytes(), "abcdef");
    }
}
