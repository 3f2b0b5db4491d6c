//! One caller's connection, from its first byte to its end.
//!
//! What bounds a connection is fixed when it begins; each of its requests takes the site of its own time, so that a
//! reload touches no connection.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use crate::config::Limits;
use crate::peer::Peer;
use crate::phase::Phases;
use crate::proxy;
use crate::site::Current;
use crate::stream::Stream;
use crate::watched::{Activity, Protocol, Watched, sniff};

/// Serves a connection to its end.
pub(crate) async fn serve(mut stream: Stream, peer: Peer, current: &Current, mut phases: Phases) {
    let site = current.get();
    let peer = Arc::new(peer);
    let timeouts = &site.config.timeouts;
    let sniffed = tokio::select! {
        sniffed = sniff(&mut stream, timeouts) => sniffed,
        () = phases.draining() => None,
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
            let connection = http1_builder(limits).serve_connection(io, service).with_upgrades();
            drive(Box::pin(connection), http1::UpgradeableConnection::graceful_shutdown, phases).await;
        }
        Protocol::Http2 => {
            let connection = http2_builder(limits).serve_connection(io, service);
            drive(Box::pin(connection), http2::Connection::graceful_shutdown, phases).await;
        }
    }
}

/// Runs a connection to its end, or to a graceful end once the gateway drains.
async fn drive<C>(mut connection: Pin<Box<C>>, finish: impl FnOnce(Pin<&mut C>), mut phases: Phases)
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    tokio::select! {
        // In this order, so that a request that has arrived is seen before the connection is told to finish.
        biased;
        result = connection.as_mut() => return log_end(result),
        () = phases.draining() => finish(connection.as_mut()),
    }
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

const MAX_STREAMS: u32 = 200;
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// hyper's smallest buffer.
const MIN_BUFFER: usize = 8192;
