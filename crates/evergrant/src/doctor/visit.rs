//! One examination under way: what it looks at, what it has measured, and how each check is run.
//!
//! Every check runs here under the same deadline and is timed, so that none of them can hold the report up. Checks that
//! run at once share the measurements behind one lock, which is never held across a wait.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evergrant_core::offset::{Sample, Source};
use evergrant_core::time::{Boot, Span};

use super::clocks::{Clocks, Told};
use super::report::{Check, LatencyPoint, Name, Progress};
use super::setup::Setup;
use crate::clock;
use crate::time_service::TimeService;
use crate::tls::Tls;
use crate::transport::{AnswerHead, TransportOptions};

/// One examination.
pub(super) struct Visit<'a> {
    pub(super) setup: &'a Setup,
    pub(super) tls: Tls,
    tell: &'a (dyn Fn(Progress<'_>) + Sync),
    began: Boot,
    notes: Mutex<Notes>,
}

/// What was measured.
pub(super) struct Notes {
    pub(super) latency: Vec<LatencyPoint>,
    pub(super) clocks: Clocks,
    pub(super) token_requests: u32,
    pub(super) reference: Option<Told>,
    pub(super) time_service: Option<TimeService>,
}

impl<'a> Visit<'a> {
    pub(super) fn begin(setup: &'a Setup, tell: &'a (dyn Fn(Progress<'_>) + Sync)) -> Self {
        let notes = Notes {
            latency: Vec::new(),
            clocks: Clocks::default(),
            token_requests: 0,
            reference: None,
            time_service: None,
        };
        let tls = setup.http.tls();
        Self { setup, tls, tell, began: clock::boot(), notes: Mutex::new(notes) }
    }

    /// Runs a check and tells about it.
    pub(super) async fn run(&self, name: Name, check: impl Future<Output = Check>) -> Check {
        self.run_for(name, Duration::ZERO, check).await
    }

    /// Runs a check that may take this much longer than the others.
    pub(super) async fn run_for(&self, name: Name, longer: Duration, check: impl Future<Output = Check>) -> Check {
        self.run_with(name, longer, async { (check.await, ()) }).await.0
    }

    /// Runs a check that also finds something for others; nothing if it does not end in time.
    pub(super) async fn run_with<T>(
        &self,
        name: Name,
        longer: Duration,
        check: impl Future<Output = (Check, T)>,
    ) -> (Check, Option<T>) {
        (self.tell)(Progress::Began(name));
        let began = clock::boot();
        let left = (self.setup.timeout + longer).saturating_sub((began - self.began).to_duration());
        let (mut check, found) = match tokio::time::timeout(left, check).await {
            Ok((check, found)) => (check, Some(found)),
            Err(_) => (self.too_late(name), None),
        };
        check.took_ms = (clock::boot() - began).as_secs_f64() * 1000.0;
        (self.tell)(Progress::Ended(&check));
        (check, found)
    }

    /// A check that is settled without being run.
    pub(super) fn settle(&self, check: Check) -> Check {
        (self.tell)(Progress::Ended(&check));
        check
    }

    fn too_late(&self, name: Name) -> Check {
        Check::ok(name)
            .saw(format!("not done when the time for the examination was over ({:?})", self.setup.timeout))
            .fault("see what the checks before it say, or give more time with --timeout")
    }

    pub(super) fn options(&self) -> TransportOptions {
        let http = &self.setup.http;
        TransportOptions { timeout: http.token_timeout, allow_insecure_http: http.allow_insecure_http }
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds since the examination began.
    pub(super) fn seconds(&self, at: Boot) -> f64 {
        (at - self.began).as_secs_f64()
    }

    /// Notes an answer: its latency, and its date as a sample of the sender's clock.
    pub(super) fn note_answer(&self, source: Source, sent: Boot, received: Boot, head: &AnswerHead) {
        let what = if source == Source::AuthDate { "token_endpoint" } else { "api" };
        let ms = (received - sent).as_secs_f64() * 1000.0;
        self.notes().latency.push(LatencyPoint { what, at_s: self.seconds(sent), ms, status: head.status });
        if let Some(server) = head.date {
            // What a cache may answer has no Authorization, or says so with an Age (RFC 9111 section 3.5).
            let bounds_above = head.age.is_none();
            self.note_sample(source, Sample { sent, received, server, resolution: Span::from_secs(1), bounds_above });
        }
    }

    /// Notes a sample of a server's clock.
    pub(super) fn note_sample(&self, source: Source, sample: Sample) {
        let at_s = self.seconds(sample.received);
        self.notes().clocks.take(source, sample, at_s);
    }
}
