//! A caller's connection that does not wait for ever.
//!
//! Two patiences apply to an HTTP/1.1 connection. A head that has begun must be complete within a fixed time, or a
//! caller that sends one byte a minute holds a connection for nothing. A connection without any request may rest much
//! longer, because client libraries keep connections to reuse them. hyper knows only one timer for both, and sets it
//! anew for each request; here the stream itself tells the two apart, with one timer for the whole connection that is
//! touched only when a read has to wait and something changed. A tunnel has neither heads nor requests, so neither
//! patience applies to it.
//!
//! A third patience applies to whoever takes nothing of what was sent to it: a write that makes no progress for a fixed
//! time ends the connection, HTTP/2 and tunnels included. An upstream that has nothing to send makes no write wait.
//!
//! The stream cannot see where a head ends. [`Activity`], shared with the service, counts the heads that were parsed
//! and the requests that are not answered yet: bytes that arrived since the last head, with nothing in progress, are
//! the start of the next head. The same knowledge lets a [`HeadScan`] look at each head before the parser does.
//!
//! [`sniff`] reads the first bytes to tell HTTP/2 with prior knowledge from HTTP/1.1; they are handed on by the stream.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

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

/// The first bytes of a connection, read to tell the protocol.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    bytes: [u8; PREFACE.len()],
    taken: usize,
    length: usize,
}

/// Reads as much as tells the protocol; `None` if the caller went away or took too long.
pub(crate) async fn sniff(stream: &mut Stream, timeouts: &Timeouts) -> Option<(Protocol, Opening)> {
    let mut opening = Opening::default();
    opening.length = timeout(timeouts.idle, stream.read(&mut opening.bytes)).await.ok()?.ok()?;
    let deadline = Instant::now() + timeouts.head;
    let mut last = opening.length;
    while last > 0 {
        let known = &opening.bytes[..opening.length];
        if known != &PREFACE[..known.len()] {
            return Some((Protocol::Http1, opening));
        }
        if known.len() == PREFACE.len() {
            return Some((Protocol::Http2, opening));
        }
        last = timeout_at(deadline, stream.read(&mut opening.bytes[opening.length..])).await.ok()?.ok()?;
        opening.length += last;
    }
    None
}

/// A caller's stream with its patience.
pub(crate) struct Watched {
    stream: Stream,
    opening: Opening,
    watch: Option<Watch>,
    /// How long a write may wait, and the timer of one that does.
    write_stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

struct Watch {
    activity: Arc<Activity>,
    timeouts: Timeouts,
    timer: Pin<Box<Sleep>>,
    /// How many heads had been parsed when bytes last arrived; `None` before the first byte.
    heads_at_bytes: Option<u32>,
    /// How many heads had been parsed when the timer last ran out.
    heads_at_timer: u32,
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
        opening: Opening,
        activity: Arc<Activity>,
        timeouts: &Timeouts,
    ) -> Self {
        let watch = (protocol == Protocol::Http1).then(|| Watch {
            activity,
            timeouts: timeouts.clone(),
            timer: Box::pin(tokio::time::sleep(timeouts.idle)),
            heads_at_bytes: None,
            heads_at_timer: 0,
            awaits_head: false,
            scan: (0, HeadScan::default()),
            unseen_head: None,
        });
        Self { stream, opening, watch, write_stall: timeouts.write_stall, stalled: None }
    }

    /// Ends a write that waits for too long.
    fn bound<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.write_stall;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Watch {
    fn saw_bytes(&mut self, bytes: &[u8]) {
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
        if awaits_head != self.awaits_head {
            self.awaits_head = awaits_head;
            let patience = if awaits_head { self.timeouts.head } else { self.timeouts.idle };
            self.timer.as_mut().reset(Instant::now() + patience);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if awaits_head {
                return Poll::Ready(Expired::Head);
            }
            if !busy && heads == self.heads_at_timer {
                return Poll::Ready(Expired::Idle);
            }
            self.heads_at_timer = heads;
            self.timer.as_mut().reset(Instant::now() + self.timeouts.idle);
        }
        Poll::Pending
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
        let opening = &this.opening.bytes[this.opening.taken..this.opening.length];
        if !opening.is_empty() {
            let count = opening.len().min(buf.remaining());
            buf.put_slice(&opening[..count]);
            this.opening.taken += count;
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
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// RFC 9113 section 3.4.
const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
