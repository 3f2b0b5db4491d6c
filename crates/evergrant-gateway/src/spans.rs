//! The span of one request, for whoever collects traces.
//!
//! It begins with the head of a request and ends with the last byte of its answer, and says what the gateway did about
//! it: how often it was sent, with which token, and what a refusal meant. If the caller sends a trace context, the span
//! continues it, and every send carries the span's own to the upstream in its place (W3C Trace Context section 2.3).
//!
//! This crate knows `tracing` and no collector. Whoever installs one also says how a trace context is read and written
//! ([`carry_trace_context`]). Without a collector a request costs one load of an atomic here, and a trace context
//! passes like any other field.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use evergrant::spans::TARGET;
use evergrant_core::attempt::Route;
use evergrant_core::token::Generation;
use http::{HeaderMap, Method, Request, StatusCode};
use tracing::Span;
use tracing::field::Empty;

/// How a collector's trace context travels in header fields.
pub trait TraceContext: Send + Sync {
    /// Makes a new span a child of the one that these fields name, if they name one.
    fn continue_from(&self, span: &Span, fields: &HeaderMap);
    /// Names the span in these fields.
    fn pass_on(&self, span: &Span, fields: &mut HeaderMap);
}

/// From now on requests carry trace contexts in this way. Only the first call counts.
pub fn carry_trace_context(context: Box<dyn TraceContext>) {
    // A collector is installed once in a process.
    _ = CONTEXT.set(context);
}

/// The span of a request, if anybody collects spans.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestSpan(Option<Arc<Recorded>>);

#[derive(Debug)]
struct Recorded {
    span: Span,
    sends: AtomicU32,
}

impl RequestSpan {
    /// Begins the span of this request.
    pub(crate) fn begin<B>(profile: &str, request: &Request<B>) -> Self {
        if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
            return Self::default();
        }
        let method = method_name(request.method());
        let route = Route::new("", method, request.uri().path());
        let span = tracing::info_span!(
            target: TARGET,
            "request",
            otel.name = %route,
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = method,
            http.route = route.template,
            http.response.status_code = Empty,
            evergrant.profile = profile,
            evergrant.generation = Empty,
            evergrant.attempts = Empty,
            evergrant.verdict = Empty,
        );
        if let Some(context) = CONTEXT.get() {
            context.continue_from(&span, request.headers());
        }
        Self(Some(Arc::new(Recorded { span, sends: AtomicU32::new(0) })))
    }

    /// The request goes to the upstream with these fields.
    pub(crate) fn send(&self, fields: &mut HeaderMap) {
        let Some(Recorded { span, sends }) = self.0.as_deref() else { return };
        sends.fetch_add(1, Ordering::Relaxed);
        if let Some(context) = CONTEXT.get() {
            context.pass_on(span, fields);
        }
    }

    /// It carries this token.
    pub(crate) fn note_generation(&self, generation: Generation) {
        self.record("evergrant.generation", generation.0);
    }

    /// The caller sees a refusal with this cause.
    pub(crate) fn note_verdict(&self, cause: &'static str) {
        self.record("evergrant.verdict", cause);
    }

    /// It is answered with this status.
    pub(crate) fn note_answer(&self, status: StatusCode) {
        let Some(Recorded { sends, .. }) = self.0.as_deref() else { return };
        self.record("http.response.status_code", status.as_u16());
        self.record("evergrant.attempts", sends.load(Ordering::Relaxed));
        // Of a server's span only its own faults are errors.
        if status.is_server_error() {
            self.record("otel.status_code", "ERROR");
        }
    }

    fn record(&self, field: &'static str, value: impl tracing::Value) {
        if let Some(recorded) = &self.0 {
            recorded.span.record(field, value);
        }
    }
}

/// A method is a caller's word; only those that everybody knows are told.
fn method_name(method: &Method) -> &str {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        Method::CONNECT,
    ];
    if known.contains(method) { method.as_str() } else { "_OTHER" }
}

static CONTEXT: OnceLock<Box<dyn TraceContext>> = OnceLock::new();
