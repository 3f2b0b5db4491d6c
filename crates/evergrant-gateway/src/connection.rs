//! One caller's connection, from its first byte to its end.
//!
//! What bounds a connection is fixed when it begins; each of its requests takes the site of its own time, so that a
//! reload touches no connection.
//!
//! A connection that is to end must not end while its caller sends the next request: over HTTP/1.1 the caller could not
//! know whether that was executed (RFC 9112 section 9.3.1). So the next answer says `Connection: close`, which is the one
//! way to end a connection that both sides agree on, and a connection whose caller asks for nothing is closed when it
//! has been quiet for a while. What remains is a caller that was quiet that long and writes in the instant of the close.
//! HTTP/2 has GOAWAY, which names the last request that counts (RFC 9113 section 6.8).
//!
//! Client libraries keep connections for minutes and use them for moments. hyper's half of an HTTP/1.1 connection holds
//! two buffers of 8 KiB, so a connection that has nothing to do for a moment pauses: hyper is told to end, which it does
//! at once if and only if it stands between two messages, and gives back the stream and any bytes that it has read too
//! many. Only the stream is kept, and the next bytes begin another half. What hyper thinks of its own state is decisive;
//! [`Activity`] sees to it that it is asked only when the answer is known to be yes, because a connection that has been
//! asked does not outlive the message that it is in.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{Instant, sleep};

use crate::activity::Activity;
use crate::body::CallerBody;
use crate::config::Limits;
use crate::head;
use crate::peer::Peer;
use crate::phase::Phases;
use crate::proxy;
use crate::site::Current;
use crate::stream::Stream;
use crate::watched::{Protocol, Watched, sniff, wake};

/// hyper's half of an HTTP/1.1 connection.
type Http1<S> = http1::UpgradeableConnection<TokioIo<Watched>, S>;

/// Serves a connection to its end.
pub(crate) async fn serve(mut stream: Stream, peer: Peer, current: &Current, mut phases: Phases) {
    let site = current.get();
    let peer = Arc::new(peer);
    let timeouts = &site.config.timeouts;
    let sniffed = tokio::select! {
        sniffed = sniff(&mut stream, timeouts) => sniffed,
        () = quiet_end(&mut phases) => None,
    };
    let Some((protocol, opening)) = sniffed else { return };
    let activity = Activity::new(Arc::clone(&site.metrics));
    // hyper holds the room of an answer in a box, which is used for one request after the other and goes with a pause.
    let service = service_fn(|mut request| {
        if matches!(protocol, Protocol::Http1) {
            head::detach(&mut request);
        }
        proxy::answer(current.get(), Arc::clone(&peer), activity.begin(), request)
    });
    let limits = &site.config.limits;
    let watched =
        |stream, opening| TokioIo::new(Watched::new(stream, protocol, opening, Arc::clone(&activity), timeouts));
    match protocol {
        Protocol::Http1 => {
            let mut next = Some((stream, opening));
            while let Some((stream, opening)) = next {
                let connection = http1_builder(limits).serve_connection(watched(stream, opening), &service);
                let connection = Box::new(connection.with_upgrades());
                next = match until_pause(connection, &activity, &mut phases).await {
                    Some(paused) => paused.next_bytes(&mut phases).await,
                    None => None,
                };
            }
        }
        Protocol::Http2 => {
            let connection = http2_builder(limits).serve_connection(watched(stream, opening), service);
            let mut connection = Box::pin(connection);
            tokio::select! {
                biased;
                result = connection.as_mut() => return log_end(result),
                () = phases.draining() => connection.as_mut().graceful_shutdown(),
            }
            finish(connection, phases).await;
        }
    }
}

/// A connection of which only the stream is left.
struct Paused {
    stream: Stream,
    /// Bytes of the next request, if some have come.
    opening: Bytes,
    /// When the caller has been quiet for too long.
    expires: Instant,
}

impl Paused {
    /// Waits for the next request; `None` if there will be none.
    async fn next_bytes(self, phases: &mut Phases) -> Option<(Stream, Bytes)> {
        let Self { mut stream, mut opening, expires } = self;
        if opening.is_empty() {
            opening = tokio::select! {
                // In this order, so that a request that has arrived is served.
                biased;
                woken = wake(&mut stream, expires) => woken?,
                () = quiet_end(phases) => return None,
            };
        }
        Some((stream, opening))
    }
}

/// Runs a connection until it has ended, or until it pauses.
async fn until_pause<S>(mut connection: Box<Http1<S>>, activity: &Activity, phases: &mut Phases) -> Option<Paused>
where
    S: HttpService<Incoming, ResBody = CallerBody, Error = Infallible>,
{
    let quiet = poll_fn(|cx| match Pin::new(&mut *connection).poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if activity.may_pause() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    tokio::select! {
        // In this order, so that a request that has arrived is seen before the connection is told to finish.
        biased;
        result = quiet => match result {
            Some(result) => log_end(result),
            None => match pause(connection, activity) {
                Ok(paused) => return paused,
                Err(connection) => finish(Pin::new(connection), phases.clone()).await,
            },
        },
        () = phases.draining() => {
            activity.announce_end();
            if !until_quiet(Pin::new(&mut *connection), activity, phases).await {
                Pin::new(&mut *connection).graceful_shutdown();
                finish(Pin::new(connection), phases.clone()).await;
            }
        }
    }
    None
}

/// Takes the stream back from a connection between two messages: `None` if it has ended. From a connection that is not
/// there it cannot be taken; then it ends after its message.
fn pause<S>(mut connection: Box<Http1<S>>, activity: &Activity) -> Result<Option<Paused>, Box<Http1<S>>>
where
    S: HttpService<Incoming, ResBody = CallerBody, Error = Infallible>,
{
    activity.keep_open(true);
    Pin::new(&mut *connection).graceful_shutdown();
    let ended = Pin::new(&mut *connection).poll(&mut Context::from_waker(Waker::noop()));
    activity.keep_open(false);
    match ended {
        Poll::Pending => Err(connection),
        Poll::Ready(Err(error)) => {
            log_end(Err(error));
            Ok(None)
        }
        Poll::Ready(Ok(())) => Ok(connection.into_parts().map(|parts| {
            let (stream, expires) = parts.io.into_inner().into_quiet();
            // A copy, because even an empty rest keeps the whole buffer alive.
            Paused { stream, opening: Bytes::copy_from_slice(&parts.read_buf), expires }
        })),
    }
}

/// Runs a connection that is to end until it has, or its caller has been quiet; `true` if it has ended.
async fn until_quiet<C>(mut connection: Pin<&mut C>, activity: &Activity, phases: &mut Phases) -> bool
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    loop {
        let heads = activity.heads();
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                log_end(result);
                return true;
            }
            () = phases.closed() => return false,
            () = sleep(QUIET) => {}
        }
        if activity.is_at_rest() && activity.heads() == heads {
            return false;
        }
    }
}

/// Ends when a connection without a request should.
async fn quiet_end(phases: &mut Phases) {
    phases.draining().await;
    tokio::select! {
        () = phases.closed() => {}
        () = sleep(QUIET) => {}
    }
}

/// Runs a connection that was told to finish, until it has or the gateway is closed.
async fn finish<C>(connection: Pin<Box<C>>, mut phases: Phases)
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    tokio::select! {
        biased;
        result = connection => log_end(result),
        () = phases.closed() => {}
    }
}

fn log_end(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a caller's connection ended early");
    }
}

pub(crate) fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_headers(limits.head_fields)
        .max_header_size(limits.head_bytes)
        .max_buf_size(limits.head_bytes.max(MIN_BUFFER) + 1)
        .header_read_timeout(None)
        .auto_date_header(false);
    builder
}

fn http2_builder(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_STREAMS)
        .adaptive_window(true)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .auto_date_header(false);
    builder
}

/// Longer than a busy caller is quiet between two requests.
const QUIET: Duration = Duration::from_secs(1);
const MAX_STREAMS: u32 = 200;
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// hyper's smallest buffer.
const MIN_BUFFER: usize = 8192;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;
    use tokio::time::timeout;

    use super::*;
    use crate::config::Timeouts;
    use crate::phase::Control;

    /// Serves what was written until it pauses; the caller's end of the stream is handed back.
    async fn pause_after(written: &'static [u8]) -> (UnixStream, Paused) {
        let (mut caller, stream) = UnixStream::pair().unwrap();
        caller.write_all(written).await.unwrap();
        let activity = Activity::new(Arc::default());
        let service = service_fn(|_request| {
            let open = activity.begin();
            async move { Ok::<_, Infallible>(hyper::Response::new(CallerBody::whole("body".into()).holding(open))) }
        });
        let opening = Bytes::new();
        let watched =
            Watched::new(Stream::Unix(stream), Protocol::Http1, opening, Arc::clone(&activity), &Timeouts::default());
        let connection = http1_builder(&Limits::default()).serve_connection(TokioIo::new(watched), service);
        let control = Control::default();
        let paused = until_pause(Box::new(connection.with_upgrades()), &activity, &mut control.watch()).await;
        (caller, paused.expect("a pause"))
    }

    #[tokio::test]
    async fn a_connection_pauses_with_its_stream_open_and_whole() {
        let (mut caller, paused) = pause_after(b"GET / HTTP/1.1\r\n\r\n").await;
        let mut answer = Vec::new();
        while !answer.ends_with(b"body") {
            caller.read_buf(&mut answer).await.unwrap();
        }
        assert!(timeout(QUIET / 10, caller.read(&mut [0; 1])).await.is_err(), "the stream was shut down");
        caller.write_all(b"next").await.unwrap();
        let control = Control::default();
        let (_, opening) = paused.next_bytes(&mut control.watch()).await.unwrap();
        assert_eq!(opening, "next");
    }

    #[tokio::test]
    async fn what_was_read_of_the_next_request_is_kept_for_it() {
        let (_caller, paused) = pause_after(b"GET / HTTP/1.1\r\n\r\nGET /ne").await;
        assert_eq!(paused.opening, "GET /ne");
    }
}
