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

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::sleep;

use crate::activity::Activity;
use crate::config::Limits;
use crate::peer::Peer;
use crate::phase::Phases;
use crate::proxy;
use crate::site::Current;
use crate::stream::Stream;
use crate::watched::{Protocol, Watched, sniff};

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
    let io = TokioIo::new(Watched::new(stream, protocol, opening, Arc::clone(&activity), timeouts));
    let service = service_fn(|request| {
        // In a box, so that a connection at rest does not hold the room of a request.
        let answer = Box::pin(proxy::answer(current.get(), Arc::clone(&peer), activity.begin(), request));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let limits = &site.config.limits;
    match protocol {
        Protocol::Http1 => {
            let mut connection = Box::pin(http1_builder(limits).serve_connection(io, service).with_upgrades());
            let ended = until_quiet(connection.as_mut(), &activity, &mut phases).await;
            if !ended {
                connection.as_mut().graceful_shutdown();
                finish(connection, phases).await;
            }
        }
        Protocol::Http2 => {
            let mut connection = Box::pin(http2_builder(limits).serve_connection(io, service));
            tokio::select! {
                biased;
                result = connection.as_mut() => return log_end(result),
                () = phases.draining() => connection.as_mut().graceful_shutdown(),
            }
            finish(connection, phases).await;
        }
    }
}

/// Runs a connection until it ends, or until it is to end and its caller has been quiet; `true` if it has ended.
async fn until_quiet<C>(mut connection: Pin<&mut C>, activity: &Activity, phases: &mut Phases) -> bool
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    tokio::select! {
        // In this order, so that a request that has arrived is seen before the connection is told to finish.
        biased;
        result = connection.as_mut() => {
            log_end(result);
            return true;
        }
        () = phases.draining() => activity.announce_end(),
    }
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
