//! `/events`: what changes, as it changes (server-sent events).
//!
//! A subscriber first gets the last minutes (`traffic` and `skew`, one message for each listener, then each `event`
//! that is kept), then an `event` whenever something happens, and once a second the `status` and the `traffic` since.
//! The timer runs only while somebody listens.
//!
//! Bounds: so many subscribers, a few messages each. Whoever reads more slowly than that for [`PATIENCE`] is cut, its
//! connection with it, because a page that lags shows a state that is long over. The gateway's drain waits for none of
//! them: subscribers watch it to its end.
//!
//! Source: WHATWG HTML section 9.2 (the event stream format).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use evergrant::EventWatch;
use evergrant::clock::boot;
use http_body::{Body, Frame};
use serde::Serialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Admin;
use super::status::{EventLine, Status};
use crate::metrics::TrafficSample;

/// Cuts a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut(Arc<Notify>);

impl Cut {
    /// Ends when the connection is to be cut.
    pub(crate) async fn wanted(&self) {
        self.0.notified().await;
    }
}

/// The messages of one subscriber, as a body without an end.
pub(crate) struct Messages(mpsc::Receiver<Bytes>);

impl Messages {
    /// Starts sending. The place is free again when the subscriber is gone.
    pub(crate) fn start(admin: Arc<Admin>, place: OwnedSemaphorePermit, cut: Cut) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let mut subscriber = Subscriber::new(admin, sender.clone());
            let is_slow = tokio::select! {
                // Nothing is sent when it has ended, so the error is the end.
                _ = subscriber.serve() => true,
                () = sender.closed() => false,
            };
            drop(place);
            if is_slow && !sender.is_closed() {
                tracing::debug!("a subscriber of the events read too slowly and is cut");
                cut.0.notify_one();
            }
        });
        Self(receiver)
    }
}

impl Body for Messages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|message| message.map(|message| Ok(Frame::data(message))))
    }
}

/// The subscriber does not take what is sent.
struct Slow;

/// What one subscriber knows already.
struct Subscriber {
    admin: Arc<Admin>,
    sender: mpsc::Sender<Bytes>,
    journal: u64,
    /// For each listener by its name: the revision of its events and the number of its last window of traffic.
    known: BTreeMap<Arc<str>, (u64, u64)>,
}

impl Subscriber {
    fn new(admin: Arc<Admin>, sender: mpsc::Sender<Bytes>) -> Self {
        Self { admin, sender, journal: 0, known: BTreeMap::new() }
    }

    /// Sends until the subscriber is too slow.
    async fn serve(&mut self) -> Result<Infallible, Slow> {
        self.send_history().await?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            // Listening starts before looking, so that nothing falls between the two.
            let mut journal = self.admin.hub.journal.watch();
            let sources = self.admin.roster.sites().into_iter().map(|site| site.source.watch_events());
            let mut sources: Vec<_> = sources.collect();
            self.send_events().await?;
            tokio::select! {
                _ = tick.tick() => self.send_status().await?,
                () = anything(&mut journal, &mut sources) => {}
            }
        }
    }

    async fn send_history(&mut self) -> Result<(), Slow> {
        for site in self.admin.roster.sites() {
            let points = site.source.skew_history();
            let points: Vec<_> = points.iter().map(|moment| [moment.age_s, moment.skew.lo, moment.skew.hi]).collect();
            let skew = serde_json::json!({ "profile": &*site.name, "points": points });
            self.send("skew", &skew).await?;
        }
        self.send_traffic().await
    }

    async fn send_status(&mut self) -> Result<(), Slow> {
        let listeners = self.admin.listeners();
        let status = Status::of(&self.admin, &listeners, None);
        let status = message("status", &status);
        self.deliver(status).await?;
        self.send_traffic().await
    }

    /// The windows of traffic since the last message.
    async fn send_traffic(&mut self) -> Result<(), Slow> {
        for site in self.admin.roster.sites() {
            let now = boot();
            let known = &mut self.known.entry(Arc::clone(&site.name)).or_default().1;
            let windows = site.metrics.traffic_since(*known, now);
            let Some(last) = windows.last() else { continue };
            *known = last.number;
            let aged = |sample: &TrafficSample| Aged { age_s: (now - sample.ended).as_secs_f64(), sample: *sample };
            let windows: Vec<_> = windows.iter().map(aged).collect();
            let traffic = serde_json::json!({ "profile": &*site.name, "windows": windows });
            self.send("traffic", &traffic).await?;
        }
        Ok(())
    }

    async fn send_events(&mut self) -> Result<(), Slow> {
        for line in self.admin.hub.journal.since(self.journal) {
            self.journal = line.number;
            self.send("event", &EventLine::of_gateway(&line)).await?;
        }
        for site in self.admin.roster.sites() {
            let known = self.known.entry(Arc::clone(&site.name)).or_default().0;
            for event in site.source.events_since(known) {
                let known = &mut self.known.entry(Arc::clone(&site.name)).or_default().0;
                *known = event.revision.max(*known);
                self.send("event", &EventLine::of_source(&site.name, event)).await?;
            }
        }
        Ok(())
    }

    async fn send(&self, name: &str, data: &impl Serialize) -> Result<(), Slow> {
        self.deliver(message(name, data)).await
    }

    async fn deliver(&self, message: Bytes) -> Result<(), Slow> {
        match timeout(PATIENCE, self.sender.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Slow),
        }
    }
}

/// A window of traffic with its age.
#[derive(Serialize)]
struct Aged {
    age_s: f64,
    #[serde(flatten)]
    sample: TrafficSample,
}

/// Ends when the journal or one of the sources has something new.
async fn anything(journal: &mut watch::Receiver<u64>, sources: &mut [EventWatch]) {
    let mut waits: Vec<_> = sources.iter_mut().map(|source| Box::pin(source.changed())).collect();
    let in_sources = poll_fn(|cx| match waits.iter_mut().any(|wait| wait.as_mut().poll(cx).is_ready()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    tokio::select! {
        // The journal lives as long as the gateway.
        _ = journal.changed() => {}
        () = in_sources => {}
    }
}

/// One message of the stream. JSON has no line breaks outside its strings, and escapes them inside.
fn message(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_else(|_| "null".to_owned());
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// How many subscribers there may be.
pub(super) const SUBSCRIBERS: usize = 16;
/// How long a subscriber may leave its messages unread.
const PATIENCE: Duration = Duration::from_secs(10);
const QUEUE: usize = 4;
const TICK: Duration = Duration::from_secs(1);
