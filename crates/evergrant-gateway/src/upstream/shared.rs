//! The one HTTP/2 connection that all requests share.
//!
//! It is driven by a task of its own. Like an HTTP/1.1 connection it is given up after a time without requests, because
//! a middlebox may have forgotten it by then; requests that still run on it are finished. A server that goes away says
//! so (RFC 9113 section 6.8), and the next request opens another connection.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout};

use super::connect::Stream;
use super::fault::Fault;
use super::lane::{Arriving, Unanswered};
use super::pool::REST;
use crate::tee::Outbound;

/// The place of the shared connection.
pub(super) struct Shared {
    place: Arc<Mutex<Option<Open>>>,
    /// HTTP/2 names scheme and authority in each request.
    origin: Arc<Uri>,
}

/// A connection that takes requests.
#[derive(Clone)]
pub(super) struct Open {
    sender: http2::SendRequest<Outbound>,
    origin: Arc<Uri>,
    has_answered: Arc<AtomicBool>,
    used: Instant,
}

impl Shared {
    /// No connection yet, to the origin of this target.
    pub(super) fn new(origin: Uri) -> Self {
        Self { place: Arc::default(), origin: Arc::new(origin) }
    }

    /// The connection that takes the next request, if there is one.
    pub(super) fn take(&self) -> Option<Open> {
        let mut place = lock(&self.place);
        let open = place.as_mut().filter(|open| open.takes_requests())?;
        open.used = Instant::now();
        Some(open.clone())
    }

    /// Begins to speak HTTP/2 on a new connection, which takes the place of an older one.
    pub(super) async fn open(&self, stream: Stream) -> Result<Open, Fault> {
        let handshake = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .adaptive_window(true)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(stream)
            .await;
        let (sender, connection) = handshake.map_err(|error| Fault::of_connection(error, false))?;
        let origin = Arc::clone(&self.origin);
        let open = Open { sender, origin, has_answered: Arc::default(), used: Instant::now() };
        *lock(&self.place) = Some(open.clone());
        let place = Arc::downgrade(&self.place);
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            // How it ended is told to the requests on it.
            while timeout(REST, connection.as_mut()).await.is_err() {
                // Without a sender the connection ends as soon as its last request has.
                if let Some(place) = place.upgrade() {
                    lock(&place).take_if(|open| !open.takes_requests());
                }
            }
        });
        Ok(open)
    }
}

impl Open {
    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(mut self, mut request: Request<Outbound>) -> Result<Response<Arriving>, Unanswered> {
        self.make_absolute(request.uri_mut());
        match self.sender.try_send_request(request).await {
            Ok(response) => {
                self.has_answered.store(true, Ordering::Relaxed);
                Ok(response.map(Arriving::driven))
            }
            Err(error) => Err(Unanswered::of(error, self.has_answered.load(Ordering::Relaxed))),
        }
    }

    fn make_absolute(&self, uri: &mut Uri) {
        let mut parts = Uri::clone(&self.origin).into_parts();
        parts.path_and_query = uri.path_and_query().cloned();
        // Parts of two whole targets make a whole target.
        if let Ok(absolute) = Uri::from_parts(parts) {
            *uri = absolute;
        }
    }

    fn takes_requests(&self) -> bool {
        !self.sender.is_closed() && self.used.elapsed() < REST
    }
}

fn lock(place: &Mutex<Option<Open>>) -> MutexGuard<'_, Option<Open>> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
