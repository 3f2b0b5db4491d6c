//! Spans for whoever collects traces.
//!
//! A span here is a `tracing` span of the target [`TARGET`], which no log filter of ours lets through: without a
//! collector it costs one load of an atomic and is never made. Names and fields are those of OpenTelemetry's semantic
//! conventions for HTTP, and `evergrant.*` for what those do not know. A field holds a route template, a status, a host
//! or a number, never a token, a query or a body.

use evergrant_core::token::Generation;
use evergrant_core::wire::TokenFailure;
use tracing::Span;
use tracing::field::Empty;

/// The target of all spans that are made for a collector of traces.
pub const TARGET: &str = "otel";

/// A token request, from the lease to the commit.
pub(crate) fn token_request(place: &str) -> Span {
    tracing::info_span!(
        target: TARGET,
        "token request",
        otel.kind = "client",
        otel.status_code = Empty,
        server.address = host_of(place),
        error.type = Empty,
        evergrant.generation = Empty,
    )
}

/// A token request failed, for now or for good.
pub(crate) fn note_failure(span: &Span, failure: &TokenFailure) {
    span.record("error.type", failure.kind.name()).record("otel.status_code", "ERROR");
}

/// A probe of a token.
pub(crate) fn probe(api: Option<&str>, generation: Generation) -> Span {
    tracing::info_span!(
        target: TARGET,
        "probe",
        otel.kind = "client",
        server.address = api.map(host_of),
        evergrant.generation = generation.0,
        evergrant.probe = Empty,
    )
}

/// The host of a URL. What is no URL is nobody's business.
fn host_of(url: &str) -> String {
    url.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_only_the_host_is_told() {
        assert_eq!(host_of("https://me:pw@login.example:8443/oauth/token?secret=x"), "login.example");
        assert_eq!(host_of("not a url"), "");
    }
}
