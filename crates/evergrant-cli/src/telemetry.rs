//! Traces for an OpenTelemetry collector, in builds with the feature `otel`.
//!
//! The spans are made by the library and the gateway (`evergrant::spans`); this module sends them over OTLP/HTTP. It is
//! switched on and set up by OpenTelemetry's own variables: nothing is sent unless `OTEL_EXPORTER_OTLP_ENDPOINT` or
//! `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set; `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`,
//! `OTEL_EXPORTER_OTLP_HEADERS`, `_PROTOCOL` (`http/protobuf` or `http/json`) and `_TIMEOUT` mean what its specification
//! says; `OTEL_SDK_DISABLED` and `OTEL_TRACES_EXPORTER=none` switch it off.
//!
//! Spans are sent in batches from a thread of their own. A collector that cannot be reached costs spans and a line in
//! the log, never a request: the queue is bounded and what does not fit is dropped.
//!
//! All of OpenTelemetry's crates are named here and nowhere else; they change together and often.

use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use evergrant::spans::TARGET;
use evergrant_gateway::{TraceContext, carry_trace_context};
use http::{HeaderMap, Request, Response};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_http::{HeaderExtractor, HeaderInjector, HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use crate::exit;
use crate::failure::Failure;
use crate::launch;

/// Sends the spans of this process until it ends.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// What takes spans out of a subscriber; nothing if no collector is named.
pub(crate) fn layer<S>() -> Result<Option<impl Layer<S>>, Failure>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    if !is_wanted(|name| std::env::var(name).ok().filter(|value| !value.is_empty())) {
        return Ok(None);
    }
    let failure = |error: &dyn std::fmt::Display| {
        Failure::new(exit::CONFIG, "cannot send traces")
            .because(error)
            .hint("check OTEL_EXPORTER_OTLP_ENDPOINT, or unset it to send none")
    };
    let exporter = SpanExporter::builder().with_http().with_http_client(Sender::new()?).build();
    let exporter = exporter.map_err(|error| failure(&error))?;
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("evergrant");
    }
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
    let tracer = provider.tracer("evergrant");
    // A second start can only come from a test; the first provider stays.
    _ = PROVIDER.set(provider);
    carry_trace_context(Box::new(W3c(TraceContextPropagator::new())));
    let layer = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false);
    Ok(Some(layer.with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO))))
}

/// Sends what is left, for a bounded time.
pub(crate) fn finish() {
    if let Some(provider) = PROVIDER.get() {
        // What could not be sent is lost, and the process ends all the same.
        _ = provider.shutdown_with_timeout(FINISH_TIME);
    }
}

fn is_wanted(variable: impl Fn(&str) -> Option<String>) -> bool {
    let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || variable("OTEL_TRACES_EXPORTER").is_some_and(|value| value.eq_ignore_ascii_case("none"));
    let endpoints = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    !is_off && endpoints.into_iter().any(|name| variable(name).is_some())
}

/// The trace context of W3C's `traceparent` and `tracestate`.
struct W3c(TraceContextPropagator);

impl TraceContext for W3c {
    fn continue_from(&self, span: &Span, fields: &HeaderMap) {
        let caller = self.0.extract(&HeaderExtractor(fields));
        if caller.span().span_context().is_valid() {
            // It fails for a span that has begun, and this one has not.
            _ = span.set_parent(caller);
        }
    }

    fn pass_on(&self, span: &Span, fields: &mut HeaderMap) {
        self.0.inject_context(&span.context(), &mut HeaderInjector(fields));
    }
}

/// Posts batches with the HTTP client that this program has already. It runs on the exporter's own thread, which waits.
#[derive(Debug)]
struct Sender {
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Sender {
    fn new() -> Result<Self, Failure> {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(SEND_TIME).build();
        let client = client.map_err(|error| Failure::new(exit::CONFIG, "cannot send traces").because(error))?;
        Ok(Self { client, runtime: launch::small_runtime()? })
    }
}

impl HttpClient for Sender {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let sent = self.runtime.block_on(async {
            let answer = self.client.execute(request.try_into()?).await?;
            let status = answer.status();
            let mut response = Response::new(answer.bytes().await?);
            *response.status_mut() = status;
            Ok(response)
        });
        Box::pin(std::future::ready(sent))
    }
}

const SEND_TIME: Duration = Duration::from_secs(10);
const FINISH_TIME: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_sent_only_to_a_collector_that_is_named() {
        let with = |set: &[(&str, &str)]| {
            is_wanted(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        let named = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        assert!(with(&[named]));
        assert!(with(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4318/v1/traces")]));
        assert!(!with(&[]));
        assert!(!with(&[named, ("OTEL_SDK_DISABLED", "true")]));
        assert!(!with(&[named, ("OTEL_TRACES_EXPORTER", "none")]));
    }
}
