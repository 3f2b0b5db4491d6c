//! Status and metrics, on a listener of their own.
//!
//! GET only, and nothing here changes anything. `/healthz` says that the process lives, `/readyz` that a usable token
//! is held; both are for machines that probe by address, so they skip the checks of `Host`, page and user that
//! protect the rest.

use std::sync::Arc;

use bytes::Bytes;
use evergrant::SourceStatus;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use prometheus_client::registry::Registry;
use serde::Serialize;

use crate::gate::Gate;
use crate::metrics::Snapshot;
use crate::peer::Peer;
use crate::problem::Problem;
use crate::site::{Roster, Site};
use crate::source_metrics::SourceMetrics;

/// What the admin listener shows.
pub(crate) struct Admin {
    roster: Roster,
    gate: Gate,
    registry: Registry,
}

impl Admin {
    pub(crate) fn new(roster: Roster, gate: Gate) -> Self {
        let site = &roster.sites()[0];
        let mut registry = Registry::with_prefix("evergrant");
        registry.register_collector(Box::new(SourceMetrics(site.source.clone())));
        let gateway = registry.sub_registry_with_prefix("gateway");
        gateway.register_collector(Box::new(Arc::clone(&site.metrics)));
        Self { roster, gate, registry }
    }

    /// Answers one request.
    pub(crate) fn answer<B>(&self, peer: &Peer, request: &Request<B>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let open = matches!(path, "/healthz" | "/readyz");
        if let Err(problem) = self.gate.admit(peer, request)
            && !open
        {
            return problem.into_response(Full::new);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response =
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "read only", "this listener answers GET only")
                    .into_response(Full::new);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.ready(),
            "/status" => self.status(),
            "/metrics" => self.metrics(),
            "/" => text(StatusCode::OK, "evergrant gateway: /status /metrics /healthz /readyz\n"),
            _ => Problem::new(StatusCode::NOT_FOUND, "not found", "see / for what is here").into_response(Full::new),
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let sites = self.roster.sites();
        if !sites[0].hub.control.is_serving() {
            text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        } else if sites.iter().all(|site| site.source.is_ready()) {
            text(StatusCode::OK, "ready\n")
        } else {
            text(StatusCode::SERVICE_UNAVAILABLE, "no usable token\n")
        }
    }

    fn status(&self) -> Response<Full<Bytes>> {
        let sites = self.roster.sites();
        let status = Status {
            version: env!("CARGO_PKG_VERSION"),
            ready: sites.iter().all(|site| site.source.is_ready()),
            draining: !sites[0].hub.control.is_serving(),
            gateway: GatewayStatus::of(&sites[0]),
            source: sites[0].source.status(),
            listeners: sites.iter().map(|site| SiteStatus::of(site)).collect(),
        };
        match serde_json::to_vec(&status) {
            Ok(json) => with_type(StatusCode::OK, "application/json", json.into()),
            Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "status unavailable", error.to_string())
                .into_response(Full::new),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut out = String::new();
        match prometheus_client::encoding::text::encode(&mut out, &self.registry) {
            Ok(()) => with_type(StatusCode::OK, OPENMETRICS, out.into()),
            Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics unavailable", error.to_string())
                .into_response(Full::new),
        }
    }
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    ready: bool,
    draining: bool,
    /// The first profile's.
    gateway: GatewayStatus,
    /// The first profile's; its fields stand beside the gateway's, `clock` among them.
    #[serde(flatten)]
    source: SourceStatus,
    /// Every profile's.
    listeners: Vec<SiteStatus>,
}

#[derive(Serialize)]
struct GatewayStatus {
    /// The first address.
    listen: String,
    upstream: String,
    #[serde(flatten)]
    counts: Snapshot,
}

impl GatewayStatus {
    fn of(site: &Site) -> Self {
        Self {
            listen: site.bound.first().map(ToString::to_string).unwrap_or_default(),
            upstream: site.config.upstream.to_string(),
            counts: site.metrics.snapshot(),
        }
    }
}

/// One profile with its listeners.
#[derive(Serialize)]
struct SiteStatus {
    profile: String,
    listen: Vec<String>,
    ready: bool,
    gateway: GatewayStatus,
    source: SourceStatus,
}

impl SiteStatus {
    fn of(site: &Site) -> Self {
        Self {
            profile: site.name.to_string(),
            listen: site.bound.iter().map(ToString::to_string).collect(),
            ready: site.source.is_ready(),
            gateway: GatewayStatus::of(site),
            source: site.source.status(),
        }
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
