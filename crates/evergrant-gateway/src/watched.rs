//! A caller's connection that does not wait for ever.
//!
//! Two patiences apply to an HTTP/1.1 connection. A head that has begun must be complete within a fixed time, or a
//! caller that sends one byte a minute holds a connection for nothing. A connection without any request may rest much
//! longer, because client libraries keep connections to reuse them. hyper knows only one timer for both, and sets it
//! anew for each request; here the stream itself tells the two apart, with one timer for the whole connection that is
//! touched only when a read has to wait and something changed. A tunnel has neither heads nor requests, so neither
//! patience applies to it.
//!
//! The same timer notices when nothing has come for a moment, and says so in [`Activity`]: whoever drives the connection
//! may then take the stream back and wait for the next request with less memory.
//!
//! A third patience applies to whoever takes nothing of what was sent to it: a write that makes no progress for a fixed
//! time ends the connection, HTTP/2 and tunnels included. An upstream that has nothing to send makes no write wait.
//!
//! The stream cannot see where a head ends. [`Activity`], shared with the service, counts the heads that were parsed
//! and the requests that are not answered yet: bytes that arrived since the last head, with nothing in progress, are
//! the start of the next head. The same knowledge lets a [`HeadScan`] look at each head before the parser does.
//!
//! [`sniff`] reads the first bytes to tell HTTP/2 with prior knowledge from HTTP/1.1, and [`wake`] the first ones after a
//! pause; they are handed on by the stream.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, timeout, timeout_at};

use crate::activity::Activity;
use crate::config::Timeouts;
use crate::framing::HeadScan;
use crate::stream::Stream;

/// Which protocol a caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// Reads as much as tells the protocol; `None` if the caller went away or took too long.
pub(crate) async fn sniff(stream: &mut Stream, timeouts: &Timeouts) -> Option<(Protocol, Bytes)> {
    let mut bytes = [0; PREFACE.len()];
    let mut length = timeout(timeouts.idle, stream.read(&mut bytes)).await.ok()?.ok()?;
    let deadline = Instant::now() + timeouts.head;
    let mut last = length;
    while last > 0 {
        let known = &bytes[..length];
        if known != &PREFACE[..known.len()] {
            return Some((Protocol::Http1, Bytes::copy_from_slice(known)));
        }
        if known.len() == PREFACE.len() {
            return Some((Protocol::Http2, Bytes::copy_from_slice(known)));
        }
        last = timeout_at(deadline, stream.read(&mut bytes[length..])).await.ok()?.ok()?;
        length += last;
    }
    None
}

/// Waits for the first bytes after a pause; `None` if the caller went away or took too long.
pub(crate) async fn wake(stream: &mut Stream, deadline: Instant) -> Option<Bytes> {
    let mut bytes = [0; PREFACE.len()];
    let length = timeout_at(deadline, stream.read(&mut bytes)).await.ok()?.ok()?;
    (length > 0).then(|| Bytes::copy_from_slice(&bytes[..length]))
}

/// A caller's stream with its patience.
pub(crate) struct Watched {
    stream: Stream,
    /// Bytes that were read before, to be handed on first.
    opening: Bytes,
    watch: Option<Watch>,
    /// How long a write may wait, and the timer of one that does.
    write_stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

struct Watch {
    activity: Arc<Activity>,
    timeouts: Timeouts,
    timer: Pin<Box<Sleep>>,
    /// Will the timer run out? Not while a request takes its time.
    is_armed: bool,
    /// How many heads had been parsed when bytes last arrived; `None` before the first byte.
    heads_at_bytes: Option<u32>,
    /// How many heads had been parsed when the timer last ran out, and since when there was no other.
    quiet: (u32, Instant),
    /// Is the timer set for the rest of a head?
    awaits_head: bool,
    /// The head that is being read, and its number.
    scan: (u32, HeadScan),
    /// The number of a head whose first bytes may have come while a request was in progress.
    unseen_head: Option<u32>,
}

impl Watched {
    /// Watches a connection; HTTP/2 has its own pings and limits and is not timed here.
    pub(crate) fn new(
        stream: Stream,
        protocol: Protocol,
        opening: Bytes,
        activity: Arc<Activity>,
        timeouts: &Timeouts,
    ) -> Self {
        let watch = (protocol == Protocol::Http1).then(|| Watch::new(activity, timeouts));
        Self { stream, opening, watch, write_stall: timeouts.write_stall, stalled: None }
    }

    /// The stream, and when its caller will have been quiet for too long.
    pub(crate) fn into_quiet(self) -> (Stream, Instant) {
        let since = self.watch.as_ref().map(|watch| watch.quiet.1 + watch.timeouts.idle);
        (self.stream, since.unwrap_or_else(Instant::now))
    }

    /// Ends a write that waits for too long.
    fn bound<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.stalled.take().is_some() {
                self.note_write_waiting(false);
            }
            return written;
        }
        self.note_write_waiting(true);
        let patience = self.write_stall;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn note_write_waiting(&self, is_waiting: bool) {
        if let Some(watch) = &self.watch {
            watch.activity.note_write_waiting(is_waiting);
        }
    }
}

impl Watch {
    fn new(activity: Arc<Activity>, timeouts: &Timeouts) -> Self {
        let now = Instant::now();
        Self {
            timeouts: timeouts.clone(),
            timer: Box::pin(tokio::time::sleep_until(now + PAUSE.min(timeouts.idle))),
            is_armed: true,
            heads_at_bytes: None,
            quiet: (activity.heads(), now),
            awaits_head: false,
            scan: (0, HeadScan::default()),
            unseen_head: None,
            activity,
        }
    }

    fn saw_bytes(&mut self, bytes: &[u8]) {
        self.activity.note_quiet(false);
        let heads = self.activity.heads();
        self.heads_at_bytes = Some(heads);
        if !self.activity.is_at_rest() {
            self.unseen_head = Some(heads);
        }
        if self.unseen_head == Some(heads) {
            return;
        }
        if self.scan.0 != heads {
            self.scan = (heads, HeadScan::default());
        }
        if let Some(framing) = self.scan.1.feed(bytes) {
            self.activity.note_framing(heads, framing);
        }
    }

    /// Looks at the timer while a read has to wait.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        if self.activity.is_tunnel() {
            return Poll::Pending;
        }
        let heads = self.activity.heads();
        let busy = !self.activity.is_at_rest();
        let awaits_head = !busy && self.heads_at_bytes == Some(heads);
        if awaits_head != self.awaits_head || !(self.is_armed || busy) {
            self.awaits_head = awaits_head;
            self.arm(if awaits_head { self.timeouts.head } else { PAUSE.min(self.timeouts.idle) });
        }
        while self.is_armed && self.timer.as_mut().poll(cx).is_ready() {
            if awaits_head {
                return Poll::Ready(Expired::Head);
            }
            self.is_armed = false;
            if busy {
                break;
            }
            let now = Instant::now();
            let (at, since) = self.quiet;
            let expires = since + self.timeouts.idle;
            if heads != at {
                self.quiet = (heads, now);
                self.arm(PAUSE.min(self.timeouts.idle));
            } else if now >= expires {
                return Poll::Ready(Expired::Idle);
            } else {
                // Whoever could make a pause of it does so now, or not at all.
                self.activity.note_quiet(true);
                self.arm(expires - now);
            }
        }
        Poll::Pending
    }

    fn arm(&mut self, patience: Duration) {
        self.is_armed = true;
        self.timer.as_mut().reset(Instant::now() + patience);
    }
}

enum Expired {
    Head,
    Idle,
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if !this.opening.is_empty() {
            let count = this.opening.len().min(buf.remaining());
            buf.put_slice(&this.opening.split_to(count));
        } else if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(cx, buf) {
            result?;
        } else {
            return match this.watch.as_mut().map(|watch| watch.poll_patience(cx)) {
                Some(Poll::Ready(Expired::Head)) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                // A connection at rest ends like one that the caller closed.
                Some(Poll::Ready(Expired::Idle)) => Poll::Ready(Ok(())),
                Some(Poll::Pending) | None => Poll::Pending,
            };
        }
        if let Some(watch) = &mut this.watch {
            watch.saw_bytes(&buf.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.bound(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.bound(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.watch.as_ref().is_some_and(|watch| watch.activity.is_kept_open()) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

/// How long a caller is quiet before its connection may pause. Longer than a busy caller is between two requests; as
/// short as it is, ten thousand callers that come within some seconds are not all awake at the same time.
const PAUSE: Duration = Duration::from_millis(100);
/// RFC 9113 section 3.4.
const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn a_connection_may_pause_only_while_nothing_is_left_to_do() {
        let (mut caller, stream) = UnixStream::pair().unwrap();
        let activity = Activity::new(Arc::default());
        let mut watched = Watched::new(
            Stream::Unix(stream),
            Protocol::Http1,
            Bytes::new(),
            Arc::clone(&activity),
            &Timeouts::default(),
        );
        let quiet = async |watched: &mut Watched| timeout(5 * PAUSE, watched.read(&mut [0; 64])).await.is_err();
        caller.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(watched.read(&mut [0; 64]).await.unwrap() > 0);
        assert!(quiet(&mut watched).await && !activity.may_pause(), "a head is being read");
        let open = activity.begin();
        assert!(quiet(&mut watched).await && !activity.may_pause(), "a request is open");
        let body = open.receive();
        drop(open);
        assert!(quiet(&mut watched).await && !activity.may_pause(), "its body is still being read");
        drop(body);
        assert!(activity.may_pause());
        caller.write_all(b"G").await.unwrap();
        assert_eq!(watched.read(&mut [0; 64]).await.unwrap(), 1);
        assert!(!activity.may_pause(), "a byte has come");
    }

    #[tokio::test]
    async fn a_connection_whose_caller_takes_nothing_does_not_pause() {
        let (mut caller, stream) = UnixStream::pair().unwrap();
        let activity = Activity::new(Arc::default());
        let mut watched = Watched::new(
            Stream::Unix(stream),
            Protocol::Http1,
            Bytes::new(),
            Arc::clone(&activity),
            &Timeouts::default(),
        );
        drop(activity.begin());
        assert!(timeout(5 * PAUSE, watched.read(&mut [0; 64])).await.is_err() && activity.may_pause());
        while timeout(PAUSE, watched.write(&[0; 4096])).await.is_ok() {}
        assert!(!activity.may_pause());
        let taken = tokio::spawn(async move { while caller.read(&mut [0; 65536]).await.is_ok_and(|read| read > 0) {} });
        watched.write_all(b"more").await.unwrap();
        assert!(activity.may_pause());
        taken.abort();
    }
}
